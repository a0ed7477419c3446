//! Exponentials: eˣ, eˣ − 1, and the sigmoid and tanh that are made of them.
//!
//! x = n·ln 2 + r with |r| ≤ ½ ln 2 (Cody & Waite, *Software Manual for the Elementary Functions*, 1980) and
//! eʳ − 1 = r + r²·P(r). What is built on it adds 2ⁿ·(eʳ − 1) to an exact 2ⁿ + c in one rounding, instead of c to a
//! rounded eˣ.

use core::f32::consts::LOG2_E;

use super::polynomial;
use crate::simd::{Mask, Vector};

/// ln 2 with 15 bits, so that its products with exponents are exact without FMA too.
pub(super) const LN_2_HIGH: f32 = 0.693_145_75;
/// ln 2 − [`LN_2_HIGH`].
pub(super) const LN_2_LOW: f32 = 1.428_606_8e-6;
/// (eʳ − 1 − r) / r² over |r| ≤ ½ ln 2; error of eʳ 2^−28.2.
pub(super) const EXP: [f32; 5] = [0.499_999_94, 0.166_665_21, 0.041_668_28, 0.008_368_679, 0.001_381_944];

/// 1.5·2^23: sums with it are integers.
const WHOLE: f32 = 12_582_912.0;

/// What lifts an exponent of [−152, 60] into that of a normal number.
pub(super) const LIFT_EXPONENT: f32 = 64.0;
/// 2^−64: undoes the lift, rounding once where the result is subnormal.
pub(super) const UNLIFT: f32 = 5.421_011e-20;

/// 2^(n + 64), a normal number for n in [−152, 60].
#[inline(always)]
pub(super) fn lifted_power<V: Vector<Elem = f32>>(n: V) -> V {
    (n + LIFT_EXPONENT).pow2()
}

/// `x` without the lift of [`lifted_power`].
#[inline(always)]
pub(super) fn unlift<V: Vector<Elem = f32>>(x: V) -> V {
    x * UNLIFT
}

/// `(n, r)` with x = n·ln 2 + r, n integral and |r| ≤ ½ ln 2.
#[inline(always)]
pub(super) fn reduce<V: Vector<Elem = f32>>(x: V) -> (V, V) {
    // The sum rounds to an integer, in fewer operations than rounding the product.
    let whole = x.splat(WHOLE);
    let n = x.mul_add(x.splat(LOG2_E), whole) - whole;
    let r = n.neg_mul_add(x.splat(LN_2_HIGH), x);
    (n, n.neg_mul_add(x.splat(LN_2_LOW), r))
}

/// eʳ − 1 for |r| ≤ ½ ln 2.
#[inline(always)]
pub(super) fn expm1_reduced<V: Vector<Elem = f32>>(r: V) -> V {
    (polynomial(r, &EXP) * r).mul_add(r, r)
}

/// eˣ: 0 below −104, ∞ from 88.73 on.
///
/// At most 1.04 ULP, without FMA 1.02.
#[inline(always)]
pub(crate) fn exp<V: Vector<Elem = f32>>(x: V) -> V {
    let (n, r) = reduce(x.clamp(x.splat(-104.0), x.splat(89.0)));
    (expm1_reduced(r) + 1.0).ldexp(n)
}

/// eˣ − 1: −1 from −18 down, the sign of zero kept.
///
/// At most 1.59 ULP, without FMA 1.71.
#[inline(always)]
pub(crate) fn expm1<V: Vector<Elem = f32>>(x: V) -> V {
    let (n, r) = reduce(x.clamp(x.splat(-18.0), x.splat(89.0)));
    // Half of it, since 2ⁿ overflows before eˣ does.
    let half_power = (n - 1.0).pow2();
    let half = half_power.mul_add(expm1_reduced(r), half_power - 0.5);
    // x + x²/2 rounds to x below 2⁻²⁵, and half of a subnormal may not be a number.
    x.abs().lt(x.splat(f32::EPSILON / 4.0)).select(x, half + half)
}

