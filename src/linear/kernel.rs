//! Tiles of a product held in registers, and the copies that lay the factors out for them.

use core::ops::Range;

use super::{MatrixLayout, Transpose};
use crate::simd::{
    self, Ahead, Isa, Kernel, LINE, Left, Lines, MatrixMut, Right, StoreInto, Vector, load_tile,
    multiply_tile, store_tile, transpose_block,
};
use crate::stats::NormPartial;
use crate::stats::norm_partial::kernel::add_squares;
use crate::{Element, Level};

/// Rows of the tallest tile: as many as leave registers for the right factor and one broadcast.
///
/// AVX-512 has 32 registers, 9 · 3 sums + 3 + 1 of them used; AVX2 has 16, of which a vector takes two: 6 · 2 sums + 2 + 1;
/// SSE2 has 16, of which a vector takes four: 2 · 4 sums + 4 + 1 + a product.
///
/// On AVX-512, 14 · 2 sums are as fast while a thread has a core for itself and 0.8 of the speed where it shares it: they
/// take 16 loads for 28 multiply-adds, these 12 for 27.
const fn tallest(level: Level) -> usize {
    match level {
        Level::Avx512 => simd::TALLEST,
        Level::Avx2 => 6,
        Level::Portable => 2,
    }
}

/// Panels that a tile of `rows` takes side by side: more where few rows leave registers free, since eight sums must be
/// in flight to keep two multipliers of four cycles busy, and several streams to keep memory busy.
const fn side_by_side(level: Level, rows: usize) -> usize {
    match (level, rows) {
        (Level::Avx512, 0..=2) => 8,
        (Level::Avx512, 3..=6) => 4,
        (Level::Avx512, _) => 3,
        (Level::Avx2, 0..=1) => 4,
        (Level::Avx2, 2) => 2,
        (Level::Portable, 0..=1) => 2,
        _ => 1,
    }
}

/// Whether tiles of `rows` are formed `panels` wide: as wide as they or those a row taller may be, and for the last
/// panels a power of two.
const fn is_formed(level: Level, rows: usize, panels: usize) -> bool {
    let most = side_by_side(level, rows);
    rows <= tallest(level)
        && (panels == most
            || panels < most && (panels.is_power_of_two() || panels == side_by_side(level, rows + 1)))
}

/// Rows cut into tiles of equal height, give or take one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tiles {
    rows: usize,
    count: usize,
}

impl Tiles {
    pub(super) fn new(level: Level, rows: usize) -> Self {
        Self { rows, count: rows.div_ceil(tallest(level)) }
    }
    pub(super) fn count(self) -> usize {
        self.count
    }
    /// The first row of tile `tile`.
    pub(super) fn start(self, tile: usize) -> usize {
        let (height, taller) = (self.rows / self.count, self.rows % self.count);
        tile * height + tile.min(taller)
    }
    fn rows(self, tile: usize) -> Range<usize> {
        self.start(tile)..self.start(tile + 1)
    }
    /// Panels that lie side by side in them, where there are as many.
    pub(super) fn panels(self, level: Level) -> usize {
        side_by_side(level, self.rows.div_ceil(self.count))
    }
}

/// What the chain of multiply-adds of each output starts from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Start<'a, T> {
    /// The factor times what the output holds; 0 does not read it.
    Scaled(T),
    /// One element a column.
    Bias(&'a [T]),
}

impl<T: Element> Start<'_, T> {
    /// The same from column `col` on.
    pub(super) fn starting_at(self, col: usize) -> Self {
        match self {
            Self::Scaled(beta) => Self::Scaled(beta),
            Self::Bias(bias) => Self::Bias(&bias[col..]),
        }
    }
}

/// The rows of the left factor, all tiles one after the other.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rows<'a, T> {
    /// As the caller has them.
    Strided { data: &'a [T], stride: usize },
    /// By [`PackLeft`].
    Packed { data: &'a [T], depth: usize },
}

impl<'a, T> Rows<'a, T> {
    #[inline(always)]
    fn tile(self, rows: Range<usize>) -> Left<'a, T> {
        match self {
            Self::Strided { data, stride } => {
                Left::Strided { data: &data[(rows.start * stride).min(data.len())..], stride }
            }
            Self::Packed { data, depth } => Left::Packed(&data[rows.start * depth..]),
        }
    }
}

