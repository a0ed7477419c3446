//! LAMB, one tensor at a time: You et al. 2020, arXiv 1904.00962, algorithm 2.

use num_traits::Float;

use crate::optim::adam::reference::averages;
pub use crate::optim::adam::reference::{Coefficients, State};
use crate::optim::lars::reference::norm;

/// `m/(1 − β₁ᵗ) / (√(v/(1 − β₂ᵗ)) + eps) + λ·p`, with `t = step`.
pub fn update<T: Float>(at: State<T>, with: Coefficients<T>, decay: T, step: i32) -> T {
    let m = at.m / (T::one() - with.beta1.powi(step));
    let v = at.v / (T::one() - with.beta2.powi(step));
    m / (v.sqrt() + with.eps) + decay * at.p
}

/// `φ(‖w‖)/‖u‖`, 1 where either is 0; `φ(z) = min(max(z, lower), upper)`.
pub fn ratio<T: Float>(w: T, u: T, lower: T, upper: T) -> T {
    let trusted = w.max(lower).min(upper);
    if trusted == T::zero() || u == T::zero() { T::one() } else { trusted / u }
}

/// `w = w − lr·ratio·u`, where `[lower, upper]` bound φ.
pub fn lamb<T: Float>(
    tensor: &mut [State<T>],
    g: &[T],
    with: Coefficients<T>,
    decay: T,
    [lower, upper]: [T; 2],
    step: i32,
) {
    let w = norm(tensor.iter().map(|at| at.p));
    for (at, &g) in tensor.iter_mut().zip(g) {
        *at = averages(*at, g, with);
    }
    let u = norm(tensor.iter().map(|&at| update(at, with, decay, step)));
    for at in tensor {
        at.p = at.p - with.lr * ratio(w, u, lower, upper) * update(*at, with, decay, step);
    }
}
