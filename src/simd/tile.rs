//! What a matrix product needs beyond slices: the inner loop of a tile, and a transposing copy.

use super::{Isa, Vector};
use crate::Element;

/// The left factor of a tile.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Left<'a, T> {
    /// Element (`row`, `k`) lies at `k · rows + row`.
    Packed(&'a [T]),
    /// Element (`row`, `k`) lies at `row · stride + k`.
    Strided { data: &'a [T], stride: usize },
}

/// The right factor of a tile: panels as wide as a vector, row `k` of a panel at `k · k_step`, the next panel
/// `panel_step` elements on. So are panels that were packed, and the columns of a row-major matrix.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Right<'a, T> {
    pub(crate) data: &'a [T],
    pub(crate) panel_step: usize,
    pub(crate) k_step: usize,
}

impl<T> Right<'_, T> {
    /// The panels from `panel` on.
    #[inline(always)]
    pub(crate) fn starting_at(self, panel: usize) -> Self {
        Self { data: &self.data[(panel * self.panel_step).min(self.data.len())..], ..self }
    }
}

/// What a product asks memory for while it computes, into L2: each tile a cache line at each step of `k`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ahead<'a, T> {
    /// From the first line of the first tile on.
    pub(crate) data: &'a [T],
    /// Elements from a line to that of the next step.
    pub(crate) step: usize,
    /// Elements from the lines of a tile to those of the next tile.
    pub(crate) tile_step: usize,
    /// Tiles that ask; those after them ask for the first line again.
    pub(crate) tiles: usize,
}

impl<'a, T> Ahead<'a, T> {
    /// Only what the product has in cache anyway.
    pub(crate) fn nothing(right: Right<'a, T>) -> Self {
        Self { data: right.data, step: 0, tile_step: 0, tiles: 0 }
    }

    /// The first line of tile `tile` of all, and the elements from it to the next.
    #[inline(always)]
    pub(crate) fn lines(self, tile: usize) -> Lines<T> {
        let (place, step) = if tile < self.tiles { (tile * self.tile_step, self.step) } else { (0, 0) };
        Lines { start: self.data.as_ptr().wrapping_add(place), step }
    }
}

/// Places in memory, `step` elements apart, that are never read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lines<T> {
    start: *const T,
    step: usize,
}

/// `sums[row][panel] += left(row, k) · right(panel, k)` for `k` in `0..depth`, in order, each a fused multiply-add;
/// meanwhile memory is asked for the lines `ahead`.
///
/// # Panics
/// Where an operand is too short; without a step of `k` nothing is read.
#[inline(always)]
pub(crate) fn multiply_tile<I: Isa, T: Element, const ROWS: usize, const PANELS: usize>(
    isa: I,
    depth: usize,
    left: Left<'_, T>,
    right: Right<'_, T>,
    ahead: Lines<T>,
    sums: &mut [[T::Vector<I>; PANELS]; ROWS],
) {
    if depth == 0 {
        return;
    }
    // Steps that are constants become offsets of the loads, which take no instructions of their own.
    let lanes = T::Vector::<I>::LANES;
    let packed = Right { k_step: lanes, ..right };
    let nothing = ahead.step == 0;
    match (left, right.k_step == lanes) {
        (Left::Packed(data), true) => walk(isa, depth, (data, 1, ROWS), packed, (), sums),
        (Left::Packed(data), false) => walk(isa, depth, (data, 1, ROWS), right, (), sums),
        (Left::Strided { data, stride }, true) if nothing => {
            walk(isa, depth, (data, stride, 1), packed, (), sums);
        }
        (Left::Strided { data, stride }, true) => walk(isa, depth, (data, stride, 1), packed, ahead, sums),
        (Left::Strided { data, stride }, false) => walk(isa, depth, (data, stride, 1), right, ahead, sums),
    }
}

/// What a loop asks memory for at each step: [`Lines`], or nothing.
trait Asks: Copy {
    /// Asks for the line of step `at`.
    fn ask<I: Isa>(self, isa: I, at: usize);
    /// The lines from step `at` on.
    fn from(self, at: usize) -> Self;
}

impl<T: Element> Asks for Lines<T> {
    #[inline(always)]
    fn ask<I: Isa>(self, isa: I, at: usize) {
        isa.prefetch_far(self.from(at).start);
    }
    #[inline(always)]
    fn from(self, at: usize) -> Self {
        Self { start: self.start.wrapping_add(at * self.step), ..self }
    }
}

impl Asks for () {
    #[inline(always)]
    fn ask<I: Isa>(self, _isa: I, _at: usize) {}
    #[inline(always)]
    fn from(self, _at: usize) -> Self {}
}

/// Rows that share a pointer, from which they are 0, 1 and 2 steps away: offsets that an address can hold.
const ROWS_OF_A_POINTER: usize = 3;
/// Pointers of the tallest tile.
const POINTERS: usize = 3;
/// Rows of the tallest tile that is multiplied.
pub(crate) const TALLEST: usize = POINTERS * ROWS_OF_A_POINTER;

