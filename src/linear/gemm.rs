//! [`Gemm`]: C = α·op(A)·op(B) + β·C.

use super::{Compiled, Factor, PackedMatrix, Product, Start, schedule};
use crate::shape::{check_at_least, check_len, check_range};
use crate::{Element, Epilogue, Error};

/// Whether a factor is used as it is stored or transposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transpose {
    /// op(X) = X.
    No,
    /// op(X) = Xᵀ.
    Yes,
}

/// How a factor op(X) of a product is stored: row-major, each row `stride` elements after the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MatrixLayout {
    /// Whether the stored matrix is op(X) or its transpose.
    pub transpose: Transpose,
    /// Elements from one stored row to the next (BLAS calls it the leading dimension): at least those of a row.
    pub stride: usize,
}

impl MatrixLayout {
    /// A `rows` by `cols` factor stored as it is, without gaps.
    #[must_use]
    pub const fn dense(_rows: usize, cols: usize) -> Self {
        Self { transpose: Transpose::No, stride: cols }
    }

    /// A `rows` by `cols` factor whose transpose is stored, without gaps.
    #[must_use]
    pub const fn transposed(rows: usize, _cols: usize) -> Self {
        Self { transpose: Transpose::Yes, stride: rows }
    }

    /// Whether `data` holds a `rows` by `cols` factor in this layout.
    pub(super) fn check<T>(
        self,
        name: &'static str,
        data: &[T],
        rows: usize,
        cols: usize,
    ) -> Result<(), Error> {
        match self.transpose {
            Transpose::No => check_strided(name, data.len(), rows, cols, self.stride),
            Transpose::Yes => check_strided(name, data.len(), cols, rows, self.stride),
        }
    }
}

/// Whether `len` elements hold `rows` rows of `cols` elements, `stride` apart.
fn check_strided(
    argument: &'static str,
    len: usize,
    rows: usize,
    cols: usize,
    stride: usize,
) -> Result<(), Error> {
    check_range(argument, "stored with a stride of at least its row", stride >= cols)?;
    if rows == 0 || cols == 0 {
        return Ok(());
    }
    let gaps = (rows - 1).checked_mul(stride);
    let expected = gaps.and_then(|gaps| gaps.checked_add(cols)).ok_or(Error::Overflow { argument })?;
    if len >= expected { Ok(()) } else { Err(Error::Length { argument, expected, actual: len }) }
}

/// Dimensions and layouts of a product: op(A) is `m` by `k`, op(B) is `k` by `n`, C is `m` by `n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GemmShape {
    /// Rows of op(A) and of C.
    pub m: usize,
    /// Columns of op(B) and of C.
    pub n: usize,
    /// Columns of op(A) and rows of op(B).
    pub k: usize,
    /// Layout of A.
    pub a: MatrixLayout,
    /// Layout of B; not read where B is a [`PackedMatrix`].
    pub b: MatrixLayout,
    /// Elements from one row of C to the next: at least `n`.
    pub c_stride: usize,
}

impl GemmShape {
    /// The product of matrices stored as they are, without gaps.
    #[must_use]
    pub const fn dense(m: usize, n: usize, k: usize) -> Self {
        Self { m, n, k, a: MatrixLayout::dense(m, k), b: MatrixLayout::dense(k, n), c_stride: n }
    }

    /// Elements that `scratch` needs at least: however large the product, about 1536·512 of them for A and 2048·512
    /// for B.
    #[must_use]
    pub fn scratch_len<T: Element>(&self) -> usize {
        schedule::scratch_len::<T>(*self)
    }

    pub(super) fn check<T: Element>(&self, a: &[T], scratch: &[T], c: &[T]) -> Result<(), Error> {
        self.a.check("a", a, self.m, self.k)?;
        check_at_least("scratch", scratch.len(), self.scratch_len::<T>())?;
        check_strided("c", c.len(), self.m, self.n, self.c_stride)
    }
}

/// The product of two matrices, added to a third.
///
/// ```text
/// C = α·op(A)·op(B) + β·C
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gemm {
    /// Factor α of the product; not NaN. Default 1.
    pub alpha: f64,
    /// Factor β of what C holds; not NaN. 0 overwrites C without reading it. Default 0.
    pub beta: f64,
}

