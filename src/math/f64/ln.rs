//! Logarithms: ln x, ln(1 + x), and the softplus pair that is made of them.
//!
//! x = 2ᵉ·(1 + f) with 1 + f in [⅔, 4/3), s = f / (2 + f), and ln(1 + f) = 2 artanh s = f − s·(f − s²·P(s²)): f is exact, and
//! all that is rounded is small against it (Tang, *Table-driven implementation of the logarithm function*, 1990; the form
//! of P as in FreeBSD's msun).

use super::exp::{LN_2_HIGH, LN_2_LOW, exp_of_negative_magnitude};
use super::polynomial;
use crate::simd::{Mask, Vector};

/// (2 artanh s − 2s) / s³ over s² in [0, 0.04]; error of ln(1 + f) 2^−55.9.
const LN: [f64; 7] = [
    0.6666666666667268,
    0.39999999996174584,
    0.28571429393443515,
    0.22222138623808216,
    0.18186351968409928,
    0.15250256146191993,
    0.15367757843813948,
];
/// Lifts every subnormal into the normal range.
const LIFT: f64 = 18_014_398_509_481_984.0;
/// Exponent of [`LIFT`].
const LIFT_EXPONENT: f64 = 54.0;
/// An exponent below those where 1 + x still loses bits, and still that of a normal number.
const FAR: f64 = -1000.0;

/// ln(1 + f) − f for f in [−⅓, ½].
#[inline(always)]
fn beyond_linear<V: Vector<Elem = f64>>(f: V) -> V {
    let s = f / (f + 2.0);
    let z = s * s;
    s * z.mul_add(polynomial(z, &LN), -f)
}

/// e·ln 2 + f + rest, the large terms added exactly.
#[inline(always)]
fn join<V: Vector<Elem = f64>>(e: V, f: V, rest: V) -> V {
    let base = e * LN_2_HIGH;
    let sum = base + f;
    let lost = f - (sum - base);
    sum + (lost + e.mul_add(e.splat(LN_2_LOW), rest))
}

/// `value` where `argument` is positive and finite, else what its logarithm is.
#[inline(always)]
fn with_specials<V: Vector<Elem = f64>>(argument: V, value: V) -> V {
    let zero = argument.splat(0.0);
    let pole = argument.eq(zero).select(argument.splat(f64::NEG_INFINITY), argument.splat(f64::NAN));
    let value = argument.lt(argument.splat(f64::INFINITY)).select(value, argument);
    argument.gt(zero).select(value, pole)
}

/// Natural logarithm: −∞ at ±0, NaN below, subnormals exact to the bound.
///
/// At most 1.02 ULP, without FMA 1.02.
#[inline(always)]
pub(crate) fn ln<V: Vector<Elem = f64>>(x: V) -> V {
    let subnormal = x.lt(x.splat(f64::MIN_POSITIVE));
    let (m, e) = subnormal.select(x * LIFT, x).split_exponent();
    let e = e - subnormal.select(x.splat(LIFT_EXPONENT), x.splat(0.0));
    let f = m - 1.0;
    with_specials(x, join(e, f, beyond_linear(f)))
}

/// ln(1 + x), with the relative accuracy of x near 0: what 1 + x rounds away is added to first order.
///
/// At most 1.04 ULP, without FMA 1.04.
#[inline(always)]
pub(crate) fn ln_1p<V: Vector<Elem = f64>>(x: V) -> V {
    let u = x + 1.0;
    let back = u - 1.0;
    let lost = (x - back) + (x.splat(1.0) - (u - back));
    let (m, e) = u.split_exponent();
    let f = m - 1.0;
    // ln(1 + f + g) − ln(1 + f) = g / (1 + f) = g·(1 − f), close enough where g is below a rounding of f.
    let g = lost * x.splat(FAR).max(-e).pow2();
    let rest = beyond_linear(f) + f.neg_mul_add(g, g);
    with_specials(u, join(e, f, rest)).copysign(x)
}

/// ln(1 + e^−|x|): e^−|x| is in [0, 1], so the exponent is a choice of two and f is exact in both.
#[inline(always)]
fn softplus_of_negative_magnitude<V: Vector<Elem = f64>>(x: V) -> V {
    let e = exp_of_negative_magnitude(x);
    let half = x.splat(0.5);
    let doubled = e.ge(half);
    let f = doubled.select((e - 1.0) * half, e);
    let exponent = doubled.select(x.splat(1.0), x.splat(0.0));
    join(exponent, f, beyond_linear(f))
}

/// ln(1 + eˣ) = max(x, 0) + ln(1 + e^−|x|), with no threshold.
///
/// Relatively accurate down to subnormal results. At most 1.43 ULP, without FMA 1.43.
#[inline(always)]
pub(crate) fn softplus<V: Vector<Elem = f64>>(x: V) -> V {
    x.splat(0.0).max(x) + softplus_of_negative_magnitude(x)
}

/// −ln(1 + e⁻ˣ) = min(x, 0) − ln(1 + e^−|x|).
///
/// Relatively accurate down to subnormal results. At most 1.48 ULP, without FMA 1.48.
#[inline(always)]
pub(crate) fn log_sigmoid<V: Vector<Elem = f64>>(x: V) -> V {
    // −0, so that the limit at +∞ is approached from below.
    x.splat(-0.0).min(x) - softplus_of_negative_magnitude(x)
}
