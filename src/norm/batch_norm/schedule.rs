//! How the work is cut: strips of channels that stay in cache between statistics and result, and tiles of them.

use core::ops::Range;

use crate::Element;
use crate::norm::Affine;
use crate::parallel::{self, Split};
use crate::simd::{Active, MatrixMut, Tile};
use crate::strips::{Strips, TILE};

/// What does not differ from strip to strip.
pub(super) struct Common<'a, T> {
    pub(super) active: Active,
    pub(super) strips: Strips,
    pub(super) eps: f64,
    pub(super) x: &'a [T],
    pub(super) affine: Affine<'a, T>,
}

impl<T: Element> Common<'_, T> {
    /// The tile of `data` of this many rows and columns, at row and column `place` of the channels.
    pub(super) fn tile<'a>(
        &self,
        data: &'a [T],
        place: (usize, usize),
        channels: &Range<usize>,
        [rows, width]: [usize; 2],
    ) -> Tile<'a, T> {
        let data = &data[self.at(place, channels)..];
        Tile::new(data, rows, width, self.strips.stride())
    }

    /// Index of the element at row and column `place` of the channels.
    pub(super) fn at(&self, (row, col): (usize, usize), channels: &Range<usize>) -> usize {
        row * self.strips.stride() + channels.start * self.strips.shape.inner + col
    }
}

/// Calls `f` on parts of a strip each: first on the `head` channels, if there are any, then on the strips after them. As the first
/// of the strips it would be a task more on one side of the threads: of 256x1024 two threads would take 1.07 to 1.5.
pub(super) fn for_each_strip<S: Split + Send>(strips: Strips, head: usize, part: S, f: impl Fn(S) + Sync) {
    let (first, rest) = part.split_at(head);
    if head > 0 {
        f(first);
    }
    parallel::for_each(rest, strips.task(), |mut part| {
        while part.len() > strips.channels {
            let (strip, rest) = part.split_at(strips.channels);
            f(strip);
            part = rest;
        }
        f(part);
    });
}

/// Calls `f` on tiles of at most [`TILE`] elements that are whole rows, or of one row where that is longer; with the
/// row, counted from `first`, and the column where each begins.
pub(super) fn each_tile<T>(
    first: usize,
    data: MatrixMut<'_, T>,
    mut f: impl FnMut((usize, usize), MatrixMut<'_, T>),
) {
    let (mut row, width, mut data) = (first, data.cols(), data);
    while data.rows() > 0 {
        let height = (TILE / width).clamp(1, data.rows());
        let (mut rows, rest) = data.split_rows(height);
        data = rest;
        for col in (0..width).step_by(TILE) {
            let (tile, rest) = rows.split_cols(TILE.min(width - col));
            rows = rest;
            f((row, col), tile);
        }
        row += height;
    }
}

/// Calls `f` on the rows of a tile, or on all at once where nothing lies between them in a tensor of this stride too;
/// with the index of each, the first being `at`.
pub(super) fn each_span<T>(
    at: usize,
    stride: usize,
    tile: &mut MatrixMut<'_, T>,
    mut f: impl FnMut(usize, &mut [T]),
) {
    if tile.cols() == stride
        && let Some(all) = tile.as_slice()
    {
        return f(at, all);
    }
    for row in 0..tile.rows() {
        f(at + row * stride, tile.row(row));
    }
}
