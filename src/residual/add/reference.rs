//! The formulas, one value at a time; the curve is an activation's.

use num_traits::Float;

/// a(x + f).
pub fn forward<F: Float>(x: F, f: F, activation: impl Fn(F) -> F) -> F {
    activation(x + f)
}

/// dy·a′(x + f), the gradient of x and of f.
pub fn backward<F: Float>(x: F, f: F, dy: F, derivative: impl Fn(F, F) -> F) -> F {
    derivative(x + f, dy)
}
