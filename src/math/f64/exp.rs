//! The exponential and what is made of it: eˣ, eˣ − 1, tanh and the logistic sigmoid.
//!
//! x = n·ln 2 + r with |r| ≤ ½ ln 2, ln 2 in two parts (Cody and Waite, *Software Manual for the Elementary
//! Functions*, 1980), and eʳ = 1 + r + r²·P(r). Where a rounding would be felt in what follows, r and eˣ are carried as
//! the sum of a high and a low part.

use core::f64::consts::LOG2_E;

use super::polynomial;
use crate::simd::{Mask, Vector};

/// The leading 42 bits of ln 2: times an exponent of 11 bits it is exact, with and without FMA.
pub(super) const LN_2_HIGH: f64 = 0.6931471805598903;
/// ln 2 − [`LN_2_HIGH`].
pub(super) const LN_2_LOW: f64 = 5.497923018708371e-14;
/// eˣ rounds to 0 from here down (in truth from −745.13), and `ldexp` takes the exponent.
const UNDERFLOW: f64 = -746.0;
/// eˣ rounds to +∞ from here up (in truth from 709.78), and `ldexp` takes the exponent.
const OVERFLOW: f64 = 710.0;
/// eˣ − 1 rounds to −1 from here down (in truth from −37.43).
const EXPM1_SATURATION: f64 = -40.0;
/// tanh x rounds to 1 from here up (in truth from 19.06).
const TANH_SATURATION: f64 = 22.0;
/// The largest exponent whose power of two is finite.
const LARGEST_EXPONENT: f64 = 1023.0;

/// (eʳ − 1 − r) / r² on |r| ≤ ½ ln 2; error of eʳ 2^−57.3.
const EXP: [f64; 10] = [
    0.5,
    0.16666666666666433,
    0.04166666666660399,
    0.008333333333500165,
    0.0013888888926786465,
    0.00019841269465770551,
    2.4801508691274486e-05,
    2.7557641352123143e-06,
    2.762518460899759e-07,
    2.4978214520911497e-08,
];

/// eʳ − 1 − r, plus `rest`.
#[inline(always)]
fn beyond_linear<V: Vector<Elem = f64>>(r: V, rest: V) -> V {
    (r * r).mul_add(polynomial(r, &EXP), rest)
}

/// x + low = n·ln 2 + r + rest, as (n, r, rest) with `rest` below the rounding of r.
#[inline(always)]
fn reduce<V: Vector<Elem = f64>>(x: V, low: V) -> (V, V, V) {
    let n = (x * LOG2_E).round();
    let high = n.neg_mul_add(n.splat(LN_2_HIGH), x);
    let low = n.neg_mul_add(n.splat(LN_2_LOW), low);
    let r = high + low;
    (n, r, (high - r) + low)
}

/// e^(x + low) = (high + rest)·2ⁿ, as (high, rest, n), for n in the range of `ldexp`.
#[inline(always)]
pub(super) fn exp_in_two_parts<V: Vector<Elem = f64>>(x: V, low: V) -> (V, V, V) {
    let (n, r, rest) = reduce(x, low);
    let sum = r + 1.0;
    let rest = (r - (sum - 1.0)) + beyond_linear(r, rest);
    let high = sum + rest;
    (high, rest - (high - sum), n)
}

/// eˣ = significand·2ⁿ, as (significand, n), for n in the range of `ldexp`.
#[inline(always)]
pub(super) fn exp_scaled<V: Vector<Elem = f64>>(x: V) -> (V, V) {
    let n = (x * LOG2_E).round();
    let r = n.neg_mul_add(n.splat(LN_2_HIGH), x);
    let r = n.neg_mul_add(n.splat(LN_2_LOW), r);
    (beyond_linear(r, r) + 1.0, n)
}

