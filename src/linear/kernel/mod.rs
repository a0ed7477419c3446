//! Tiles of a product held in registers, the copies that lay the factors out for them, and sums of columns.

mod column_sums;
mod multiply;
mod packing;

use core::ops::Range;

pub(super) use column_sums::ColumnSums;
pub(crate) use multiply::Start;
pub(super) use multiply::{Multiply, MultiplyInto, Rows};
pub(super) use packing::{PackLeft, PackRight, Source, spread};

use crate::Level;
use crate::simd;

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
