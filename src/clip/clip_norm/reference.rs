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

/// What a unit's gradient may be long: `ratio · max(‖w‖, eps)`.
pub fn adaptive_limit<T: Float>(ratio: T, weights: T, eps: T) -> T {
    ratio * if weights < eps { eps } else { weights }
}

/// The percentile of numbers, interpolated linearly.
pub fn percentile<T: Float>(sorted: &[T], percent: T) -> T {
    let last = T::from(sorted.len() - 1).unwrap_or_else(T::nan);
    let place = percent / T::from(100).unwrap_or_else(T::nan) * last;
    let below = place.floor().to_usize().unwrap_or(0);
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (place - place.floor()) * (sorted[above] - sorted[below])
}
