//! The loop skeletons over channels: sums a channel, and maps whose coefficients belong to a channel.
//!
//! With one element a row and channel, lanes are channels; else lanes are elements of one channel's run.

use core::marker::PhantomData;

use super::{FOLD_BLOCK, Isa, LINE, Mask, MatrixMut, Store, StoreInto, Vector, load, load_partial, splat};
use crate::Element;

/// Most channels of a strip whose channels lie side by side.
pub(crate) const STRIP: usize = 256;

/// Most channels of such a strip that is to stay in L2 between two passes: 512 bytes of a row of `f32`, a prefetcher's worth.
pub(crate) const STRIP_IN_L2: usize = 128;

/// Most channels of a strip whose channels are runs: each has a vector's worth of [`Slots`].
pub(crate) const STRIP_RUNS: usize = 128 / F64_LANES;

/// Lanes of a vector of `f64`.
const F64_LANES: usize = 8;

/// Channels summed side by side: two vectors of `f64` for each sum, which leaves AVX2 registers to work with.
const GROUP: usize = 2 * F64_LANES;

/// Rows that take turns in a group of channels: sums and coefficients stay in registers, and memory is read at four places. With
/// eight, rows 4 KiB apart no longer fit in the ways of the first-level cache.
const ROWS: usize = 4;

/// A number a channel of a strip, or a vector of numbers a channel of a strip of runs.
pub(crate) type Slots = [f64; STRIP];

/// The same part of successive rows, to be read: `rows` of `width` elements with gaps between them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tile<'a, T> {
    start: *const T,
    rows: usize,
    width: usize,
    stride: usize,
    borrow: PhantomData<&'a [T]>,
}

impl<'a, T: Element> Tile<'a, T> {
    /// The first `width` of every `stride` elements, `rows` times.
    ///
    /// # Panics
    /// Where `data` is too short.
    #[inline(always)]
    pub(crate) fn new(data: &'a [T], rows: usize, width: usize, stride: usize) -> Self {
        assert!(rows == 0 || (rows - 1) * stride + width <= data.len());
        Self { start: data.as_ptr(), rows, width, stride, borrow: PhantomData }
    }

    /// What has been written to `matrix`.
    #[inline(always)]
    pub(crate) fn of(matrix: &'a MatrixMut<'_, T>) -> Self {
        let (start, stride) = matrix.start_and_stride();
        Self { start, rows: matrix.rows(), width: matrix.cols(), stride, borrow: PhantomData }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Asks for the cache line of an element; there need not be such an element.
    #[inline(always)]
    fn prefetch<I: Isa>(&self, isa: I, row: usize, col: usize) {
        isa.prefetch(self.start.wrapping_add(row.wrapping_mul(self.stride)).wrapping_add(col));
    }

    /// How many rows on a walk that takes `together` rows at a time asks for memory: about [`AHEAD_BYTES`], and at least those that
    /// it takes next.
    #[inline(always)]
    fn rows_ahead(&self, together: usize) -> usize {
        (AHEAD_BYTES / (self.stride.max(1) * size_of::<T>())).max(together)
    }

    /// Asks for what a walk over `streams` tiles reaches [`AHEAD_BYTES`] of all of them after an element, but not after the next
    /// row, as many lines as `elements` fill; at the end of a row it goes on in row `next`, or where there is only one, along it.
    #[inline(always)]
    fn prefetch_along<I: Isa>(
        &self,
        isa: I,
        streams: usize,
        (row, next): (usize, usize),
        col: usize,
        elements: usize,
    ) {
        let far = (AHEAD_BYTES / (streams * size_of::<T>())).min(self.width);
        let mut at = 0;
        while at < elements {
            let col = col + at + far;
            let (row, col) =
                if col < self.width || self.rows == 1 { (row, col) } else { (next, col - self.width) };
            isa.prefetch(self.start.wrapping_add(row.wrapping_mul(self.stride)).wrapping_add(col));
            at += LINE / size_of::<T>();
        }
    }

    /// Whether its rows are whole vectors at multiples of 64 bytes, so that streaming stores can write them.
    #[inline(always)]
    fn is_aligned<I: Isa>(&self) -> bool {
        self.start.addr().is_multiple_of(LINE)
            && (self.stride * size_of::<T>()).is_multiple_of(LINE)
            && self.width.is_multiple_of(T::Vector::<I>::LANES)
    }

    /// Row `row`.
    ///
    /// # Panics
    /// Where there is no such row.
    #[inline(always)]
    pub(crate) fn row(&self, row: usize) -> &'a [T] {
        assert!(row < self.rows);
        let start = self.start.wrapping_add(row * self.stride);
        // SAFETY: the row lies in the data that `new` was given, or in a matrix that is not written meanwhile.
        unsafe { core::slice::from_raw_parts(start, self.width) }
    }
}

