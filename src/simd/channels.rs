//! The loop skeletons over channels: sums a channel, and maps whose coefficients belong to a channel.
//!
//! With one element a row and channel, lanes are channels; else lanes are elements of one channel's run.

use super::{
    FOLD_BLOCK, Isa, Mask, MatrixMut, StoreInto, Vector, load, load_partial, splat, widen, widen_partial,
};
use crate::Element;

/// Most channels of a strip whose channels lie side by side: 512 bytes of a row of `f32`, a prefetcher's worth.
pub(crate) const STRIP: usize = 128;

/// Most channels of a strip whose channels are runs: each has a vector's worth of [`Slots`].
pub(crate) const STRIP_RUNS: usize = STRIP / F64_LANES;

/// Lanes of a vector of `f64`.
const F64_LANES: usize = 8;

/// Channels summed side by side: two vectors of `f64` for each sum, which leaves AVX2 registers to work with.
const GROUP: usize = 2 * F64_LANES;

/// Rows that take turns in a group of channels: the sums stay in registers, and memory is read at four places.
const ROWS: usize = 4;

/// A number a channel of a strip, or a vector of numbers a channel of a strip of runs.
pub(crate) type Slots = [f64; STRIP];

/// The same part of successive rows: of `rows · width` elements, row `r` begins at `r · stride`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tile<'a, T> {
    pub(crate) data: &'a [T],
    pub(crate) stride: usize,
    pub(crate) rows: usize,
    pub(crate) width: usize,
}

impl<'a, T: Element> Tile<'a, T> {
    /// Row `row`.
    ///
    /// # Panics
    /// Where there is no such row.
    #[inline(always)]
    pub(crate) fn row(&self, row: usize) -> &'a [T] {
        &self.data[row * self.stride..][..self.width]
    }

    /// Sixteen elements of a row from `col` on as `f64`; zeros past its end.
    #[inline(always)]
    fn group<I: Isa>(&self, isa: I, row: usize, col: usize) -> [I::F64; 2] {
        let lanes = T::Vector::<I>::LANES;
        let row = self.row(row);
        let [first, second] = if col + GROUP <= row.len() {
            // Sixteen lanes make the group with one vector, eight with two.
            [load(isa, &row[col..]), load(isa, &row[col + GROUP - lanes..])]
        } else {
            let rest = &row[col..];
            let (first, second) = rest.split_at(lanes.min(rest.len()));
            [load_partial(isa, first), load_partial(isa, second)]
        };
        let [first, second, ..] = T::widen(isa, [first, second, first, second]);
        [first, second]
    }
}

