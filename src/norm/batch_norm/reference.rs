//! The formulas for the values of one channel.

use num_traits::Float;

/// Elements of a channel as a number.
fn count<F: Float>(x: &[F]) -> F {
    F::from(x.len()).expect("a length")
}

/// (mean, 1/√(variance + eps)) of a batch, with the biased variance.
pub fn statistics<F: Float>(x: &[F], eps: F) -> (F, F) {
    let mean = x.iter().fold(F::zero(), |sum, &x| sum + x) / count(x);
    let variance = x.iter().fold(F::zero(), |sum, &x| sum + (x - mean) * (x - mean)) / count(x);
    (mean, (variance + eps).sqrt().recip())
}

/// y = (x − mean)·rstd·γ + β
pub fn forward<F: Float>(x: F, (mean, rstd): (F, F), (gamma, beta): (F, F)) -> F {
    (x - mean) * rstd * gamma + beta
}

/// Running (mean, variance) after a batch: m·new + (1 − m)·old, with the unbiased variance.
pub fn running<F: Float>(x: &[F], (mean, variance): (F, F), momentum: F) -> (F, F) {
    let (of_batch, _) = statistics(x, F::zero());
    let squares = x.iter().fold(F::zero(), |sum, &x| sum + (x - of_batch) * (x - of_batch));
    let unbiased = squares / (count(x) - F::one());
    let blend = |new, old| momentum * new + (F::one() - momentum) * old;
    (blend(of_batch, mean), blend(unbiased, variance))
}

/// (dγ, dβ): Σ(x − mean)·dy·rstd and Σdy.
pub fn backward_parameters<F: Float>(x: &[F], dy: &[F], (mean, rstd): (F, F)) -> (F, F) {
    let gamma = x.iter().zip(dy).fold(F::zero(), |sum, (&x, &dy)| sum + (x - mean) * dy * rstd);
    (gamma, dy.iter().fold(F::zero(), |sum, &dy| sum + dy))
}

/// k = Σ(x − mean)·dy·rstd²/n,  dx = (dy − mean(dy) − (x − mean)·k)·rstd·γ
pub fn backward_input<F: Float>(x: &[F], dy: &[F], (mean, rstd): (F, F), gamma: F, dx: &mut [F]) {
    let (dgamma, dbeta) = backward_parameters(x, dy, (mean, rstd));
    let k = dgamma * rstd / count(x);
    let mean_dy = dbeta / count(x);
    for i in 0..x.len() {
        dx[i] = (dy[i] - mean_dy - (x[i] - mean) * k) * rstd * gamma;
    }
}

/// dx = dy·rstd·γ, with statistics that do not depend on x.
pub fn backward_input_frozen<F: Float>(dy: F, rstd: F, gamma: F) -> F {
    dy * rstd * gamma
}
