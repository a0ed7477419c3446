//! Count, mean and squared deviations as a value that merges.
//!
//! Chan, Golub and `LeVeque` 1979, "Updating formulae and a pairwise algorithm for computing sample variances". A block of
//! values is summed about its first one in `f64`, in one pass; blocks merge by a tree that only depends on the shape.

pub(crate) mod kernel;
pub mod reference;

use core::ops::Range;

use crate::element::compiled_once;
use crate::parallel::{self, Offset, PARALLEL_BLOCK};
use crate::shape::{check_len, check_range};
use crate::simd::{self, Active, Tile};
use crate::strips::Strips;
use crate::{ChannelShape, Element, Error};

pub(crate) use kernel::StripMoments;

/// How many values, their mean, and the sum of their squared deviations from it.
///
/// ```text
/// mean = Σxᵢ / n        m2 = Σ(xᵢ − mean)²
/// ```
///
/// Moments of parts [`merge`](Self::merge) to those of the whole, so blocks, threads and machines combine by one rule;
/// they are plain numbers, which any all-reduce can carry. All of it is `f64`, whatever the values are. Where the
/// values are not finite, or their squares overflow `f64`, neither the mean nor `m2` need be finite.
///
/// Stable where the mean is far larger than the deviation, since each block of 32,768 values (or row of a channel) is
/// summed about its first: m2 within 10⁻¹² of itself, or 10⁻⁸ where that first value is the only one so far away. A
/// merge adds the mean's rounding, 2⁻⁵³ · |mean| / deviation.
///
/// # Examples
/// ```
/// use steadygrad::stats::Moments;
///
/// let mut moments = Moments::of(&[1.0_f32, 2.0, 3.0]);
/// assert_eq!((moments.mean, moments.m2), (2.0, 2.0));
/// moments.merge(&Moments::of(&[6.0_f32]));
/// assert_eq!((moments.count, moments.mean, moments.m2), (4, 3.0, 14.0)); // 4 + 1 + 0 + 9
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Moments {
    /// Number of values n.
    pub count: u64,
    /// Their mean; 0 of nothing.
    pub mean: f64,
    /// Σ(xᵢ − mean)².
    pub m2: f64,
}

impl Moments {
    /// Moments of all elements of a slice.
    #[must_use]
    pub fn of<T: Element>(x: &[T]) -> Self {
        <T as Compiled>::of_slice(x)
    }

    /// Moments of every channel.
    ///
    /// Rows are channels of the shape `outer = 1, channels = rows, inner = cols`; columns of a matrix are those of
    /// `outer = rows, channels = cols, inner = 1`.
    ///
    /// | argument  | elements                   | access      |
    /// |-----------|----------------------------|-------------|
    /// | `x`       | `outer · channels · inner` | read        |
    /// | `moments` | `channels`                 | overwritten |
    ///
    /// # Errors
    /// [`Error::Length`] names the first argument whose length differs from the table, [`Error::Overflow`] the shape
    /// whose product does; then nothing was written.
    ///
    /// # Examples
    /// ```
    /// use steadygrad::ChannelShape;
    /// use steadygrad::stats::Moments;
    ///
    /// let shape = ChannelShape { outer: 2, channels: 2, inner: 1 };
    /// let mut moments = [Moments::default(); 2];
    /// Moments::of_channels(shape, &[1.0_f64, 10.0, 3.0, 20.0], &mut moments)?;
    /// assert_eq!(moments[0], Moments { count: 2, mean: 2.0, m2: 2.0 });
    /// assert_eq!(moments[1].unbiased_variance(), 50.0);
    /// # Ok::<(), steadygrad::Error>(())
    /// ```
    pub fn of_channels<T: Element>(shape: ChannelShape, x: &[T], moments: &mut [Self]) -> Result<(), Error> {
        check_len("x", x.len(), shape.elements()?)?;
        check_len("moments", moments.len(), shape.channels)?;
        <T as Compiled>::of_channels(shape, x, moments);
        Ok(())
    }

    /// Adds all values of another.
    ///
    /// ```text
    /// δ = mean_b − mean_a,  mean = mean_a + δ·n_b/n,  m2 = m2_a + m2_b + δ²·n_a·n_b/n
    /// ```
    ///
    /// Associative and commutative within rounding.
    pub fn merge(&mut self, other: &Self) {
        if self.count == 0 || other.count == 0 {
            if self.count == 0 {
                *self = *other;
            }
            return;
        }
        let weights = Weights::new(self.count, other.count);
        weights.merge((&mut self.mean, &mut self.m2), (other.mean, other.m2));
        self.count += other.count;
    }

