//! The formulas, one row at a time.

use num_traits::Float;

/// Mean and 1/√(variance + eps) of a row.
pub fn layer_norm_measure<T: Float>(x: &[T], eps: T) -> (T, T) {
    let n = T::from(x.len()).unwrap_or_else(T::nan);
    let mean = x.iter().fold(T::zero(), |sum, &x| sum + x) / n;
    let variance = x.iter().fold(T::zero(), |sum, &x| sum + (x - mean) * (x - mean)) / n;
    (mean, (variance + eps).sqrt().recip())
}

/// yᵢ = (xᵢ − mean) · rstd · γᵢ + βᵢ
pub fn layer_norm_forward<T: Float>(x: &[T], (mean, rstd): (T, T), gamma: &[T], beta: &[T], y: &mut [T]) {
    for i in 0..x.len() {
        y[i] = (x[i] - mean) * rstd * gamma[i] + beta[i];
    }
}

/// With x̂ = (x − mean) · rstd and g = γ · dy: dxᵢ = rstd · (gᵢ − mean(g) − x̂ᵢ · mean(g · x̂)).
pub fn layer_norm_backward<T: Float>(x: &[T], dy: &[T], (mean, rstd): (T, T), gamma: &[T], dx: &mut [T]) {
    let n = T::from(x.len()).unwrap_or_else(T::nan);
    let hat = |i: usize| (x[i] - mean) * rstd;
    let g = |i: usize| gamma[i] * dy[i];
    let mean_g = (0..x.len()).fold(T::zero(), |sum, i| sum + g(i)) / n;
    let mean_g_hat = (0..x.len()).fold(T::zero(), |sum, i| sum + g(i) * hat(i)) / n;
    for i in 0..x.len() {
        dx[i] = rstd * (g(i) - mean_g - hat(i) * mean_g_hat);
    }
}

/// dγᵢ += dyᵢ · x̂ᵢ, dβᵢ += dyᵢ
pub fn layer_norm_backward_parameters<T: Float>(
    x: &[T],
    dy: &[T],
    (mean, rstd): (T, T),
    dgamma: &mut [T],
    dbeta: &mut [T],
) {
    for i in 0..x.len() {
        dgamma[i] = dgamma[i] + dy[i] * ((x[i] - mean) * rstd);
        dbeta[i] = dbeta[i] + dy[i];
    }
}
