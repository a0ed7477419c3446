//! The formulas, one element at a time.

use num_traits::Float;

use super::PointwiseLoss;
use crate::math::reference::sigmoid;

/// l(x, t).
pub fn forward<F: Float>(loss: PointwiseLoss, x: F, t: F) -> F {
    let (zero, one, half) = (F::zero(), F::one(), constant::<F>(0.5));
    let d = x - t;
    match loss {
        PointwiseLoss::Squared => d * d,
        PointwiseLoss::Absolute => d.abs(),
        PointwiseLoss::Huber { delta } if d.abs() <= constant(delta) => half * d * d,
        PointwiseLoss::Huber { delta } => constant::<F>(delta) * (d.abs() - half * constant(delta)),
        PointwiseLoss::SmoothAbsolute { beta } if d.abs() < constant(beta) => half * d * d / constant(beta),
        PointwiseLoss::SmoothAbsolute { beta } => d.abs() - half * constant(beta),
        PointwiseLoss::BinaryCrossEntropy => -t * clamped_ln(x) - (one - t) * clamped_ln_1p(-x),
        PointwiseLoss::KlDivergence if t == zero => -t * x,
        PointwiseLoss::KlDivergence => t * (t.ln() - x),
        PointwiseLoss::KlDivergenceOfLogarithms => t.exp() * (t - x),
        PointwiseLoss::SigmoidSquared => half * (sigmoid(x) - t) * (sigmoid(x) - t),
    }
}

/// ∂l/∂x.
pub fn backward<F: Float>(loss: PointwiseLoss, x: F, t: F) -> F {
    let (zero, one, two) = (F::zero(), F::one(), constant::<F>(2.0));
    let d = x - t;
    match loss {
        PointwiseLoss::Squared => two * d,
        PointwiseLoss::Absolute if d == zero => zero,
        PointwiseLoss::Absolute => d.signum(),
        PointwiseLoss::Huber { .. } if d.is_nan() => d,
        PointwiseLoss::Huber { delta } => d.max(constant(-delta)).min(constant(delta)),
        PointwiseLoss::SmoothAbsolute { .. } if d == zero => zero,
        PointwiseLoss::SmoothAbsolute { beta } if d.abs() < constant(beta) => d / constant(beta),
        PointwiseLoss::SmoothAbsolute { .. } => d.signum(),
        PointwiseLoss::BinaryCrossEntropy => d / (x * (one - x)).max(constant(1e-12)),
        PointwiseLoss::KlDivergence => -t,
        PointwiseLoss::KlDivergenceOfLogarithms => -t.exp(),
        PointwiseLoss::SigmoidSquared => (sigmoid(x) - t) * sigmoid(x) * sigmoid(-x),
    }
}

/// max(ln x, −100), NaN kept.
fn clamped_ln<F: Float>(x: F) -> F {
    if x >= F::zero() { x.ln().max(constant(-100.0)) } else { F::nan() }
}

/// max(ln(1 + x), −100), NaN kept.
fn clamped_ln_1p<F: Float>(x: F) -> F {
    if x >= -F::one() { x.ln_1p().max(constant(-100.0)) } else { F::nan() }
}

/// `value` as `F`; every `Float` of this crate holds an `f64` at least rounded.
fn constant<F: Float>(value: f64) -> F {
    F::from(value).unwrap_or_else(F::nan)
}
