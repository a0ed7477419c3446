//! The maps and sums over a tile of channels.

use crate::Element;
use crate::simd::{self, Isa, Kernel, MatrixMut, STRIP, Slots, Tile, Vector};

/// What normalises a strip: `y = (x − shift)·scale + offset`, with the mean as a shift and what that lost, in offset.
#[derive(Clone, Copy, Debug)]
pub(super) struct Normalizing<T>(pub(super) [[T; STRIP]; 3]);

impl<T: Element> Normalizing<T> {
    pub(super) fn new() -> Self {
        Self([[T::zero(); STRIP]; 3])
    }

    /// Sets channel `channel` to `y = (x − mean)·scale + beta`.
    pub(super) fn set(&mut self, channel: usize, mean: f64, scale: f64, beta: f64) {
        let shift = T::from_f64(mean);
        let lost = mean - shift.to_f64();
        // Where nothing was lost, an infinite scale must not make it NaN.
        let offset = if lost == 0.0 { beta } else { beta - lost * scale };
        for (coefficients, value) in self.0.iter_mut().zip([shift, T::from_f64(scale), T::from_f64(offset)]) {
            coefficients[channel] = value;
        }
    }
}

/// `y = (x − shift)·scale + offset`.
pub(super) struct Normalize<'a, T> {
    pub(super) inner: usize,
    pub(super) by: &'a Normalizing<T>,
    pub(super) x: Tile<'a, T>,
    pub(super) y: MatrixMut<'a, T>,
}

impl<T: Element> Kernel for Normalize<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        simd::map_channels(
            isa,
            self.inner,
            [self.x],
            &self.by.0,
            self.y,
            #[inline(always)]
            |[x], [shift, scale, offset]| (x - shift).mul_add(scale, offset),
        );
    }
}

/// `[Σdy, Σdy·(x − mean)]` of each channel, added to `sums`.
pub(super) struct GradientSums<'a, T> {
    pub(super) inner: usize,
    pub(super) mean: &'a Slots,
    pub(super) x: Tile<'a, T>,
    pub(super) dy: Tile<'a, T>,
    pub(super) sums: &'a mut [Slots; 2],
}

impl<T: Element> Kernel for GradientSums<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        simd::fold_channels(
            isa,
            self.inner,
            [self.x, self.dy],
            self.mean,
            self.sums,
            #[inline(always)]
            |[x, dy], mean, [of_dy, of_product]| [of_dy + dy, (x - mean).mul_add(dy, of_product)],
        );
    }
}

/// The two totals of each channel out of the sums of vectors.
pub(super) struct Totals<'a> {
    pub(super) inner: usize,
    pub(super) channels: usize,
    pub(super) sums: &'a [Slots; 2],
}

impl Kernel for Totals<'_> {
    type Output = [Slots; 2];
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> [Slots; 2] {
        let mut totals = [[0.0; STRIP]; 2];
        for (totals, sums) in totals.iter_mut().zip(self.sums) {
            for channel in 0..self.channels {
                totals[channel] = simd::total_of_channel(isa, self.inner, sums, channel);
            }
        }
        totals
    }
}

/// What makes dx of a strip: `dx = dy·scale + (x − shift)·slope + offset`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Differentiating<T>(pub(super) [[T; STRIP]; 4]);

impl<T: Element> Differentiating<T> {
    pub(super) fn new() -> Self {
        Self([[T::zero(); STRIP]; 4])
    }

    /// Sets channel `channel` to `dx = (dy − mean_dy − (x − mean)·k)·scale`.
    pub(super) fn set(&mut self, channel: usize, scale: f64, mean: f64, [mean_dy, k]: [f64; 2]) {
        let (shift, slope) = (T::from_f64(mean), -scale * k);
        let lost = mean - shift.to_f64();
        let of_lost = if lost == 0.0 { 0.0 } else { slope * lost };
        let offset = -scale * mean_dy - of_lost;
        let values = [T::from_f64(scale), shift, T::from_f64(slope), T::from_f64(offset)];
        for (coefficients, value) in self.0.iter_mut().zip(values) {
            coefficients[channel] = value;
        }
    }
}

/// `dx = dy·scale + (x − shift)·slope + offset`.
pub(super) struct Differentiate<'a, T> {
    pub(super) inner: usize,
    pub(super) by: &'a Differentiating<T>,
    pub(super) x: Tile<'a, T>,
    pub(super) dy: Tile<'a, T>,
    pub(super) dx: MatrixMut<'a, T>,
}

impl<T: Element> Kernel for Differentiate<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        simd::map_channels(
            isa,
            self.inner,
            [self.x, self.dy],
            &self.by.0,
            self.dx,
            #[inline(always)]
            |[x, dy], [scale, shift, slope, offset]| dy.mul_add(scale, (x - shift).mul_add(slope, offset)),
        );
    }
}

/// `dx = dy·scale`: the statistics do not depend on x.
pub(super) struct Scale<'a, T> {
    pub(super) inner: usize,
    pub(super) by: &'a [T; STRIP],
    pub(super) dy: Tile<'a, T>,
    pub(super) dx: MatrixMut<'a, T>,
}

impl<T: Element> Kernel for Scale<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        simd::map_channels(
            isa,
            self.inner,
            [self.dy],
            core::array::from_ref(self.by),
            self.dx,
            #[inline(always)]
            |[dy], [scale]| dy * scale,
        );
    }
}
