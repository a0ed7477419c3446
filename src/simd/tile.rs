//! What a matrix product needs beyond slices: strided parts of an output, the inner loop of a tile, a transposing copy.

use core::marker::PhantomData;

use super::{Isa, LINE, Vector};
use crate::Element;

/// A row-major matrix with gaps between its rows, to be written. It can be cut into parts that do not overlap, also
/// by columns, which slices cannot.
#[derive(Debug)]
pub(crate) struct MatrixMut<'a, T> {
    start: *mut T,
    rows: usize,
    cols: usize,
    stride: usize,
    borrow: PhantomData<&'a mut [T]>,
}

// SAFETY: it stands for as many `&mut [T]` as it has rows, which may be sent where `T` may be sent.
unsafe impl<T: Send> Send for MatrixMut<'_, T> {}

impl<'a, T> MatrixMut<'a, T> {
    /// The first `cols` of every `stride` elements, `rows` times.
    ///
    /// # Panics
    /// Where the rows overlap or `data` is too short: callers have checked both.
    pub(crate) fn new(data: &'a mut [T], rows: usize, cols: usize, stride: usize) -> Self {
        assert!(cols <= stride);
        assert!(rows == 0 || (rows - 1) * stride + cols <= data.len());
        Self { start: data.as_mut_ptr(), rows, cols, stride, borrow: PhantomData }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn cols(&self) -> usize {
        self.cols
    }

    /// Row `row` as a slice.
    ///
    /// # Panics
    /// Where there is no such row.
    #[inline(always)]
    pub(crate) fn row(&mut self, row: usize) -> &mut [T] {
        assert!(row < self.rows);
        let start = self.start.wrapping_add(row * self.stride);
        // SAFETY: the row lies in the data that `new` was given, and no other part has a claim on it.
        unsafe { core::slice::from_raw_parts_mut(start, self.cols) }
    }

    /// `COUNT` rows from `row` on, as slices.
    ///
    /// # Panics
    /// Where there are fewer.
    #[inline(always)]
    pub(super) fn rows_from<const COUNT: usize>(&mut self, row: usize) -> [&mut [T]; COUNT] {
        assert!(COUNT <= self.rows && row <= self.rows - COUNT && self.cols <= self.stride);
        core::array::from_fn(
            #[inline(always)]
            |r| {
                let start = self.start.wrapping_add((row + r) * self.stride);
                // SAFETY: as in `row`; the rows do not overlap, as none is longer than the way to the next.
                unsafe { core::slice::from_raw_parts_mut(start, self.cols) }
            },
        )
    }

    /// The first element, and the elements from a row to the next.
    #[inline(always)]
    pub(super) fn start_and_stride(&self) -> (*const T, usize) {
        (self.start, self.stride)
    }

    /// All rows in one where nothing lies between them.
    pub(crate) fn as_slice(&mut self) -> Option<&mut [T]> {
        // SAFETY: without gaps the rows are one run of the data that `new` was given.
        (self.cols == self.stride)
            .then(|| unsafe { core::slice::from_raw_parts_mut(self.start, self.rows * self.cols) })
    }

    /// Asks for the cache lines of as many columns as it has, from column `col` of a row on; there
    /// need be none.
    #[inline(always)]
    pub(crate) fn prefetch<I: Isa>(&self, isa: I, row: usize, col: usize) {
        let start = self.start.wrapping_add(row.wrapping_mul(self.stride).wrapping_add(col));
        for at in (0..self.cols).step_by(LINE / size_of::<T>()) {
            isa.prefetch(start.wrapping_add(at));
        }
        isa.prefetch(start.wrapping_add(self.cols.saturating_sub(1)));
    }

    /// The first element of row `row`, where there are `rows` rows from it on and `cols` columns.
    ///
    /// # Panics
    /// Where there are not.
    #[inline(always)]
    fn tile_start(&self, row: usize, rows: usize, cols: usize) -> *mut T {
        assert!(row + rows <= self.rows && cols <= self.cols);
        self.start.wrapping_add(row * self.stride)
    }

    /// The same rows and columns for a shorter time.
    #[inline(always)]
    pub(crate) fn reborrow(&mut self) -> MatrixMut<'_, T> {
        MatrixMut { borrow: PhantomData, ..*self }
    }

    /// The first `mid` rows and the others.
    ///
    /// # Panics
    /// Where `mid` exceeds the rows.
    #[inline(always)]
    pub(crate) fn split_rows(self, mid: usize) -> (Self, Self) {
        assert!(mid <= self.rows);
        let start = self.start.wrapping_add(mid * self.stride);
        (Self { rows: mid, ..self }, Self { start, rows: self.rows - mid, ..self })
    }

    /// The first `mid` columns and the others.
    ///
    /// # Panics
    /// Where `mid` exceeds the columns.
    #[inline(always)]
    pub(crate) fn split_cols(self, mid: usize) -> (Self, Self) {
        assert!(mid <= self.cols);
        let start = self.start.wrapping_add(mid);
        (Self { cols: mid, ..self }, Self { start, cols: self.cols - mid, ..self })
    }
}

/// `PANELS` vectors of each of `ROWS` rows of `c` from `row` on.
///
/// # Panics
/// Where `c` has not that many rows or columns.
#[inline(always)]
pub(crate) fn load_tile<I: Isa, T: Element, const ROWS: usize, const PANELS: usize>(
    isa: I,
    c: &MatrixMut<'_, T>,
    row: usize,
) -> [[T::Vector<I>; PANELS]; ROWS] {
    let start = c.tile_start(row, ROWS, PANELS * T::Vector::<I>::LANES);
    core::array::from_fn(super::inlined(
        #[inline(always)]
        |row: usize| {
            core::array::from_fn(super::inlined(
                #[inline(always)]
                |panel: usize| {
                    let from = start.wrapping_add(row * c.stride + panel * T::Vector::<I>::LANES);
                    // SAFETY: columns of a row that `tile_start` has found in `c`.
                    unsafe { Vector::load(isa, from) }
                },
            ))
        },
    ))
}

/// Writes what [`load_tile`] reads.
///
/// # Panics
/// As there.
#[inline(always)]
pub(crate) fn store_tile<V: Vector, const ROWS: usize, const PANELS: usize>(
    sums: [[V; PANELS]; ROWS],
    c: &mut MatrixMut<'_, V::Elem>,
    row: usize,
) {
    let mut start = c.tile_start(row, ROWS, PANELS * V::LANES);
    for sums in sums {
        for (panel, sum) in sums.into_iter().enumerate() {
            // SAFETY: columns of a row that `tile_start` has found in `c`.
            unsafe { sum.store(start.wrapping_add(panel * V::LANES)) };
        }
        start = start.wrapping_add(c.stride);
    }
}

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
