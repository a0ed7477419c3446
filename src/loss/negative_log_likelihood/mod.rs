//! Negative log-likelihood of classes, from log-probabilities.
//!
//! The loss reads one element a row; the gradient is zero but for that element.

pub(crate) mod kernel;
pub mod reference;

use super::Reduction;
use crate::element::compiled_once;
use crate::parallel::{self, Rows, row_block};
use crate::shape::{check_len, check_rows};
use crate::simd::{InOut, Source};
use crate::{Element, Error, RowShape};

/// −wₜ · xₜ of each row `x` with class t; semantics are PyTorch's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NegativeLogLikelihood {
    /// Rows with this class have no loss, no weight in the mean and a zero gradient, whatever they hold; default −100.
    pub ignore_index: i64,
    /// How the rows' losses become one; default the weighted mean.
    pub reduction: Reduction,
}

impl Default for NegativeLogLikelihood {
    fn default() -> Self {
        Self { ignore_index: -100, reduction: Reduction::Mean }
    }
}

impl NegativeLogLikelihood {
    /// The reduced loss.
    ///
    /// ```text
    /// loss = −Σ w_t · x_t / divisor        divisor: Σ w_t, 1, or the given number
    /// ```
    ///
    /// | argument        | elements             | access |
    /// |-----------------|----------------------|--------|
    /// | `x`             | `rows · cols`        | read   |
    /// | `targets`       | `rows`               | read   |
    /// | `class_weights` | `cols`, or all are 1 | read   |
    ///
    /// Sums are in `f64`. Where every row is ignored, or there is none, the mean is NaN and the sum 0.
    ///
    /// # Errors
    /// [`Error::Length`] names the first argument whose length differs from the table, [`Error::ClassIndex`] the first
    /// row whose class is not one, [`Error::Empty`] `cols` where there are rows without elements,
    /// [`Error::OutOfRange`] a bad reduction, [`Error::Overflow`] `shape` where `rows · cols` does.
    ///
    /// # Examples
    /// ```
    /// use steadygrad::{RowShape, loss::NegativeLogLikelihood};
    ///
    /// let shape = RowShape { rows: 2, cols: 2 };
    /// let x = [-1.0_f32, -2.0, -3.0, -4.0];
    /// let loss = NegativeLogLikelihood::default().forward(shape, &x, &[0, 1], None)?;
    /// assert_eq!(loss, 2.5); // (1 + 4) / 2
    /// # Ok::<(), steadygrad::Error>(())
    /// ```
    pub fn forward<T: Element>(
        &self,
        shape: RowShape,
        x: &[T],
        targets: &[i64],
        class_weights: Option<&[T]>,
    ) -> Result<f64, Error> {
        self.check(shape, &[("x", x.len())], targets, class_weights)?;
        <T as Compiled>::forward(*self, shape, x, targets, class_weights)
    }

    /// The reduced loss, and its gradient in `dx`.
    ///
    /// ```text
    /// dx_c = −[c = t] · w_t / divisor
    /// ```
    ///
    /// | argument        | elements             | access      |
    /// |-----------------|----------------------|-------------|
    /// | `x`             | `rows · cols`        | read        |
    /// | `targets`       | `rows`               | read        |
    /// | `class_weights` | `cols`, or all are 1 | read        |
    /// | `dx`            | `rows · cols`        | overwritten |
    ///
    /// # Errors
    /// As [`forward`](Self::forward); then nothing was written.
    ///
    /// # Examples
    /// ```
    /// use steadygrad::{RowShape, loss::NegativeLogLikelihood};
    ///
    /// let (shape, mut dx) = (RowShape { rows: 2, cols: 2 }, [0.0_f32; 4]);
    /// let nll = NegativeLogLikelihood::default();
    /// nll.forward_backward(shape, &[-1.0, -2.0, -3.0, -4.0], &[0, 1], None, &mut dx)?;
    /// assert_eq!(dx, [-0.5, 0.0, 0.0, -0.5]);
    /// # Ok::<(), steadygrad::Error>(())
    /// ```
    pub fn forward_backward<T: Element>(
        &self,
        shape: RowShape,
        x: &[T],
        targets: &[i64],
        class_weights: Option<&[T]>,
        dx: &mut [T],
    ) -> Result<f64, Error> {
        self.check(shape, &[("x", x.len()), ("dx", dx.len())], targets, class_weights)?;
        <T as Compiled>::forward_backward(*self, shape, InOut::new(x, dx), targets, class_weights)
    }

    fn check<T>(
        &self,
        shape: RowShape,
        slices: &[(&'static str, usize)],
        targets: &[i64],
        class_weights: Option<&[T]>,
    ) -> Result<(), Error> {
        self.reduction.check()?;
        check_rows(shape, slices)?;
        check_len("targets", targets.len(), shape.rows)?;
        check_len("class_weights", class_weights.map_or(shape.cols, <[T]>::len), shape.cols)
    }
}

compiled_once! {
    fn forward(
        loss: NegativeLogLikelihood, shape: RowShape, x: &[Self], targets: &[i64], class_weights: Option<&[Self]>,
    ) -> Result<f64, Error> = reduce;
    fn forward_backward(
        loss: NegativeLogLikelihood, shape: RowShape, data: InOut<'_, Self>, targets: &[i64],
        class_weights: Option<&[Self]>,
    ) -> Result<f64, Error> = reduce;
}

fn reduce<T: Element, S: Source<T>>(
    loss: NegativeLogLikelihood,
    shape: RowShape,
    data: S,
    targets: &[i64],
    class_weights: Option<&[T]>,
) -> Result<f64, Error> {
    let weight = kernel::total_weight(targets, loss.ignore_index, shape.cols, class_weights)?;
    let divisor = loss.reduction.divisor(weight);
    if shape.rows == 0 {
        return Ok(0.0 / divisor);
    }
    let rows = Rows { data, width: shape.cols };
    let sum = parallel::reduce(
        (targets, rows),
        row_block(shape.cols),
        |(targets, rows)| kernel::pick(loss.ignore_index, divisor, class_weights, targets, rows),
        |a, b| a + b,
    );
    Ok(sum / divisor)
}
