//! RMSProp, one parameter at a time.

use num_traits::Float;

use crate::optim::reference::average;

/// One parameter with its averages.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct State<T> {
    /// The parameter.
    pub p: T,
    /// Mean of the squares of the gradients.
    pub v: T,
    /// Mean of the gradients, for the variance.
    pub a: T,
    /// The momentum buffer.
    pub b: T,
}

/// What a step is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coefficients<T> {
    /// Learning rate.
    pub lr: T,
    /// α.
    pub alpha: T,
    /// eps.
    pub eps: T,
    /// μ; 0 for no momentum.
    pub momentum: T,
}

/// By the root of the mean square.
pub fn square<T: Float>(state: State<T>, g: T, with: Coefficients<T>) -> State<T> {
    let v = average(state.v, g * g, with.alpha);
    step(State { v, ..state }, g, v, with)
}

/// By the root of the variance.
pub fn variance<T: Float>(state: State<T>, g: T, with: Coefficients<T>) -> State<T> {
    let v = average(state.v, g * g, with.alpha);
    let a = average(state.a, g, with.alpha);
    let spread = v - a * a;
    let spread = if spread < T::zero() { T::zero() } else { spread };
    step(State { v, a, ..state }, g, spread, with)
}

/// `b = μ·b + g/(√spread + eps); p = p − lr·b`.
fn step<T: Float>(state: State<T>, g: T, spread: T, with: Coefficients<T>) -> State<T> {
    let d = g / (spread.sqrt() + with.eps);
    let b = if with.momentum == T::zero() { d } else { with.momentum * state.b + d };
    State { p: state.p - with.lr * b, b, ..state }
}
