//! The functions of `f32`, within 2 ULP with FMA and 4 without; no branches, no tables, at most one division.
//!
//! The bounds in the docs are the largest errors seen: over all inputs of the critical intervals of tanh, softplus, erfc and
//! the normal distribution, over every 127th input or more of the rest. `tests/accuracy.rs` judges by a prime stride of all 2³²
//! inputs in every run and by all of them on demand. `tests/accuracy/remez.py` derives the coefficients.

mod erf;
mod exp;
mod ln;

pub(crate) use erf::{erf, erfc, normal};
pub(crate) use exp::{exp, expm1, sigmoid, tanh};
pub(crate) use ln::{ln, ln_1p, log_sigmoid, softplus};

use crate::simd::{Vector, inlined};

/// c₀ + c₁x + c₂x² + …
#[inline(always)]
fn polynomial<V: Vector<Elem = f32>, const N: usize>(x: V, coefficients: &[f32; N]) -> V {
    polynomial_from(0, x, coefficients)
}

/// cₖ + cₖ₊₁x + cₖ₊₂x² + … with k = `first`.
///
/// Horner's rule in x² over pairs: half the latency of the plain rule for one multiplication, measured 1.3 times as
/// fast in erf and 1.15 times in ln on AVX2.
#[inline(always)]
fn polynomial_from<V: Vector<Elem = f32>, const N: usize>(first: usize, x: V, coefficients: &[f32; N]) -> V {
    let square = x * x;
    let pair = inlined(
        #[inline(always)]
        |k: usize| x.mul_add(x.splat(coefficients[k + 1]), x.splat(coefficients[k])),
    );
    let mut k = first + (N - first - 1) / 2 * 2;
    let mut sum = if k + 1 < N { pair(k) } else { x.splat(coefficients[k]) };
    while k > first {
        k -= 2;
        sum = sum.mul_add(square, pair(k));
    }
    sum
}