    /// m2 / n, the biased variance that normalises a batch; NaN of nothing.
    #[must_use]
    pub fn variance(&self) -> f64 {
        self.m2 / self.count as f64
    }

    /// m2 / (n − 1), the unbiased variance of a sample; NaN or infinite of fewer than two values.
    #[must_use]
    pub fn unbiased_variance(&self) -> f64 {
        self.m2 / (self.count as f64 - 1.0)
    }

    /// Count, mean and m2 as three numbers, to be sent to another machine.
    ///
    /// ```
    /// use steadygrad::stats::Moments;
    ///
    /// let moments = Moments::of(&[1.0_f32, 2.0]);
    /// assert_eq!(Moments::from_numbers(moments.to_numbers()), Ok(moments));
    /// ```
    #[must_use]
    pub fn to_numbers(&self) -> [f64; 3] {
        [self.count as f64, self.mean, self.m2]
    }

    /// The moments that [`to_numbers`](Self::to_numbers) was called on; exact up to 2⁵³ values.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] where the first is not a count, or the last is negative.
    pub fn from_numbers([count, mean, m2]: [f64; 3]) -> Result<Self, Error> {
        let is_count = (0.0..=9_007_199_254_740_992.0).contains(&count) && count as u64 as f64 == count;
        let valid = is_count && (m2 >= 0.0 || m2.is_nan());
        check_range("numbers", "a count of at most 2⁵³, a mean, and an m2 that is not negative", valid)?;
        Ok(Self { count: count as u64, mean, m2 })
    }
}

/// How two counts weigh in a merge.
#[derive(Clone, Copy, Debug)]
struct Weights {
    /// `n_b / n`.
    of_mean: f64,
    /// `n_a · n_b / n`.
    of_square: f64,
}

impl Weights {
    #[inline(always)]
    fn new(a: u64, b: u64) -> Self {
        let of_mean = b as f64 / (a + b) as f64;
        Self { of_mean, of_square: a as f64 * of_mean }
    }

    /// Chan's merge of means and m2; nothing is lost to an infinity where the means agree.
    #[inline(always)]
    fn merge(self, (mean, m2): (&mut f64, &mut f64), (other_mean, other_m2): (f64, f64)) {
        let delta = other_mean - *mean;
        *mean += delta * self.of_mean;
        *m2 += other_m2 + delta * delta * self.of_square;
    }
}

compiled_once! {
    fn of_slice(x: &[Self]) -> Moments = moments_of_slice;
    fn of_channels(shape: ChannelShape, x: &[Self], moments: &mut [Moments]) = moments_of_channels;
}

fn moments_of_slice<T: Element>(x: &[T]) -> Moments {
    if x.is_empty() {
        return Moments::default();
    }
    let active = Active::current();
    let merge = |mut a: Moments, b| {
        a.merge(&b);
        a
    };
    let of = |data: &[T]| {
        let (tile, mut moments) = (Tile::new(data, 1, data.len(), data.len()), StripMoments::default());
        simd::dispatch(active, kernel::OfTile { inner: data.len(), tile, moments: &mut moments });
        moments.channel(0)
    };
    parallel::reduce(x, PARALLEL_BLOCK, of, merge)
}

fn moments_of_channels<T: Element>(shape: ChannelShape, x: &[T], moments: &mut [Moments]) {
    if x.is_empty() {
        moments.fill(Moments::default());
        return;
    }
    let (active, strips) = (Active::current(), Strips::new(shape));
    parallel::for_each(Offset { first: 0, data: moments }, strips.task(), |Offset { first, data }| {
        for (strip, moments) in data.chunks_mut(strips.channels).enumerate() {
            let first = first + strip * strips.channels;
            let of_strip = moments_of_strip(active, strips, x, &(first..first + moments.len()));
            for (channel, moments) in moments.iter_mut().enumerate() {
                *moments = of_strip.channel(channel);
            }
        }
    });
}

/// Moments of the channels of one strip, over all rows.
pub(crate) fn moments_of_strip<T: Element>(
    active: Active,
    strips: Strips,
    x: &[T],
    channels: &Range<usize>,
) -> StripMoments {
    let of = |rows, moments: &mut StripMoments| {
        let tile = strips.tile(x, rows, channels);
        simd::dispatch(active, kernel::OfTile { inner: strips.shape.inner, tile, moments });
    };
    parallel::reduce_in_place(0..strips.shape.outer, strips.rows(), of, StripMoments::merge)
}
