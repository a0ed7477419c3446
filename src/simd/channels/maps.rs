//! Maps whose coefficients belong to a channel.

use core::marker::PhantomData;

use super::{STRIP, Tile, is_long, rows_from};
use crate::Element;
use crate::simd::{Isa, LINE, MatrixMut, Store, StoreInto, Vector, inlined, load, load_partial, splat};

/// `outputs = f(elements of N tiles, coefficients of the channel)`, of tiles as [`Fold`] takes them. They are asked for ahead where
/// they come `from_memory`: to ask for runs that are in cache would take up to 1.5 of the time.
///
/// Streaming stores need addresses that are multiples of 64: runs begin with what leads to one, rows of channels must be such.
#[inline(always)]
pub(crate) fn map_channels<I: Isa, T: Element, const N: usize, const K: usize, const M: usize>(
    isa: I,
    inner: usize,
    (tiles, from_memory): ([Tile<'_, T>; N], [bool; N]),
    coefficients: [&[T; STRIP]; K],
    (mut outputs, store): ([MatrixMut<'_, T>; M], Store),
    f: impl Fn([T::Vector<I>; N], [T::Vector<I>; K]) -> [T::Vector<I>; M],
) {
    let written = outputs.each_ref().map(
        #[inline(always)]
        |out| {
            let Tile { start, rows, width, stride, .. } = Tile::of(out);
            // To be asked for only: its rows are written meanwhile.
            Tile { start, rows, width, stride, borrow: PhantomData }
        },
    );
    let Tile { rows: count, width, stride, .. } = written[0];
    for n in 0..N {
        assert_eq!((tiles[n].rows, tiles[n].width), (count, width));
    }
    for m in 0..M {
        assert_eq!((written[m].rows, written[m].width), (count, width));
    }
    // Rows with gaps are taken from the last on, which the sums have read last and which is in cache most likely: a
    // backward of 256x1024 takes 0.87 of the time. Without gaps memory is faster upwards: downwards would take 1.12.
    let streams = store == Store::Streaming;
    let downwards = width < stride;
    if inner == 1 {
        let maps = MapColumns { tiles, from_memory, coefficients, written, downwards, f };
        if streams && written.iter().all(Tile::is_aligned::<I>) {
            // SAFETY: rows and widths are asserted above.
            unsafe { maps.run::<I, true>(isa, outputs) };
        } else {
            // SAFETY: likewise.
            unsafe { maps.run::<I, false>(isa, outputs) };
        }
    } else {
        for row in 0..count {
            let row = if downwards { count - 1 - row } else { row };
            let next = if downwards { row.wrapping_sub(1) } else { row + 1 };
            let touch = inlined(
                #[inline(always)]
                |at: usize| {
                    if !is_long::<T>(inner) {
                        return;
                    }
                    for m in 0..M {
                        if !streams {
                            written[m].prefetch_along(isa, N, (row, next), at, T::Vector::<I>::LANES);
                        }
                    }
                    for n in 0..N {
                        if from_memory[n] {
                            tiles[n].prefetch_along(isa, N, (row, next), at, T::Vector::<I>::LANES);
                        }
                    }
                },
            );
            let outputs = outputs.each_mut().map(
                #[inline(always)]
                |out| out.row(row),
            );
            map_runs(isa, inner, rows_from(&tiles, row), coefficients, (outputs, streams), (&f, touch));
        }
    }
    if streams {
        isa.fence();
    }
}

/// Coefficients of a channel up to which two rows in turns are as good as four, which read them half as often.
///
/// Rows 4 KiB apart take as many ways of the first-level cache as there are rows in turns in a tensor, now and ahead. Of 256x1024 a
/// Zen 4 takes with four rows instead of two, where tensors begin at the same place of a page and where they do not: 1.09 and 1.06
/// forward, 1.04 and 0.92 backward, 1.13 and 0.98 backward from the output.
const FEW_COEFFICIENTS: usize = 3;

/// Tensors up to which four rows in turns find room there.
const FEW_TENSORS: usize = 3;

/// [`map_channels`] of channels side by side.
struct MapColumns<'a, T, F, const N: usize, const K: usize, const M: usize> {
    tiles: [Tile<'a, T>; N],
    from_memory: [bool; N],
    coefficients: [&'a [T; STRIP]; K],
    written: [Tile<'a, T>; M],
    downwards: bool,
    f: F,
}

impl<T: Element, F, const N: usize, const K: usize, const M: usize> MapColumns<'_, T, F, N, K, M> {
    /// All rows.
    ///
    /// # Safety
    /// Tiles and outputs have the same rows and the same width; where it streams, the outputs' rows are aligned whole vectors.
    #[inline(always)]
    unsafe fn run<I: Isa, const STREAMS: bool>(&self, isa: I, outputs: [MatrixMut<'_, T>; M])
    where
        F: Fn([T::Vector<I>; N], [T::Vector<I>; K]) -> [T::Vector<I>; M],
    {
        // Memory without gaps is fastest as one stream a tensor: with two rows in turns 32x256x56x56 would take 1.2, and forward and
        // backward of 32x256x14x14 with a residual, of five tensors in the last-level cache, 1.12.
        if !self.downwards && (STREAMS || N + M > 4) {
            // SAFETY: the caller's, as below.
            unsafe { self.in_turns::<I, 1, STREAMS>(isa, outputs) };
        } else if K > FEW_COEFFICIENTS && N + M <= FEW_TENSORS {
            // SAFETY: as above.
            unsafe { self.in_turns::<I, 4, STREAMS>(isa, outputs) };
        } else {
            // SAFETY: as above.
            unsafe { self.in_turns::<I, 2, STREAMS>(isa, outputs) };
        }
    }

    /// All rows, `ROWS` of them in turns.
    ///
    /// # Safety
    /// As of [`run`](Self::run).
    #[inline(always)]
    unsafe fn in_turns<I: Isa, const ROWS: usize, const STREAMS: bool>(
        &self,
        isa: I,
        mut outputs: [MatrixMut<'_, T>; M],
    ) where
        F: Fn([T::Vector<I>; N], [T::Vector<I>; K]) -> [T::Vector<I>; M],
    {
        let (count, downwards) = (self.written[0].rows, self.downwards);
        let whole = count - count % ROWS;
        for at in (0..whole).step_by(ROWS) {
            let row = if downwards { count - ROWS - at } else { at };
            // SAFETY: the caller's; there are `whole` such rows.
            unsafe { self.rows::<I, ROWS, STREAMS>(isa, row, &mut outputs) };
        }
        for at in whole..count {
            let row = if downwards { count - 1 - at } else { at };
            // SAFETY: the caller's; there are `count`.
            unsafe { self.rows::<I, 1, STREAMS>(isa, row, &mut outputs) };
        }
    }

    /// `COUNT` rows from `row` on, so that a channel's coefficients are read once for all of them.
    ///
    /// # Safety
    /// All tiles and outputs have these rows and the same width; where it streams, the outputs' rows are aligned whole vectors.
    #[inline(always)]
    unsafe fn rows<I: Isa, const COUNT: usize, const STREAMS: bool>(
        &self,
        isa: I,
        row: usize,
        outputs: &mut [MatrixMut<'_, T>; M],
    ) where
        F: Fn([T::Vector<I>; N], [T::Vector<I>; K]) -> [T::Vector<I>; M],
    {
        // Copies, which a write through a pointer cannot change.
        let Self { tiles, from_memory, coefficients, written, .. } = *self;
        let mut outputs = outputs.each_mut().map(
            #[inline(always)]
            |out| out.reborrow(),
        );
        let (lanes, width) = (T::Vector::<I>::LANES, written[0].width);
        let far = written[0].rows_ahead(COUNT);
        let ahead = if self.downwards { row.wrapping_sub(far) } else { row + far };
        let whole = width - width % lanes;
        for at in (0..whole).step_by(lanes) {
            let of_channel = coefficients_at(isa, coefficients, at);
            for n in 0..N {
                if from_memory[n] {
                    for row in 0..COUNT {
                        tiles[n].prefetch(isa, ahead.wrapping_add(row), at);
                    }
                }
            }
            if !STREAMS {
                for r in 0..COUNT {
                    for m in 0..M {
                        written[m].prefetch(isa, ahead.wrapping_add(r), at);
                    }
                }
            }
            // All are read before the first is written: a read waits for a write 4 KiB, or a multiple of it, away.
            let mut x = [[splat(isa, T::zero()); N]; COUNT];
            for r in 0..COUNT {
                for n in 0..N {
                    // SAFETY: the caller's; the vector ends within the width.
                    x[r][n] = unsafe { tiles[n].vector(isa, row + r, at) };
                }
            }
            for r in 0..COUNT {
                let results = (self.f)(x[r], of_channel);
                for m in 0..M {
                    // SAFETY: likewise; where it streams, all vectors of aligned rows are aligned.
                    unsafe { outputs[m].write::<_, STREAMS>(results[m], row + r, at) };
                }
            }
        }
        if whole < width {
            let of_channel = coefficients_at(isa, coefficients, whole);
            for r in 0..COUNT {
                let [rows] = rows_from::<T, N, 1>(&tiles, row + r);
                map_at(
                    isa,
                    (rows, whole..width),
                    of_channel,
                    &self.f,
                    #[inline(always)]
                    |m, value, at| put(value, &mut outputs[m].row(row + r)[at], false),
                );
            }
        }
    }
}

/// The coefficients of a vector's channels, which begin at `at`.
#[inline(always)]
fn coefficients_at<I: Isa, T: Element, const K: usize>(
    isa: I,
    coefficients: [&[T; STRIP]; K],
    at: usize,
) -> [T::Vector<I>; K] {
    let mut of_channel = [splat(isa, T::zero()); K];
    for k in 0..K {
        of_channel[k] = load(isa, &coefficients[k][at..]);
    }
    of_channel
}

/// Overwrites `to`, at most a vector; past the caches where it `streams`: then [`Isa::fence`] must follow before another thread
/// reads.
///
/// # Panics
/// Where it streams, and `to` is not a whole vector or its address not a multiple of 64.
#[inline(always)]
pub(crate) fn put<V: Vector>(value: V, to: &mut [V::Elem], streams: bool) {
    if streams {
        assert!(to.len() == V::LANES && to.as_ptr().addr().is_multiple_of(LINE));
        // SAFETY: there is room for a vector at such an address; who streams ends with a fence.
        unsafe { value.stream(to.as_mut_ptr()) };
    } else if to.len() == V::LANES {
        value.store_into(to);
    } else {
        value.store_partial_into(to);
    }
}

/// [`map_channels`] of a row, channel after channel.
#[inline(always)]
fn map_runs<I: Isa, T: Element, const N: usize, const K: usize, const M: usize>(
    isa: I,
    inner: usize,
    [rows]: [[&[T]; N]; 1],
    coefficients: [&[T; STRIP]; K],
    (outputs, streams): ([&mut [T]; M], bool),
    (f, touch): (&impl Fn([T::Vector<I>; N], [T::Vector<I>; K]) -> [T::Vector<I>; M], impl Fn(usize)),
) {
    let (lanes, width) = (T::Vector::<I>::LANES, outputs[0].len());
    // Element-wise results do not depend on where a vector starts, so the outputs' addresses may be aligned.
    let first = outputs[0].as_ptr();
    let streams = streams && outputs.iter().all(|out| out.as_ptr().addr() % LINE == first.addr() % LINE);
    for channel in 0..width.div_ceil(inner) {
        let mut of_channel = [splat(isa, T::zero()); K];
        for k in 0..K {
            of_channel[k] = splat(isa, coefficients[k][channel]);
        }
        let (start, end) = (channel * inner, width.min((channel + 1) * inner));
        let mut at = start;
        let mut step = inlined(
            #[inline(always)]
            |at: core::ops::Range<usize>, streams: bool| {
                touch(at.start);
                map_at(
                    isa,
                    (rows, at),
                    of_channel,
                    f,
                    #[inline(always)]
                    |m, value, at| put(value, &mut outputs[m][at], streams),
                );
            },
        );
        if streams {
            let head = first.wrapping_add(start).align_offset(LINE).min(end - start);
            if head > 0 {
                step(at..at + head, false);
                at += head;
            }
            while at + lanes <= end {
                step(at..at + lanes, true);
                at += lanes;
            }
        }
        while at < end {
            step(at..end.min(at + lanes), false);
            at += lanes;
        }
    }
}

/// [`map_channels`] of one vector, or of a part of one at the end: `write(m, value, at)` takes what output `m` is to be.
#[inline(always)]
fn map_at<I: Isa, T: Element, const N: usize, const K: usize, const M: usize>(
    isa: I,
    (rows, at): ([&[T]; N], core::ops::Range<usize>),
    coefficients: [T::Vector<I>; K],
    f: &impl Fn([T::Vector<I>; N], [T::Vector<I>; K]) -> [T::Vector<I>; M],
    mut write: impl FnMut(usize, T::Vector<I>, core::ops::Range<usize>),
) {
    let mut x = [splat(isa, T::zero()); N];
    if at.len() == T::Vector::<I>::LANES {
        for n in 0..N {
            x[n] = load(isa, &rows[n][at.clone()]);
        }
        let results = f(x, coefficients);
        for m in 0..M {
            write(m, results[m], at.clone());
        }
    } else {
        for n in 0..N {
            x[n] = load_partial(isa, &rows[n][at.clone()]);
        }
        let results = f(x, coefficients);
        for m in 0..M {
            write(m, results[m], at.clone());
        }
    }
}
