//! The formulas, one element at a time.

use num_traits::Float;

use crate::math::reference::{sigmoid, softplus};

/// −w · t · ln σ(x) − (1 − t) · ln(1 − σ(x)), where −ln σ(x) = softplus(−x).
pub fn forward<F: Float>(x: F, t: F, pos_weight: F) -> F {
    (F::one() - t) * softplus(x) + pos_weight * t * softplus(-x)
}

/// (1 − t) · σ(x) − w · t · (1 − σ(x)).
pub fn backward<F: Float>(x: F, t: F, pos_weight: F) -> F {
    (F::one() - t) * sigmoid(x) - pos_weight * t * sigmoid(-x)
}
