//! Binary cross-entropy from logits, with a weight for positive targets.
//!
//! The logistic loss (Cox 1958). Probabilities are never formed, so nothing saturates: the gradient of a wrong and
//! certain output is 1, where the squared error's vanishes. For probabilities see
//! [`PointwiseLoss::BinaryCrossEntropy`](super::PointwiseLoss::BinaryCrossEntropy).

mod kernel;
pub mod reference;

use super::Reduction;
use crate::element::compiled_once;
use crate::parallel::{self, PARALLEL_BLOCK, Rows, row_block};
use crate::shape::{check_len, check_rows};
use crate::simd::{self, Active, InOut, Source};
use crate::{Element, Error, RowShape};

/// −w · t · ln σ(x) − (1 − t) · ln(1 − σ(x)) of each logit and its target; semantics are PyTorch's.
///
/// NaN propagates. An infinite logit has the right gradient; its loss is NaN on its target's side, as in PyTorch, and
/// infinite against it, also at −∞, where PyTorch's is NaN.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BinaryCrossEntropyWithLogits {
    /// How the elements' losses become one; default the mean over all elements.
    pub reduction: Reduction,
}

impl BinaryCrossEntropyWithLogits {
    /// The reduced loss.
    ///
    /// ```text
    /// loss = Σ ((1 − t) · softplus(x) + w · t · softplus(−x)) / divisor        divisor: rows · cols, 1, or the given
    /// ```
    ///
    /// | argument     | elements             | access |
    /// |--------------|----------------------|--------|
    /// | `logits`     | `rows · cols`        | read   |
    /// | `targets`    | `rows · cols`        | read   |
    /// | `pos_weight` | `cols`, or all are 1 | read   |
    ///
    /// Each element's loss is within 6 ULP, their sum in `f64`. Without elements the mean is NaN and the sum 0.
    ///
    /// # Errors
    /// [`Error::Length`] names the first argument whose length differs from the table, [`Error::Empty`] `cols` where
    /// there are rows without elements, [`Error::OutOfRange`] a bad reduction, [`Error::Overflow`] `shape` where
    /// `rows · cols` does.
    ///
    /// # Examples
    /// ```
    /// use steadygrad::{RowShape, loss::BinaryCrossEntropyWithLogits};
    ///
    /// let shape = RowShape { rows: 1, cols: 2 };
    /// let bce = BinaryCrossEntropyWithLogits::default();
    /// let loss = bce.forward(shape, &[1000.0_f32, -1000.0], &[0.0, 1.0], Some(&[1.0, 3.0]))?;
    /// assert_eq!(loss, 2000.0); // (1000 + 3 · 1000) / 2
    /// # Ok::<(), steadygrad::Error>(())
    /// ```
    pub fn forward<T: Element>(
        &self,
        shape: RowShape,
        logits: &[T],
        targets: &[T],
        pos_weight: Option<&[T]>,
    ) -> Result<f64, Error> {
        self.check(shape, &[("logits", logits.len()), ("targets", targets.len())], pos_weight)?;
        Ok(<T as Compiled>::forward(*self, shape, logits, targets, pos_weight))
    }

