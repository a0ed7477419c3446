//! The formulas, one row at a time.

use num_traits::Float;

/// y = eˣ / Σ eˣ.
pub fn softmax_forward<F: Float>(x: &[F], y: &mut [F]) {
    let largest = max(x);
    let sum = x.iter().fold(F::zero(), |sum, &x| sum + (x - largest).exp());
    for (y, &x) in y.iter_mut().zip(x) {
        *y = (x - largest).exp() / sum;
    }
}

/// dx = y · (dy − Σ y · dy).
pub fn softmax_backward<F: Float>(y: &[F], dy: &[F], dx: &mut [F]) {
    let dot = y.iter().zip(dy).fold(F::zero(), |sum, (&y, &dy)| sum + y * dy);
    for ((dx, &y), &dy) in dx.iter_mut().zip(y).zip(dy) {
        *dx = y * (dy - dot);
    }
}

/// y = (x − m) − ln Σ eˣ⁻ᵐ with m = max x.
pub fn log_softmax_forward<F: Float>(x: &[F], y: &mut [F]) {
    let largest = max(x);
    let sum = x.iter().fold(F::zero(), |sum, &x| sum + (x - largest).exp());
    for (y, &x) in y.iter_mut().zip(x) {
        *y = (x - largest) - sum.ln();
    }
}

/// dx = dy − eʸ · Σ dy.
pub fn log_softmax_backward<F: Float>(y: &[F], dy: &[F], dx: &mut [F]) {
    let sum = dy.iter().fold(F::zero(), |sum, &dy| sum + dy);
    for ((dx, &y), &dy) in dx.iter_mut().zip(y).zip(dy) {
        *dx = dy - y.exp() * sum;
    }
}

/// The largest element, NaN where any element is.
pub(crate) fn max<F: Float>(x: &[F]) -> F {
    x.iter().fold(F::neg_infinity(), |m, &x| if x.is_nan() || m.is_nan() { F::nan() } else { m.max(x) })
}
