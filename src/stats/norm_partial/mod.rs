//! Norms from parts that merge in any order.
//!
//! The sum of each block of a tensor is added to fixed-point digits below the largest block's (Demmel & Nguyen 2015):
//! those additions are exact, so parts from threads, shards and machines agree to the bit whoever comes first, and nothing
//! overflows.

pub(crate) mod kernel;
pub mod reference;

use super::exact_sum::{self, ExactSum, WORDS, scale_by_power};
use crate::element::compiled_once;
use crate::parallel;
use crate::shape::check_range;
use crate::simd::{self, Active};
use crate::tensors::{GRAIN, List, TASK};
use crate::{Element, Error};

/// Which norm.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Order {
    /// Sum of magnitudes.
    One,
    /// Root of the sum of squares.
    Two,
    /// Root of the sum of powers with this exponent.
    Power(f64),
    /// Largest magnitude.
    Infinity,
}

/// The least exponent: the error of a norm, 2⁻⁴⁴/p, is still below single precision.
const LEAST_EXPONENT: f64 = 1e-6;

/// From here on the root of as many as 2⁶⁴ equal powers is less than the error of a norm above the largest.
const LIKE_INFINITY: f64 = (1_u64 << 50) as f64;

impl Order {
    /// The norm with exponent `p`.
    fn new(p: f64) -> Result<Self, Error> {
        check_range("p", "at least 1e-6", p >= LEAST_EXPONENT)?;
        Ok(if p == 1.0 {
            Self::One
        } else if p == 2.0 {
            Self::Two
        } else if p < LIKE_INFINITY {
            Self::Power(p)
        } else {
            Self::Infinity
        })
    }

    fn p(self) -> f64 {
        match self {
            Self::One => 1.0,
            Self::Two => 2.0,
            Self::Power(p) => p,
            Self::Infinity => f64::INFINITY,
        }
    }
}

/// A p-norm's sum, of as many tensors as were added, to be merged with that of others.
///
/// ```text
/// ‖x‖_p = (Σ|xᵢ|ᵖ)^(1/p),  ‖x‖_∞ = max|xᵢ|
/// ```
///
/// The norm is the same bits for any order of additions and merges, any pool, and AVX2 and AVX-512. A tensor may be
/// cut into shards at multiples of [`BLOCK`](Self::BLOCK). It overflows only where the norm itself is past the
/// largest `f64`. NaN anywhere makes it NaN, else an infinity makes it infinite.
///
/// Within a block at most 520 additions in `f64` round, each by 2⁻⁵³ of a part; the root divides their relative error by
/// `p`. That is below 2⁻⁴⁴ at worst (below 2⁻⁴⁴/p where p is below 1), and about 2⁻⁵² for numbers without a pattern.
/// Up to 2³² blocks and tensors may be added.
///
/// # Examples
/// ```
/// use steadygrad::stats::NormPartial;
///
/// let (mut first, mut second) = (NormPartial::new(2.0)?, NormPartial::new(2.0)?);
/// first.add(&[3e25_f32]); // its square is past the largest `f32`
/// second.add(&[4e25_f32]);
/// second.merge(&first)?;
/// assert!((second.norm() / 5e25 - 1.0).abs() < 1e-7);
/// # Ok::<(), steadygrad::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NormPartial {
    order: Order,
    sum: ExactSum,
    largest: f64,
    has_nan: bool,
    has_infinity: bool,
}

/// Bits of the flags in a partial's words.
const NAN_FLAG: u64 = 1;
const INFINITY_FLAG: u64 = 2;

impl NormPartial {
    /// Elements of a block: where a tensor may be cut without changing a bit of its norm.
    pub const BLOCK: usize = GRAIN;

    /// Numbers that [`to_words`](Self::to_words) makes.
    pub const WORDS: usize = WORDS + 3;

    /// The norm of nothing, with an exponent from 1e-6 to infinity. 1, 2 and infinity are as fast as memory; another takes
    /// a logarithm and a power of each element. One of 2⁵⁰ or more counts as infinity.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] where `p` is not that.
    pub fn new(p: f64) -> Result<Self, Error> {
        Ok(Self::zero(Order::new(p)?))
    }

    /// The 2-norm of nothing.
    pub(crate) const NOTHING: Self = Self::zero(Order::Two);

    const fn zero(order: Order) -> Self {
        Self { order, sum: ExactSum::ZERO, largest: 0.0, has_nan: false, has_infinity: false }
    }

    /// Adds the elements of a tensor, or of a shard that begins at a multiple of [`BLOCK`](Self::BLOCK).
    pub fn add<T: Element>(&mut self, x: &[T]) {
        self.add_list(&[x]);
    }

    /// Adds the elements of every tensor.
    pub fn add_list<T: Element>(&mut self, tensors: &[&[T]]) {
        <T as Compiled>::add(self, tensors);
    }

    /// Adds all that was added to another partial.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] where `other` has another exponent; then this one is unchanged.
    pub fn merge(&mut self, other: &Self) -> Result<(), Error> {
        check_range("other", "a partial of the same norm", self.order == other.order)?;
        self.join(other);
        Ok(())
    }

    pub(crate) fn join(&mut self, other: &Self) {
        self.sum.merge(&other.sum);
        self.largest = self.largest.max(other.largest);
        self.has_nan |= other.has_nan;
        self.has_infinity |= other.has_infinity;
    }

    /// The norm of all that was added; 0 of nothing.
    #[must_use]
    pub fn norm(&self) -> f64 {
        let (value, exponent) = self.scaled_norm();
        scale_by_power(value, exponent)
    }

    /// Whether no element was NaN or infinite; the norm may still be past the largest `f64`.
    #[must_use]
    pub fn is_finite(&self) -> bool {
        !(self.has_nan || self.has_infinity)
    }

