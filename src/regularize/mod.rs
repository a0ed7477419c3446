//! What keeps a network from fitting the noise: dropout, penalties on weights, and constraints.

pub mod dropout;
pub mod group_lasso;
pub mod max_norm;
pub mod orthogonality;
pub mod penalty;
pub mod proximal;

pub(crate) use dropout::drop_elements;
pub use dropout::{AlphaDropout, Dropout, MaskShape};
pub use group_lasso::GroupLasso;
pub use max_norm::MaxNorm;
pub use orthogonality::Orthogonality;

use crate::shape::check_range;
use crate::{Element, Error};

/// The elastic net: `λ₁·‖w‖₁ + ½λ₂·‖w‖₂²` over lists of tensors.
///
/// Zou & Hastie, "Regularization and variable selection via the elastic net", 2005. With one of the two 0 it is the L2
/// penalty (λ₂ is the `weight_decay` of [`WeightDecay::Coupled`](crate::optim::WeightDecay::Coupled)) or the L1 penalty.
/// Use it as a [penalty] with a gradient, or by its [proximal step](proximal), which makes weights exactly 0.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ElasticNet {
    /// λ₁, of the sum of magnitudes; at least 0 and finite in the element type. 0 by default.
    pub l1: f64,
    /// λ₂, of half the sum of squares; at least 0 and finite in the element type. 0 by default.
    pub l2: f64,
}

impl ElasticNet {
    fn check<T: Element>(&self) -> Result<(), Error> {
        check_coefficient::<T>("l1", self.l1)?;
        check_coefficient::<T>("l2", self.l2)
    }
}

/// Whether a coefficient is in its range.
fn check_coefficient<T: Element>(argument: &'static str, value: f64) -> Result<(), Error> {
    let holds = value >= 0.0 && T::from_f64(value).is_finite();
    check_range(argument, "at least 0 and finite in the element type", holds)
}
