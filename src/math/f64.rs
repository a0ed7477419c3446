//! The functions of `f64`, within 2 ULP with FMA and 4 without.
//!
//! The bounds in the docs are the largest errors seen over 40,000 points a function of the kinds in
//! `tests/accuracy/f64_table.py`; `tests/accuracy_f64.rs` holds them over the committed table, and
//! `tests/accuracy/remez_f64.py` derives the coefficients.

mod erf;
mod exp;
mod ln;

pub(crate) use erf::{erf, erfc, gelu, gelu_gradient, normal};
pub(crate) use exp::{exp, expm1, sigmoid, tanh};
pub(crate) use ln::{ln, ln_1p, log_sigmoid, softplus};

use crate::simd::Vector;

/// c₀ + c₁x + c₂x² + …
#[inline(always)]
fn polynomial<V: Vector<Elem = f64>, const N: usize>(x: V, coefficients: &[f64; N]) -> V {
    polynomial_from(0, x, coefficients)
}

/// cₖ + cₖ₊₁x + cₖ₊₂x² + … with k = `first`.
///
/// Horner's rule in x² over pairs: half the latency of the plain rule for one multiplication, measured 1.3 times as
/// fast on AVX2; a rule in x⁴ was no faster and lost 0.4 ULP of erfc.
#[inline(always)]
fn polynomial_from<V: Vector<Elem = f64>, const N: usize>(first: usize, x: V, coefficients: &[f64; N]) -> V {
    let square = x * x;
    let mut k = first + (N - first - 1) / 2 * 2;
    let mut sum = x.splat(coefficients[k]);
    if k + 1 < N {
        sum = x.mul_add(x.splat(coefficients[k + 1]), sum);
    }
    while k > first {
        k -= 2;
        let pair = x.mul_add(x.splat(coefficients[k + 1]), x.splat(coefficients[k]));
        sum = sum.mul_add(square, pair);
    }
    sum
}
