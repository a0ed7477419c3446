//! The copies of both factors into the order in which a tile reads them.

use core::ops::Range;

use super::Tiles;
use crate::Element;
use crate::linear::{MatrixLayout, Transpose};
use crate::simd::{self, Ahead, Isa, Kernel, LINE, StoreInto, Vector, transpose_block};

/// Whether rows that are `stride` elements apart lie in different sets of a cache.
pub(in crate::linear) fn spread<T>(stride: usize) -> bool {
    /// Bytes between addresses of the same set of L1.
    const ALIAS: usize = 4096;
    !stride.wrapping_mul(size_of::<T>()).is_multiple_of(ALIAS)
}

/// A part of a factor as the caller has it: `outer` is the dimension that is cut into tiles or panels, the rows of
/// A and the columns of B.
#[derive(Clone, Copy, Debug)]
pub(in crate::linear) struct Source<'a, T> {
    pub(in crate::linear) data: &'a [T],
    /// Elements from one `outer` to the next, 1 or the stride.
    pub(in crate::linear) outer_step: usize,
    /// Elements from one `k` to the next, 1 or the stride.
    pub(in crate::linear) k_step: usize,
}

impl<'a, T> Source<'a, T> {
    pub(in crate::linear) fn left(data: &'a [T], layout: MatrixLayout) -> Self {
        match layout.transpose {
            Transpose::No => Self { data, outer_step: layout.stride, k_step: 1 },
            Transpose::Yes => Self { data, outer_step: 1, k_step: layout.stride },
        }
    }
    pub(in crate::linear) fn right(data: &'a [T], layout: MatrixLayout) -> Self {
        match layout.transpose {
            Transpose::No => Self { data, outer_step: 1, k_step: layout.stride },
            Transpose::Yes => Self { data, outer_step: layout.stride, k_step: 1 },
        }
    }
    /// Columns of its rows, where it is stored by rows that do not compete for the same sets of a cache: a tile asks for
    /// a line of each.
    pub(in crate::linear) fn rows_ahead(self, cols: Range<usize>) -> Option<Ahead<'a, T>> {
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
    pub(in crate::linear) fn from(self, outer: usize, k: usize) -> Self {
        let start = (outer * self.outer_step + k * self.k_step).min(self.data.len());
        Self { data: &self.data[start..], ..self }
    }
}

/// Rows of a source that are read side by side while it is packed: as many streams as prefetchers follow.
const STREAMS: usize = 16;

/// Lays tiles of rows out as `[k][row]`, times `alpha`.
pub(in crate::linear) struct PackLeft<'a, T> {
    pub(in crate::linear) alpha: T,
    pub(in crate::linear) depth: usize,
    pub(in crate::linear) tiles: Tiles,
    pub(in crate::linear) first: usize,
    pub(in crate::linear) last: usize,
    /// Its row 0 is row 0 of `tiles`.
    pub(in crate::linear) source: Source<'a, T>,
    /// The rows of tiles `first..last` only.
    pub(in crate::linear) out: &'a mut [T],
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
pub(in crate::linear) struct PackRight<'a, T> {
    pub(in crate::linear) depth: usize,
    pub(in crate::linear) cols: usize,
    pub(in crate::linear) source: Source<'a, T>,
    pub(in crate::linear) out: &'a mut [T],
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
