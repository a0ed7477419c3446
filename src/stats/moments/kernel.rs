//! Sums about the first value of each channel, and the merge of a strip's channels.

use super::{Moments, Weights};
use crate::Element;
use crate::simd::{self, Isa, Kernel, STRIP, Slots, Tile, Vector};

/// Moments of the channels of a strip, which have the same count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StripMoments {
    channels: usize,
    count: u64,
    /// Means and m2.
    slots: [Slots; 2],
}

impl Default for StripMoments {
    fn default() -> Self {
        Self { channels: 0, count: 0, slots: [[0.0; STRIP]; 2] }
    }
}

impl StripMoments {
    /// Values of each channel.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Means and m2.
    pub(crate) fn slots(&self) -> &[Slots; 2] {
        &self.slots
    }

    /// Moments of the strip's channel `channel`.
    pub(crate) fn channel(&self, channel: usize) -> Moments {
        let [mean, m2] = &self.slots;
        Moments { count: self.count, mean: mean[channel], m2: m2[channel] }
    }

    /// Adds the moments of other rows; neither has none.
    pub(super) fn merge(&mut self, other: &Self) {
        let weights = Weights::new(self.count, other.count);
        let ([mean, m2], [other_mean, other_m2]) = (&mut self.slots, &other.slots);
        for i in 0..self.channels {
            weights.merge((&mut mean[i], &mut m2[i]), (other_mean[i], other_m2[i]));
        }
        self.count += other.count;
    }
}

/// The value about which the sums of a channel or a row are taken: its first, or 0.
#[inline(always)]
pub(crate) fn about_first<T: Element>(first: T) -> f64 {
    // About an infinity nothing would be left of the sums, also of how they are infinite.
    if first.is_finite() { first.to_f64() } else { 0.0 }
}

/// Adds `x − about` and its square to the two sums.
#[inline(always)]
pub(crate) fn add_deviation<V: Vector>([x]: [V; 1], about: V, [sum, squares]: [V; 2]) -> [V; 2] {
    let deviation = x - about;
    [sum + deviation, deviation.mul_add(deviation, squares)]
}

/// (mean, Σ(x − mean)²) from both sums over `count` values.
#[inline(always)]
pub(crate) fn moments_of_sums(about: f64, [sum, squares]: [f64; 2], count: f64) -> (f64, f64) {
    let squares = squares - sum * (sum / count);
    // Rounding may leave less than nothing; NaN stays.
    (about + sum / count, if squares < 0.0 { 0.0 } else { squares })
}

/// Moments of each channel of a tile that has elements, in place of a default.
pub(super) struct OfTile<'a, T> {
    pub(super) inner: usize,
    pub(super) tile: Tile<'a, T>,
    pub(super) moments: &'a mut StripMoments,
}

impl<T: Element> Kernel for OfTile<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Self { inner, tile, moments: StripMoments { channels, count, slots } } = self;
        let (mut about, firsts) = ([0.0; STRIP], tile.row(0));
        if inner == 1 {
            for (about, &first) in about.iter_mut().zip(firsts) {
                *about = about_first(first);
            }
        } else {
            for (about, &first) in about.iter_mut().zip(firsts.iter().step_by(inner)) {
                *about = about_first(first);
            }
        }
        let fold = simd::Fold {
            inner,
            tiles: [tile],
            coefficients: [],
            about: &about,
            sums: slots,
            prepare: simd::inlined(
                #[inline(always)]
                |x: [T::Vector<I>; 1], _: [T::Vector<I>; 0]| x,
            ),
            f: simd::inlined(
                #[inline(always)]
                |x: [I::F64; 1], about: I::F64, sums: [I::F64; 2]| add_deviation(x, about, sums),
            ),
        };
        fold.run(isa);
        *channels = tile.width().div_ceil(inner);
        let each = tile.rows() * (tile.width() / *channels);
        *count = each as u64;
        simd::totals_of_channels(isa, inner, *channels, slots);
        let [mean, m2] = slots;
        let sums = mean[..*channels].iter_mut().zip(m2);
        for ((mean, m2), &about) in sums.zip(&about) {
            (*mean, *m2) = moments_of_sums(about, [*mean, *m2], each as f64);
        }
    }
}
