//! Strided parts of an output, and the tiles of a product that are read from them and written to them.

use core::marker::PhantomData;

use super::{Isa, LINE, Vector, array_from_fn};
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

    /// Overwrites the vector of row `row` from column `col` on; past the caches where it `STREAMS`: then [`Isa::fence`] must
    /// follow before another thread reads.
    ///
    /// # Safety
    /// There is such a row, and its columns reach to the vector's end; where it streams, the vector begins at a multiple of 64.
    #[inline(always)]
    pub(super) unsafe fn write<V: Vector<Elem = T>, const STREAMS: bool>(
        &mut self,
        value: V,
        row: usize,
        col: usize,
    ) {
        let to = self.start.wrapping_add(row * self.stride + col);
        if STREAMS {
            // SAFETY: the caller's, in the data that `new` was given.
            unsafe { value.stream(to) };
        } else {
            // SAFETY: likewise.
            unsafe { value.store(to) };
        }
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
    array_from_fn(
        #[inline(always)]
        |row| {
            array_from_fn(
                #[inline(always)]
                |panel| {
                    let from = start.wrapping_add(row * c.stride + panel * T::Vector::<I>::LANES);
                    // SAFETY: columns of a row that `tile_start` has found in `c`.
                    unsafe { Vector::load(isa, from) }
                },
            )
        },
    )
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
