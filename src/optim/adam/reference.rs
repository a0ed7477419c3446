//! Adam, one parameter at a time.

use num_traits::Float;

use crate::optim::reference::average;

/// One parameter with its averages.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct State<T> {
    /// The parameter.
    pub p: T,
    /// Mean of the gradients.
    pub m: T,
    /// Mean of their squares.
    pub v: T,
    /// The largest `v` so far, for AMSGrad.
    pub u: T,
}

/// What a step is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coefficients<T> {
    /// Learning rate.
    pub lr: T,
    /// β₁.
    pub beta1: T,
    /// β₂.
    pub beta2: T,
    /// eps.
    pub eps: T,
}

/// `m = β₁·m + (1 − β₁)·g; v = β₂·v + (1 − β₂)·g²; u = max(u, v)`.
pub fn averages<T: Float>(state: State<T>, g: T, with: Coefficients<T>) -> State<T> {
    let m = average(state.m, g, with.beta1);
    let v = average(state.v, g * g, with.beta2);
    let u = if state.u.is_nan() || state.u > v { state.u } else { v };
    State { m, v, u, ..state }
}

/// `p − lr · (m/(1 − β₁ᵗ)) / (√(v/(1 − β₂ᵗ)) + eps)`, with `t = step`.
pub fn adam<T: Float>(state: State<T>, g: T, with: Coefficients<T>, step: i32) -> State<T> {
    let state = averages(state, g, with);
    State { p: state.p - change(state.m, state.v, with, step), ..state }
}

/// As [`adam`], with `u` for `v`.
pub fn amsgrad<T: Float>(state: State<T>, g: T, with: Coefficients<T>, step: i32) -> State<T> {
    let state = averages(state, g, with);
    State { p: state.p - change(state.m, state.u, with, step), ..state }
}

fn change<T: Float>(m: T, v: T, with: Coefficients<T>, step: i32) -> T {
    let m = m / (T::one() - with.beta1.powi(step));
    let v = v / (T::one() - with.beta2.powi(step));
    with.lr * m / (v.sqrt() + with.eps)
}
