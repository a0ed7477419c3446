//! The formulas, one unit at a time.

use num_traits::Float;

pub use crate::norm::layer_norm::reference::layer_norm_measure as weight_standardization_measure;

/// Σ aᵢ · bᵢ
fn dot<T: Float>(a: &[T], b: &[T]) -> T {
    a.iter().zip(b).fold(T::zero(), |sum, (&a, &b)| sum + a * b)
}

/// w = g · v / ‖v‖
pub fn weight_norm_forward<T: Float>(v: &[T], gain: T, w: &mut [T]) {
    let norm = dot(v, v).sqrt();
    for i in 0..v.len() {
        w[i] = gain * v[i] / norm;
    }
}

/// dv += g/‖v‖ · (dw − v · Σ dw·v / ‖v‖²); gives dg = Σ dw·v / ‖v‖.
pub fn weight_norm_backward<T: Float>(v: &[T], dw: &[T], gain: T, dv: &mut [T]) -> T {
    let norm = dot(v, v).sqrt();
    let along = dot(dw, v) / norm;
    for i in 0..v.len() {
        dv[i] = dv[i] + gain / norm * (dw[i] - v[i] / norm * along);
    }
    along
}

/// w = g · v̂ with v̂ = (v − mean) · rstd
pub fn weight_standardization_forward<T: Float>(v: &[T], (mean, rstd): (T, T), gain: T, w: &mut [T]) {
    for i in 0..v.len() {
        w[i] = gain * (v[i] - mean) * rstd;
    }
}

/// dv += g·rstd · (dw − mean(dw) − v̂ · mean(dw·v̂)); gives dg = Σ dw·v̂.
pub fn weight_standardization_backward<T: Float>(
    v: &[T],
    dw: &[T],
    (mean, rstd): (T, T),
    gain: T,
    dv: &mut [T],
) -> T {
    let n = T::from(v.len()).unwrap_or_else(T::nan);
    let hat = |i: usize| (v[i] - mean) * rstd;
    let mean_dw = dw.iter().fold(T::zero(), |sum, &dw| sum + dw) / n;
    let along = (0..v.len()).fold(T::zero(), |sum, i| sum + dw[i] * hat(i));
    for i in 0..v.len() {
        dv[i] = dv[i] + gain * rstd * (dw[i] - mean_dw - hat(i) * along / n);
    }
    along
}
