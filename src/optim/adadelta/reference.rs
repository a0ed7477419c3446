//! Adadelta, one parameter at a time.

use num_traits::Float;

use crate::optim::reference::average;

/// One parameter with its averages.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct State<T> {
    /// The parameter.
    pub p: T,
    /// Mean of the squares of the gradients.
    pub v: T,
    /// Mean of the squares of the steps.
    pub u: T,
}

/// `v = ρ·v + (1 − ρ)·g²; d = √(u + eps)/√(v + eps)·g; u = ρ·u + (1 − ρ)·d²; p = p − lr·d`.
pub fn adadelta<T: Float>(state: State<T>, g: T, lr: T, rho: T, eps: T) -> State<T> {
    let v = average(state.v, g * g, rho);
    let d = (state.u + eps).sqrt() / (v + eps).sqrt() * g;
    State { p: state.p - lr * d, v, u: average(state.u, d * d, rho) }
}
