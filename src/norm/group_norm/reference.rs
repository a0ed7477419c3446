//! The formulas for the channels of one group of one sample, `inner` elements each.

use num_traits::Float;

pub use crate::norm::layer_norm::reference::layer_norm_measure as group_norm_measure;

/// yᵢ = (xᵢ − mean) · rstd · γ꜀ + β꜀, c the channel of i.
pub fn group_norm_forward<T: Float>(
    x: &[T],
    (mean, rstd): (T, T),
    (gamma, beta): (&[T], &[T]),
    inner: usize,
    y: &mut [T],
) {
    for i in 0..x.len() {
        y[i] = (x[i] - mean) * rstd * gamma[i / inner] + beta[i / inner];
    }
}

/// With x̂ = (x − mean) · rstd and gᵢ = γ꜀ · dyᵢ: dxᵢ = rstd · (gᵢ − mean(g) − x̂ᵢ · mean(g · x̂)).
pub fn group_norm_backward<T: Float>(
    x: &[T],
    dy: &[T],
    (mean, rstd): (T, T),
    (gamma, inner): (&[T], usize),
    dx: &mut [T],
) {
    let n = T::from(x.len()).unwrap_or_else(T::nan);
    let hat = |i: usize| (x[i] - mean) * rstd;
    let g = |i: usize| gamma[i / inner] * dy[i];
    let mean_g = (0..x.len()).fold(T::zero(), |sum, i| sum + g(i)) / n;
    let mean_g_hat = (0..x.len()).fold(T::zero(), |sum, i| sum + g(i) * hat(i)) / n;
    for i in 0..x.len() {
        dx[i] = rstd * (g(i) - mean_g - hat(i) * mean_g_hat);
    }
}

/// dγ꜀ += dyᵢ · x̂ᵢ, dβ꜀ += dyᵢ
pub fn group_norm_backward_parameters<T: Float>(
    x: &[T],
    dy: &[T],
    (mean, rstd): (T, T),
    inner: usize,
    (dgamma, dbeta): (&mut [T], &mut [T]),
) {
    for i in 0..x.len() {
        dgamma[i / inner] = dgamma[i / inner] + dy[i] * ((x[i] - mean) * rstd);
        dbeta[i / inner] = dbeta[i / inner] + dy[i];
    }
}
