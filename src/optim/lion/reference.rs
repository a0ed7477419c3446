//! Lion, one parameter at a time.

use num_traits::Float;

use crate::optim::reference::average;

/// One parameter with its mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct State<T> {
    /// The parameter.
    pub p: T,
    /// Mean of the gradients.
    pub m: T,
}

/// `p = p − lr·sign(β₁·m + (1 − β₁)·g); m = β₂·m + (1 − β₂)·g`.
pub fn lion<T: Float>(state: State<T>, g: T, lr: T, beta1: T, beta2: T) -> State<T> {
    let p = state.p - lr * sign(average(state.m, g, beta1));
    State { p, m: average(state.m, g, beta2) }
}

/// −1, 0 or 1; NaN of NaN.
pub fn sign<T: Float>(x: T) -> T {
    if x > T::zero() {
        T::one()
    } else if x < T::zero() {
        -T::one()
    } else {
        x
    }
}
