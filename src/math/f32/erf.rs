//! The error function, its complement, and the normal distribution.
//!
//! The tails are e^(−a²)·M(a), M smooth: a²·rate is split so that no bit of it is lost, and M(a)·(a + k) is a polynomial
//! in (a − k)/(a + k) (Shepherd & Laframboise, *Chebyshev approximation of (1 + 2x)exp(x²)erfc x*, 1981).

use core::f32::consts::LOG2_E;

use super::exp::{EXP, LN_2_HIGH, LN_2_LOW, lifted_power, unlift};
use super::{polynomial, polynomial_from};
use crate::simd::{Mask, Vector};

/// erf x / x − 1 over x² in [0, 1.21]; error of erf x 2^−27.6.
const ERF: [f32; 7] = [
    0.128_379_17,
    -0.376_126_1,
    0.112_833_64,
    -0.026_843_518,
    0.005_167_733_4,
    -0.000_782_478_25,
    7.236_266e-5,
];
/// Where the two polynomials of [`erf`] meet.
const ERF_KNOT: f32 = 1.1;
/// From here on the result is 1: erf is within 0.6 ULP of it, and [`ERFC_MIDDLE`] is here below half a unit of it.
const ERF_END: f32 = 3.9;
/// Middle of [`ERF_KNOT`] and [`ERF_END`].
const ERFC_MIDPOINT: f32 = 2.5;
/// erfc(t + 2.5) over t in [−1.4, 1.43]; absolute error 2^−26.1, which is enough for 1 minus it.
const ERFC_MIDDLE: [f32; 14] = [
    0.000_406_939_77,
    -0.002_178_219,
    0.005_446_320_4,
    -0.008_351_206,
    0.008_617_461,
    -0.006_111_701_5,
    0.002_813_214,
    -0.000_555_378,
    -0.000_281_386_7,
    0.000_266_051_44,
    -6.429_776e-5,
    -1.578_022_4e-5,
    9.546_691e-6,
    -8.250_503_4e-7,
];

/// Error function, the sign of zero kept: two polynomials without exponential or division.
///
/// At most 1.17 ULP, without FMA 1.24.
#[inline(always)]
pub(crate) fn erf<V: Vector<Elem = f32>>(x: V) -> V {
    let magnitude = x.splat(ERF_END).min(x.abs());
    let small = polynomial(magnitude * magnitude, &ERF).mul_add(magnitude, magnitude);
    let large = x.splat(1.0) - polynomial(magnitude - ERFC_MIDPOINT, &ERFC_MIDDLE);
    magnitude.lt(x.splat(ERF_KNOT)).select(small, large).copysign(x)
}

/// e^(rate·a²)·f(a) of a decreasing f: `coefficients` of its product with a + `k`, in (a − k)/(a + k).
struct Tail<const N: usize> {
    rate: f32,
    /// A power of two, so that its inverse, the factor at a = 0, is exact.
    k: f32,
    /// The logarithmic derivative by ln(a + k) is about −1 − `slope`/(a + k); it only weighs a rounding error.
    slope: f32,
    /// What the first coefficient lacks.
    first_low: f32,
    coefficients: [f32; N],
}

/// erfc a; relative error 2^−27.5 over [0, 10.25].
const ERFC_TAIL: Tail<11> = Tail {
    rate: 1.0,
    k: 2.0,
    slope: 2.5,
    first_low: -1.389_307_9e-8,
    coefficients: [
        1.021_582_7,
        -0.687_160_73,
        0.279_471_84,
        -0.036_441_218,
        -0.021_506_606,
        0.006_473_059_3,
        0.003_065_078,
        -0.000_826_014_2,
        -0.000_593_859_64,
        4.207_205e-5,
        6.801_297e-5,
    ],
};
/// Φ(−a); relative error 2^−26.3 over [0, 14.5].
const NORMAL_TAIL: Tail<10> = Tail {
    rate: 0.5,
    k: 4.0,
    slope: 8.8,
    first_low: -8.464_816e-9,
    coefficients: [
        0.755_285_14,
        -0.607_896_57,
        0.387_136_9,
        -0.186_523_97,
        0.060_403_112,
        -0.007_521_962,
        -0.003_506_732_4,
        0.001_565_775_5,
        0.000_167_339_73,
        -0.000_137_517_78,
    ],
};

