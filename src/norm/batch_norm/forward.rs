//! Statistics and normalisation, strip by strip.

use core::ops::Range;

use super::kernel::{self, Normalizing, Numbers};
use super::parts::FrozenStatistics;
use super::schedule::{Common, each_span, each_tile, for_each_strip};
use crate::activation::kernel::Rectifier;
use crate::norm::Affine;
use crate::parallel::{self, Offset, Split};
use crate::simd::{self, Active, MatrixMut, STRIP, Slots, Store};
use crate::stats::Moments;
use crate::stats::moments::moments_of_strip;
use crate::strips::Strips;
use crate::{ChannelShape, Element, Epilogue};

/// Where mean and variance come from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source<'a, T> {
    /// The batch at hand.
    Batch,
    /// The batch of which this is a part.
    Merged(&'a [Moments]),
    /// Earlier batches.
    Frozen(FrozenStatistics<'a, T>),
}

/// A forward whose arguments have been checked.
#[derive(Debug)]
pub struct Forward<'a, T> {
    pub(super) shape: ChannelShape,
    pub(super) eps: f64,
    pub(super) x: &'a [T],
    pub(super) affine: Affine<'a, T>,
    pub(super) epilogue: Epilogue<'a, T>,
    pub(super) source: Source<'a, T>,
    pub(super) y: &'a mut [T],
    /// Mean and rstd, to be written.
    pub(super) saved: Option<(&'a mut [f64], &'a mut [f64])>,
    /// Mean and variance, and the weight of the new ones.
    pub(super) running: Option<(&'a mut [T], &'a mut [T])>,
    pub(super) momentum: f64,
}

/// What a forward writes for some channels.
struct ForwardPart<'a, T> {
    channels: Range<usize>,
    inner: usize,
    y: MatrixMut<'a, T>,
    saved: Option<(&'a mut [f64], &'a mut [f64])>,
    running: Option<(&'a mut [T], &'a mut [T])>,
}

impl<T: Element> Split for ForwardPart<'_, T> {
    fn len(&self) -> usize {
        Split::len(&self.channels)
    }
    fn split_at(self, mid: usize) -> (Self, Self) {
        let inner = self.inner;
        let (first, second) = Split::split_at(self.channels, mid);
        let (y, other_y) = self.y.split_cols(mid * inner);
        let (saved, other_saved) = self.saved.split_at(mid);
        let (running, other_running) = self.running.split_at(mid);
        (
            Self { channels: first, inner, y, saved, running },
            Self { channels: second, inner, y: other_y, saved: other_saved, running: other_running },
        )
    }
}

pub(super) fn forward<T: Element>(job: Forward<'_, T>) {
    let Forward { shape, eps, x, affine, epilogue, source, y, saved, running, momentum } = job;
    if x.is_empty() && !matches!(source, Source::Merged(_)) || shape.channels == 0 {
        return;
    }
    // A part of the batch without elements still takes part in the statistics.
    let rows = if x.is_empty() { 0 } else { shape.outer };
    let shape = ChannelShape { outer: shape.outer.max(1), inner: shape.inner.max(1), ..shape };
    let strips = Strips::new(shape);
    let common = Common { active: Active::current(), strips, eps, x, affine };
    let head = strips.head(y);
    let y = MatrixMut::new(y, rows, strips.stride(), strips.stride());
    let part = ForwardPart { channels: 0..shape.channels, inner: shape.inner, y, saved, running };
    for_each_strip(strips, head, part, |part| common.forward(&epilogue, source, momentum, part));
}