/// [`multiply_tile`] for a left factor given as its data, the step from row to row, and that from `k` to `k + 1`.
///
/// # Panics
/// As there.
#[inline(always)]
fn walk<I: Isa, T: Element, const ROWS: usize, const PANELS: usize>(
    isa: I,
    depth: usize,
    (left, row_step, k_step): (&[T], usize, usize),
    right: Right<'_, T>,
    mut ahead: impl Asks,
    sums: &mut [[T::Vector<I>; PANELS]; ROWS],
) {
    /// Steps of `k` without a jump. A thread that shares its core has half of the core's slots for instructions, and
    /// what is not a multiply-add takes them away: 103 to 105 % of the speed of one step where another thread runs.
    const UNROLLED: usize = 4;
    const { assert!(ROWS <= TALLEST) };
    let last = depth - 1;
    assert!((ROWS - 1) * row_step + last * k_step < left.len());
    assert!(
        (PANELS - 1) * right.panel_step + last * right.k_step + T::Vector::<I>::LANES <= right.data.len()
    );
    let a = left.as_ptr();
    let mut rows = [a; POINTERS];
    for (at, rows) in rows.iter_mut().enumerate() {
        let first = at * ROWS_OF_A_POINTER;
        if at > 0 && first < ROWS {
            // Where the compiler knows how they relate, it derives all from one in each step.
            *rows = core::hint::black_box(a.wrapping_add(first * row_step));
        }
    }
    let mut b = right.data.as_ptr();
    let mut totals = *sums;
    for _ in 0..depth / UNROLLED {
        for at in 0..UNROLLED {
            let rows = rows.map(
                #[inline(always)]
                |row| row.wrapping_add(at * k_step),
            );
            let b = b.wrapping_add(at * right.k_step);
            ahead.ask(isa, at);
            // SAFETY: step `k` of both factors, which have `depth`.
            unsafe { multiply_step(isa, rows, row_step, (b, right), &mut totals) };
        }
        rows = rows.map(
            #[inline(always)]
            |row| row.wrapping_add(UNROLLED * k_step),
        );
        b = b.wrapping_add(UNROLLED * right.k_step);
        ahead = ahead.from(UNROLLED);
    }
    for _ in 0..depth % UNROLLED {
        // SAFETY: as above.
        unsafe { multiply_step(isa, rows, row_step, (b, right), &mut totals) };
        rows = rows.map(
            #[inline(always)]
            |row| row.wrapping_add(k_step),
        );
        b = b.wrapping_add(right.k_step);
        ahead.ask(isa, 0);
        ahead = ahead.from(1);
    }
    *sums = totals;
}

/// One step of `k` of [`walk`]: `rows` point to its elements of every third row, `b` to those of the first panel.
///
/// # Safety
/// Both factors have a step there.
#[inline(always)]
unsafe fn multiply_step<I: Isa, T: Element, const ROWS: usize, const PANELS: usize>(
    isa: I,
    rows: [*const T; POINTERS],
    row_step: usize,
    (b, right): (*const T, Right<'_, T>),
    totals: &mut [[T::Vector<I>; PANELS]; ROWS],
) {
    /// Rows of a panel, each a cache line, that are asked for ahead.
    const AHEAD: usize = 16;
    let mut columns = [totals[0][0]; PANELS];
    for (panel, column) in columns.iter_mut().enumerate() {
        let from = b.wrapping_add(panel * right.panel_step);
        // SAFETY: the step's row of a panel.
        *column = unsafe { Vector::load(isa, from) };
        isa.prefetch(from.wrapping_add(AHEAD.wrapping_mul(right.k_step)));
    }
    for (row, totals) in totals.iter_mut().enumerate() {
        let a = rows[row / ROWS_OF_A_POINTER].wrapping_add(row % ROWS_OF_A_POINTER * row_step);
        // SAFETY: the step's element of a row.
        let factor = T::Vector::<I>::new(isa, unsafe { *a });
        for (total, &column) in totals.iter_mut().zip(&columns) {
            *total = factor.mul_add(column, *total);
        }
    }
}

/// `to[k · LANES + row] = from[row · stride + k]` for as many `k` as a vector has lanes and for `rows` rows, the last of
/// which stands in for those that a vector has more.
///
/// # Panics
/// Where a slice is too short, or without a row.
#[inline(always)]
pub(crate) fn transpose_block<I: Isa, T: Element>(
    isa: I,
    from: &[T],
    (rows, stride): (usize, usize),
    to: &mut [T],
) {
    let lanes = T::Vector::<I>::LANES;
    assert!(rows > 0 && (rows - 1) * stride + lanes <= from.len());
    assert!(lanes * lanes <= to.len());
    // SAFETY: both slices are long enough.
    unsafe { T::Vector::<I>::transpose(isa, from.as_ptr(), stride, rows, to.as_mut_ptr()) };
}
