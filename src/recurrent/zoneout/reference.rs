//! A unit of a step.

use num_traits::Float;

/// `m·new + (1 − m)·before`: m is 0 where the unit keeps its value, 1 where it takes the new one, and at inference the mean.
pub fn forward<T: Float>(m: T, new: T, before: T) -> T {
    m * new + (T::one() - m) * before
}

/// The gradients of the new value and of the one before.
pub fn backward<T: Float>(m: T, dy: T) -> (T, T) {
    (m * dy, (T::one() - m) * dy)
}