/// e^−|x|, which never overflows and is 0 at ±∞.
#[inline(always)]
pub(super) fn exp_of_negative_magnitude<V: Vector<Elem = f64>>(x: V) -> V {
    let (significand, n) = exp_scaled(x.splat(UNDERFLOW).max(-x.abs()));
    significand.ldexp(n)
}

/// eˣ: one Cody–Waite reduction and one polynomial.
///
/// At most 0.97 ULP, without FMA 0.97.
#[inline(always)]
pub(crate) fn exp<V: Vector<Elem = f64>>(x: V) -> V {
    let (significand, n) = exp_scaled(x.splat(UNDERFLOW).max(x.splat(OVERFLOW).min(x)));
    significand.ldexp(n)
}

/// eˣ − 1 = high + low of a reduced argument, n at most 1023: (2ⁿ − 1) + 2ⁿ·r keeps the bits that cancel.
#[inline(always)]
fn expm1_in_two_parts<V: Vector<Elem = f64>>(n: V, r: V, rest: V) -> (V, V) {
    let scale = n.pow2();
    let integral = scale - 1.0;
    let linear = scale * r;
    let high = integral + linear;
    let lost = linear - (high - integral);
    (high, beyond_linear(r, rest).mul_add(scale, lost))
}

/// eˣ − 1, with the relative accuracy of x near 0: (2ⁿ − 1) + 2ⁿ·(eʳ − 1), the larger parts added exactly.
///
/// At most 1.15 ULP, without FMA 0.96.
#[inline(always)]
pub(crate) fn expm1<V: Vector<Elem = f64>>(x: V) -> V {
    let clamped = x.splat(EXPM1_SATURATION).max(x.splat(OVERFLOW).min(x));
    let (n, r, rest) = reduce(clamped, x.splat(0.0));
    // 2^1024 is no number, though the result may be: half of it, doubled.
    let largest = x.splat(LARGEST_EXPONENT);
    let factor = n.gt(largest).select(x.splat(2.0), x.splat(1.0));
    let (high, low) = expm1_in_two_parts(largest.min(n), r, rest);
    ((high + low) * factor).copysign(x)
}

/// tanh |x| = −E / (2 + E) with E = e^(−2|x|) − 1 in two parts, and one correction of the quotient.
///
/// At most 1.41 ULP, without FMA 1.41.
#[inline(always)]
pub(crate) fn tanh<V: Vector<Elem = f64>>(x: V) -> V {
    let magnitude = x.splat(TANH_SATURATION).min(x.abs());
    let (n, r, rest) = reduce(magnitude * -2.0, x.splat(0.0));
    let (high, low) = expm1_in_two_parts(n, r, rest);
    let e = high + low;
    let e_low = low - (e - high);
    let denominator = e + 2.0;
    let denominator_low = (e - (denominator - 2.0)) + e_low;
    let inverse = x.splat(1.0) / denominator;
    let quotient = e * inverse;
    let remainder = quotient.neg_mul_add(denominator, e) + quotient.neg_mul_add(denominator_low, e_low);
    remainder.mul_add(inverse, quotient).copysign(x)
}

/// 1 / (1 + e⁻ˣ) as e^−|x| / (1 + e^−|x|) below 0 and 1 / (1 + e^−|x|) above, the quotient corrected once.
///
/// Relatively accurate down to subnormal results, 0 at −∞. At most 1.35 ULP, without FMA 2.05.
#[inline(always)]
pub(crate) fn sigmoid<V: Vector<Elem = f64>>(x: V) -> V {
    let e = exp_of_negative_magnitude(x);
    let one = x.splat(1.0);
    let denominator = e + one;
    let denominator_low = e - (denominator - one);
    let inverse = one / denominator;
    let numerator = x.lt(x.splat(0.0)).select(e, one);
    let quotient = numerator * inverse;
    let remainder = quotient.neg_mul_add(denominator_low, quotient.neg_mul_add(denominator, numerator));
    remainder.mul_add(inverse, quotient)
}