impl<const N: usize> Tail<N> {
    /// `(n, r, v)` with e^(−rate·a²) = 2ⁿ·(1 + r + v) and v the smaller.
    #[inline(always)]
    fn exponential<V: Vector<Elem = f32>>(&self, a: V) -> (V, V, V) {
        // a² = high² + (a + high)·low, the first exactly.
        let high = a.clear_low();
        let square = high * high * -self.rate;
        let low = (a + high) * (a - high) * self.rate;
        let n = ((square - low) * LOG2_E).round();
        let exact = n.neg_mul_add(a.splat(LN_2_HIGH), square);
        let rest = n.mul_add(a.splat(LN_2_LOW), low);
        let r = exact - rest;
        let lost = (exact - r) - rest;
        (n, r, (polynomial(r, &EXP) * r).mul_add(r, lost))
    }

    /// f(a) / 2ⁿ, from what [`exponential`](Self::exponential) gives.
    #[inline(always)]
    fn value<V: Vector<Elem = f32>>(&self, a: V, r: V, v: V) -> V {
        let one = a.splat(1.0);
        let sum = a + self.k;
        let inverse = one / sum;
        // 1/(a + k) = inverse·(1 + lost): what the sum and the division have rounded away.
        let lost = ((sum - self.k) - a).mul_add(inverse, inverse.mul_add_exact(-sum, one));
        let v = (inverse.mul_add(a.splat(self.slope), one) * lost).mul_add(r + v + 1.0, v);
        // The product of the polynomial and the inverse in two parts.
        let double_k = a.splat(2.0 * self.k);
        let q = inverse.neg_mul_add(double_k, one);
        let q_low = inverse.neg_mul_add(double_k, one - q);
        // The last two steps of the polynomial keep what they round away.
        let (first, second) = (a.splat(self.coefficients[0]), a.splat(self.coefficients[1]));
        let beyond_second = polynomial_from(2, q, &self.coefficients);
        let beyond_first = beyond_second.mul_add(q, second);
        let beyond_first_low = beyond_second.mul_add(q, second - beyond_first);
        let factor = beyond_first.mul_add(q, first);
        let factor_low = beyond_first.mul_add_exact(q, first - factor) + self.first_low;
        // The secant's slope serves as the tangent's.
        let factor_low = beyond_first_low.mul_add(q, beyond_first.mul_add(q_low, factor_low));
        let product = factor * inverse;
        let product_low = factor_low.mul_add(inverse, factor.mul_add_exact(inverse, -product));
        product + product.mul_add(r, product.mul_add(v, product_low))
    }
}

/// 1 − erf x, relatively accurate down to the subnormals.
///
/// At most 1.94 ULP, without FMA 2.16.
#[inline(always)]
pub(crate) fn erfc<V: Vector<Elem = f32>>(x: V) -> V {
    // erfc 10.25 rounds to 0.
    let magnitude = x.splat(10.25).min(x.abs());
    let (n, r, v) = ERFC_TAIL.exponential(magnitude);
    let tail = unlift(ERFC_TAIL.value(magnitude, r, v) * lifted_power(n));
    x.lt(x.splat(0.0)).select(x.splat(2.0) - tail, tail)
}

/// 1/√(2π)
const FRAC_1_SQRT_2_PI: f32 = 0.398_942_3;

/// (Φ(x), φ(x)): the normal distribution function, relatively accurate down to the subnormals, and its density; they
/// share their exponential.
///
/// At most 1.80 and 1.19 ULP, without FMA 2.08 and 1.33.
#[inline(always)]
pub(crate) fn normal<V: Vector<Elem = f32>>(x: V) -> (V, V) {
    // Φ(−14.5) and φ(14.5) round to 0.
    let magnitude = x.splat(14.5).min(x.abs());
    let (n, r, v) = NORMAL_TAIL.exponential(magnitude);
    let power = lifted_power(n);
    let tail = unlift(NORMAL_TAIL.value(magnitude, r, v) * power);
    let peak = power * FRAC_1_SQRT_2_PI;
    (x.gt(x.splat(0.0)).select(x.splat(1.0) - tail, tail), unlift(peak.mul_add(r + v, peak)))
}
