//! Logarithms: ln x, ln(1 + x), and the softplus pair.
//!
//! x = 2ᵉ·(1 + f) with 1 + f in [⅔, 4/3) and ln(1 + f) = f − f²/2 + f³·P(f): f is exact, and all that is rounded is small
//! against it.

use super::exp::{LN_2_HIGH, LN_2_LOW, expm1_reduced, lifted_power, reduce, unlift};
use super::polynomial;
use crate::simd::{Mask, Vector};

/// (ln(1 + f) − f + f²/2) / f³ over |f| ≤ ⅓; error of ln(1 + f) 2^−27.7.
const LN: [f32; 8] = [
    0.333_332_15,
    -0.249_998_06,
    0.200_104_27,
    -0.166_801_96,
    0.140_057_37,
    -0.121_876_56,
    0.139_846_12,
    -0.128_782_47,
];
/// 2²³ lifts every subnormal into the normal range.
const LIFT: f32 = 8_388_608.0;
/// Exponent of [`LIFT`].
const LIFT_EXPONENT: f32 = 23.0;

/// ln(2ᵉ·(1 + f)) for |f| ≤ ⅓.
#[inline(always)]
fn ln_reduced<V: Vector<Elem = f32>>(e: V, f: V) -> V {
    let beyond_linear = polynomial(f, &LN).mul_add(f, f.splat(-0.5));
    let low = (f * f).mul_add(beyond_linear, e * LN_2_LOW);
    e.mul_add(f.splat(LN_2_HIGH), f + low)
}

/// `value` where `argument` is positive and finite, else what its logarithm is.
#[inline(always)]
fn with_specials<V: Vector<Elem = f32>>(argument: V, value: V) -> V {
    let zero = argument.splat(0.0);
    let pole = argument.eq(zero).select(argument.splat(f32::NEG_INFINITY), argument.splat(f32::NAN));
    let value = argument.lt(argument.splat(f32::INFINITY)).select(value, argument);
    argument.gt(zero).select(value, pole)
}

/// Natural logarithm: −∞ at ±0, NaN below, subnormals exact to the bound.
///
/// At most 0.84 ULP, without FMA 0.84.
#[inline(always)]
pub(crate) fn ln<V: Vector<Elem = f32>>(x: V) -> V {
    let subnormal = x.lt(x.splat(f32::MIN_POSITIVE));
    let (m, e) = subnormal.select(x * LIFT, x).split_exponent();
    let e = e - subnormal.select(x.splat(LIFT_EXPONENT), x.splat(0.0));
    with_specials(x, ln_reduced(e, m - 1.0))
}

/// ln(1 + x): −∞ at −1, NaN below, the sign of zero kept.
///
/// ```text
/// f = x·2⁻ᵉ + (2⁻ᵉ − 1),  2ᵉ the exponent of the rounded 1 + x
/// ```
///
/// which takes every bit of x along in one rounding (Juffa's `log1pf`). At most 1.60 ULP, without FMA 1.57.
#[inline(always)]
pub(crate) fn ln_1p<V: Vector<Elem = f32>>(x: V) -> V {
    let sum = x + 1.0;
    let (_, e) = sum.split_exponent();
    // 2⁻ᵉ in two steps: it is subnormal for the largest x.
    let scale = (x.splat(2.0) - e).pow2() * 0.25;
    let y = with_specials(sum, ln_reduced(e, x.mul_add(scale, scale - 1.0)));
    x.eq(x.splat(0.0)).select(x, y)
}

/// (ln(1 + t) − t + t²/2) / t³ over t in [0, 1]; error of ln(1 + t) 2^−29.6.
const LN_1P_UNIT: [f32; 9] = [
    0.333_330_96,
    -0.249_933_7,
    0.199_267_77,
    -0.162_301_24,
    0.126_835_99,
    -0.085_975_06,
    0.044_346_195,
    -0.014_704_526,
    0.002_280_797_6,
];

/// ln(1 + e^−|x|) = t + t·(−t/2 + t²·P(t)) with t = e^−|x|: one polynomial over (0, 1] takes fewer operations than a
/// split of 1 + t.
#[inline(always)]
fn softplus_of_magnitude<V: Vector<Elem = f32>>(x: V) -> V {
    // e^−105 rounds to 0.
    let (n, r) = reduce(-x.splat(105.0).min(x.abs()));
    let t = unlift((expm1_reduced(r) + 1.0) * lifted_power(n));
    (polynomial(t, &LN_1P_UNIT) * t).mul_add(t, t * -0.5).mul_add(t, t)
}

/// ln(1 + eˣ) = max(x, 0) + ln(1 + e^−|x|).
///
/// At most 1.81 ULP, without FMA 2.27.
#[inline(always)]
pub(crate) fn softplus<V: Vector<Elem = f32>>(x: V) -> V {
    x.splat(0.0).max(x) + softplus_of_magnitude(x)
}

/// −ln(1 + e⁻ˣ) = min(x, 0) − ln(1 + e^−|x|).
///
/// At most 1.81 ULP, without FMA 2.27.
#[inline(always)]
pub(crate) fn log_sigmoid<V: Vector<Elem = f32>>(x: V) -> V {
    // Negated last: where it rounds to 0, it is −0.
    -(softplus_of_magnitude(x) - x.splat(0.0).min(x))
}