/// `c = start + left · right` for some tiles of rows and some panels of columns.
#[derive(Clone, Copy)]
pub(super) struct Multiply<'a, T> {
    pub(super) depth: usize,
    pub(super) tiles: Tiles,
    /// The tiles whose rows `c` has.
    pub(super) first: usize,
    pub(super) last: usize,
    pub(super) left: Rows<'a, T>,
    pub(super) right: Right<'a, T>,
    /// Panels that tiles take side by side, where there are as many.
    pub(super) panels: usize,
    pub(super) ahead: Ahead<'a, T>,
    pub(super) start: Start<'a, T>,
}

/// [`Multiply`] with the output it writes.
pub(super) struct MultiplyInto<'a, T>(pub(super) Multiply<'a, T>, pub(super) MatrixMut<'a, T>);

impl<T: Element> Kernel for MultiplyInto<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Self(multiply, mut c) = self;
        let lanes = T::Vector::<I>::LANES;
        let most = multiply.panels;
        let mut col = 0;
        while c.cols() > 0 {
            let panels = match c.cols().div_ceil(lanes) {
                // Two pairs rather than three and one, whose loads would not keep up.
                4 if most == 3 => 2,
                panels if panels >= most => most,
                panels => 1 << panels.ilog2(),
            };
            let (strip, rest) = {
                let width = c.cols().min(panels * lanes);
                c.split_cols(width)
            };
            c = rest;
            match panels {
                8 => multiply.strip::<I, 8>(isa, col, strip),
                4 => multiply.strip::<I, 4>(isa, col, strip),
                3 => multiply.strip::<I, 3>(isa, col, strip),
                2 => multiply.strip::<I, 2>(isa, col, strip),
                _ => multiply.strip::<I, 1>(isa, col, strip),
            }
            col += panels * lanes;
        }
    }
}

impl<T: Element> Multiply<'_, T> {
    /// All tiles of `PANELS` panels from column `col` on.
    #[inline(always)]
    fn strip<I: Isa, const PANELS: usize>(&self, isa: I, col: usize, mut c: MatrixMut<'_, T>) {
        let panel = col / T::Vector::<I>::LANES;
        let right = self.right.starting_at(panel);
        let top = self.tiles.start(self.first);
        for tile in self.first..self.last {
            let rows = self.tiles.rows(tile);
            let left = self.left.tile(rows.clone());
            let at = rows.start - top;
            // As many tiles of a strip ask for panels as it has, and so no faster than they are used.
            let asks = tile - self.first;
            let ahead = if asks < PANELS { self.ahead } else { Ahead::nothing(right) };
            let ahead = ahead.lines(panel + asks);
            match rows.len() {
                1 => self.tile::<I, 1, PANELS>(isa, (left, right), ahead, (col, at), &mut c),
                2 => self.tile::<I, 2, PANELS>(isa, (left, right), ahead, (col, at), &mut c),
                3 => self.tile::<I, 3, PANELS>(isa, (left, right), ahead, (col, at), &mut c),
                4 => self.tile::<I, 4, PANELS>(isa, (left, right), ahead, (col, at), &mut c),
                5 => self.tile::<I, 5, PANELS>(isa, (left, right), ahead, (col, at), &mut c),
                6 => self.tile::<I, 6, PANELS>(isa, (left, right), ahead, (col, at), &mut c),
                7 => self.tile::<I, 7, PANELS>(isa, (left, right), ahead, (col, at), &mut c),
                8 => self.tile::<I, 8, PANELS>(isa, (left, right), ahead, (col, at), &mut c),
                _ => self.tile::<I, 9, PANELS>(isa, (left, right), ahead, (col, at), &mut c),
            }
        }
    }

    /// `ROWS` rows from `at` on by all columns of `c`, the first of which is column `col` of the product.
    #[inline(always)]
    fn tile<I: Isa, const ROWS: usize, const PANELS: usize>(
        &self,
        isa: I,
        (left, right): (Left<'_, T>, Right<'_, T>),
        ahead: Lines<T>,
        (col, at): (usize, usize),
        c: &mut MatrixMut<'_, T>,
    ) {
        // Tiles that this level never forms are not compiled for it.
        if const { !is_formed(I::LEVEL, ROWS, PANELS) } {
            return;
        }
        let lanes = T::Vector::<I>::LANES;
        let whole = c.cols() == PANELS * lanes;
        let mut sums = [[simd::splat::<I, T>(isa, T::zero()); PANELS]; ROWS];
        match self.start {
            Start::Scaled(beta) if beta == T::zero() => {}
            Start::Scaled(beta) if whole => {
                sums = load_tile(isa, c, at);
                for sum in sums.as_flattened_mut() {
                    *sum = *sum * beta;
                }
            }
            Start::Scaled(beta) => {
                for (row, sums) in sums.iter_mut().enumerate() {
                    let c = c.row(at + row);
                    for (panel, sum) in sums.iter_mut().enumerate() {
                        *sum = load_panel(isa, c, panel * lanes) * beta;
                    }
                }
            }
            Start::Bias(bias) => {
                let bias = &bias[col..col + c.cols()];
                for (panel, sum) in sums[0].iter_mut().enumerate() {
                    *sum = load_panel(isa, bias, panel * lanes);
                }
                sums = [sums[0]; ROWS];
            }
        }
        // The next to be read and written is the tile below, or that to the right where there is one a strip.
        let (down, right_of) = if self.last - self.first == 1 { (0, c.cols()) } else { (ROWS, 0) };
        for row in 0..ROWS {
            c.prefetch(isa, at + down + row, right_of);
        }
        multiply_tile(isa, self.depth, left, right, ahead, &mut sums);
        if whole {
            return store_tile(sums, c, at);
        }
        for (row, sums) in sums.into_iter().enumerate() {
            let c = c.row(at + row);
            for (panel, sum) in sums.into_iter().enumerate() {
                store_panel(sum, c, panel * lanes);
            }
        }
    }
}

