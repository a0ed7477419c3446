//! Adagrad, one parameter at a time.

use num_traits::Float;

/// One parameter with its sum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct State<T> {
    /// The parameter.
    pub p: T,
    /// Sum of the squares of the gradients.
    pub s: T,
}

/// `s = s + g²; p = p − lr·g/(√s + eps)`.
pub fn adagrad<T: Float>(state: State<T>, g: T, lr: T, eps: T) -> State<T> {
    let s = state.s + g * g;
    State { p: state.p - lr * g / (s.sqrt() + eps), s }
}

/// `lr/(1 + (t − 1)·lr_decay)`, with `t = step`.
pub fn learning_rate<T: Float>(lr: T, lr_decay: T, step: T) -> T {
    lr / (T::one() + (step - T::one()) * lr_decay)
}
