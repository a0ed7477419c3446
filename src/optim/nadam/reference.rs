//! NAdam, one parameter at a time.

use num_traits::Float;

use crate::optim::adam::reference::{Coefficients, State, averages};

/// `β₁·(1 − ½·0.96^(t·decay))`, with `t = step`.
pub fn momentum<T: Float>(beta1: T, decay: T, step: i32) -> T {
    let number = |value: f64| T::from(value).unwrap_or_else(T::nan);
    beta1 * (T::one() - number(0.5) * number(0.96).powf(number(f64::from(step)) * decay))
}

/// `p − lr·((1 − μₜ)/(1 − Πₜ)·g + μₜ₊₁/(1 − Πₜ₊₁)·m)/(√(v/(1 − β₂ᵗ)) + eps)`, with `t = step` and `decay` of the momenta.
pub fn nadam<T: Float>(state: State<T>, g: T, with: Coefficients<T>, decay: T, step: i32) -> State<T> {
    let state = averages(state, g, with);
    let mut product = T::one();
    for t in 1..=step {
        product = product * momentum(with.beta1, decay, t);
    }
    let (current, next) = (momentum(with.beta1, decay, step), momentum(with.beta1, decay, step + 1));
    let of_gradient = (T::one() - current) / (T::one() - product);
    let of_mean = next / (T::one() - product * next);
    let root = (state.v / (T::one() - with.beta2.powi(step))).sqrt();
    State { p: state.p - with.lr * (of_gradient * g + of_mean * state.m) / (root + with.eps), ..state }
}
