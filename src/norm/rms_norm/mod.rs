//! Normalisation by the root mean square: each row to mean square 1, then a gain an element.
//!
//! Zhang & Sennrich 2019: layer normalisation without its mean. The passes are layer norm's.

mod kernel;
pub mod reference;

use super::layer_norm::check_eps;
use super::rows::{self, Layout, Weights};
use super::{Affine, NormGradients, affine};
use crate::element::compiled_once;
use crate::shape::{check_at_least, check_len, check_rows};
use crate::simd::InOut;
use crate::{Element, Error, RowShape};
use kernel::RootMeanSquare;

/// Normalisation of the columns by their root mean square; semantics are PyTorch's.
///
/// ```text
/// rstd = 1 / √(mean(x²) + eps)
/// yᵢ   = xᵢ · rstd · γᵢ + βᵢ              PyTorch's has no β
/// ```
///
/// NaN or infinity in a row makes that row NaN (beside an infinity, finite values are 0), and no other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RmsNorm {
    /// Added to the mean square, at least 0 and finite; default 2⁻²³, what PyTorch's `eps=None` stands for with `f32`
    /// (2⁻⁵² with `f64`). With 0, a row of zeros gives NaN.
    pub eps: f64,
}

impl Default for RmsNorm {
    fn default() -> Self {
        Self { eps: f64::from(f32::EPSILON) }
    }
}

impl RmsNorm {
    /// `y` for each row, and what the backward needs.
    ///
    /// | argument | elements                 | access                                |
    /// |----------|--------------------------|---------------------------------------|
    /// | `x`      | `rows · cols`            | read                                  |
    /// | `affine` | `cols` of γ, `cols` of β | read                                  |
    /// | `rstd`   | `rows`                   | overwritten with 1/√(mean(x²) + eps)  |
    /// | `y`      | `rows · cols`            | overwritten                           |
    ///
    /// Within 3 ULP of the larger of |x̂ᵢ · γᵢ| and |βᵢ|.
    ///
    /// # Errors
    /// [`Error::Length`] names the first argument whose length differs from the table, [`Error::OutOfRange`] `eps`,
    /// [`Error::Empty`] `cols` where there are rows without elements, [`Error::Overflow`] `shape` where `rows · cols`
    /// does; then nothing was written.
    ///
    /// # Examples
    /// ```
    /// use steadygrad::norm::{Affine, RmsNorm};
    /// use steadygrad::RowShape;
    ///
    /// let (norm, gain) = (RmsNorm { eps: 0.0 }, Affine { gamma: Some(&[1.0, 1.0, 1.0, 10.0]), beta: None });
    /// let (mut rstd, mut y) = ([0.0; 1], [0.0_f64; 4]);
    /// norm.forward(RowShape { rows: 1, cols: 4 }, &[0.0, 0.0, 0.0, -4.0], gain, &mut rstd, &mut y)?;
    /// assert_eq!((rstd, y), ([0.5], [0.0, 0.0, 0.0, -20.0])); // √(16 / 4) = 2
    /// # Ok::<(), steadygrad::Error>(())
    /// ```
    pub fn forward<T: Element>(
        &self,
        shape: RowShape,
        x: &[T],
        affine: Affine<'_, T>,
        rstd: &mut [f64],
        y: &mut [T],
    ) -> Result<(), Error> {
        self.check(shape, affine, &[("x", x.len()), ("y", y.len())])?;
        check_len("rstd", rstd.len(), shape.rows)?;
        <T as Compiled>::forward(*self, shape, affine, InOut::new(x, y), Some(rstd));
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
        <T as Compiled>::forward(*self, shape, affine, InOut::new(x, y), None);
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
    /// x̂ = x · rstd        g = γ · dy
    /// dxᵢ = rstd · (gᵢ − x̂ᵢ · mean(g · x̂))        dγᵢ += Σ dyᵢ · x̂ᵢ        dβᵢ += Σ dyᵢ
    /// ```
    ///
    /// | argument          | elements      | access                                                         |
    /// |-------------------|---------------|----------------------------------------------------------------|
    /// | `dy`              | `rows · cols` | read                                                           |
    /// | `gamma`           | `cols`        | read: as in the forward                                        |
    /// | `x`               | `rows · cols` | read: the input of the forward                                 |
    /// | `rstd`            | `rows`        | read: what the forward left, second of the pair                |
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
    /// use steadygrad::norm::{NormGradients, RmsNorm};
    /// use steadygrad::RowShape;
    ///
    /// let (norm, shape) = (RmsNorm::default(), RowShape { rows: 1, cols: 2 });
    /// let mut scratch = vec![0.0; norm.backward_scratch_len(shape)];
    /// let (mut dx, mut dgamma) = ([0.0_f64; 2], [1.0; 2]);
    /// let gradients = NormGradients { input: &mut dx, gamma: Some(&mut dgamma), beta: None };
    /// norm.backward(shape, &[8.0, 0.0], None, (&[2.0, 2.0], &[0.5]), &mut scratch, gradients)?;
    /// assert_eq!(dx, [2.0, -2.0]); // x̂ = 1, so ½ · (8 − 4), ½ · (0 − 4)
    /// assert_eq!(dgamma, [9.0, 1.0]);
    /// # Ok::<(), steadygrad::Error>(())
    /// ```
    pub fn backward<T: Element>(
        &self,
        shape: RowShape,
        dy: &[T],
        gamma: Option<&[T]>,
        (x, rstd): (&[T], &[f64]),
        scratch: &mut [f64],
        gradients: NormGradients<'_, T>,
    ) -> Result<(), Error> {
        self.check::<T>(shape, Affine::default(), &[("dy", dy.len()), ("x", x.len())])?;
        affine::check_optional("gamma", gamma, shape.cols)?;
        check_len("rstd", rstd.len(), shape.rows)?;
        if gradients.has_parameters() {
            check_at_least("scratch", scratch.len(), self.backward_scratch_len(shape))?;
        }
        gradients.check(dy.len(), shape.cols)?;
        <T as Compiled>::backward(shape, (x, dy), gamma, rstd, scratch, gradients);
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

compiled_once! {
    fn forward(op: RmsNorm, shape: RowShape, affine: Affine<'_, Self>, data: InOut<'_, Self>, rstd: Option<&mut [f64]>)
        = forward_all;
    fn backward(
        shape: RowShape, inputs: (&[Self], &[Self]), gamma: Option<&[Self]>, rstd: &[f64], scratch: &mut [f64],
        gradients: NormGradients<'_, Self>,
    ) = backward_all;
}

fn forward_all<T: Element>(
    op: RmsNorm,
    shape: RowShape,
    affine: Affine<'_, T>,
    data: InOut<'_, T>,
    rstd: Option<&mut [f64]>,
) {
    let weights = Weights { affine, groups: 1, inner: 1 };
    rows::forward::<T, RootMeanSquare>(op.eps, shape.cols, weights, data, [None, rstd]);
}

fn backward_all<T: Element>(
    shape: RowShape,
    inputs: (&[T], &[T]),
    gamma: Option<&[T]>,
    rstd: &[f64],
    scratch: &mut [f64],
    gradients: NormGradients<'_, T>,
) {
    rows::backward::<T, RootMeanSquare>(shape.into(), gamma, inputs, (None, rstd), scratch, gradients);
}
