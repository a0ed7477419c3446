//! Losses of an element and its target: regression, probabilities, and the sigmoid's squared error.
//!
//! Rumelhart et al. 1986 trained sigmoids by their squared error, whose gradient vanishes with σ(1 − σ) however wrong
//! the output is; Huber 1964 limits the gradient. The method is one vector curve a loss, run by one loop that makes
//! the loss and the gradient together.

mod kernel;
pub mod reference;

use super::Reduction;
use crate::element::compiled_once;
use crate::parallel::{self, PARALLEL_BLOCK};
use crate::shape::{check_len, check_range};
use crate::simd::{self, Active, InOut, Source};
use crate::{Element, Error};

/// A loss that is a sum over elements `x` and their targets `t`; semantics are PyTorch's.
///
/// NaN in `x` or `t` gives a NaN loss, and a NaN gradient of that element where it depends on the one that is NaN (also
/// of `Absolute`, where PyTorch's is 0).
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PointwiseLoss {
    /// (x − t)².
    Squared,
    /// |x − t|; the gradient at 0 is 0.
    Absolute,
    /// |x − t| ≤ δ ? ½(x − t)² : δ(|x − t| − ½δ).
    Huber {
        /// Largest magnitude of an element's gradient; positive, +∞ allowed, usually 1.
        delta: f64,
    },
    /// |x − t| < β ? ½(x − t)²/β : |x − t| − ½β: [`Huber`](Self::Huber) divided by β.
    SmoothAbsolute {
        /// Where it becomes linear; at least 0 and finite, usually 1; 0 makes it [`Absolute`](Self::Absolute).
        beta: f64,
    },
    /// −t ln x − (1 − t) ln(1 − x) for probabilities, each logarithm no lower than −100. The gradient is
    /// (x − t)/max(x(1 − x), 10⁻¹²). An `x` outside `[0, 1]` gives a NaN loss, where PyTorch refuses it.
    BinaryCrossEntropy,
    /// t(ln t − x) for log-probabilities `x` and probabilities `t`; 0 · ln 0 is 0.
    KlDivergence,
    /// eᵗ(t − x) for log-probabilities `x` and `t`; as in PyTorch, `t` = −∞ gives NaN.
    KlDivergenceOfLogarithms,
    /// ½(σ(x) − t)²: how to make a deep network vanish. The gradient is (σ − t)·σ(1 − σ).
    SigmoidSquared,
}

impl PointwiseLoss {
    /// The reduced loss.
    ///
    /// ```text
    /// loss = Σ l(xᵢ, tᵢ) / divisor        divisor: n, 1, or the given number
    /// ```
    ///
    /// | argument  | elements | access |
    /// |-----------|----------|--------|
    /// | `x`       | n        | read   |
    /// | `targets` | n        | read   |
    ///
    /// Differences and logarithms are rounded to `T` (2 ULP); products and sums are in `f64`, so a squared error of
    /// 10²⁵ is finite in `f32`. Without elements the mean is NaN and the sum 0.
    ///
    /// # Errors
    /// [`Error::Length`] where `targets` is not as long as `x`, [`Error::OutOfRange`] where a parameter or the
    /// reduction is.
    ///
    /// # Examples
    /// ```
    /// use steadygrad::loss::{PointwiseLoss, Reduction};
    ///
    /// let loss = PointwiseLoss::Squared.forward(Reduction::Mean, &[1.0_f32, 5.0], &[0.0, 2.0])?;
    /// assert_eq!(loss, 5.0); // (1² + 3²) / 2
    /// # Ok::<(), steadygrad::Error>(())
    /// ```
    pub fn forward<T: Element>(&self, reduction: Reduction, x: &[T], targets: &[T]) -> Result<f64, Error> {
        self.check(reduction)?;
        check_len("targets", targets.len(), x.len())?;
        Ok(<T as Compiled>::forward(*self, reduction.divisor(x.len() as f64), x, targets))
    }

    /// The reduced loss, and its gradient in `dx`.
    ///
    /// ```text
    /// dxᵢ = l′(xᵢ, tᵢ) / divisor
    /// ```
    ///
    /// | argument  | elements | access      |
    /// |-----------|----------|-------------|
    /// | `x`       | n        | read        |
    /// | `targets` | n        | read        |
    /// | `dx`      | n        | overwritten |
    ///
    /// The loss has the bits of [`forward`](Self::forward).
    ///
    /// # Errors
    /// As [`forward`](Self::forward), and [`Error::Length`] where `dx` is not as long as `x`; then nothing was
    /// written.
    ///
    /// # Examples
    /// ```
    /// use steadygrad::loss::{PointwiseLoss, Reduction};
    ///
    /// let mut dx = [0.0_f32; 3];
    /// let huber = PointwiseLoss::Huber { delta: 1.0 };
    /// let loss = huber.forward_backward(Reduction::Sum, &[0.5, -3.0, 1.0], &[0.0; 3], &mut dx)?;
    /// assert_eq!((loss, dx), (3.125, [0.5, -1.0, 1.0])); // 0.125 + 2.5 + 0.5
    /// # Ok::<(), steadygrad::Error>(())
    /// ```
    pub fn forward_backward<T: Element>(
        &self,
        reduction: Reduction,
        x: &[T],
        targets: &[T],
        dx: &mut [T],
    ) -> Result<f64, Error> {
        self.check(reduction)?;
        check_len("targets", targets.len(), x.len())?;
        check_len("dx", dx.len(), x.len())?;
        let divisor = reduction.divisor(x.len() as f64);
        Ok(<T as Compiled>::forward_backward(*self, divisor, InOut::new(x, dx), targets))
    }

    /// [`forward_backward`](Self::forward_backward) with the gradient in the place of `x`.
    ///
    /// | argument  | elements | access                              |
    /// |-----------|----------|-------------------------------------|
    /// | `targets` | n        | read                                |
    /// | `x`       | n        | read, overwritten with the gradient |
    ///
    /// # Errors
    /// As [`forward`](Self::forward); then nothing was written.
    pub fn forward_backward_in_place<T: Element>(
        &self,
        reduction: Reduction,
        targets: &[T],
        x: &mut [T],
    ) -> Result<f64, Error> {
        self.check(reduction)?;
        check_len("targets", targets.len(), x.len())?;
        let divisor = reduction.divisor(x.len() as f64);
        Ok(<T as Compiled>::forward_backward(*self, divisor, InOut::in_place(x), targets))
    }

    fn check(&self, reduction: Reduction) -> Result<(), Error> {
        reduction.check()?;
        match *self {
            Self::Huber { delta } => check_range("delta", "positive", delta > 0.0),
            Self::SmoothAbsolute { beta } => {
                check_range("beta", "at least 0 and finite", beta >= 0.0 && beta.is_finite())
            }
            _ => Ok(()),
        }
    }
}

compiled_once! {
    fn forward(loss: PointwiseLoss, divisor: f64, x: &[Self], targets: &[Self]) -> f64 = reduce;
    fn forward_backward(
        loss: PointwiseLoss, divisor: f64, data: InOut<'_, Self>, targets: &[Self],
    ) -> f64 = reduce;
}

fn reduce<T: Element, S: Source<T>>(loss: PointwiseLoss, divisor: f64, data: S, targets: &[T]) -> f64 {
    let active = Active::current();
    let scale = T::from_f64(1.0 / divisor);
    let sum = parallel::reduce(
        (targets, data),
        PARALLEL_BLOCK,
        |(targets, data)| simd::dispatch(active, kernel::Pointwise { loss, scale, targets, data }),
        |a, b| a + b,
    );
    sum / divisor
}
