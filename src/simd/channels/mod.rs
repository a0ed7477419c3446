//! The loop skeletons over channels: sums a channel, and maps whose coefficients belong to a channel.
//!
//! With one element a row and channel, lanes are channels; else lanes are elements of one channel's run.

mod folds;
mod maps;

use core::marker::PhantomData;

pub(crate) use folds::{Fold, fold_run, totals_of_channels};
pub(crate) use maps::{map_channels, put};

use super::{Isa, LINE, MatrixMut, Vector, load, load_partial};
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

/// Rows that are summed in turns in a group of channels: sums and coefficients stay in registers, and memory is read at four places.
/// With eight, rows 4 KiB apart no longer fit in the ways of the first-level cache.
const FOLD_ROWS: usize = 4;

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

    /// The vector of row `row` from `col` on.
    ///
    /// # Safety
    /// There is such a row, and its width reaches to the vector's end.
    #[inline(always)]
    unsafe fn vector<I: Isa>(&self, isa: I, row: usize, col: usize) -> T::Vector<I> {
        // SAFETY: the caller's; the row lies in the data that `new` was given, or in a matrix that is not written meanwhile.
        unsafe { Vector::load(isa, self.start.wrapping_add(row * self.stride + col)) }
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
