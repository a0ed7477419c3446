//! The functions that `Float` lacks, by their textbook formulas.

use num_traits::Float;

/// 1 / (1 + e⁻ˣ), by the form whose exponential cannot overflow.
pub fn sigmoid<F: Float>(x: F) -> F {
    if x.is_nan() {
        return x;
    }
    let e = (-x.abs()).exp();
    if x >= F::zero() { F::one() / (F::one() + e) } else { e / (F::one() + e) }
}

/// ln(1 + eˣ) = max(x, 0) + ln(1 + e^(−|x|)).
pub fn softplus<F: Float>(x: F) -> F {
    if x.is_nan() {
        return x;
    }
    x.max(F::zero()) + (-x.abs()).exp().ln_1p()
}

/// ln σ(x) = −softplus(−x).
pub fn log_sigmoid<F: Float>(x: F) -> F {
    -softplus(-x)
}

/// 2/√π ∫₀ˣ e^(−t²) dt by its Maclaurin series, whose terms all have one sign:
///
/// ```text
/// erf(x) = 2/√π · e^(−x²) · Σₙ 2ⁿ x^(2n+1) / (1·3·…·(2n+1))
/// ```
pub fn erf<F: Float>(x: F) -> F {
    if x.abs() >= constant(3.0) {
        return x.signum() * (F::one() - erfc(x.abs()));
    }
    let (mut term, mut sum, mut n) = (x, x, F::one());
    while term.abs() > sum.abs() * F::epsilon() * constant(0.01) {
        term = term * constant::<F>(2.0) * x * x / (constant::<F>(2.0) * n + F::one());
        sum = sum + term;
        n = n + F::one();
    }
    constant::<F>(core::f64::consts::FRAC_2_SQRT_PI) * (-x * x).exp() * sum
}

/// 1 − erf(x); from 3 on by Laplace's continued fraction:
///
/// ```text
/// erfc(x) = e^(−x²)/√π · 1/(x + (1/2)/(x + (2/2)/(x + (3/2)/(x + …))))
/// ```
pub fn erfc<F: Float>(x: F) -> F {
    if x.is_nan() || x < constant(1.0) {
        return F::one() - erf(x);
    }
    let mut fraction = x;
    for n in (1..=200).rev() {
        fraction = x + constant::<F>(f64::from(n) / 2.0) / fraction;
    }
    constant::<F>(core::f64::consts::FRAC_2_SQRT_PI / 2.0) * (-x * x).exp() / fraction
}

/// Φ(x) = erfc(−x/√2) / 2.
pub fn normal_cdf<F: Float>(x: F) -> F {
    erfc(-x * constant(core::f64::consts::FRAC_1_SQRT_2)) * constant(0.5)
}

/// φ(x) = e^(−x²/2) / √(2π).
pub fn normal_pdf<F: Float>(x: F) -> F {
    (-x * x * constant(0.5)).exp() * constant(0.398_942_280_401_432_7)
}

/// `value` as `F`; every `Float` of this crate holds an `f64` at least rounded.
fn constant<F: Float>(value: f64) -> F {
    F::from(value).unwrap_or_else(F::nan)
}
