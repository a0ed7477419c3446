//! Softmax cross-entropy of classes or distributions, with its gradient in one call.
//!
//! The remedy for the squared error's vanishing gradient: softmax(x) − target, however certain and wrong the output.
//! Label smoothing is of Szegedy et al. 2016. A row stays in cache over its passes: maximum, exponentials with their
//! sum, gradient; softmax is never stored beside it.

mod kernel;
pub mod reference;

use super::Reduction;
use super::negative_log_likelihood::kernel::total_weight;
use crate::element::compiled_once;
use crate::parallel::{self, Rows, row_block};
use crate::shape::{check_len, check_range, check_rows};
use crate::simd::{self, Active, InOut, Source};
use crate::{Element, Error, RowShape};

/// −ln softmax(x)ₜ of each row of logits and its target; semantics are PyTorch's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CrossEntropy {
    /// ε in `[0, 1]`, the part of a target that is spread over all classes; default 0.
    pub label_smoothing: f64,
    /// Rows with this class have no loss, no weight in the mean and a zero gradient, whatever they hold; default
    /// −100.
    pub ignore_index: i64,
    /// How the rows' losses become one; default the mean, weighted for classes, over the rows for probabilities.
    pub reduction: Reduction,
}

impl Default for CrossEntropy {
    fn default() -> Self {
        Self { label_smoothing: 0.0, ignore_index: -100, reduction: Reduction::Mean }
    }
}

