//! What ops with a learned coefficient a channel share: loops that spread the coefficients, and sums for their gradients.

use crate::parallel::{self, Offset, PARALLEL_BLOCK, Rows, Split};
use crate::simd::{self, Active, InOut, Isa, Kernel, StoreInto, Vector};
use crate::{ChannelShape, Element};

/// Whole rows of `channels · inner` as the unit of work, and how many make a task; with a single channel any cut will
/// do.
pub(crate) fn rows<S: Split>(shape: ChannelShape, data: S) -> (Rows<S>, usize) {
    let width = if shape.channels == 1 { 1 } else { shape.channels * shape.inner };
    (Rows { data, width }, PARALLEL_BLOCK.div_ceil(width))
}

/// Channels and their adjacent elements in a row, as a kernel sees a piece of `len` elements.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    channels: usize,
    inner: usize,
}

impl Row {
    pub(crate) fn of(shape: ChannelShape, len: usize) -> Self {
        let (channels, inner) = if shape.channels == 1 { (1, len) } else { (shape.channels, shape.inner) };
        Self { channels, inner }
    }

    fn width(self) -> usize {
        self.channels * self.inner
    }
}

/// `output[i] = f(coefficient of i's channel, input[i])` over whole rows.
#[inline(always)]
pub(crate) fn map<I: Isa, T: Element>(
    isa: I,
    row: Row,
    coefficients: &[T],
    mut data: InOut<'_, T>,
    f: impl Fn(T::Vector<I>, T::Vector<I>) -> T::Vector<I>,
) {
    while data.len() > 0 {
        let (mut segments, rest) = data.split_at(row.width());
        data = rest;
        if row.inner == 1 {
            simd::map2(
                isa,
                coefficients,
                segments,
                #[inline(always)]
                |coefficient, x| f(coefficient, x),
            );
            continue;
        }
        for &coefficient in coefficients {
            let (segment, rest) = segments.split_at(row.inner);
            segments = rest;
            simd::map(
                isa,
                segment,
                #[inline(always)]
                |x| f(simd::splat(isa, coefficient), x),
            );
        }
    }
}

/// `output[i] = f(coefficient of i's channel, a[i], input[i])` over whole rows.
#[inline(always)]
pub(crate) fn map2<I: Isa, T: Element>(
    isa: I,
    row: Row,
    coefficients: &[T],
    a: &[T],
    mut data: InOut<'_, T>,
    f: impl Fn(T::Vector<I>, T::Vector<I>, T::Vector<I>) -> T::Vector<I>,
) {
    for a in a.chunks_exact(row.width()) {
        let (mut segments, rest) = data.split_at(row.width());
        data = rest;
        if row.inner == 1 {
            simd::map3(
                isa,
                coefficients,
                a,
                segments,
                #[inline(always)]
                |coefficient, a, x| f(coefficient, a, x),
            );
            continue;
        }
        for (&coefficient, a) in coefficients.iter().zip(a.chunks_exact(row.inner)) {
            let (segment, rest) = segments.split_at(row.inner);
            segments = rest;
            simd::map2(
                isa,
                a,
                segment,
                #[inline(always)]
                |a, x| f(simd::splat(isa, coefficient), a, x),
            );
        }
    }
}

/// What each element adds to its channel's sum.
pub(crate) trait Term: Copy + Send + Sync {
    /// `sum` with the part of `x` and `dy`; with 0 and 0 it is `sum`.
    fn add<V: Vector>(self, x: V, dy: V, sum: V) -> V;
}

/// `sums[c] += Σ term(x, dy)` over the batch, in `f64`: the same bits for any pool.
pub(crate) fn add_sums<T: Element>(
    active: Active,
    shape: ChannelShape,
    (x, dy): (&[T], &[T]),
    term: impl Term,
    sums: &mut [T],
) {
    if shape.channels == 1 {
        let sum = parallel::reduce(
            (x, dy),
            PARALLEL_BLOCK,
            |(x, dy)| simd::dispatch(active, Sum { term, x, dy }),
            |a, b| a + b,
        );
        sums[0] = T::from_f64(sums[0].to_f64() + sum);
        return;
    }
    // Cut by channel, in whole groups of vectors: each channel is summed by one task, in order.
    let groups = PARALLEL_BLOCK.div_ceil(simd::FOLD_BLOCK * shape.outer * shape.inner);
    let channels = Offset { first: 0, data: sums };
    parallel::for_each(channels, groups * simd::FOLD_BLOCK, |Offset { first, data }| {
        simd::dispatch(active, Sums { term, shape, first, x, dy, sums: data });
    });
}

/// Σ over elements of one channel.
struct Sum<'a, T, F> {
    term: F,
    x: &'a [T],
    dy: &'a [T],
}

impl<T: Element, F: Term> Kernel for Sum<'_, T, F> {
    type Output = f64;
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> f64 {
        simd::fold2_f64(
            isa,
            self.x,
            self.dy,
            #[inline(always)]
            |x, dy, sum| self.term.add(x, dy, sum),
        )
    }
}

/// `sums += Σ over the batch` for the channels from `first` on.
struct Sums<'a, T, F> {
    term: F,
    shape: ChannelShape,
    first: usize,
    x: &'a [T],
    dy: &'a [T],
    sums: &'a mut [T],
}

impl<T: Element, F: Term> Kernel for Sums<'_, T, F> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Self { term, shape: ChannelShape { outer, channels, inner }, first, x, dy, sums } = self;
        if inner > 1 {
            for (offset, total) in sums.iter_mut().enumerate() {
                let mut sum = 0.0;
                for row in 0..outer {
                    let at = (row * channels + first + offset) * inner;
                    sum += Sum { term, x: &x[at..at + inner], dy: &dy[at..at + inner] }.run(isa);
                }
                *total = T::from_f64(total.to_f64() + sum);
            }
            return;
        }
        // One element a row: as many channels side by side as four vectors of f64 hold.
        for (group, sums) in sums.chunks_mut(simd::FOLD_BLOCK).enumerate() {
            let start = first + group * simd::FOLD_BLOCK;
            let mut partial = [simd::splat(isa, 0.0); 4];
            for row in 0..outer {
                let at = row * channels + start;
                let x = simd::widen_partial(isa, &x[at..at + sums.len()]);
                let dy = simd::widen_partial(isa, &dy[at..at + sums.len()]);
                for k in 0..4 {
                    partial[k] = term.add(x[k], dy[k], partial[k]);
                }
            }
            let mut totals = [0.0; simd::FOLD_BLOCK];
            for (total, sum) in totals.chunks_exact_mut(simd::FOLD_BLOCK / 4).zip(partial) {
                sum.store_into(total);
            }
            for (sum, total) in sums.iter_mut().zip(totals) {
                *sum = T::from_f64(sum.to_f64() + total);
            }
        }
    }
}