/// The vector at `from[at..]`; lanes past the end are zero.
#[inline(always)]
fn load_panel<I: Isa, T: Element>(isa: I, from: &[T], at: usize) -> T::Vector<I> {
    let from = &from[at..];
    if from.len() >= T::Vector::<I>::LANES { simd::load(isa, from) } else { simd::load_partial(isa, from) }
}

/// Writes the lanes that lie within `to[at..]`.
#[inline(always)]
fn store_panel<V: Vector>(sums: V, to: &mut [V::Elem], at: usize) {
    let to = &mut to[at..];
    if to.len() >= V::LANES { sums.store_into(to) } else { sums.store_partial_into(to) }
}

/// Whether rows that are `stride` elements apart lie in different sets of a cache.
pub(super) fn spread<T>(stride: usize) -> bool {
    /// Bytes between addresses of the same set of L1.
    const ALIAS: usize = 4096;
    !stride.wrapping_mul(size_of::<T>()).is_multiple_of(ALIAS)
}

/// A part of a factor as the caller has it: `outer` is the dimension that is cut into tiles or panels, the rows of
/// A and the columns of B.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source<'a, T> {
    pub(super) data: &'a [T],
    /// Elements from one `outer` to the next, 1 or the stride.
    pub(super) outer_step: usize,
    /// Elements from one `k` to the next, 1 or the stride.
    pub(super) k_step: usize,
}

impl<'a, T> Source<'a, T> {
    pub(super) fn left(data: &'a [T], layout: MatrixLayout) -> Self {
        match layout.transpose {
            Transpose::No => Self { data, outer_step: layout.stride, k_step: 1 },
            Transpose::Yes => Self { data, outer_step: 1, k_step: layout.stride },
        }
    }
    pub(super) fn right(data: &'a [T], layout: MatrixLayout) -> Self {
        match layout.transpose {
            Transpose::No => Self { data, outer_step: 1, k_step: layout.stride },
            Transpose::Yes => Self { data, outer_step: layout.stride, k_step: 1 },
        }
    }
    /// Columns of its rows, where it is stored by rows that do not compete for the same sets of a cache: a tile asks for
    /// a line of each.
    pub(super) fn rows_ahead(self, cols: Range<usize>) -> Option<Ahead<'a, T>> {
        if self.outer_step != 1 || cols.is_empty() || !spread::<T>(self.k_step) {
            return None;
        }
        let line = LINE / size_of::<T>();
        // Without a step of k there is no data.
        let data = self.data.get(cols.start..)?;
        Some(Ahead { data, step: self.k_step, tile_step: line, tiles: cols.len().div_ceil(line) })
    }
    /// The part from (`outer`, `k`) on.
    #[inline(always)]
    pub(super) fn from(self, outer: usize, k: usize) -> Self {
        let start = (outer * self.outer_step + k * self.k_step).min(self.data.len());
        Self { data: &self.data[start..], ..self }
    }
}

/// Rows of a source that are read side by side while it is packed: as many streams as prefetchers follow.
const STREAMS: usize = 16;

