//! The plain recurrent cell, one unit at a time.

use num_traits::Float;

/// `tanh a`.
pub fn tanh<T: Float>(a: T) -> T {
    a.tanh()
}

/// `max(a, 0)`, NaN kept.
pub fn relu<T: Float>(a: T) -> T {
    if a < T::zero() { T::zero() } else { a }
}

/// The gradient of a from that of `h = tanh a`.
pub fn tanh_backward<T: Float>(h: T, dh: T) -> T {
    dh * (T::one() - h * h)
}

/// The gradient of a from that of `h = max(a, 0)`; 0 at the kink.
pub fn relu_backward<T: Float>(h: T, dh: T) -> T {
    if h <= T::zero() { T::zero() } else { dh }
}
