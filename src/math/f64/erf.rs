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
    -0.026866170641958186,
    0.005223977596714572,
    -0.000854832548326557,
    0.00012055280422825975,
    -1.4924463801355125e-05,
    1.6444122750975272e-06,
    -1.6183739660395866e-07,
    1.3615450022298754e-08,
    -7.60519038115436e-10,
];
/// ln erfc(x) on [1, 5.93]; error of erf 2^−57.0.
const ERF_LARGE: [f64; 18] = [
    -5.029620180895767e-07,
    -1.128374088396641,
    -0.6366436329100857,
    -0.10270342623106891,
    0.018990153551792826,
    0.0004106632640547634,
    -0.0019159809242809168,
    0.0007706742489339704,
    -0.00013507051839410338,
    -2.025633322282802e-05,
    2.281832795782118e-05,
    -8.665841213510968e-06,
    2.1353526125671262e-06,
    -3.7324233274820423e-07,
    4.6414614050173466e-08,
    -3.93347995639558e-09,
    2.0445104173735692e-10,
    -4.927406834536924e-12,
];
/// erf x rounds to 1 from here up (in truth from 5.86).
const ERF_SATURATION: f64 = 6.0;

/// Denominator of the scaled complements: s·x + 4, so that t = 1 − 8 / (s·x + 4) has a power of two to scale by.
const OFFSET: f64 = 4.0;
/// (s·x + 4)·e^(x²)·erfc(x) in t, for x in [0, 27.25]; relative error 2^−55.2.
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
    9.23738610595293e-06,
    -5.548170265375206e-05,
    -2.0971502807769253e-05,
    5.5087462233707005e-06,
    7.501779568272157e-06,
    1.8782679711254192e-06,
    -1.1583244275230473e-06,
    -1.113151817430124e-06,
    -2.0075821256463447e-07,
    2.454624044275676e-07,
    1.5468249220954684e-07,
    -9.603022906131138e-09,
    -3.1468625132183996e-08,
    -4.7142551955835615e-09,
    1.3392579397434517e-09,
];
/// What the rounding of `ERFC[0]` lost.
const ERFC_LOW: f64 = 6.335266783097055e-18;
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
    -2.3274750922250977e-05,
    -1.528264085244327e-05,
    -3.504959998423396e-07,
    3.759522226402279e-06,
    1.8388049568026339e-06,
    -1.3469014785869072e-07,
    -6.062808831221707e-07,
    -2.7404671846043134e-07,
    5.0267694094349953e-08,
    1.008894001517313e-07,
    2.570914251451814e-08,
    -1.1649096588738642e-08,
    -6.898967084620452e-09,
    -8.166221811255253e-10,
];
/// What the rounding of `NORMAL[0]` lost.
const NORMAL_LOW: f64 = -3.0173579345784674e-17;
/// s of [`NORMAL`], as [`ERFC_SCALE`].
const NORMAL_SCALE: f64 = 1.40625;
/// Φ(−x) and φ(x) round to 0 from here up (in truth from 38.485 and 38.567).
const NORMAL_UNDERFLOW: f64 = 38.6;
/// 1 / √(2π) and what its rounding lost.
const DENSITY_AT_0: [f64; 2] = [0.3989422804014327, -2.49232720227773e-17];

/// Error function: x + x·P(x²) below 1, 1 − e^Q(x) above, where Q is the logarithm of erfc.
///
/// At most 1.02 ULP, without FMA 1.14.
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
    let residual = inverse.neg_mul_add(denominator_low, inverse.mul_add_exact(-denominator, one));
    let inverse_low = inverse * residual;
    // The first difference is exact while it matters, so t is rounded once.
    let factor = x.splat(-2.0 * OFFSET);
    let t = inverse_low.mul_add(factor, inverse.mul_add(factor, one));
    let first = x.splat(coefficients[0]);
    let others = polynomial_from::<_, N>(1, t, coefficients);
    let p = t.mul_add(others, first);
    let p_low = t.mul_add_exact(others, first - p) + coefficient_low;
    let high = p * inverse;
    (high, p.mul_add_exact(inverse, -high) + p.mul_add(inverse_low, p_low * inverse))
}

/// `(a + a_low)·(b + b_low)`, rounded once but for what is below a rounding.
#[inline(always)]
fn product<V: Vector<Elem = f64>>((a, a_low): (V, V), (b, b_low): (V, V)) -> V {
    a.mul_add(b, a.mul_add(b_low, a_low * b))
}

/// 1 − erf(x), relatively accurate in its tail, down to subnormal results; 2 − erfc(−x) below 0.
///
/// At most 1.48 ULP, without FMA 2.1.
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
/// Φ at most 1.38 ULP, without FMA 1.7; φ 0.71 and 1.06.
#[inline(always)]
pub(crate) fn normal<V: Vector<Elem = f64>>(x: V) -> (V, V) {
    let magnitude = x.splat(NORMAL_UNDERFLOW).min(x.abs());
    let (e, e_low, n) = gaussian(magnitude, 0.5);
    let complement = scaled_complement(magnitude, NORMAL_SCALE, &NORMAL, NORMAL_LOW);
    let tail = product((e, e_low), complement).ldexp(n);
    let density = product((e, e_low), (x.splat(DENSITY_AT_0[0]), x.splat(DENSITY_AT_0[1]))).ldexp(n);
    (x.gt(x.splat(0.0)).select(x.splat(1.0) - tail, tail), density)
}

/// x·Φ(x), relatively accurate down to the subnormals; −0 at −∞.
#[inline(always)]
pub(crate) fn gelu<V: Vector<Elem = f64>>(x: V) -> V {
    let x = x.splat(-NORMAL_UNDERFLOW).max(x);
    x * normal(x).0
}

/// The derivative of [`gelu`], Φ(x) + x·φ(x).
#[inline(always)]
pub(crate) fn gelu_gradient<V: Vector<Elem = f64>>(x: V) -> V {
    let x = x.clamp(x.splat(-NORMAL_UNDERFLOW), x.splat(NORMAL_UNDERFLOW));
    let (cdf, pdf) = normal(x);
    x.mul_add(pdf, cdf)
}
