//! Layer normalisation: each row to mean 0 and variance 1, then a gain and a shift an element.
//!
//! Ba, Kiros & Hinton 2016. A row is read once from memory, measured, and normalised while it is in cache. Sums are `f64`:
//! about the first element for `f32`, in two passes, mean first, for `f64`.

mod kernel;
pub mod reference;

pub(crate) use kernel::Deviation;

use super::rows::{self, Layout, Weights};
use super::{Affine, NormGradients, affine};
use crate::element::compiled_once;
use crate::shape::{check_at_least, check_len, check_range, check_rows};
use crate::simd::InOut;
use crate::{Element, Error, RowShape};

/// Layer normalisation over the columns; semantics are PyTorch's.
///
/// ```text
/// rstd = 1 / √(variance + eps)                  variance: Σ(x − mean)² / cols
/// yᵢ   = (xᵢ − mean) · rstd · γᵢ + βᵢ
/// ```
///
/// A row of one value gives β. NaN or infinity in a row makes that row NaN, and no other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerNorm {
    /// Added to the variance, at least 0 and finite; default 1e-5. With 0, a row whose values are all the same gives NaN.
    pub eps: f64,
}

impl Default for LayerNorm {
    fn default() -> Self {
        Self { eps: 1e-5 }
    }
}

/// What the forward of a norm of rows leaves for the backward, with its input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SavedRows<'a, T> {
    /// The input of the forward.
    pub x: &'a [T],
    /// Mean of each row.
    pub mean: &'a [f64],
    /// 1/√(variance + eps) of each row.
    pub rstd: &'a [f64],
}

impl<T> SavedRows<'_, T> {
    /// Whether there are as many elements and rows as there should be.
    pub(super) fn check(&self, elements: usize, rows: usize) -> Result<(), Error> {
        check_len("saved.x", self.x.len(), elements)?;
        check_len("saved.mean", self.mean.len(), rows)?;
        check_len("saved.rstd", self.rstd.len(), rows)
    }
}

impl LayerNorm {
    /// `y` for each row, and what the backward needs.
    ///
    /// | argument | elements                 | access                                  |
    /// |----------|--------------------------|-----------------------------------------|
    /// | `x`      | `rows · cols`            | read                                    |
    /// | `affine` | `cols` of γ, `cols` of β | read                                    |
    /// | `mean`   | `rows`                   | overwritten with the mean of each row   |
    /// | `rstd`   | `rows`                   | overwritten with 1/√(variance + eps)    |
    /// | `y`      | `rows · cols`            | overwritten                             |
    ///
    /// Within 4 ULP of the larger of |x̂ᵢ · γᵢ| and |βᵢ|, where the mean is exact to 2⁻⁵³ of the largest value.
    ///
    /// # Errors
    /// [`Error::Length`] names the first argument whose length differs from the table, [`Error::OutOfRange`] `eps`,
    /// [`Error::Empty`] `cols` where there are rows without elements, [`Error::Overflow`] `shape` where `rows · cols`
    /// does; then nothing was written.
    ///
    /// # Examples
    /// ```
    /// use steadygrad::norm::{Affine, LayerNorm};
    /// use steadygrad::RowShape;
    ///
    /// let norm = LayerNorm { eps: 0.0 };
    /// let affine = Affine { gamma: Some(&[1.0, 1.0, 1.0, 10.0]), beta: Some(&[0.0, 0.0, 0.5, 0.0]) };
    /// let (mut mean, mut rstd, mut y) = ([0.0; 1], [0.0; 1], [0.0_f32; 4]);
    /// let shape = RowShape { rows: 1, cols: 4 };
    /// norm.forward(shape, &[1.0, 1.0, 5.0, 5.0], affine, &mut mean, &mut rstd, &mut y)?;
    /// assert_eq!((mean, rstd), ([3.0], [0.5])); // deviation 2
    /// assert_eq!(y, [-1.0, -1.0, 1.5, 10.0]);
    /// # Ok::<(), steadygrad::Error>(())
    /// ```
    pub fn forward<T: Element>(
        &self,
        shape: RowShape,
        x: &[T],
        affine: Affine<'_, T>,
        mean: &mut [f64],
        rstd: &mut [f64],
        y: &mut [T],
    ) -> Result<(), Error> {
        self.check(shape, affine, &[("x", x.len()), ("y", y.len())])?;
        check_len("mean", mean.len(), shape.rows)?;
        check_len("rstd", rstd.len(), shape.rows)?;
        <T as Compiled>::forward(*self, shape, affine, InOut::new(x, y), [Some(mean), Some(rstd)]);
        Ok(())
    }

    /// [`forward`](Self::forward) that leaves nothing for a backward. The same bits.
    ///
    /// | argument | elements                 | access      |
    /// |----------|--------------------------|-------------|
    /// | `x`      | `rows · cols`            | read        |
    /// | `affine` | `cols` of γ, `cols` of β | read        |
    /// | `y`      | `rows · cols`            | overwritten |
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn infer<T: Element>(
        &self,
        shape: RowShape,
        x: &[T],
        affine: Affine<'_, T>,
        y: &mut [T],
    ) -> Result<(), Error> {
        self.check(shape, affine, &[("x", x.len()), ("y", y.len())])?;
        <T as Compiled>::forward(*self, shape, affine, InOut::new(x, y), [None, None]);
        Ok(())
    }