impl<T: Element> Common<'_, T> {
    /// Statistics and normalisation of one strip.
    fn forward(
        &self,
        epilogue: &Epilogue<'_, T>,
        source: Source<'_, T>,
        momentum: f64,
        part: ForwardPart<'_, T>,
    ) {
        let channels = part.channels.clone();
        let (active, width) = (self.active, channels.end - channels.start);
        let affine = self.affine.part(channels.start, width);
        let (mut numbers, mut by) = (Numbers::default(), Normalizing::new());
        let (mean, m2) = (&mut numbers.mean[..width], &mut numbers.scale[..width]);
        // The variance is m2 / count, the unbiased one the first of `unbiased` by the second.
        let (count, unbiased);
        let mut of_parts: Slots;
        match source {
            Source::Batch => {
                let moments = moments_of_strip(active, self.strips, self.x, &channels);
                for (to, of_strip) in [&mut *mean, m2].into_iter().zip(moments.slots()) {
                    to.copy_from_slice(&of_strip[..width]);
                }
                count = moments.count() as f64;
                unbiased = Some((&*m2, count - 1.0));
            }
            Source::Merged(merged) => {
                of_parts = [0.0; STRIP];
                for (at, moments) in merged[channels.clone()].iter().enumerate() {
                    (mean[at], m2[at], of_parts[at]) =
                        (moments.mean, moments.variance(), moments.unbiased_variance());
                }
                (count, unbiased) = (1.0, Some((&of_parts[..width], 1.0)));
            }
            Source::Frozen(FrozenStatistics { mean: frozen_mean, variance }) => {
                for (at, channel) in channels.clone().enumerate() {
                    (mean[at], m2[at]) = (frozen_mean[channel].to_f64(), variance[channel].to_f64());
                }
                (count, unbiased) = (1.0, None);
            }
        }
        if let (Some(running), Some((m2, divisor))) = (part.running, unbiased) {
            simd::dispatch(active, kernel::Track { momentum, means: mean, m2, divisor, running });
        }
        simd::dispatch(active, kernel::InverseDeviations { eps: self.eps, count, m2 });
        if let Some((mean_out, rstd_out)) = part.saved {
            let rstd = m2;
            mean_out.copy_from_slice(mean);
            rstd_out.copy_from_slice(rstd);
        }
        simd::dispatch(
            active,
            kernel::Prepare { channels: width, affine, numbers: &mut numbers, by: &mut by },
        );
        if part.y.rows() == 0 {
            return;
        }
        let rows = Offset { first: 0, data: part.y };
        parallel::for_each(rows, self.strips.rows(), |Offset { first, data }| {
            self.normalize(&by, epilogue, first, &channels, data);
        });
    }

    /// Normalises the rows of `y`, the first of which is `first`, on this thread.
    fn normalize(
        &self,
        by: &Normalizing<T>,
        epilogue: &Epilogue<'_, T>,
        first: usize,
        channels: &Range<usize>,
        y: MatrixMut<'_, T>,
    ) {
        let inner = self.strips.shape.inner;
        if let Some(rectifier) = Rectifier::of(epilogue.activation) {
            let tile = |data| self.strips.tile(data, first..first + y.rows(), channels);
            let (from_memory, x) = (self.strips.outgrow_l2::<T>(), tile(self.x));
            match epilogue.residual.map(tile) {
                None => {
                    let store = self.strips.store::<T>(2);
                    let kernel = kernel::Normalize { inner, by, rectifier, from_memory, x, y, store };
                    simd::dispatch(self.active, kernel);
                }
                Some(residual) => {
                    let store = self.strips.store::<T>(3);
                    let kernel =
                        kernel::NormalizeAdd { inner, by, rectifier, from_memory, x, residual, y, store };
                    simd::dispatch(self.active, kernel);
                }
            }
            return;
        }
        each_tile(first, y, |place, mut y| {
            let x = self.tile(self.x, place, channels, [y.rows(), y.cols()]);
            let (rectifier, from_memory) = (Rectifier::Identity, self.strips.outgrow_l2::<T>());
            let (normalized, store) = (y.reborrow(), Store::Cached);
            let kernel = kernel::Normalize { inner, by, rectifier, from_memory, x, y: normalized, store };
            simd::dispatch(self.active, kernel);
            each_span(self.at(place, channels), self.strips.stride(), &mut y, |at, y| {
                epilogue.apply(self.active, at, y);
            });
        });
    }
}
