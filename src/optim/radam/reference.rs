//! RAdam, one parameter at a time.

use num_traits::Float;

use crate::optim::adam::reference::{Coefficients, State, averages};

/// ρ∞ and ρ of a step, with `t = step`.
pub fn lengths<T: Float>(beta2: T, step: i32) -> (T, T) {
    let number = |value: f64| T::from(value).unwrap_or_else(T::nan);
    let power = beta2.powi(step);
    let limit = number(2.0) / (T::one() - beta2) - T::one();
    (limit, limit - number(2.0 * f64::from(step)) * power / (T::one() - power))
}

/// `p − lr·(m/(1 − β₁ᵗ))·(ρ > 5 ? r·√(1 − β₂ᵗ)/(√v + eps) : 1)`, with `t = step`.
pub fn radam<T: Float>(state: State<T>, g: T, with: Coefficients<T>, step: i32) -> State<T> {
    let state = averages(state, g, with);
    let number = |value: f64| T::from(value).unwrap_or_else(T::nan);
    let (limit, length) = lengths(with.beta2, step);
    let mean = state.m / (T::one() - with.beta1.powi(step));
    if length <= number(5.0) {
        return State { p: state.p - with.lr * mean, ..state };
    }
    let above = (length - number(4.0)) * (length - number(2.0)) * limit;
    let below = (limit - number(4.0)) * (limit - number(2.0)) * length;
    let adaptive = (T::one() - with.beta2.powi(step)).sqrt() / (state.v.sqrt() + with.eps);
    State { p: state.p - with.lr * mean * (above / below).sqrt() * adaptive, ..state }
}
