//! Sums of powers over blocks, scaled where they leave the range of `f64`.

use super::super::exact_sum::{self, scale_by_power};
use super::{NormPartial, Order};
use crate::Element;
use crate::math::Elementary;
use crate::simd::{self, Isa, Kernel, Vector};

/// Below this a sum of squares may have lost what underflowed: 16,384 squares that each lost 2⁻¹⁰⁷⁵ are less
/// than 2⁻⁵³ of it.
const LEAST_SQUARES: f64 = 1e-290;

/// Adds the blocks of a tensor to a partial.
pub(crate) struct Accumulate<'a, T> {
    pub(crate) x: &'a [T],
    pub(crate) partial: &'a mut NormPartial,
}

impl<T: Element> Kernel for Accumulate<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        for block in self.x.chunks(NormPartial::BLOCK) {
            let (value, exponent) = match self.partial.order {
                Order::One => sum_of_magnitudes(isa, block),
                Order::Two => sum_of_squares(isa, block),
                Order::Power(p) => {
                    let (value, exponent) = sum_of_powers(isa, block, p);
                    self.partial.add_block(value, exponent);
                    continue;
                }
                Order::Infinity => (simd::max_abs(isa, block).to_f64(), 0),
            };
            self.partial.add_block(value, exponent.into());
        }
    }
}

/// The 2-norm of a tensor as `(m, e)`: `m · 2^e`, which `f64` need not hold.
pub(crate) struct Norm2<'a, T> {
    pub(crate) x: &'a [T],
}

impl<T: Element> Kernel for Norm2<'_, T> {
    type Output = (f64, i32);
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> (f64, i32) {
        if self.x.len() <= NormPartial::BLOCK {
            let (square, exponent) = sum_of_squares(isa, self.x);
            return (num_traits::Float::sqrt(square), exponent / 2);
        }
        let mut partial = NormPartial::NOTHING;
        Accumulate { x: self.x, partial: &mut partial }.run(isa);
        partial.scaled_norm()
    }
}

/// The largest magnitude; NaN where any element is.
pub(super) struct Largest<'a, T> {
    pub(super) block: &'a [T],
}

impl<T: Element> Kernel for Largest<'_, T> {
    type Output = T;
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> T {
        simd::max_abs(isa, self.block)
    }
}

/// Adds a sum of squares that another kernel has taken; where that left the range of `f64`, the sums of its pieces.
#[inline(always)]
pub(crate) fn add_squares<'a, I: Isa, T: Element>(
    isa: I,
    partial: &mut NormPartial,
    sum: f64,
    pieces: impl Iterator<Item = &'a [T]>,
) {
    if squares_fit::<T>() || sum >= LEAST_SQUARES && sum.is_finite() {
        return partial.add_block(sum, 0);
    }
    for piece in pieces {
        let (value, exponent) = sum_of_squares(isa, piece);
        partial.add_block(value, exponent.into());
    }
}

/// `(s, e)` with `s · 2^e` the sum of squares; `s` is not finite where an element is not.
#[inline(always)]
fn sum_of_squares<I: Isa, T: Element>(isa: I, block: &[T]) -> (f64, i32) {
    let sum = simd::fold_apart_f64(
        isa,
        block,
        #[inline(always)]
        |x, sum| x.mul_add(x, sum),
    );
    if squares_fit::<T>() || sum >= LEAST_SQUARES && sum.is_finite() {
        return (sum, 0);
    }
    let (largest, down, exponent) = scaling(isa, block);
    if !largest.is_finite() || largest == 0.0 {
        return (largest, 0);
    }
    let sum = simd::fold_apart_f64(
        isa,
        block,
        #[inline(always)]
        |x, sum| {
            let x = x * down;
            x.mul_add(x, sum)
        },
    );
    (sum, 2 * exponent)
}

/// `(s, e)` with `s · 2^e` the sum of magnitudes; `s` is not finite where an element is not.
#[inline(always)]
fn sum_of_magnitudes<I: Isa, T: Element>(isa: I, block: &[T]) -> (f64, i32) {
    let sum = simd::fold_apart_f64(
        isa,
        block,
        #[inline(always)]
        |x, sum| x.abs() + sum,
    );
    if squares_fit::<T>() || sum.is_finite() {
        return (sum, 0);
    }
    let (largest, down, exponent) = scaling(isa, block);
    if !largest.is_finite() {
        return (largest, 0);
    }
    let sum = simd::fold_apart_f64(
        isa,
        block,
        #[inline(always)]
        |x, sum| (x * down).abs() + sum,
    );
    (sum, exponent)
}

/// `(s, e)` with `s · 2^e` the sum of powers of magnitudes; `s` is not finite where an element is not.
///
/// The powers are those of elements over the largest, so that none overflows and what underflows does not count.
#[inline(always)]
fn sum_of_powers<I: Isa, T: Element>(isa: I, block: &[T], p: f64) -> (f64, i64) {
    let largest = simd::max_abs(isa, block).to_f64();
    if !largest.is_finite() || largest == 0.0 {
        return (largest, 0);
    }
    let sum = simd::fold_f64(
        isa,
        block,
        #[inline(always)]
        |x, sum| ((x.abs() / largest).ln() * p).exp() + sum,
    );
    let (of_largest, exponent) = exact_sum::raised(largest, p);
    (sum * of_largest, exponent)
}

/// The largest magnitude, and `(2^−e, e)` where that times the largest is below 4, and at least 1 unless subnormal.
#[inline(always)]
fn scaling<I: Isa, T: Element>(isa: I, block: &[T]) -> (f64, f64, i32) {
    let largest = simd::max_abs(isa, block).to_f64();
    let (_, of_last_bit, _) = num_traits::Float::integer_decode(largest);
    let exponent = (i32::from(of_last_bit) + 52).clamp(-1022, 1022);
    (largest, scale_by_power(1.0, -exponent), exponent)
}

/// Whether a block's sum of squares of `T` is always within the range of `f64`, at both ends.
#[inline(always)]
fn squares_fit<T: Element>() -> bool {
    let largest = T::max_value().to_f64();
    (largest * largest).is_finite()
}