/// Lays tiles of rows out as `[k][row]`, times `alpha`.
pub(super) struct PackLeft<'a, T> {
    pub(super) alpha: T,
    pub(super) depth: usize,
    pub(super) tiles: Tiles,
    pub(super) first: usize,
    pub(super) last: usize,
    /// Its row 0 is row 0 of `tiles`.
    pub(super) source: Source<'a, T>,
    /// The rows of tiles `first..last` only.
    pub(super) out: &'a mut [T],
}

impl<T: Element> Kernel for PackLeft<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        if self.depth == 0 {
            return;
        }
        if self.source.k_step == 1 {
            let mut out = self.out;
            for tile in self.first..self.last {
                let rows = self.tiles.rows(tile);
                let (packed, rest) = out.split_at_mut(rows.len() * self.depth);
                out = rest;
                let source = self.source.from(rows.start, 0);
                for row in 0..rows.len() {
                    let from = &source.data[row * source.outer_step..][..self.depth];
                    for (packed, &a) in packed[row..].iter_mut().step_by(rows.len()).zip(from) {
                        *packed = self.alpha * a;
                    }
                }
            }
            return;
        }
        let top = self.tiles.start(self.first);
        for start in (0..self.depth).step_by(STREAMS) {
            let end = self.depth.min(start + STREAMS);
            for tile in self.first..self.last {
                let rows = self.tiles.rows(tile);
                let from = self.source.from(rows.start, start);
                let packed = &mut self.out[(rows.start - top) * self.depth..][..rows.len() * self.depth];
                let to = &mut packed[start * rows.len()..end * rows.len()];
                match rows.len() {
                    1 => copy_columns::<T, 1>(self.alpha, from, to),
                    2 => copy_columns::<T, 2>(self.alpha, from, to),
                    3 => copy_columns::<T, 3>(self.alpha, from, to),
                    4 => copy_columns::<T, 4>(self.alpha, from, to),
                    5 => copy_columns::<T, 5>(self.alpha, from, to),
                    6 => copy_columns::<T, 6>(self.alpha, from, to),
                    7 => copy_columns::<T, 7>(self.alpha, from, to),
                    8 => copy_columns::<T, 8>(self.alpha, from, to),
                    _ => copy_columns::<T, 9>(self.alpha, from, to),
                }
            }
        }
    }
}

/// `to[k][row] = alpha · from[k][row]` of a tile of `ROWS` rows.
///
/// As many elements as there are: whole vectors, each over what the one before wrote too much, cross cache lines and take
/// twice as long.
#[inline(always)]
fn copy_columns<T: Element, const ROWS: usize>(alpha: T, from: Source<'_, T>, to: &mut [T]) {
    for (k, to) in to.as_chunks_mut::<ROWS>().0.iter_mut().enumerate() {
        let from = from.data[k * from.k_step..].first_chunk::<ROWS>().expect("a row of the tile");
        *to = from.map(|a| alpha * a);
    }
}

/// Lays columns out as panels of a vector's width, `[k][column]`; what a last panel has more does not matter.
pub(super) struct PackRight<'a, T> {
    pub(super) depth: usize,
    pub(super) cols: usize,
    pub(super) source: Source<'a, T>,
    pub(super) out: &'a mut [T],
}

impl<T: Element> Kernel for PackRight<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        if self.depth == 0 {
            return;
        }
        if self.source.outer_step == 1 { self.copy(isa) } else { self.transpose(isa) }
    }
}

