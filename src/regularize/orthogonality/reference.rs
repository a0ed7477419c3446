//! The formulas with plain loops over the smaller Gram matrix.

use alloc::vec;
use alloc::vec::Vec;

use num_traits::Float;

/// G − I, with G = `W·Wᵀ` of `rows ≤ cols`, else `WᵀW`.
fn deviation<F: Float>(rows: usize, cols: usize, w: &[F]) -> Vec<F> {
    let (order, terms) = (rows.min(cols), rows.max(cols));
    let at = |i: usize, k: usize| if rows <= cols { w[i * cols + k] } else { w[k * cols + i] };
    let mut gram = vec![F::zero(); order * order];
    for i in 0..order {
        for j in 0..order {
            let product = (0..terms).fold(F::zero(), |sum, k| sum + at(i, k) * at(j, k));
            gram[i * order + j] = product - if i == j { F::one() } else { F::zero() };
        }
    }
    gram
}

/// `λ·‖G − I‖²_F`.
pub fn value<F: Float>(rows: usize, cols: usize, w: &[F], lambda: F) -> F {
    deviation(rows, cols, w).into_iter().fold(F::zero(), |sum, d| sum + lambda * d * d)
}

/// 4λ·(G − I)·W, or 4λ·W·(G − I), added to `dw`.
pub fn gradient<F: Float>(rows: usize, cols: usize, w: &[F], lambda: F, dw: &mut [F]) {
    let (order, gram) = (rows.min(cols), deviation(rows, cols, w));
    let two = F::one() + F::one();
    for i in 0..rows {
        for j in 0..cols {
            let term = |k: usize| {
                if rows <= cols {
                    gram[i * order + k] * w[k * cols + j]
                } else {
                    w[i * cols + k] * gram[k * order + j]
                }
            };
            let product = (0..order).fold(F::zero(), |sum, k| sum + term(k));
            dw[i * cols + j] = dw[i * cols + j] + two * two * lambda * product;
        }
    }
}
