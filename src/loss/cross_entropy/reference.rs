//! The formulas, one row at a time: class indices are a distribution too.

use num_traits::Float;

use crate::loss::softmax::reference::{max, softmax_forward};

/// `v_c = ((1 − ε) · q_c + ε/C) · w_c`: what class c of C counts; a class index t is the distribution `q_c = [c = t]`.
pub fn target<F: Float>(probability: F, weight: F, smoothing: F, classes: F) -> F {
    ((F::one() - smoothing) * probability + smoothing / classes) * weight
}

/// `−Σ v_c · ln softmax(x)_c` over the classes that count.
pub fn forward<F: Float>(x: &[F], v: &[F]) -> F {
    let largest = max(x);
    let log_sum = x.iter().fold(F::zero(), |sum, &x| sum + (x - largest).exp()).ln();
    let counting = x.iter().zip(v).filter(|&(_, v)| *v != F::zero());
    // Not (largest + log_sum) − x: beside a large logit that loses the logarithm.
    counting.fold(F::zero(), |sum, (&x, &v)| sum + v * (log_sum - (x - largest)))
}

/// dx = Σ v · softmax(x) − v.
pub fn backward<F: Float>(x: &[F], v: &[F], dx: &mut [F]) {
    let total = v.iter().fold(F::zero(), |sum, &v| sum + v);
    softmax_forward(x, dx);
    for (dx, &v) in dx.iter_mut().zip(v) {
        *dx = total * *dx - v;
    }
}
