//! The norms of one list, in one pass over all elements.

use num_traits::Float;

/// `Σ|xᵢ|`.
pub fn norm_1<T: Float>(x: &[T]) -> T {
    x.iter().fold(T::zero(), |sum, &x| sum + x.abs())
}

/// `√Σxᵢ²`.
pub fn norm_2<T: Float>(x: &[T]) -> T {
    x.iter().fold(T::zero(), |sum, &x| sum + x * x).sqrt()
}

/// `max|xᵢ|`, NaN where any element is.
pub fn norm_infinity<T: Float>(x: &[T]) -> T {
    x.iter().fold(T::zero(), |max, &x| if x.is_nan() || x.abs() > max { x.abs() } else { max })
}

/// `(Σ|xᵢ|ᵖ)^(1/p)`.
pub fn norm_power<T: Float>(x: &[T], p: T) -> T {
    x.iter().fold(T::zero(), |sum, &x| sum + x.abs().powf(p)).powf(p.recip())
}

/// The norm with exponent `p`.
pub fn norm<T: Float>(x: &[T], p: f64) -> T {
    if p == 1.0 {
        norm_1(x)
    } else if p == 2.0 {
        norm_2(x)
    } else if p == f64::INFINITY {
        norm_infinity(x)
    } else {
        norm_power(x, T::from(p).unwrap_or_else(T::nan))
    }
}
