//! The formulas, one unit at a time.

use num_traits::Float;

/// ‖w‖₂ of a unit's weights.
pub fn norm<F: Float>(w: &[F]) -> F {
    w.iter().fold(F::zero(), |sum, &w| sum + w * w).sqrt()
}

/// λ·‖w‖.
pub fn value<F: Float>(w: &[F], lambda: F) -> F {
    lambda * norm(w)
}

/// λ·w/‖w‖, and 0 of a unit that is 0, for each weight.
pub fn gradient<F: Float>(w: &[F], lambda: F, dw: &mut [F]) {
    let norm = norm(w);
    for (dw, &w) in dw.iter_mut().zip(w) {
        *dw = *dw + if norm == F::zero() { F::zero() } else { lambda * w / norm };
    }
}

/// w·max(1 − step·λ/‖w‖, 0), for each weight.
pub fn proximal<F: Float>(w: &mut [F], step: F, lambda: F) {
    let (norm, threshold) = (norm(w), step * lambda);
    for w in w {
        *w = if norm <= threshold { F::zero() } else { *w * (F::one() - threshold / norm) };
    }
}
