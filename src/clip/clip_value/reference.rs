//! Clipping by value.

use num_traits::Float;

/// `min(max(g, min), max)`; NaN stays NaN.
pub fn clip<T: Float>(g: T, min: T, max: T) -> T {
    if g < min {
        min
    } else if g > max {
        max
    } else {
        g
    }
}
