//! The formulas for a matrix of `u.len()` rows of `v.len()` elements.

use num_traits::Float;

/// W·v
fn times<T: Float>(weights: &[T], v: &[T], row: usize) -> T {
    (0..v.len()).fold(T::zero(), |sum, col| sum + weights[row * v.len() + col] * v[col])
}

/// x = x / max(‖x‖, eps)
fn normalise<T: Float>(x: &mut [T], eps: T) {
    let norm = x.iter().fold(T::zero(), |sum, &x| sum + x * x).sqrt();
    let divisor = if norm < eps { eps } else { norm };
    x.iter_mut().for_each(|x| *x = *x / divisor);
}

/// u = W·v / ‖W·v‖
pub fn spectral_norm_left<T: Float>(weights: &[T], v: &[T], eps: T, u: &mut [T]) {
    for row in 0..u.len() {
        u[row] = times(weights, v, row);
    }
    normalise(u, eps);
}

/// v = Wᵀ·u / ‖Wᵀ·u‖
pub fn spectral_norm_right<T: Float>(weights: &[T], u: &[T], eps: T, v: &mut [T]) {
    for col in 0..v.len() {
        v[col] = (0..u.len()).fold(T::zero(), |sum, row| sum + weights[row * v.len() + col] * u[row]);
    }
    normalise(v, eps);
}

/// σ = uᵀ·W·v
pub fn spectral_norm_sigma<T: Float>(weights: &[T], u: &[T], v: &[T]) -> T {
    (0..u.len()).fold(T::zero(), |sum, row| sum + u[row] * times(weights, v, row))
}

/// Ŵ = W / σ
pub fn spectral_norm_forward<T: Float>(weights: &[T], sigma: T, normalised: &mut [T]) {
    for i in 0..weights.len() {
        normalised[i] = weights[i] / sigma;
    }
}

/// dW += (dŴ − (Σ dŴ·Ŵ) · u·vᵀ) / σ, with u and v held constant.
pub fn spectral_norm_backward<T: Float>(
    normalised: &[T],
    dnormalised: &[T],
    (u, v, sigma): (&[T], &[T], T),
    dweights: &mut [T],
) {
    let dot = normalised.iter().zip(dnormalised).fold(T::zero(), |sum, (&w, &dw)| sum + w * dw);
    for i in 0..normalised.len() {
        let (row, col) = (i / v.len(), i % v.len());
        dweights[i] = dweights[i] + (dnormalised[i] - dot * u[row] * v[col]) / sigma;
    }
}
