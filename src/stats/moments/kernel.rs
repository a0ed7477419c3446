//! Sums about the first value of each channel, and the merge of a strip's channels.

use super::{Moments, Weights};
use crate::Element;
use crate::simd::{self, Isa, Kernel, STRIP, Slots, Tile, Vector};

/// Moments of the channels of a strip, which have the same count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StripMoments {
    count: u64,
    mean: Slots,
    m2: Slots,
}

impl StripMoments {
    /// Moments of the strip's channel `channel`.
    pub(crate) fn channel(&self, channel: usize) -> Moments {
        Moments { count: self.count, mean: self.mean[channel], m2: self.m2[channel] }
    }

    /// Both together; neither has no values.
    pub(super) fn merged(mut self, other: Self) -> Self {
        let weights = Weights::new(self.count, other.count);
        for i in 0..STRIP {
            weights.merge((&mut self.mean[i], &mut self.m2[i]), (other.mean[i], other.m2[i]));
        }
        self.count += other.count;
        self
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

/// Moments of each channel of a tile that has elements.
pub(super) struct OfTile<'a, T> {
    pub(super) inner: usize,
    pub(super) tile: Tile<'a, T>,
}

impl<T: Element> Kernel for OfTile<'_, T> {
    type Output = StripMoments;
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> StripMoments {
        let Self { inner, tile } = self;
        let mut about = [0.0; STRIP];
        for (about, &first) in about.iter_mut().zip(tile.row(0).iter().step_by(inner)) {
            *about = about_first(first);
        }
        let mut sums = [[0.0; STRIP]; 2];
        let fold = simd::Fold {
            inner,
            tiles: [tile],
            coefficients: [],
            about: &about,
            sums: &mut sums,
            prepare: simd::inlined(
                #[inline(always)]
                |x: [T::Vector<I>; 1], _: [T::Vector<I>; 0]| x,
            ),
            f: add_deviation,
        };
        fold.run(isa);
        let channels = tile.width().div_ceil(inner);
        let each = tile.rows() * (tile.width() / channels);
        let (count, mut mean, mut m2) = (each as f64, [0.0; STRIP], [0.0; STRIP]);
        for channel in 0..channels {
            let sum = simd::total_of_channel(isa, inner, &sums[0], channel);
            let squares = simd::total_of_channel(isa, inner, &sums[1], channel);
            (mean[channel], m2[channel]) = moments_of_sums(about[channel], [sum, squares], count);
        }
        StripMoments { count: each as u64, mean, m2 }
    }
}
