//! The formulas, one value at a time.

use num_traits::Float;

/// l1·|w| + ½·l2·w²; a coefficient of 0 leaves its term out.
pub fn value<F: Float>(w: F, l1: F, l2: F) -> F {
    let absolute = if l1 == F::zero() { F::zero() } else { l1 * w.abs() };
    let square = if l2 == F::zero() { F::zero() } else { l2 * w * w / (F::one() + F::one()) };
    absolute + square
}

/// l1·sign(w) + l2·w with sign(0) = 0; NaN of NaN.
pub fn gradient<F: Float>(w: F, l1: F, l2: F) -> F {
    let sign = if w == F::zero() || w.is_nan() { w } else { w.signum() };
    let absolute = if l1 == F::zero() { F::zero() } else { l1 * sign };
    let square = if l2 == F::zero() { F::zero() } else { l2 * w };
    absolute + square
}
