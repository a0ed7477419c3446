//! Clipping by norm.

use num_traits::Float;

/// The factor of the exact rule: 1 where `norm ≤ max_norm`, else `max_norm/norm`.
pub fn scale<T: Float>(norm: T, max_norm: T) -> T {
    if norm <= max_norm { T::one() } else { max_norm / norm }
}

/// The factor of PyTorch's rule: `min(1, max_norm/(norm + eps))`, NaN where that is.
pub fn scale_torch<T: Float>(norm: T, max_norm: T, eps: T) -> T {
    let scale = max_norm / (norm + eps);
    if scale > T::one() { T::one() } else { scale }
}

/// `scale · g`.
pub fn clip<T: Float>(g: &mut [T], scale: T) {
    for g in g {
        *g = *g * scale;
    }
}