impl Default for Gemm {
    fn default() -> Self {
        Self { alpha: 1.0, beta: 0.0 }
    }
}

impl Gemm {
    /// `C = α·op(A)·op(B) + β·C`.
    ///
    /// | argument  | elements, at least                      | access                                 |
    /// |-----------|-----------------------------------------|----------------------------------------|
    /// | `a`       | (rows − 1)·stride + cols, as stored     | read                                   |
    /// | `b`       | (rows − 1)·stride + cols, as stored     | read                                   |
    /// | `scratch` | `shape.scratch_len::<T>()`              | overwritten                            |
    /// | `c`       | (m − 1)·`c_stride` + n                  | read unless β is 0, overwritten; its gaps are kept |
    ///
    /// Each output is a chain of multiply-adds in `T`, fused but on a portable level without FMA: it starts at
    /// β·c and adds (α·a)·b for k in order. So a row of C has the same bits whatever other rows and threads there are.
    /// α = 0 is not special: NaN in A or B propagates.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] for a NaN factor or a stride shorter than a row, [`Error::Length`] for a slice that is
    /// too short, [`Error::Overflow`] where its length does not fit in `usize`; then nothing was written.
    ///
    /// # Examples
    /// ```
    /// use steadygrad::linear::{Gemm, GemmShape};
    ///
    /// let (a, b) = ([1.0_f32, 2.0], [3.0_f32, 4.0, 5.0, 6.0]);
    /// let shape = GemmShape::dense(1, 2, 2);
    /// let mut scratch = vec![0.0; shape.scratch_len::<f32>()];
    /// let mut c = [f32::NAN; 2];
    /// Gemm::default().forward(shape, &a, &b, &mut scratch, &mut c)?;
    /// assert_eq!(c, [13.0, 16.0]); // 1·3 + 2·5, 1·4 + 2·6
    /// # Ok::<(), steadygrad::Error>(())
    /// ```
    pub fn forward<T: Element>(
        &self,
        shape: GemmShape,
        a: &[T],
        b: &[T],
        scratch: &mut [T],
        c: &mut [T],
    ) -> Result<(), Error> {
        self.check()?;
        shape.b.check("b", b, shape.k, shape.n)?;
        shape.check(a, scratch, c)?;
        self.run(shape, a, Factor::Strided(b), scratch, c);
        Ok(())
    }

    /// [`forward`](Self::forward) with a B that was packed before, which a product of few rows spends most of its time
    /// on. The same bits.
    ///
    /// # Errors
    /// As [`forward`](Self::forward); [`Error::OutOfRange`] where `b` is not `shape.k` by `shape.n`.
    pub fn forward_packed<T: Element>(
        &self,
        shape: GemmShape,
        a: &[T],
        b: &PackedMatrix<T>,
        scratch: &mut [T],
        c: &mut [T],
    ) -> Result<(), Error> {
        self.check()?;
        check_range("b", "packed as `shape.k` by `shape.n`", b.k() == shape.k && b.n() == shape.n)?;
        shape.check(a, scratch, c)?;
        self.run(shape, a, Factor::Packed(b), scratch, c);
        Ok(())
    }

    fn check(&self) -> Result<(), Error> {
        check_range("alpha", "a number", !self.alpha.is_nan())?;
        check_range("beta", "a number", !self.beta.is_nan())
    }

    fn run<T: Element>(&self, shape: GemmShape, a: &[T], b: Factor<'_, T>, scratch: &mut [T], c: &mut [T]) {
        <T as Compiled>::multiply(Product {
            shape,
            alpha: T::from_f64(self.alpha),
            a,
            b,
            start: Start::Scaled(T::from_f64(self.beta)),
            epilogue: Epilogue::default(),
            scratch,
            c,
        });
    }
}

/// Whether a slice without gaps holds `rows` by `cols` elements.
pub(super) fn check_dense(
    argument: &'static str,
    actual: usize,
    rows: usize,
    cols: usize,
) -> Result<(), Error> {
    check_len(argument, actual, rows.checked_mul(cols).ok_or(Error::Overflow { argument })?)
}