    /// `(m, e)` where the norm is `m · 2^e`, which `f64` need not hold.
    pub(crate) fn scaled_norm(&self) -> (f64, i32) {
        if self.has_nan {
            return (f64::NAN, 0);
        }
        if self.has_infinity {
            return (f64::INFINITY, 0);
        }
        match self.order {
            Order::One => within_range(self.sum.rounded()),
            Order::Two => {
                let (square, exponent) = self.sum.rounded();
                within_range((num_traits::Float::sqrt(square), exponent / 2))
            }
            Order::Power(p) => within_range(exact_sum::root(self.sum.rounded(), p)),
            Order::Infinity => (self.largest, 0),
        }
    }

    /// Adds a block's sum of powers, or its largest magnitude, times a power of two.
    #[inline]
    fn add_block(&mut self, value: f64, exponent: i64) {
        if value.is_nan() {
            self.has_nan = true;
        } else if value.is_infinite() {
            self.has_infinity = true;
        } else if self.order == Order::Infinity {
            self.largest = self.largest.max(value);
        } else {
            self.sum.add(value, exponent);
        }
    }

    /// The partial as plain numbers, to be sent to another machine.
    ///
    /// ```
    /// use steadygrad::stats::NormPartial;
    ///
    /// let mut partial = NormPartial::new(1.0)?;
    /// partial.add(&[1.5_f64, -2.0]);
    /// let received = NormPartial::from_words(&partial.to_words())?;
    /// assert_eq!(received.norm(), 3.5);
    /// # Ok::<(), steadygrad::Error>(())
    /// ```
    #[must_use]
    pub fn to_words(&self) -> [u64; Self::WORDS] {
        let mut words = [0; Self::WORDS];
        words[0] = self.order.p().to_bits();
        words[1] = self.largest.to_bits();
        words[2] = u64::from(self.has_nan) * NAN_FLAG + u64::from(self.has_infinity) * INFINITY_FLAG;
        words[3..].copy_from_slice(&self.sum.to_words());
        words
    }

    /// The partial that [`to_words`](Self::to_words) was called on.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] where the numbers are not those of a partial.
    pub fn from_words(words: &[u64; Self::WORDS]) -> Result<Self, Error> {
        let mut partial = Self::new(f64::from_bits(words[0]))?;
        partial.largest = f64::from_bits(words[1]);
        check_range("words", "those of a partial", partial.largest >= 0.0 && partial.largest.is_finite())?;
        check_range("words", "those of a partial", words[2] <= (NAN_FLAG | INFINITY_FLAG))?;
        partial.has_nan = words[2] & NAN_FLAG != 0;
        partial.has_infinity = words[2] & INFINITY_FLAG != 0;
        let not_a_sum = Error::OutOfRange { argument: "words", requirement: "those of a partial" };
        partial.sum = ExactSum::from_words(&words[3..]).ok_or(not_a_sum)?;
        Ok(partial)
    }
}

/// `(m, e)` with an exponent that [`scale_by_power`] takes: beyond it the norm is infinite, or 0, all the same.
fn within_range((m, e): (f64, i64)) -> (f64, i32) {
    (m, e.clamp(-2500, 2500) as i32)
}

/// The p-norm of all elements of a list of tensors, with an exponent from 1e-6 to infinity.
///
/// ```text
/// ‖x‖_p = (Σ|xᵢ|ᵖ)^(1/p),  ‖x‖_∞ = max|xᵢ|
/// ```
///
/// See [`NormPartial`] for its accuracy, and for what it does with NaN and infinities. The norm of no tensor is 0.
///
/// # Errors
/// [`Error::OutOfRange`] where `p` is not that.
///
/// # Examples
/// ```
/// use steadygrad::stats;
///
/// let (weights, bias) = ([2.0_f32, -4.0], [4.0_f32]);
/// assert_eq!(stats::norm(&[&weights, &bias], 2.0)?, 6.0);
/// # Ok::<(), steadygrad::Error>(())
/// ```
pub fn norm<T: Element>(tensors: &[&[T]], p: f64) -> Result<f64, Error> {
    let mut partial = NormPartial::new(p)?;
    partial.add_list(tensors);
    Ok(partial.norm())
}

/// The 2-norm of a tensor as `(m, e)`: `m · 2^e`, which `f64` need not hold.
pub(crate) fn scaled_norm<T: Element>(x: &[T]) -> (f64, i32) {
    if x.len() <= NormPartial::BLOCK {
        return simd::dispatch(Active::current(), kernel::Norm2 { x });
    }
    let mut partial = NormPartial::NOTHING;
    partial.add(x);
    partial.scaled_norm()
}

compiled_once! {
    fn add(partial: &mut NormPartial, tensors: &[&[Self]]) = add_list;
    /// As `add`, of tensors that are about to be written.
    fn add_mut(partial: &mut NormPartial, tensors: &[&mut [Self]]) = add_list;
    /// Whether any element is NaN or infinite.
    fn has_non_finite(x: &[Self]) -> bool = has_non_finite_in;
}

fn add_list<T: Element, S: AsRef<[T]> + Sync>(partial: &mut NormPartial, tensors: &[S]) {
    let active = Active::current();
    parallel::accumulate(
        List::new(tensors),
        TASK,
        partial,
        &|list, partial| {
            for x in list.pieces() {
                simd::dispatch(active, kernel::Accumulate { x, partial });
            }
        },
        &|partial: &NormPartial| NormPartial::zero(partial.order),
        &|partial, other| partial.join(&other),
    );
}

fn has_non_finite_in<T: Element>(x: &[T]) -> bool {
    let active = Active::current();
    x.chunks(GRAIN).any(|block| !simd::dispatch(active, kernel::Largest { block }).is_finite())
}
