//! The formulas, one value at a time.

use num_traits::Float;

use crate::math::reference::sigmoid;

/// t·h + (1 − t)·x with t = σ(z); 1 − σ(z) is σ(−z).
pub fn forward<F: Float>(x: F, h: F, z: F) -> F {
    sigmoid(z) * h + sigmoid(-z) * x
}

/// (dx, dh, dz): (1 − t)·dy, t·dy and (h − x)·t·(1 − t)·dy.
pub fn backward<F: Float>(x: F, h: F, z: F, dy: F) -> (F, F, F) {
    let (t, carry) = (sigmoid(z), sigmoid(-z));
    (carry * dy, t * dy, (h - x) * t * carry * dy)
}