    /// The reduced loss, and its gradient in `dlogits`.
    ///
    /// ```text
    /// dx = ((1 − t) · σ(x) − w · t · (1 − σ(x))) / divisor
    /// ```
    ///
    /// | argument     | elements             | access      |
    /// |--------------|----------------------|-------------|
    /// | `logits`     | `rows · cols`        | read        |
    /// | `targets`    | `rows · cols`        | read        |
    /// | `pos_weight` | `cols`, or all are 1 | read        |
    /// | `dlogits`    | `rows · cols`        | overwritten |
    ///
    /// The loss has the bits of [`forward`](Self::forward).
    ///
    /// # Errors
    /// As [`forward`](Self::forward); then nothing was written.
    ///
    /// # Examples
    /// ```
    /// use steadygrad::{RowShape, loss::BinaryCrossEntropyWithLogits};
    ///
    /// let (shape, mut dlogits) = (RowShape { rows: 1, cols: 2 }, [0.0_f32; 2]);
    /// let bce = BinaryCrossEntropyWithLogits::default();
    /// bce.forward_backward(shape, &[0.0, -1000.0], &[0.0, 1.0], None, &mut dlogits)?;
    /// assert_eq!(dlogits, [0.25, -0.5]); // (½ − 0) / 2, (0 − 1) / 2
    /// # Ok::<(), steadygrad::Error>(())
    /// ```
    pub fn forward_backward<T: Element>(
        &self,
        shape: RowShape,
        logits: &[T],
        targets: &[T],
        pos_weight: Option<&[T]>,
        dlogits: &mut [T],
    ) -> Result<f64, Error> {
        let slices = [("logits", logits.len()), ("targets", targets.len()), ("dlogits", dlogits.len())];
        self.check(shape, &slices, pos_weight)?;
        let data = InOut::new(logits, dlogits);
        Ok(<T as Compiled>::forward_backward(*self, shape, data, targets, pos_weight))
    }

    /// [`forward_backward`](Self::forward_backward) with the gradient in the place of the logits.
    ///
    /// | argument     | elements             | access                              |
    /// |--------------|----------------------|-------------------------------------|
    /// | `targets`    | `rows · cols`        | read                                |
    /// | `pos_weight` | `cols`, or all are 1 | read                                |
    /// | `logits`     | `rows · cols`        | read, overwritten with the gradient |
    ///
    /// # Errors
    /// As [`forward`](Self::forward); then nothing was written.
    pub fn forward_backward_in_place<T: Element>(
        &self,
        shape: RowShape,
        targets: &[T],
        pos_weight: Option<&[T]>,
        logits: &mut [T],
    ) -> Result<f64, Error> {
        self.check(shape, &[("logits", logits.len()), ("targets", targets.len())], pos_weight)?;
        let data = InOut::in_place(logits);
        Ok(<T as Compiled>::forward_backward(*self, shape, data, targets, pos_weight))
    }

    fn check<T>(
        &self,
        shape: RowShape,
        slices: &[(&'static str, usize)],
        pos_weight: Option<&[T]>,
    ) -> Result<(), Error> {
        self.reduction.check()?;
        check_rows(shape, slices)?;
        check_len("pos_weight", pos_weight.map_or(shape.cols, <[T]>::len), shape.cols)
    }
}

compiled_once! {
    fn forward(
        loss: BinaryCrossEntropyWithLogits, shape: RowShape, logits: &[Self], targets: &[Self],
        pos_weight: Option<&[Self]>,
    ) -> f64 = reduce;
    fn forward_backward(
        loss: BinaryCrossEntropyWithLogits, shape: RowShape, data: InOut<'_, Self>, targets: &[Self],
        pos_weight: Option<&[Self]>,
    ) -> f64 = reduce;
}

fn reduce<T: Element, S: Source<T>>(
    loss: BinaryCrossEntropyWithLogits,
    shape: RowShape,
    data: S,
    targets: &[T],
    pos_weight: Option<&[T]>,
) -> f64 {
    let divisor = loss.reduction.divisor(targets.len() as f64);
    if targets.is_empty() {
        return 0.0 / divisor;
    }
    let (active, scale) = (Active::current(), T::from_f64(1.0 / divisor));
    let sum = match pos_weight {
        Some(pos_weight) if shape.cols > 1 => parallel::reduce(
            Rows { data: (targets, data), width: shape.cols },
            row_block(shape.cols),
            |rows| simd::dispatch(active, kernel::ByColumn { scale, pos_weight, rows }),
            |a, b| a + b,
        ),
        shared => {
            let pos_weight = shared.map_or(T::one(), |weights| weights[0]);
            parallel::reduce(
                (targets, data),
                PARALLEL_BLOCK,
                |(targets, data)| {
                    simd::dispatch(active, kernel::Uniform { scale, pos_weight, targets, data })
                },
                |a, b| a + b,
            )
        }
    };
    sum / divisor
}
