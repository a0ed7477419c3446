//! [`PackedMatrix`]: a right factor laid out once for many products.

use super::{Compiled, MatrixLayout, schedule};
use crate::simd::Right;
use crate::{Element, Error};
use alloc::vec::Vec;

/// A right factor op(B) of products, `k` by `n`, copied into the order in which the products read it.
///
/// Its panels are one logical vector wide at every level, so what was packed at one level is right at all.
///
/// ```
/// use steadygrad::linear::{Gemm, GemmShape, MatrixLayout, PackedMatrix};
///
/// let mut packed = PackedMatrix::new(2, 1, MatrixLayout::dense(2, 1), &[3.0_f64, 4.0])?;
/// let shape = GemmShape::dense(1, 1, 2);
/// let mut scratch = vec![0.0; shape.scratch_len::<f64>()];
/// let mut c = [0.0];
/// Gemm::default().forward_packed(shape, &[1.0, 10.0], &packed, &mut scratch, &mut c)?;
/// assert_eq!(c, [43.0]);
/// packed.repack(MatrixLayout::dense(2, 1), &[5.0, 6.0])?; // after a step, without allocation
/// # Ok::<(), steadygrad::Error>(())
/// ```
#[derive(Debug)]
pub struct PackedMatrix<T> {
    k: usize,
    n: usize,
    /// The panels from `start` on, which is where a cache line begins.
    storage: Vec<T>,
    start: usize,
}

impl<T: Element> PackedMatrix<T> {
    /// Allocates room for op(B), `k` by `n`, and packs `b`, which holds it in `layout`.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] for a stride shorter than a row, [`Error::Length`] where `b` is too short,
    /// [`Error::Overflow`] where the number of elements does not fit in `usize`.
    pub fn new(k: usize, n: usize, layout: MatrixLayout, b: &[T]) -> Result<Self, Error> {
        layout.check("b", b, k, n)?;
        let lanes = schedule::lanes::<T>();
        let elements = n.checked_next_multiple_of(lanes).and_then(|width| width.checked_mul(k));
        let elements = elements.and_then(|elements| elements.checked_add(lanes));
        let bytes = elements.and_then(|elements| elements.checked_mul(size_of::<T>()));
        let len = match (elements, bytes) {
            (Some(elements), Some(bytes)) if isize::try_from(bytes).is_ok() => elements,
            _ => return Err(Error::Overflow { argument: "b" }),
        };
        let storage = alloc::vec![T::zero(); len];
        let start = schedule::aligned_start(&storage);
        let mut packed = Self { k, n, storage, start };
        packed.repack(layout, b)?;
        Ok(packed)
    }

    /// Packs another `b` of the same dimensions; allocates nothing.
    ///
    /// | argument | elements, at least                  | access |
    /// |----------|-------------------------------------|--------|
    /// | `b`      | (rows − 1)·stride + cols, as stored | read   |
    ///
    /// # Errors
    /// As [`new`](Self::new); then the matrix holds what it held.
    pub fn repack(&mut self, layout: MatrixLayout, b: &[T]) -> Result<(), Error> {
        layout.check("b", b, self.k, self.n)?;
        let (k, n) = (self.k, self.n);
        if k > 0 && n > 0 {
            let len = k * n.next_multiple_of(schedule::lanes::<T>());
            <T as Compiled>::pack(k, n, layout, b, &mut self.storage[self.start..][..len]);
        }
        Ok(())
    }

    /// Rows of op(B).
    #[must_use]
    pub fn k(&self) -> usize {
        self.k
    }

    /// Columns of op(B).
    #[must_use]
    pub fn n(&self) -> usize {
        self.n
    }

    /// All panels from row `from` on.
    pub(super) fn panels(&self, from: usize) -> Right<'_, T> {
        let lanes = schedule::lanes::<T>();
        Right { data: &self.storage[self.start + from * lanes..], panel_step: self.k * lanes, k_step: lanes }
    }
}

impl<T: Element> Clone for PackedMatrix<T> {
    fn clone(&self) -> Self {
        // The new allocation may begin elsewhere in a cache line.
        let mut storage = self.storage.clone();
        let start = schedule::aligned_start(&storage);
        let len = self.storage.len() - self.start.max(start);
        storage[start..start + len].copy_from_slice(&self.storage[self.start..self.start + len]);
        Self { k: self.k, n: self.n, storage, start }
    }
}
