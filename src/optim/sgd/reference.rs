//! Stochastic gradient descent, one parameter at a time.

use num_traits::Float;

/// One parameter with its buffer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct State<T> {
    /// The parameter.
    pub p: T,
    /// The momentum buffer.
    pub b: T,
}

/// `b = first ? g : μ·b + (1 − dampening)·g; p = p − lr·b`.
pub fn classical<T: Float>(state: State<T>, g: T, lr: T, momentum: T, dampening: T, step: u64) -> State<T> {
    let b = if step == 1 { g } else { momentum * state.b + (T::one() - dampening) * g };
    State { p: state.p - lr * b, b }
}

/// `b = first ? g : μ·b + g; p = p − lr·(g + μ·b)`.
pub fn nesterov<T: Float>(state: State<T>, g: T, lr: T, momentum: T, step: u64) -> State<T> {
    let b = if step == 1 { g } else { momentum * state.b + g };
    State { p: state.p - lr * (g + momentum * b), b }
}

/// `p − lr·g`.
pub fn plain<T: Float>(p: T, g: T, lr: T) -> T {
    p - lr * g
}
