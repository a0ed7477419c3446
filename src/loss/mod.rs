//! Losses with their gradients in one call, and softmax on its own.
//!
//! | loss | of an element or a row | for |
//! |---|---|---|
//! | [`CrossEntropy`] | −ln softmax(x)ₜ | classes |
//! | [`NegativeLogLikelihood`] | −xₜ | classes, from log-probabilities |
//! | [`BinaryCrossEntropyWithLogits`] | −t ln σ(x) − (1 − t) ln(1 − σ(x)) | yes or no, from logits |
//! | [`PointwiseLoss`] | (x − t)², \|x − t\|, Huber, …, ½(σ(x) − t)² | numbers, probabilities; and the disease |
//!
//! Every loss is an `f64` whatever the element type: elements are widened before they are summed, blocks of rows are
//! summed by a tree that only depends on the shape, so the bits are the same for any number of threads. The gradient
//! is that of the returned loss, already reduced.

pub mod binary_cross_entropy_with_logits;
pub mod cross_entropy;
pub mod negative_log_likelihood;
pub mod pointwise;
pub mod softmax;

pub use binary_cross_entropy_with_logits::BinaryCrossEntropyWithLogits;
pub use cross_entropy::{CrossEntropy, Targets};
pub use negative_log_likelihood::NegativeLogLikelihood;
pub use pointwise::PointwiseLoss;
pub use softmax::Softmax;

use crate::Error;
use crate::shape::check_range;

/// How the losses of a batch become one number.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Reduction {
    /// Their mean; with class targets the mean weighted by the classes' weights, over the rows that are not ignored.
    /// The mean of nothing is NaN.
    #[default]
    Mean,
    /// Their sum; 0 for nothing.
    Sum,
    /// Their sum divided by a positive, finite number: the batch size for PyTorch's `batchmean`, or the size of the
    /// whole batch where it is taken in several steps.
    SumOver(f64),
}

impl Reduction {
    /// Whether the divisor is in its range.
    fn check(self) -> Result<(), Error> {
        match self {
            Self::SumOver(divisor) => check_range(
                "reduction",
                "over a positive, finite number",
                divisor > 0.0 && divisor.is_finite(),
            ),
            _ => Ok(()),
        }
    }

    /// What the sum is divided by; `count` is what the mean divides by.
    fn divisor(self, count: f64) -> f64 {
        match self {
            Self::Mean => count,
            Self::Sum => 1.0,
            Self::SumOver(divisor) => divisor,
        }
    }
}