/// Adds the elements of `N` tiles to two sums a channel: `sums = f(elements, about, sums)`, where `about` is the
/// channel's. A row of a tile holds whole channels of `inner` elements each, or a part of one.
///
/// `f` must change nothing where the first element is `about` and the second is 0: so are the lanes past an end. In
/// strips of channels side by side what lies past their `about` must be 0.
#[inline(always)]
pub(crate) fn fold_channels<I: Isa, T: Element, const N: usize>(
    isa: I,
    inner: usize,
    tiles: [Tile<'_, T>; N],
    about: &Slots,
    sums: &mut [Slots; 2],
    f: impl Fn([I::F64; N], I::F64, [I::F64; 2]) -> [I::F64; 2],
) {
    if inner > 1 {
        for row in 0..tiles[0].rows {
            fold_runs(isa, inner, (tiles, row), about, sums, &f);
        }
        return;
    }
    let rows = tiles[0].rows;
    let whole = rows / ROWS * ROWS;
    for row in (0..whole).step_by(ROWS) {
        fold_columns::<I, T, N, ROWS>(isa, (tiles, row), about, sums, &f);
    }
    for row in whole..rows {
        fold_columns::<I, T, N, 1>(isa, (tiles, row), about, sums, &f);
    }
}

/// [`fold_channels`] of `COUNT` rows from `row` on, channels side by side.
#[inline(always)]
fn fold_columns<I: Isa, T: Element, const N: usize, const COUNT: usize>(
    isa: I,
    (tiles, row): ([Tile<'_, T>; N], usize),
    about: &Slots,
    [first, second]: &mut [Slots; 2],
    f: &impl Fn([I::F64; N], I::F64, [I::F64; 2]) -> [I::F64; 2],
) {
    for col in (0..tiles[0].width).step_by(GROUP) {
        let halves = [col, col + F64_LANES];
        let mut sums = [[splat(isa, 0.0); 2]; 2];
        for half in 0..2 {
            sums[half] = [load(isa, &first[halves[half]..]), load(isa, &second[halves[half]..])];
        }
        for row in row..row + COUNT {
            let mut x = [[splat(isa, 0.0); N]; 2];
            for n in 0..N {
                [x[0][n], x[1][n]] = tiles[n].group(isa, row, col);
            }
            for half in 0..2 {
                sums[half] = f(x[half], load(isa, &about[halves[half]..]), sums[half]);
            }
        }
        for half in 0..2 {
            sums[half][0].store_into(&mut first[halves[half]..]);
            sums[half][1].store_into(&mut second[halves[half]..]);
        }
    }
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

/// [`fold_channels`] of one row, channel after channel.
#[inline(always)]
fn fold_runs<I: Isa, T: Element, const N: usize>(
    isa: I,
    inner: usize,
    (tiles, row): ([Tile<'_, T>; N], usize),
    about: &Slots,
    [first, second]: &mut [Slots; 2],
    f: &impl Fn([I::F64; N], I::F64, [I::F64; 2]) -> [I::F64; 2],
) {
    let width = tiles[0].width;
    for channel in 0..width.div_ceil(inner) {
        let (start, end) = (channel * inner, width.min((channel + 1) * inner));
        let mut runs = [&[] as &[T]; N];
        for n in 0..N {
            runs[n] = &tiles[n].row(row)[start..end];
        }
        let slots = channel * F64_LANES..(channel + 1) * F64_LANES;
        let (first, second) = (&mut first[slots.clone()], &mut second[slots]);
        let sums = [load(isa, first), load(isa, second)];
        let sums = fold_run(isa, runs, splat(isa, about[channel]), sums, f);
        sums[0].store_into(first);
        sums[1].store_into(second);
    }
}

/// Adds the elements of `N` slices of the same length to two sums, as [`fold_channels`] does.
#[inline(always)]
pub(crate) fn fold_run<I: Isa, T: Element, const N: usize>(
    isa: I,
    runs: [&[T]; N],
    about: I::F64,
    sums: [I::F64; 2],
    f: &impl Fn([I::F64; N], I::F64, [I::F64; 2]) -> [I::F64; 2],
) -> [I::F64; 2] {
    let mut sums = [sums, [splat(isa, 0.0); 2]];
    let len = runs[0].len();
    let whole = len / FOLD_BLOCK * FOLD_BLOCK;
    for at in (0..whole).step_by(FOLD_BLOCK) {
        let mut x = [[splat(isa, 0.0); N]; 4];
        for n in 0..N {
            let block = widen(isa, &runs[n][at..at + FOLD_BLOCK]);
            for k in 0..4 {
                x[k][n] = block[k];
            }
        }
        for k in 0..4 {
            sums[k % 2] = f(x[k], about, sums[k % 2]);
        }
    }
    let rest = len - whole;
    if rest > 0 {
        let len = splat::<I, f64>(isa, rest as f64);
        let mut x = [[splat(isa, 0.0); N]; 4];
        for n in 0..N {
            let block = widen_partial(isa, &runs[n][whole..]);
            for k in 0..4 {
                x[k][n] = block[k];
            }
        }
        for k in 0..rest.div_ceil(F64_LANES) {
            let indices: I::F64 = load(isa, &INDICES[k * F64_LANES..]);
            x[k][0] = indices.lt(len).select(x[k][0], about);
            sums[k % 2] = f(x[k], about, sums[k % 2]);
        }
    }
    [sums[0][0] + sums[1][0], sums[0][1] + sums[1][1]]
}

/// A channel's sum out of what [`fold_channels`] has added up.
#[inline(always)]
pub(crate) fn total_of_channel<I: Isa>(isa: I, inner: usize, sums: &Slots, channel: usize) -> f64 {
    if inner == 1 {
        return sums[channel];
    }
    load::<I, f64>(isa, &sums[channel * F64_LANES..]).sum()
}

/// `out = f(elements of N tiles, coefficients of the channel)`, of tiles as [`fold_channels`] takes them.
#[inline(always)]
pub(crate) fn map_channels<I: Isa, T: Element, const N: usize, const K: usize>(
    isa: I,
    inner: usize,
    tiles: [Tile<'_, T>; N],
    coefficients: &[[T; STRIP]; K],
    mut out: MatrixMut<'_, T>,
    f: impl Fn([T::Vector<I>; N], [T::Vector<I>; K]) -> T::Vector<I>,
) {
    let lanes = T::Vector::<I>::LANES;
    let width = out.cols();
    let mut rows = [&[] as &[T]; N];
    let mut of_channel = [splat(isa, T::zero()); K];
    for row in 0..out.rows() {
        let out = out.row(row);
        for n in 0..N {
            rows[n] = tiles[n].row(row);
            assert_eq!(rows[n].len(), width);
        }
        if inner == 1 {
            for at in (0..width).step_by(lanes) {
                for k in 0..K {
                    of_channel[k] = load(isa, &coefficients[k][at..]);
                }
                map_at(isa, (rows, at..width.min(at + lanes)), of_channel, out, &f);
            }
            continue;
        }
        for channel in 0..width.div_ceil(inner) {
            for k in 0..K {
                of_channel[k] = splat(isa, coefficients[k][channel]);
            }
            let (start, end) = (channel * inner, width.min((channel + 1) * inner));
            let mut at = start;
            while at + lanes <= end {
                map_at(isa, (rows, at..at + lanes), of_channel, out, &f);
                at += lanes;
            }
            if at < end {
                map_at(isa, (rows, at..end), of_channel, out, &f);
            }
        }
    }
}

/// [`map_channels`] of one vector, or of a part of one at the end.
#[inline(always)]
fn map_at<I: Isa, T: Element, const N: usize, const K: usize>(
    isa: I,
    (rows, at): ([&[T]; N], core::ops::Range<usize>),
    coefficients: [T::Vector<I>; K],
    out: &mut [T],
    f: &impl Fn([T::Vector<I>; N], [T::Vector<I>; K]) -> T::Vector<I>,
) {
    let mut x = [splat(isa, T::zero()); N];
    if at.len() == T::Vector::<I>::LANES {
        for n in 0..N {
            x[n] = load(isa, &rows[n][at.clone()]);
        }
        f(x, coefficients).store_into(&mut out[at]);
    } else {
        for n in 0..N {
            x[n] = load_partial(isa, &rows[n][at.clone()]);
        }
        f(x, coefficients).store_partial_into(&mut out[at]);
    }
}
