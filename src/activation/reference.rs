//! The formulas, one value at a time.

use num_traits::Float;

use super::{Activation, SELU_ALPHA, SELU_SCALE};
use crate::math::reference::{log_sigmoid, normal_cdf, normal_pdf, sigmoid, softplus};

/// f(x).
pub fn forward<F: Float>(activation: Activation, x: F) -> F {
    let c = constant::<F>;
    let (zero, one) = (F::zero(), F::one());
    match activation {
        _ if x.is_nan() => x,
        Activation::Identity => x,
        Activation::Relu => x.max(zero),
        Activation::Relu6 => x.max(zero).min(c(6.0)),
        Activation::LeakyRelu { slope } => {
            if x > zero {
                x
            } else {
                c(slope) * x
            }
        }
        Activation::RRelu { lower, upper } => {
            if x > zero {
                x
            } else {
                c((lower + upper) / 2.0) * x
            }
        }
        Activation::Elu { alpha } => {
            if x > zero {
                x
            } else {
                c(alpha) * x.exp_m1()
            }
        }
        Activation::Selu => {
            if x > zero {
                c(SELU_SCALE) * x
            } else {
                c(SELU_SCALE * SELU_ALPHA) * x.exp_m1()
            }
        }
        Activation::Celu { alpha } => {
            if x > zero {
                x
            } else {
                c(alpha) * (x / c(alpha)).exp_m1()
            }
        }
        _ if gated(activation) && x < c(-GATE_IS_FLAT) => -zero,
        Activation::Gelu => x * normal_cdf(x),
        Activation::GeluTanh => x * sigmoid(c(2.0) * gelu_inner(x)),
        Activation::Silu => x * sigmoid(x),
        Activation::Mish => x * softplus(x).tanh(),
        Activation::Softplus { beta, threshold } => {
            if c(beta) * x > c(threshold) {
                x
            } else {
                softplus(c(beta) * x) / c(beta)
            }
        }
        Activation::Softsign => {
            if x.is_infinite() {
                x.signum()
            } else {
                x / (one + x.abs())
            }
        }
        Activation::Sigmoid => sigmoid(x),
        Activation::LogSigmoid => log_sigmoid(x),
        Activation::Tanh => x.tanh(),
        Activation::HardTanh { min, max } => x.max(c(min)).min(c(max)),
        Activation::HardSigmoid => (x + c(3.0)).max(zero).min(c(6.0)) / c(6.0),
        Activation::HardSwish => x * ((x + c(3.0)).max(zero).min(c(6.0)) / c(6.0)),
        Activation::TanhShrink => x - x.tanh(),
    }
}

/// f′(x).
pub fn derivative<F: Float>(activation: Activation, x: F) -> F {
    let c = constant::<F>;
    let (zero, one) = (F::zero(), F::one());
    let step = |inside: bool, value: F| if inside { value } else { zero };
    match activation {
        Activation::Identity => one,
        Activation::Relu => step(x > zero || x.is_nan(), one),
        Activation::Relu6 => step(!(x <= zero || x >= c(6.0)), one),
        Activation::LeakyRelu { slope } => {
            if x > zero {
                one
            } else {
                c(slope)
            }
        }
        Activation::RRelu { lower, upper } => {
            if x > zero {
                one
            } else {
                c((lower + upper) / 2.0)
            }
        }
        Activation::HardTanh { min, max } => step(!(x <= c(min) || x >= c(max)), one),
        Activation::HardSigmoid => step(x.abs() < c(3.0) || x.is_nan(), one / c(6.0)),
        _ if x.is_nan() => x,
        Activation::Elu { alpha } => {
            if x > zero {
                one
            } else {
                c(alpha) * x.exp()
            }
        }
        Activation::Selu => {
            if x > zero {
                c(SELU_SCALE)
            } else {
                c(SELU_SCALE * SELU_ALPHA) * x.exp()
            }
        }
        Activation::Celu { alpha } => {
            if x > zero {
                one
            } else {
                (x / c(alpha)).exp()
            }
        }
        _ if gated(activation) && x.abs() > c(GATE_IS_FLAT) => {
            if x > zero {
                one
            } else {
                zero
            }
        }
        Activation::Gelu => normal_cdf(x) + x * normal_pdf(x),
        Activation::GeluTanh => {
            let s = sigmoid(c(2.0) * gelu_inner(x));
            let inner = c(SQRT_2_OVER_PI) * (one + c(3.0 * GELU_CUBIC) * x * x);
            s + x * s * sigmoid(c(-2.0) * gelu_inner(x)) * c(2.0) * inner
        }
        Activation::Silu => sigmoid(x) * (one + x * sigmoid(-x)),
        Activation::Mish => {
            let t = softplus(x).tanh();
            t + x * sigmoid(x) * (one - t) * (one + t)
        }
        Activation::Softplus { beta, threshold } => {
            if c(beta) * x > c(threshold) {
                one
            } else {
                sigmoid(c(beta) * x)
            }
        }
        Activation::Softsign => one / ((one + x.abs()) * (one + x.abs())),
        Activation::Sigmoid => sigmoid(x) * sigmoid(-x),
        Activation::LogSigmoid => sigmoid(-x),
        Activation::Tanh => c(4.0) * sigmoid(c(2.0) * x) * sigmoid(c(-2.0) * x),
        Activation::HardSwish => {
            if x <= c(-3.0) {
                zero
            } else if x < c(3.0) {
                x / c(3.0) + c(0.5)
            } else {
                one
            }
        }
        Activation::TanhShrink => x.tanh() * x.tanh(),
    }
}

/// dy · f′(x).
pub fn backward<F: Float>(activation: Activation, x: F, dy: F) -> F {
    dy * derivative(activation, x)
}

/// Beyond it every gate is 0 or 1 in `f64` too, and the cube of x may overflow.
const GATE_IS_FLAT: f64 = 1e4;
const SQRT_2_OVER_PI: f64 = 0.797_884_560_802_865_4;
const GELU_CUBIC: f64 = 0.044_715;

/// √(2/π)(x + 0.044715x³).
fn gelu_inner<F: Float>(x: F) -> F {
    constant::<F>(SQRT_2_OVER_PI) * (x + constant::<F>(GELU_CUBIC) * x * x * x)
}

/// x times a gate between 0 and 1: the limits at ±∞ are −0 and x.
fn gated(activation: Activation) -> bool {
    matches!(
        activation,
        Activation::Gelu | Activation::GeluTanh | Activation::Silu | Activation::Mish | Activation::HardSwish
    )
}

/// `value` as `F`.
fn constant<F: Float>(value: f64) -> F {
    F::from(value).unwrap_or_else(F::nan)
}