impl<T: Element> PackRight<'_, T> {
    /// Rows of the source are rows of panels.
    #[inline(always)]
    fn copy<I: Isa>(self, isa: I) {
        let lanes = T::Vector::<I>::LANES;
        for start in (0..self.depth).step_by(STREAMS) {
            let rows = STREAMS.min(self.depth - start);
            for (panel, out) in self.out.chunks_exact_mut(self.depth * lanes).enumerate() {
                let width = lanes.min(self.cols - panel * lanes);
                let out = &mut out[start * lanes..][..rows * lanes];
                for (row, out) in out.chunks_exact_mut(lanes).enumerate() {
                    let from = &self.source.data[(start + row) * self.source.k_step + panel * lanes..];
                    isa.prefetch(from.as_ptr().wrapping_add(STREAMS.wrapping_mul(self.source.k_step)));
                    let b: T::Vector<I> = if width == lanes {
                        simd::load(isa, from)
                    } else {
                        simd::load_partial(isa, &from[..width])
                    };
                    b.store_into(out);
                }
            }
        }
    }

    /// Rows of the source are columns of panels.
    #[inline(always)]
    fn transpose<I: Isa>(self, isa: I) {
        let lanes = T::Vector::<I>::LANES;
        let stride = self.source.outer_step;
        for (panel, out) in self.out.chunks_exact_mut(self.depth * lanes).enumerate() {
            let width = lanes.min(self.cols - panel * lanes);
            let source = self.source.from(panel * lanes, 0);
            if self.depth < lanes {
                for (k, out) in out.chunks_exact_mut(lanes).enumerate() {
                    for (col, out) in out[..width].iter_mut().enumerate() {
                        *out = source.data[col * stride + k];
                    }
                }
                continue;
            }
            for k in (0..self.depth).step_by(lanes) {
                // The last block overlaps the one before.
                let k = k.min(self.depth - lanes);
                for col in lanes..2 * lanes {
                    isa.prefetch(source.data.as_ptr().wrapping_add(col.wrapping_mul(stride)).wrapping_add(k));
                }
                transpose_block(isa, &source.data[k..], (width, stride), &mut out[k * lanes..]);
            }
        }
    }
}

/// `sums[col] += Σ x[row][col]`, in `f64`, rows in order.
pub(super) struct ColumnSums<'a, T> {
    /// From the first column to be summed on.
    pub(super) x: &'a [T],
    pub(super) rows: usize,
    pub(super) stride: usize,
    pub(super) sums: &'a mut [T],
    /// What the same sums are added to.
    pub(super) also: Option<&'a mut [T]>,
    /// The norm that the elements are added to.
    pub(super) norm: Option<&'a mut NormPartial>,
}

/// Sums at a time: 4 KiB in L1, for rows that are read in long streams.
const SUMS: usize = 16 * simd::FOLD_BLOCK;

impl<T: Element> Kernel for ColumnSums<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(mut self, isa: I) {
        for first in (0..self.sums.len()).step_by(SUMS) {
            let width = SUMS.min(self.sums.len() - first);
            let lanes = match self.norm {
                Some(_) => self.add_rows::<I, true>(isa, first, width),
                None => self.add_rows::<I, false>(isa, first, width),
            };
            for sums in [Some(&mut *self.sums), self.also.as_deref_mut()].into_iter().flatten() {
                for (sum, total) in sums[first..][..width].iter_mut().zip(lanes) {
                    *sum = T::from_f64(sum.to_f64() + total);
                }
            }
        }
    }
}

impl<T: Element> ColumnSums<'_, T> {
    /// The sums of `width` columns, which are added to the norm block by block of columns where that is `WITH_NORM`.
    #[inline(always)]
    fn add_rows<I: Isa, const WITH_NORM: bool>(&mut self, isa: I, first: usize, width: usize) -> [f64; SUMS] {
        const BLOCKS: usize = SUMS / simd::FOLD_BLOCK;
        let mut totals = [[simd::splat::<I, f64>(isa, 0.0); 4]; BLOCKS];
        let mut squares = [[simd::splat::<I, f64>(isa, 0.0); 4]; BLOCKS];
        for row in 0..self.rows {
            let x = &self.x[row * self.stride + first..][..width];
            for ((x, totals), squares) in x.chunks(simd::FOLD_BLOCK).zip(&mut totals).zip(&mut squares) {
                let x = if x.len() == simd::FOLD_BLOCK {
                    simd::widen::<I, T>(isa, x)
                } else {
                    simd::widen_partial::<I, T>(isa, x)
                };
                for part in 0..4 {
                    totals[part] = totals[part] + x[part];
                    if WITH_NORM {
                        squares[part] = x[part].mul_add(x[part], squares[part]);
                    }
                }
            }
        }
        if let (true, Some(norm)) = (WITH_NORM, self.norm.as_deref_mut()) {
            for (block, sums) in squares[..width.div_ceil(simd::FOLD_BLOCK)].iter().enumerate() {
                let from = block * simd::FOLD_BLOCK;
                let columns = first + from..first + width.min(from + simd::FOLD_BLOCK);
                let rows = (0..self.rows).map(|row| &self.x[row * self.stride..][columns.clone()]);
                add_squares(isa, norm, ((sums[0] + sums[1]) + (sums[2] + sums[3])).sum(), rows);
            }
        }
        let mut lanes = [0.0; SUMS];
        for (vector, to) in totals.iter().flatten().zip(lanes.chunks_exact_mut(8)) {
            vector.store_into(to);
        }
        lanes
    }
}
