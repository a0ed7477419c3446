//! The error function, its complement, and the normal distribution.
//!
//! Both tails are e^(−x²) (or e^(−x²/2)) times a scaled complement that is a polynomial in t = (x − k) / (x + k) over (x + k)
//! (Shepherd and Laframboise, *Chebyshev approximation of (1 + 2x) exp(x²) erfc x*, 1981), with x² split so that its low
//! half reaches the exponential. All factors are carried in two parts, for one rounding in the end.

use super::exp::{exp_in_two_parts, exp_scaled};
use super::{polynomial, polynomial_from};
use crate::simd::{Mask, Vector};

/// erf(x) / x − 1 over x² in [0, 1]; error of erf 2^−56.0.
const ERF_SMALL: [f64; 12] = [
    0.12837916709551256,
    -0.37612638903183343,
    0.11283791670936952,
    -0.026866170641958165,
    0.0052239775967141714,
    -0.0008548325483234215,
    0.00012055280421513586,
    -1.4924463768898469e-05,
    1.6444122261827895e-06,
    -1.6183735247426516e-07,
    1.3615428124830368e-08,
    -7.605144435467292e-10,
];
/// ln erfc(x) on [1, 5.93]; error of erf 2^−56.6.
const ERF_LARGE: [f64; 18] = [
    -5.029620180895847e-07,
    -1.128374088396641,
    -0.6366436329100857,
    -0.10270342623093379,
    0.01899015354975793,
    0.0004106632748181465,
    -0.0019159809550352168,
    0.0007706743045814106,
    -0.00013507058729345266,
    -2.025627237508383e-05,
    2.2818288801425236e-05,
    -8.665822716391838e-06,
    2.1353462277632514e-06,
    -3.7324075052317603e-07,
    4.641434233631007e-08,
    -3.9334496556666485e-09,
    2.0444910997888055e-10,
    -4.927355531581926e-12,
];
/// erf x rounds to 1 from here up (in truth from 5.86).
const ERF_SATURATION: f64 = 6.0;

/// Denominator of the scaled complements: s·x + 4, so that t = 1 − 8 / (s·x + 4) has a power of two to scale by.
const OFFSET: f64 = 4.0;
/// (s·x + 4)·e^(x²)·erfc(x) in t, for x in [0, 27.25]; relative error 2^−55.3.
const ERFC: [f64; 26] = [
    1.9894041550490948,
    -1.3663404900659741,
    0.5891922254242896,
    -0.1013588691261916,
    -0.03569544060449627,
    0.01637145500932348,
    0.004465188557819274,
    -0.002387335541499546,
    -0.0010214124919582096,
    0.0002793656496710362,
    0.0002629198190816152,
    9.237386105952928e-06,
    -5.548170265375207e-05,
    -2.0971502807769253e-05,
    5.508746223370708e-06,
    7.5017795682721546e-06,
    1.8782679711254024e-06,
    -1.1583244275230456e-06,
    -1.1131518174301e-06,
    -2.0075821256463225e-07,
    2.4546240442754545e-07,
    1.5468249220954123e-07,
    -9.603022906119399e-09,
    -3.146862513217947e-08,
    -4.71425519558629e-09,
    1.3392579397421036e-09,
];
/// What the rounding of `ERFC[0]` lost.
const ERFC_LOW: f64 = 1.3151897766910415e-17;
/// s of [`ERFC`]: flat enough near 0 for the rounding of t, and one whose coefficients happen to round well.
const ERFC_SCALE: f64 = 1.9375;
/// erfc x rounds to 0 from here up (in truth from 27.226).
const ERFC_UNDERFLOW: f64 = 27.25;
/// (s·x + 4)·e^(x²/2)·Φ(−x) in t, for x in [0, 38.6]; relative error 2^−55.9.
const NORMAL: [f64; 26] = [
    1.0167657772764938,
    -0.686513023711106,
    0.2822383552594723,
    -0.03895449974651821,
    -0.02093115353722877,
    0.006811238160293641,
    0.0029522209175251546,
    -0.0009092822581433063,
    -0.00064036506890627,
    5.4881879859553364e-05,
    0.00014377970324151544,
    2.882001304404422e-05,
    -2.3274750922250973e-05,
    -1.5282640852443266e-05,
    -3.504959998423506e-07,
    3.7595222264022713e-06,
    1.838804956802656e-06,
    -1.3469014785867523e-07,
    -6.062808831222006e-07,
    -2.740467184604522e-07,
    5.026769409437555e-08,
    1.0088940015174937e-07,
    2.5709142514505594e-08,
    -1.1649096588747721e-08,
    -6.898967084617756e-09,
    -8.166221811235187e-10,
];
/// What the rounding of `NORMAL[0]` lost.
const NORMAL_LOW: f64 = -2.51976079115029e-17;
/// s of [`NORMAL`], as [`ERFC_SCALE`].
const NORMAL_SCALE: f64 = 1.40625;
/// Φ(−x) and φ(x) round to 0 from here up (in truth from 38.485 and 38.567).
const NORMAL_UNDERFLOW: f64 = 38.6;
/// 1 / √(2π) and what its rounding lost.
const DENSITY_AT_0: [f64; 2] = [0.3989422804014327, -2.49232720227773e-17];

