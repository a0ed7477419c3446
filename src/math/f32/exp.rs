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

/// What lifts an exponent of [−152, 60] into that of a normal number.
const LIFT_EXPONENT: f32 = 64.0;
/// 2^−64: undoes the lift, rounding once where the result is subnormal.
const UNLIFT: f32 = 5.421_011e-20;

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
    let n = (x * LOG2_E).round();
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
/// At most 1.02 ULP, without FMA 1.00.
#[inline(always)]
pub(crate) fn exp<V: Vector<Elem = f32>>(x: V) -> V {
    let (n, r) = reduce(x.clamp(x.splat(-104.0), x.splat(89.0)));
    (expm1_reduced(r) + 1.0).ldexp(n)
}

/// eˣ − 1: −1 from −18 down, the sign of zero kept.
///
/// At most 1.52 ULP, without FMA 1.60.
#[inline(always)]
pub(crate) fn expm1<V: Vector<Elem = f32>>(x: V) -> V {
    let (n, r) = reduce(x.clamp(x.splat(-18.0), x.splat(89.0)));
    // Half of it, since 2ⁿ overflows before eˣ does.
    let half_power = (n - 1.0).pow2();
    let half = half_power.mul_add(expm1_reduced(r), half_power - 0.5);
    // x + x²/2 rounds to x below 2⁻²⁵, and half of a subnormal may not be a number.
    x.abs().lt(x.splat(f32::EPSILON / 4.0)).select(x, half + half)
}

/// 1 / (1 + e⁻ˣ), subnormal from −87.4 down and 0 at −∞.
///
/// ```text
/// σ(x) = c / ((c + c·2ⁿ) + c·2ⁿ·(eʳ − 1)),  −x = n·ln 2 + r,  c = 2^−64
/// ```
///
/// c keeps every 2ⁿ normal, so that only the division rounds into the subnormals. At most 1.69 ULP, without FMA 1.69.
#[inline(always)]
pub(crate) fn sigmoid<V: Vector<Elem = f32>>(x: V) -> V {
    // σ(−105) rounds to 0 and σ(40) to 1.
    let (n, r) = reduce(-x.clamp(x.splat(-105.0), x.splat(40.0)));
    let power = (n - LIFT_EXPONENT).pow2();
    let sum = power + UNLIFT;
    // What the sum has rounded away, where 2ⁿ is the larger: at n = 24 it would be half a unit.
    let lost = x.splat(UNLIFT) - (sum - power);
    x.splat(UNLIFT) / (sum + power.mul_add(expm1_reduced(r), lost))
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
/// The second form forgives the error of an unsplit n + f. At most 1.91 ULP, without FMA 1.91.
#[inline(always)]
pub(crate) fn tanh<V: Vector<Elem = f32>>(x: V) -> V {
    let one = x.splat(1.0);
    // tanh 10 rounds to 1.
    let magnitude = x.splat(10.0).min(x.abs());
    let exponent = magnitude * (2.0 * LOG2_E);
    let n = exponent.round();
    let power = polynomial(exponent - n, &POWER);
    let large = one - x.splat(2.0) / power.mul_add(n.pow2(), one);
    let square = magnitude * magnitude;
    let small = (polynomial(square, &TANH) * square).mul_add(magnitude, magnitude);
    magnitude.lt(x.splat(TANH_HALF)).select(small, large).copysign(x)
}
