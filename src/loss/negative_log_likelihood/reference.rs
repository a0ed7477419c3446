//! The formulas, one row at a time.

use num_traits::Float;

/// −w · xₜ.
pub fn forward<F: Float>(x: &[F], class: usize, weight: F) -> F {
    -weight * x[class]
}

/// `dx_c = −[c = t] · w`.
pub fn backward<F: Float>(class: usize, weight: F, dx: &mut [F]) {
    dx.fill(F::zero());
    dx[class] = -weight;
}
