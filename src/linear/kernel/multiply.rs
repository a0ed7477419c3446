//! The product: some tiles of rows by some panels of columns.

use core::ops::Range;

use super::{Tiles, is_formed};
use crate::Element;
use crate::simd::{
    self, Ahead, Isa, Kernel, Left, Lines, MatrixMut, Right, StoreInto, Vector, load_tile, multiply_tile,
    store_tile,
};

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
    pub(in crate::linear) fn starting_at(self, col: usize) -> Self {
        match self {
            Self::Scaled(beta) => Self::Scaled(beta),
            Self::Bias(bias) => Self::Bias(&bias[col..]),
        }
    }
}

/// The rows of the left factor, all tiles one after the other.
#[derive(Clone, Copy, Debug)]
pub(in crate::linear) enum Rows<'a, T> {
    /// As the caller has them.
    Strided { data: &'a [T], stride: usize },
    /// By [`PackLeft`](super::PackLeft).
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
pub(in crate::linear) struct Multiply<'a, T> {
    pub(in crate::linear) depth: usize,
    pub(in crate::linear) tiles: Tiles,
    /// The tiles whose rows `c` has.
    pub(in crate::linear) first: usize,
    pub(in crate::linear) last: usize,
    pub(in crate::linear) left: Rows<'a, T>,
    pub(in crate::linear) right: Right<'a, T>,
    /// Panels that tiles take side by side, where there are as many.
    pub(in crate::linear) panels: usize,
    pub(in crate::linear) ahead: Ahead<'a, T>,
    pub(in crate::linear) start: Start<'a, T>,
}

/// [`Multiply`] with the output it writes.
pub(in crate::linear) struct MultiplyInto<'a, T>(
    pub(in crate::linear) Multiply<'a, T>,
    pub(in crate::linear) MatrixMut<'a, T>,
);

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