    /// Numbers that `scratch` of [`backward`](Self::backward) needs at least.
    #[must_use]
    pub fn backward_scratch_len(&self, shape: RowShape) -> usize {
        Layout::from(shape).scratch_len()
    }

    /// The gradients of input, γ and β.
    ///
    /// ```text
    /// x̂ = (x − mean) · rstd        g = γ · dy
    /// dxᵢ = rstd · (gᵢ − mean(g) − x̂ᵢ · mean(g · x̂))        dγᵢ += Σ dyᵢ · x̂ᵢ        dβᵢ += Σ dyᵢ
    /// ```
    ///
    /// | argument          | elements      | access                                                         |
    /// |-------------------|---------------|----------------------------------------------------------------|
    /// | `dy`              | `rows · cols` | read                                                           |
    /// | `gamma`           | `cols`        | read: as in the forward                                        |
    /// | `saved`           | `rows · cols` of `x`, `rows` of the others | read: of the forward              |
    /// | `scratch`         | at least [`backward_scratch_len`](Self::backward_scratch_len) | overwritten; not looked at where no parameter's gradient is asked for |
    /// | `gradients.input` | `rows · cols` | overwritten                                                    |
    /// | `gradients.gamma` | `cols`        | accumulated: products in the element type, their sums in `f64`  |
    /// | `gradients.beta`  | `cols`        | accumulated, as γ's                                            |
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    ///
    /// # Examples
    /// ```
    /// use steadygrad::norm::{LayerNorm, NormGradients, SavedRows};
    /// use steadygrad::RowShape;
    ///
    /// let (norm, shape) = (LayerNorm::default(), RowShape { rows: 1, cols: 4 });
    /// let saved = SavedRows { x: &[1.0_f64, 1.0, 5.0, 5.0], mean: &[3.0], rstd: &[0.5] };
    /// let mut scratch = vec![0.0; norm.backward_scratch_len(shape)];
    /// let (mut dx, mut dgamma) = ([0.0; 4], [100.0; 4]);
    /// let gradients = NormGradients { input: &mut dx, gamma: Some(&mut dgamma), beta: None };
    /// norm.backward(shape, &[4.0, 0.0, 0.0, 0.0], None, saved, &mut scratch, gradients)?;
    /// assert_eq!(dx, [1.0, -1.0, 0.0, 0.0]); // ½ · (4 − 1 − 1), ½ · (−1 − 1), ½ · (−1 + 1), …
    /// assert_eq!(dgamma, [96.0, 100.0, 100.0, 100.0]); // 100 + 4 · (−1)
    /// # Ok::<(), steadygrad::Error>(())
    /// ```
    pub fn backward<T: Element>(
        &self,
        shape: RowShape,
        dy: &[T],
        gamma: Option<&[T]>,
        saved: SavedRows<'_, T>,
        scratch: &mut [f64],
        gradients: NormGradients<'_, T>,
    ) -> Result<(), Error> {
        self.check::<T>(shape, Affine::default(), &[("dy", dy.len())])?;
        affine::check_optional("gamma", gamma, shape.cols)?;
        saved.check(dy.len(), shape.rows)?;
        if gradients.has_parameters() {
            check_at_least("scratch", scratch.len(), self.backward_scratch_len(shape))?;
        }
        gradients.check(dy.len(), shape.cols)?;
        <T as Compiled>::backward(shape, dy, gamma, saved, scratch, gradients);
        Ok(())
    }

    fn check<T>(
        &self,
        shape: RowShape,
        affine: Affine<'_, T>,
        slices: &[(&'static str, usize)],
    ) -> Result<(), Error> {
        check_eps(self.eps)?;
        check_rows(shape, slices)?;
        affine.check(shape.cols)
    }
}

/// Whether `eps` may be added to a variance.
pub(super) fn check_eps(eps: f64) -> Result<(), Error> {
    check_range("eps", "at least 0 and finite", eps >= 0.0 && eps.is_finite())
}

compiled_once! {
    fn forward(op: LayerNorm, shape: RowShape, affine: Affine<'_, Self>, data: InOut<'_, Self>, saved: [Option<&mut [f64]>; 2])
        = forward_all;
    fn backward(
        shape: RowShape, dy: &[Self], gamma: Option<&[Self]>, saved: SavedRows<'_, Self>, scratch: &mut [f64],
        gradients: NormGradients<'_, Self>,
    ) = backward_all;
}

fn forward_all<T: Element>(
    op: LayerNorm,
    shape: RowShape,
    affine: Affine<'_, T>,
    data: InOut<'_, T>,
    saved: [Option<&mut [f64]>; 2],
) {
    rows::forward::<T, Deviation>(op.eps, shape.cols, Weights { affine, groups: 1, inner: 1 }, data, saved);
}

fn backward_all<T: Element>(
    shape: RowShape,
    dy: &[T],
    gamma: Option<&[T]>,
    saved: SavedRows<'_, T>,
    scratch: &mut [f64],
    gradients: NormGradients<'_, T>,
) {
    let SavedRows { x, mean, rstd } = saved;
    rows::backward::<T, Deviation>(shape.into(), gamma, (x, dy), (Some(mean), rstd), scratch, gradients);
}
