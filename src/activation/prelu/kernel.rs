//! Segments that share a slope, rows with a slope an element, and the sums for the slopes.

use crate::simd::{self, InOut, Isa, Kernel, Mask, StoreInto, Vector};
use crate::{ChannelShape, Element};

/// `value` where x > 0, else `slope · value`: both directions.
#[inline(always)]
fn bend<V: Vector>(x: V, slope: V, value: V) -> V {
    x.gt(x.constant(0.0)).select(value, slope * value)
}

/// `y = x > 0 ? x : slope · x` over whole rows of `channels · inner`.
pub(super) struct Forward<'a, T> {
    pub(super) channels: usize,
    pub(super) inner: usize,
    pub(super) slope: &'a [T],
    pub(super) data: InOut<'a, T>,
}

impl<T: Element> Kernel for Forward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Self { channels, inner, slope, mut data } = self;
        while data.len() > 0 {
            let (row, rest) = data.split_at(channels * inner);
            data = rest;
            if inner == 1 {
                simd::map2(
                    isa,
                    slope,
                    row,
                    #[inline(always)]
                    |slope, x| bend(x, slope, x),
                );
                continue;
            }
            let mut row = row;
            for &slope in slope {
                let (segment, rest) = row.split_at(inner);
                row = rest;
                simd::map(
                    isa,
                    segment,
                    #[inline(always)]
                    |x| bend(x, x.splat(slope), x),
                );
            }
        }
    }
}

/// `dx = dy · (x > 0 ? 1 : slope)` over whole rows, with `dy` and `dx` in `data`.
pub(super) struct Backward<'a, T> {
    pub(super) channels: usize,
    pub(super) inner: usize,
    pub(super) slope: &'a [T],
    pub(super) x: &'a [T],
    pub(super) data: InOut<'a, T>,
}

impl<T: Element> Kernel for Backward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Self { channels, inner, slope, x, mut data } = self;
        for x in x.chunks_exact(channels * inner) {
            let (row, rest) = data.split_at(channels * inner);
            data = rest;
            if inner == 1 {
                simd::map3(
                    isa,
                    slope,
                    x,
                    row,
                    #[inline(always)]
                    |slope, x, dy| bend(x, slope, dy),
                );
                continue;
            }
            let mut row = row;
            for (&slope, x) in slope.iter().zip(x.chunks_exact(inner)) {
                let (segment, rest) = row.split_at(inner);
                row = rest;
                simd::map2(
                    isa,
                    x,
                    segment,
                    #[inline(always)]
                    |x, dy| bend(x, x.splat(slope), dy),
                );
            }
        }
    }
}

/// The part of an element in the slope's gradient, added to `sum`.
#[inline(always)]
fn add_part<V: Vector>(x: V, dy: V, sum: V) -> V {
    let zero = x.constant(0.0);
    x.gt(zero).select(zero, x).mul_add(dy, sum)
}

/// Σ dy · (x > 0 ? 0 : x) over elements that share a slope.
pub(super) struct SlopeSum<'a, T> {
    pub(super) x: &'a [T],
    pub(super) dy: &'a [T],
}

impl<T: Element> Kernel for SlopeSum<'_, T> {
    type Output = f64;
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> f64 {
        simd::fold2_f64(isa, self.x, self.dy, add_part)
    }
}

/// `dslope += Σ over the batch` for the channels from `first` on.
pub(super) struct SlopeSums<'a, T> {
    pub(super) shape: ChannelShape,
    pub(super) first: usize,
    pub(super) x: &'a [T],
    pub(super) dy: &'a [T],
    pub(super) dslope: &'a mut [T],
}

impl<T: Element> Kernel for SlopeSums<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Self { shape: ChannelShape { outer, channels, inner }, first, x, dy, dslope } = self;
        if inner > 1 {
            for (offset, dslope) in dslope.iter_mut().enumerate() {
                let mut sum = 0.0;
                for row in 0..outer {
                    let at = (row * channels + first + offset) * inner;
                    sum += SlopeSum { x: &x[at..at + inner], dy: &dy[at..at + inner] }.run(isa);
                }
                *dslope = T::from_f64(dslope.to_f64() + sum);
            }
            return;
        }
        // One element a row: as many channels side by side as four vectors of f64 hold.
        for (group, dslope) in dslope.chunks_mut(simd::FOLD_BLOCK).enumerate() {
            let start = first + group * simd::FOLD_BLOCK;
            let mut sums = [simd::splat(isa, 0.0); 4];
            for row in 0..outer {
                let at = row * channels + start;
                let x = simd::widen_partial(isa, &x[at..at + dslope.len()]);
                let dy = simd::widen_partial(isa, &dy[at..at + dslope.len()]);
                for k in 0..4 {
                    sums[k] = add_part(x[k], dy[k], sums[k]);
                }
            }
            let mut totals = [0.0; simd::FOLD_BLOCK];
            for (total, sum) in totals.chunks_exact_mut(simd::FOLD_BLOCK / 4).zip(sums) {
                sum.store_into(total);
            }
            for (dslope, total) in dslope.iter_mut().zip(totals) {
                *dslope = T::from_f64(dslope.to_f64() + total);
            }
        }
    }
}