/// Error function: x + x·P(x²) below 1, 1 − e^Q(x) above, where Q is the logarithm of erfc.
///
/// At most 0.99 ULP, without FMA 1.11.
#[inline(always)]
pub(crate) fn erf<V: Vector<Elem = f64>>(x: V) -> V {
    let magnitude = x.splat(ERF_SATURATION).min(x.abs());
    let small = magnitude.mul_add(polynomial(magnitude * magnitude, &ERF_SMALL), magnitude);
    let (significand, n) = exp_scaled(polynomial(magnitude, &ERF_LARGE));
    let one = x.splat(1.0);
    let large = significand.neg_mul_add(n.pow2(), one);
    magnitude.lt(one).select(small, large).copysign(x)
}

/// e^(−factor·x²) = (high + rest)·2ⁿ, as (high, rest, n); `factor` is a power of two.
#[inline(always)]
fn gaussian<V: Vector<Elem = f64>>(x: V, factor: f64) -> (V, V, V) {
    // The square of the high half is exact, also without FMA.
    let high = x.clear_low();
    exp_in_two_parts(high * (high * -factor), (high - x) * ((high + x) * factor))
}

/// A scaled complement at x ≥ 0 = high + low, from its polynomial in t over (scale·x + 4).
#[inline(always)]
fn scaled_complement<V: Vector<Elem = f64>, const N: usize>(
    x: V,
    scale: f64,
    coefficients: &[f64; N],
    coefficient_low: f64,
) -> (V, V) {
    let one = x.splat(1.0);
    let offset = x.splat(OFFSET);
    let scale = x.splat(scale);
    let denominator = x.mul_add(scale, offset);
    let denominator_low = x.mul_add(scale, offset - denominator);
    let inverse = one / denominator;
    let residual = inverse.neg_mul_add(denominator_low, inverse.neg_mul_add(denominator, one));
    let inverse_low = inverse * residual;
    // The first difference is exact while it matters, so t is rounded once.
    let factor = x.splat(-2.0 * OFFSET);
    let t = inverse_low.mul_add(factor, inverse.mul_add(factor, one));
    let first = x.splat(coefficients[0]);
    let others = polynomial_from::<_, N>(1, t, coefficients);
    let p = t.mul_add(others, first);
    let p_low = t.mul_add(others, first - p) + coefficient_low;
    let high = p * inverse;
    (high, p.mul_sub(inverse, high) + p.mul_add(inverse_low, p_low * inverse))
}

/// (a + a_low)·(b + b_low), rounded once but for what is below a rounding.
#[inline(always)]
fn product<V: Vector<Elem = f64>>((a, a_low): (V, V), (b, b_low): (V, V)) -> V {
    a.mul_add(b, a.mul_add(b_low, a_low * b))
}

/// 1 − erf(x), relatively accurate in its tail, down to subnormal results; 2 − erfc(−x) below 0.
///
/// At most 1.48 ULP, without FMA 3.2.
#[inline(always)]
pub(crate) fn erfc<V: Vector<Elem = f64>>(x: V) -> V {
    let magnitude = x.splat(ERFC_UNDERFLOW).min(x.abs());
    let (e, e_low, n) = gaussian(magnitude, 1.0);
    let complement = scaled_complement(magnitude, ERFC_SCALE, &ERFC, ERFC_LOW);
    let tail = product((e, e_low), complement).ldexp(n);
    x.lt(x.splat(0.0)).select(x.splat(2.0) - tail, tail)
}

/// (Φ(x), φ(x)): the normal distribution function, relatively accurate in its lower tail, and its density, down to
/// subnormal results, from one exponential; 1 − Φ(−x) above 0.
///
/// Φ at most 1.38 ULP, without FMA 2.91; φ 0.71 and 1.06.
#[inline(always)]
pub(crate) fn normal<V: Vector<Elem = f64>>(x: V) -> (V, V) {
    let magnitude = x.splat(NORMAL_UNDERFLOW).min(x.abs());
    let (e, e_low, n) = gaussian(magnitude, 0.5);
    let complement = scaled_complement(magnitude, NORMAL_SCALE, &NORMAL, NORMAL_LOW);
    let tail = product((e, e_low), complement).ldexp(n);
    let density = product((e, e_low), (x.splat(DENSITY_AT_0[0]), x.splat(DENSITY_AT_0[1]))).ldexp(n);
    (x.gt(x.splat(0.0)).select(x.splat(1.0) - tail, tail), density)
}
