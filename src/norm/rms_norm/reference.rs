//! The formulas, one row at a time.

use num_traits::Float;

/// 1/√(mean(x²) + eps) of a row.
pub fn rms_norm_measure<T: Float>(x: &[T], eps: T) -> T {
    let n = T::from(x.len()).unwrap_or_else(T::nan);
    let mean_square = x.iter().fold(T::zero(), |sum, &x| sum + x * x) / n;
    (mean_square + eps).sqrt().recip()
}

/// yᵢ = xᵢ · rstd · γᵢ + βᵢ
pub fn rms_norm_forward<T: Float>(x: &[T], rstd: T, gamma: &[T], beta: &[T], y: &mut [T]) {
    for i in 0..x.len() {
        y[i] = x[i] * rstd * gamma[i] + beta[i];
    }
}

/// With x̂ = x · rstd and g = γ · dy: dxᵢ = rstd · (gᵢ − x̂ᵢ · mean(g · x̂)).
pub fn rms_norm_backward<T: Float>(x: &[T], dy: &[T], rstd: T, gamma: &[T], dx: &mut [T]) {
    let n = T::from(x.len()).unwrap_or_else(T::nan);
    let mean_g_hat = (0..x.len()).fold(T::zero(), |sum, i| sum + gamma[i] * dy[i] * x[i] * rstd) / n;
    for i in 0..x.len() {
        dx[i] = rstd * (gamma[i] * dy[i] - x[i] * rstd * mean_g_hat);
    }
}

/// dγᵢ += dyᵢ · x̂ᵢ, dβᵢ += dyᵢ
pub fn rms_norm_backward_parameters<T: Float>(x: &[T], dy: &[T], rstd: T, dgamma: &mut [T], dbeta: &mut [T]) {
    for i in 0..x.len() {
        dgamma[i] = dgamma[i] + dy[i] * (x[i] * rstd);
        dbeta[i] = dbeta[i] + dy[i];
    }
}
