//! Sums a channel.

use super::{F64_LANES, FOLD_ROWS, GROUP, STRIP, Slots, Tile, is_long, load_to_end, rows_from};
use crate::Element;
use crate::simd::{FOLD_BLOCK, Isa, Mask, StoreInto, Vector, inlined, load, splat};

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
        let (whole, ahead) = (rows / FOLD_ROWS * FOLD_ROWS, self.tiles[0].rows_ahead(FOLD_ROWS));
        for row in (0..whole).step_by(FOLD_ROWS) {
            self.columns::<I, M, FOLD_ROWS>(isa, row, ahead);
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
        let (tiles, width) = (self.tiles, self.tiles[0].width);
        let rows = rows_from::<T, N, COUNT>(&tiles, row_index);
        let whole = width / GROUP;
        let vector = inlined(
            #[inline(always)]
            |n: usize, row: usize, col: usize| {
                // SAFETY: `rows_from` has found the rows, and whole groups end within their width.
                unsafe { tiles[n].vector(isa, row_index + row, col) }
            },
        );
        let asked = tiles.map(
            #[inline(always)]
            |tile| tile.start.wrapping_add((row_index + ahead).wrapping_mul(tile.stride)),
        );
        for group in 0..whole {
            self.group::<I, M, COUNT>(isa, asked, group, vector);
        }
        if whole * GROUP < width {
            let to_end = inlined(
                #[inline(always)]
                |n: usize, row: usize, col: usize| load_to_end(isa, rows[row][n], col),
            );
            self.group::<I, M, COUNT>(isa, asked, whole, to_end);
        }
    }

    /// [`columns`](Self::columns) of a group of channels; `take(n, row, col)` is a vector of a tile, the rows counted from the first.
    #[inline(always)]
    fn group<I: Isa, const M: usize, const COUNT: usize>(
        &mut self,
        isa: I,
        asked: [*const T; N],
        group: usize,
        take: impl Fn(usize, usize, usize) -> T::Vector<I>,
    ) where
        P: Fn([T::Vector<I>; N], [T::Vector<I>; K]) -> [T::Vector<I>; M],
        F: Fn([I::F64; M], I::F64, [I::F64; 2]) -> [I::F64; 2],
    {
        // Sixteen lanes make the group with one vector, eight with two.
        let parts = [0, GROUP - T::Vector::<I>::LANES];
        let halves = [0, F64_LANES];
        // In arrays of a group's length the places of vectors need no checks.
        let [first, second] = self.sums.each_mut().map(
            #[inline(always)]
            |sums| &mut sums.as_chunks_mut::<GROUP>().0[group],
        );
        let about_group = &self.about.as_chunks::<GROUP>().0[group];
        let coefficients = self.coefficients.map(
            #[inline(always)]
            |coefficients| &coefficients.as_chunks::<GROUP>().0[group],
        );
        let mut sums = [[splat(isa, 0.0); 2]; 2];
        let mut about = [splat(isa, 0.0); 2];
        let mut of_channel = [[splat(isa, T::zero()); K]; 2];
        for half in 0..2 {
            sums[half] = [load(isa, &first[halves[half]..]), load(isa, &second[halves[half]..])];
            about[half] = load(isa, &about_group[halves[half]..]);
            for k in 0..K {
                of_channel[half][k] = load(isa, &coefficients[k][parts[half]..]);
            }
        }
        for row in 0..COUNT {
            let mut prepared = [[splat(isa, T::zero()); M]; 2];
            for part in 0..2 {
                let mut x = [splat(isa, T::zero()); N];
                for n in 0..N {
                    x[n] = take(n, row, group * GROUP + parts[part]);
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
                isa.prefetch(asked[n].wrapping_add(row * self.tiles[n].stride + group * GROUP));
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
            let prepare = inlined(
                #[inline(always)]
                |x| (self.prepare)(x, of_channel),
            );
            let tiles = &self.tiles;
            let touch = inlined(
                #[inline(always)]
                |at: usize| {
                    if is_long::<T>(inner) {
                        for tile in tiles {
                            tile.prefetch_along(isa, N, (row_index, row_index + 1), start + at, FOLD_BLOCK);
                        }
                    }
                },
            );
            let f = inlined(
                #[inline(always)]
                |x, about, sums| (self.f)(x, about, sums),
            );
            let sums = fold_run(isa, runs, about, sums, (prepare, f, touch));
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

/// Replaces what [`Fold`] has added up by the two totals of each of the first `channels`.
#[inline(always)]
pub(crate) fn totals_of_channels<I: Isa>(isa: I, inner: usize, channels: usize, sums: &mut [Slots; 2]) {
    // Channels side by side have their totals in place.
    if inner > 1 {
        for sums in sums {
            for channel in 0..channels {
                sums[channel] = load::<I, f64>(isa, &sums[channel * F64_LANES..]).sum();
            }
        }
    }
}