/// [`EXP`] of −s instead of s.
const EXP_OF_NEGATED: [f32; 5] = [EXP[0], -EXP[1], EXP[2], -EXP[3], EXP[4]];

/// 1 / (1 + e⁻ˣ), subnormal from −87.4 down and 0 at −∞.
///
/// ```text
/// σ(x) = c / ((c + c·2ⁿ) + c·2ⁿ·(e⁻ˢ − 1)),  x + n·ln 2 = s,  c = 2^−64
/// ```
///
/// c keeps every 2ⁿ normal, so that only the division rounds into the subnormals. At most 1.69 ULP, without FMA 1.75.
#[inline(always)]
pub(crate) fn sigmoid<V: Vector<Elem = f32>>(x: V) -> V {
    // σ(−105) rounds to 0 and σ(40) to 1.
    let x = x.clamp(x.splat(-105.0), x.splat(40.0));
    // The sum rounds to n, and holds the exponent of c·2ⁿ.
    let unit = x.splat(V::UNIT_EXPONENT - LIFT_EXPONENT);
    let exponent = x.mul_add(x.splat(-LOG2_E), unit);
    let (n, power) = (exponent - unit, exponent.into_exponent());
    let s = n.mul_add(x.splat(LN_2_LOW), n.mul_add(x.splat(LN_2_HIGH), x));
    let expm1 = (polynomial(s, &EXP_OF_NEGATED) * s).mul_sub(s, s);
    let sum = power + UNLIFT;
    // What the sum has rounded away, where 2ⁿ is the larger: at n = 24 it would be half a unit.
    let lost = x.splat(UNLIFT) - (sum - power);
    x.splat(UNLIFT) / (sum + power.mul_add(expm1, lost))
}

/// 2ᶠ over |f| ≤ ½; relative error 2^−28.3.
const POWER: [f32; 7] = [
    1.0,
    core::f32::consts::LN_2,
    0.240_226_48,
    0.055_503_596,
    0.009_618_497,
    0.001_339_096_7,
    0.000_153_299_03,
];
/// (tanh x / x − 1) / x² over x² in [0, 0.3025]; error of tanh x 2^−29.7.
const TANH: [f32; 5] = [-0.333_333_16, 0.133_325_44, -0.053_847_548, 0.021_050_714, -0.006_242_850_3];
/// artanh ½: from here on 2/(e²ˣ + 1) is at most a half, and its error at most that of 1 minus it.
const TANH_HALF: f32 = 0.549_306_1;

/// Hyperbolic tangent, the sign of zero kept.
///
/// ```text
/// |x| < artanh ½:  x + x³·P(x²)
/// else:            ±(1 − 2/(2ⁿ·2ᶠ + 1)),  n + f = |x|·2/ln 2
/// ```
///
/// The second form forgives the error of an unsplit n + f. A polynomial in e^−2|x| instead of the division takes 1.06 of
/// the time on AVX-512 and 1.27 on AVX2, which has too few registers for its coefficients. At most 1.51 ULP, without FMA 1.91.
#[inline(always)]
pub(crate) fn tanh<V: Vector<Elem = f32>>(x: V) -> V {
    let one = x.splat(1.0);
    // tanh 10 rounds to 1.
    let magnitude = x.splat(10.0).min(x.abs());
    // The sum rounds to n, and holds the exponent of 2ⁿ.
    let (unit, rate) = (x.splat(V::UNIT_EXPONENT), x.splat(2.0 * LOG2_E));
    let exponent = magnitude.mul_add(rate, unit);
    let power = polynomial(magnitude.mul_sub(rate, exponent - unit), &POWER);
    let large = one - x.splat(2.0) / power.mul_add(exponent.into_exponent(), one);
    let square = magnitude * magnitude;
    let small = (polynomial(square, &TANH) * square).mul_add(magnitude, magnitude);
    magnitude.lt(x.splat(TANH_HALF)).select(small, large).copysign(x)
}