/// How far ahead sums and maps ask for memory, which hardware does not across pages: two of them, as one is begun while the one
/// before is read.
///
/// Of 32x64x56x56 a Zen 5 takes 0.75 of the time that it takes with 2 KiB, channels last 0.67 of that with four rows, 1 KiB; with
/// 4 KiB it is between, with 16 and 32 KiB as with 8.
const AHEAD_BYTES: usize = 8192;

/// Whether a run of so many elements is worth asking ahead: of 14x14 it gained nothing, and of 7x7 in cache it would take half
/// as many instructions again.
#[inline(always)]
fn is_long<T>(inner: usize) -> bool {
    inner * size_of::<T>() >= 2048
}

/// `COUNT` rows of each tile from `row` on.
#[inline(always)]
fn rows_from<'a, T: Element, const N: usize, const COUNT: usize>(
    tiles: &[Tile<'a, T>; N],
    row: usize,
) -> [[&'a [T]; N]; COUNT] {
    let mut rows = [[&[] as &[T]; N]; COUNT];
    for (r, rows) in rows.iter_mut().enumerate() {
        for n in 0..N {
            rows[n] = tiles[n].row(row + r);
            assert_eq!(rows[n].len(), tiles[0].width);
        }
    }
    rows
}

/// A vector of a row from `col` on; zeros past its end.
#[inline(always)]
fn load_to_end<I: Isa, T: Element>(isa: I, row: &[T], col: usize) -> T::Vector<I> {
    let lanes = T::Vector::<I>::LANES;
    if col + lanes <= row.len() {
        load(isa, &row[col..])
    } else {
        load_partial(isa, &row[col.min(row.len())..])
    }
}

/// `sums = f(elements, about, sums)` for each channel, where the elements are what `prepare` makes of those of `N` tiles
/// and of the channel's `coefficients`. A row of a tile holds whole channels of `inner` elements each, or a part of one.
///
/// `f` must change nothing where the first element is `about` and the others are 0: so are the lanes past an end, where
/// `prepare` of zeros must be zeros. In strips of channels side by side what lies past their `about` and their
/// coefficients must be 0.
pub(crate) struct Fold<'a, T, P, F, const N: usize, const K: usize> {
    pub(crate) inner: usize,
    pub(crate) tiles: [Tile<'a, T>; N],
    pub(crate) coefficients: [&'a [T; STRIP]; K],
    pub(crate) about: &'a Slots,
    pub(crate) sums: &'a mut [Slots; 2],
    pub(crate) prepare: P,
    pub(crate) f: F,
}

impl<T: Element, P, F, const N: usize, const K: usize> Fold<'_, T, P, F, N, K> {
    /// Adds all elements.
    #[inline(always)]
    pub(crate) fn run<I: Isa, const M: usize>(mut self, isa: I)
    where
        P: Fn([T::Vector<I>; N], [T::Vector<I>; K]) -> [T::Vector<I>; M],
        F: Fn([I::F64; M], I::F64, [I::F64; 2]) -> [I::F64; 2],
    {
        let rows = self.tiles[0].rows;
        if self.inner > 1 {
            for row in 0..rows {
                self.runs(isa, row);
            }
            return;
        }
        let (whole, ahead) = (rows / ROWS * ROWS, self.tiles[0].rows_ahead(ROWS));
        for row in (0..whole).step_by(ROWS) {
            self.columns::<I, M, ROWS>(isa, row, ahead);
        }
        for row in whole..rows {
            self.columns::<I, M, 1>(isa, row, ahead);
        }
    }

    /// `COUNT` rows from `row_index` on, channels side by side; memory is asked for `ahead` rows on.
    #[inline(always)]
    fn columns<I: Isa, const M: usize, const COUNT: usize>(&mut self, isa: I, row_index: usize, ahead: usize)
    where
        P: Fn([T::Vector<I>; N], [T::Vector<I>; K]) -> [T::Vector<I>; M],
        F: Fn([I::F64; M], I::F64, [I::F64; 2]) -> [I::F64; 2],
    {
        let lanes = T::Vector::<I>::LANES;
        let rows = rows_from::<T, N, COUNT>(&self.tiles, row_index);
        let asked = self.tiles.map(
            #[inline(always)]
            |tile| tile.start.wrapping_add((row_index + ahead).wrapping_mul(tile.stride)),
        );
        let [first, second] = self.sums;
        for col in (0..self.tiles[0].width).step_by(GROUP) {
            let halves = [col, col + F64_LANES];
            // Sixteen lanes make the group with one vector, eight with two.
            let parts = [col, col + GROUP - lanes];
            let mut sums = [[splat(isa, 0.0); 2]; 2];
            let mut about = [splat(isa, 0.0); 2];
            let mut of_channel = [[splat(isa, T::zero()); K]; 2];
            for half in 0..2 {
                sums[half] = [load(isa, &first[halves[half]..]), load(isa, &second[halves[half]..])];
                about[half] = load(isa, &self.about[halves[half]..]);
                for k in 0..K {
                    of_channel[half][k] = load(isa, &self.coefficients[k][parts[half]..]);
                }
            }
            for row in rows {
                let mut prepared = [[splat(isa, T::zero()); M]; 2];
                for part in 0..2 {
                    let mut x = [splat(isa, T::zero()); N];
                    for n in 0..N {
                        x[n] = load_to_end(isa, row[n], parts[part]);
                    }
                    prepared[part] = (self.prepare)(x, of_channel[part]);
                }
                let mut x = [[splat(isa, 0.0); M]; 2];
                for m in 0..M {
                    let [one, other] = [prepared[0][m], prepared[1][m]];
                    let wide = T::widen(isa, [one, other, one, other]);
                    (x[0][m], x[1][m]) = (wide[0], wide[1]);
                }
                for half in 0..2 {
                    sums[half] = (self.f)(x[half], about[half], sums[half]);
                }
            }
            for half in 0..2 {
                sums[half][0].store_into(&mut first[halves[half]..]);
                sums[half][1].store_into(&mut second[halves[half]..]);
            }
            for n in 0..N {
                for row in 0..COUNT {
                    isa.prefetch(asked[n].wrapping_add(row * self.tiles[n].stride + col));
                }
            }
        }
    }

    /// One row, channel after channel.
    #[inline(always)]
    fn runs<I: Isa, const M: usize>(&mut self, isa: I, row: usize)
    where
        P: Fn([T::Vector<I>; N], [T::Vector<I>; K]) -> [T::Vector<I>; M],
        F: Fn([I::F64; M], I::F64, [I::F64; 2]) -> [I::F64; 2],
    {
        let (width, inner) = (self.tiles[0].width, self.inner);
        let (row_index, [row]) = (row, rows_from::<T, N, 1>(&self.tiles, row));
        let [first, second] = self.sums;
        for channel in 0..width.div_ceil(inner) {
            let about = splat::<I, f64>(isa, self.about[channel]);
            let mut of_channel = [splat(isa, T::zero()); K];
            for k in 0..K {
                of_channel[k] = splat(isa, self.coefficients[k][channel]);
            }
            let (start, end) = (channel * inner, width.min((channel + 1) * inner));
            let slots = channel * F64_LANES..(channel + 1) * F64_LANES;
            let (first, second) = (&mut first[slots.clone()], &mut second[slots]);
            let mut runs = [&[] as &[T]; N];
            for n in 0..N {
                runs[n] = &row[n][start..end];
            }
            let sums = [load(isa, first), load(isa, second)];
            let prepare = super::inlined(
                #[inline(always)]
                |x| (self.prepare)(x, of_channel),
            );
            let tiles = &self.tiles;
            let touch = super::inlined(
                #[inline(always)]
                |at: usize| {
                    if is_long::<T>(inner) {
                        for tile in tiles {
                            tile.prefetch_along(isa, N, (row_index, row_index + 1), start + at, FOLD_BLOCK);
                        }
                    }
                },
            );
            let sums = fold_run(isa, runs, about, sums, (prepare, &self.f, touch));
            sums[0].store_into(first);
            sums[1].store_into(second);
        }
    }
}

/// Adds what `prepare` makes of the elements of `N` slices of the same length to two sums, as [`Fold`] does; `touch(at)` comes
/// before the block from `at` on.
#[inline(always)]
pub(crate) fn fold_run<I: Isa, T: Element, const N: usize, const M: usize>(
    isa: I,
    runs: [&[T]; N],
    about: I::F64,
    sums: [I::F64; 2],
    (prepare, f, touch): (
        impl Fn([T::Vector<I>; N]) -> [T::Vector<I>; M],
        impl Fn([I::F64; M], I::F64, [I::F64; 2]) -> [I::F64; 2],
        impl Fn(usize),
    ),
) -> [I::F64; 2] {
    let (lanes, len) = (T::Vector::<I>::LANES, runs[0].len());
    let mut sums = [sums, [splat(isa, 0.0); 2]];
    let mut at = 0;
    while at < len {
        let count = FOLD_BLOCK.min(len - at);
        touch(at);
        let mut prepared = [[splat(isa, T::zero()); M]; 4];
        for part in 0..4 {
            // Two vectors of sixteen lanes make the block; the others are not used then.
            let from = at + part * lanes % FOLD_BLOCK;
            let mut x = [splat(isa, T::zero()); N];
            for n in 0..N {
                x[n] = if count == FOLD_BLOCK {
                    load(isa, &runs[n][from..])
                } else {
                    load_to_end(isa, runs[n], from)
                };
            }
            prepared[part] = prepare(x);
        }
        let mut x = [[splat(isa, 0.0); M]; 4];
        for m in 0..M {
            let wide = T::widen(isa, [prepared[0][m], prepared[1][m], prepared[2][m], prepared[3][m]]);
            for k in 0..4 {
                x[k][m] = wide[k];
            }
        }
        if count < FOLD_BLOCK {
            let len = splat::<I, f64>(isa, count as f64);
            for k in 0..4 {
                let alive = load::<I, f64>(isa, &INDICES[k * F64_LANES..]).lt(len);
                x[k][0] = alive.select(x[k][0], about);
                for m in 1..M {
                    x[k][m] = alive.select(x[k][m], splat(isa, 0.0));
                }
            }
        }
        for k in 0..4 {
            sums[k % 2] = f(x[k], about, sums[k % 2]);
        }
        at += count;
    }
    [sums[0][0] + sums[1][0], sums[0][1] + sums[1][1]]
}

/// `0, 1, 2, …`: which of a block's lanes hold elements.
const INDICES: [f64; FOLD_BLOCK] = {
    let mut indices = [0.0; FOLD_BLOCK];
    let mut i = 0;
    while i < FOLD_BLOCK {
        indices[i] = i as f64;
        i += 1;
    }
    indices
};

/// The sum of channel `channel` out of what [`Fold`] has added up. It may be put in place `channel` of `sums` once those before
/// have been taken.
#[inline(always)]
pub(crate) fn total_of_channel<I: Isa>(isa: I, inner: usize, sums: &Slots, channel: usize) -> f64 {
    if inner == 1 {
        return sums[channel];
    }
    load::<I, f64>(isa, &sums[channel * F64_LANES..]).sum()
}

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
            maps.run::<I, true>(isa, outputs);
        } else {
            maps.run::<I, false>(isa, outputs);
        }
    } else {
        for row in 0..count {
            let row = if downwards { count - 1 - row } else { row };
            let next = if downwards { row.wrapping_sub(1) } else { row + 1 };
            let touch = super::inlined(
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
    #[inline(always)]
    fn run<I: Isa, const STREAMS: bool>(&self, isa: I, mut outputs: [MatrixMut<'_, T>; M])
    where
        F: Fn([T::Vector<I>; N], [T::Vector<I>; K]) -> [T::Vector<I>; M],
    {
        let (count, downwards) = (self.written[0].rows, self.downwards);
        // Memory without gaps is fastest as one stream a tensor: at four places a backward of 32x64x56x56 would take 1.25, and one
        // of 32x256x14x14 with a residual, of five tensors in the last-level cache, 1.2 to 1.4.
        let is_one_stream = !downwards && (STREAMS || N + M > 4);
        let whole = if is_one_stream { 0 } else { count / ROWS * ROWS };
        for at in (0..whole).step_by(ROWS) {
            let row = if downwards { count - ROWS - at } else { at };
            self.rows::<I, ROWS, STREAMS>(isa, row, &mut outputs);
        }
        for at in whole..count {
            let row = if downwards { count - 1 - at } else { at };
            self.rows::<I, 1, STREAMS>(isa, row, &mut outputs);
        }
    }

    /// `COUNT` rows from `row` on, so that a channel's coefficients are read once for all of them.
    #[inline(always)]
    fn rows<I: Isa, const COUNT: usize, const STREAMS: bool>(
        &self,
        isa: I,
        row: usize,
        outputs: &mut [MatrixMut<'_, T>; M],
    ) where
        F: Fn([T::Vector<I>; N], [T::Vector<I>; K]) -> [T::Vector<I>; M],
    {
        let Self { tiles, coefficients, written, .. } = self;
        let (lanes, width) = (T::Vector::<I>::LANES, written[0].width);
        let far = written[0].rows_ahead(ROWS);
        let ahead = if self.downwards { row.wrapping_sub(far) } else { row + far };
        let outputs = outputs.each_mut().map(
            #[inline(always)]
            |out| out.rows_from::<COUNT>(row),
        );
        let rows = rows_from::<T, N, COUNT>(tiles, row);
        for at in (0..width).step_by(lanes) {
            let mut of_channel = [splat(isa, T::zero()); K];
            for k in 0..K {
                of_channel[k] = load(isa, &coefficients[k][at..]);
            }
            for n in 0..N {
                if self.from_memory[n] {
                    for row in 0..COUNT {
                        tiles[n].prefetch(isa, ahead.wrapping_add(row), at);
                    }
                }
            }
            for row in 0..COUNT {
                if !STREAMS {
                    for m in 0..M {
                        written[m].prefetch(isa, ahead.wrapping_add(row), at);
                    }
                }
                map_at(
                    isa,
                    (rows[row], at..width.min(at + lanes)),
                    of_channel,
                    &self.f,
                    #[inline(always)]
                    |m, value, at| put(value, &mut outputs[m][row][at], STREAMS),
                );
            }
        }
    }
}

/// Overwrites `to`, at most a vector; past the caches where it `streams`.
///
/// # Panics
/// Where it streams, and `to` is not a whole vector or its address not a multiple of 64.
#[inline(always)]
fn put<V: Vector>(value: V, to: &mut [V::Elem], streams: bool) {
    if streams {
        assert!(to.len() == V::LANES && to.as_ptr().addr().is_multiple_of(LINE));
        // SAFETY: there is room for a vector at such an address; `map_channels` ends with a fence.
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
        let mut step = super::inlined(
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