/// What each row should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Targets<'a, T> {
    /// A class a row: `rows` indices below `cols`, or the one to ignore.
    Classes(&'a [i64]),
    /// A distribution a row: `rows · cols` elements, taken as they are.
    Probabilities(&'a [T]),
}

impl CrossEntropy {
    /// The reduced loss.
    ///
    /// ```text
    /// loss = −Σ_rows Σ_c v_c · ln softmax(x)_c / divisor
    /// v_c  = ((1 − ε) · q_c + ε/cols) · w_c               a class t: q_c = [c = t]
    /// divisor: Σ w_t for classes, rows for probabilities; 1; or the given number
    /// ```
    ///
    /// | argument        | elements                     | access |
    /// |-----------------|------------------------------|--------|
    /// | `logits`        | `rows · cols`                | read   |
    /// | `targets`       | `rows`, or `rows · cols`     | read   |
    /// | `class_weights` | `cols`, or all are 1         | read   |
    ///
    /// A row's exponentials are within 4 + |x − max x| ULP and summed in `f64`; its logarithm is `f64`, so the loss of
    /// a certain row keeps its digits: 10⁻⁹ is not 0 in `f32`. A logit of −∞ has probability 0; a row with NaN or +∞,
    /// or of −∞ only, has a NaN loss. Where every row is ignored, or there is none, the mean is NaN and the sum 0.
    ///
    /// # Errors
    /// [`Error::Length`] names the first argument whose length differs from the table, [`Error::ClassIndex`] the first
    /// row whose class is not one, [`Error::Empty`] `cols` where there are rows without classes,
    /// [`Error::OutOfRange`] `label_smoothing` or `reduction`, [`Error::Overflow`] `shape` where `rows · cols` does.
    ///
    /// # Examples
    /// ```
    /// use steadygrad::{RowShape, loss::{CrossEntropy, Targets}};
    ///
    /// let shape = RowShape { rows: 1, cols: 4 };
    /// let loss = CrossEntropy::default().forward(shape, &[7.0_f32; 4], Targets::Classes(&[2]), None)?;
    /// assert_eq!(loss, 4.0_f64.ln()); // four equal logits: probability 1/4
    /// # Ok::<(), steadygrad::Error>(())
    /// ```
    pub fn forward<T: Element>(
        &self,
        shape: RowShape,
        logits: &[T],
        targets: Targets<'_, T>,
        class_weights: Option<&[T]>,
    ) -> Result<f64, Error> {
        self.check(shape, &[("logits", logits.len())], targets, class_weights)?;
        <T as Compiled>::forward(*self, shape, logits, targets, class_weights)
    }

    /// The reduced loss, and its gradient in `dlogits`.
    ///
    /// ```text
    /// dx_c = (Σ v · softmax(x)_c − v_c) / divisor
    /// ```
    ///
    /// | argument        | elements                     | access      |
    /// |-----------------|------------------------------|-------------|
    /// | `logits`        | `rows · cols`                | read        |
    /// | `targets`       | `rows`, or `rows · cols`     | read        |
    /// | `class_weights` | `cols`, or all are 1         | read        |
    /// | `dlogits`       | `rows · cols`                | overwritten |
    ///
    /// The loss has the bits of [`forward`](Self::forward). At a target class the difference is taken in `f64`: the
    /// gradient of a certain row keeps its digits too.
    ///
    /// # Errors
    /// As [`forward`](Self::forward); then nothing was written.
    ///
    /// # Examples
    /// ```
    /// use steadygrad::{RowShape, loss::{CrossEntropy, Targets}};
    ///
    /// let (shape, mut dlogits) = (RowShape { rows: 2, cols: 4 }, [f32::NAN; 8]);
    /// let targets = Targets::Classes(&[2, -100]); // the second row is ignored
    /// CrossEntropy::default().forward_backward(shape, &[7.0; 8], targets, None, &mut dlogits)?;
    /// assert_eq!(dlogits, [0.25, 0.25, -0.75, 0.25, 0.0, 0.0, 0.0, 0.0]);
    /// # Ok::<(), steadygrad::Error>(())
    /// ```
    pub fn forward_backward<T: Element>(
        &self,
        shape: RowShape,
        logits: &[T],
        targets: Targets<'_, T>,
        class_weights: Option<&[T]>,
        dlogits: &mut [T],
    ) -> Result<f64, Error> {
        let slices = [("logits", logits.len()), ("dlogits", dlogits.len())];
        self.check(shape, &slices, targets, class_weights)?;
        let data = InOut::new(logits, dlogits);
        <T as Compiled>::forward_backward(*self, shape, data, targets, class_weights)
    }

    /// [`forward_backward`](Self::forward_backward) with the gradient in the place of the logits.
    ///
    /// | argument        | elements                     | access                              |
    /// |-----------------|------------------------------|-------------------------------------|
    /// | `targets`       | `rows`, or `rows · cols`     | read                                |
    /// | `class_weights` | `cols`, or all are 1         | read                                |
    /// | `logits`        | `rows · cols`                | read, overwritten with the gradient |
    ///
    /// # Errors
    /// As [`forward`](Self::forward); then nothing was written.
    pub fn forward_backward_in_place<T: Element>(
        &self,
        shape: RowShape,
        targets: Targets<'_, T>,
        class_weights: Option<&[T]>,
        logits: &mut [T],
    ) -> Result<f64, Error> {
        self.check(shape, &[("logits", logits.len())], targets, class_weights)?;
        let data = InOut::in_place(logits);
        <T as Compiled>::forward_backward(*self, shape, data, targets, class_weights)
    }

    fn check<T>(
        &self,
        shape: RowShape,
        slices: &[(&'static str, usize)],
        targets: Targets<'_, T>,
        class_weights: Option<&[T]>,
    ) -> Result<(), Error> {
        let smoothing = self.label_smoothing;
        check_range("label_smoothing", "from 0 to 1", (0.0..=1.0).contains(&smoothing))?;
        self.reduction.check()?;
        check_rows(shape, slices)?;
        match targets {
            Targets::Classes(classes) => check_len("targets", classes.len(), shape.rows)?,
            Targets::Probabilities(targets) => check_len("targets", targets.len(), shape.elements()?)?,
        }
        check_len("class_weights", class_weights.map_or(shape.cols, <[T]>::len), shape.cols)
    }
}

compiled_once! {
    fn forward(
        loss: CrossEntropy, shape: RowShape, logits: &[Self], targets: Targets<'_, Self>,
        class_weights: Option<&[Self]>,
    ) -> Result<f64, Error> = reduce;
    fn forward_backward(
        loss: CrossEntropy, shape: RowShape, data: InOut<'_, Self>, targets: Targets<'_, Self>,
        class_weights: Option<&[Self]>,
    ) -> Result<f64, Error> = reduce;
}

fn reduce<T: Element, S: Source<T>>(
    loss: CrossEntropy,
    shape: RowShape,
    data: S,
    targets: Targets<'_, T>,
    class_weights: Option<&[T]>,
) -> Result<f64, Error> {
    let RowShape { rows, cols } = shape;
    let divisor = loss.reduction.divisor(match targets {
        Targets::Classes(classes) => total_weight(classes, loss.ignore_index, cols, class_weights)?,
        Targets::Probabilities(_) => rows as f64,
    });
    if rows == 0 {
        return Ok(0.0 / divisor);
    }
    let active = Active::current();
    let weight_sum = match class_weights {
        Some(weights) if loss.label_smoothing > 0.0 => simd::dispatch(active, kernel::Sum(weights)),
        _ => cols as f64,
    };
    let shared = kernel::Shared { smoothing: loss.label_smoothing, class_weights, weight_sum, divisor };
    let sum = match targets {
        Targets::Classes(classes) => parallel::reduce(
            (classes, Rows { data, width: cols }),
            row_block(cols),
            |(targets, rows)| {
                let ignore_index = loss.ignore_index;
                simd::dispatch(active, kernel::ClassRows { shared, ignore_index, targets, rows })
            },
            |a, b| a + b,
        ),
        Targets::Probabilities(targets) => parallel::reduce(
            Rows { data: (targets, data), width: cols },
            row_block(cols),
            |rows| simd::dispatch(active, kernel::ProbabilityRows { shared, rows }),
            |a, b| a + b,
        ),
    };
    Ok(sum / divisor)
}
