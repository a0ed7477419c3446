//! The error function, its complement, the normal distribution, and GELU.
//!
//! The tails are e^(−rate·a²)·M(a): no bit of a² is lost, and M, which is smooth, is a polynomial in each of eight [`Pieces`]. One
//! rational function (Shepherd & Laframboise, *Chebyshev approximation of (1 + 2x)exp(x²)erfc x*, 1981) has no tables, but a division
//! whose roundings must be undone: GELU took 1.7 to 2 times as long.

use core::f32::consts::LOG2_E;

use super::exp::{LIFT_EXPONENT, LN_2_HIGH, LN_2_LOW, UNLIFT, expm1_reduced, unlift};
use super::pieces::Pieces;
use super::polynomial;
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

/// Where tails end: erfc 10.25 and Φ(−14.5) round to 0.
const ERFC_END: f32 = 10.25;
const NORMAL_END: f32 = 14.5;
/// 4.84·rate·a² + 2.5 passes through eight octaves on the way to the end. So the [`Pieces`] of Φ meet at 0.79, 1.51, 2.36, 3.49, 5.04,
/// 7.2 and 10.2.
const OCTAVES: [f32; 2] = [2.5, 4.84];

/// e^(a²)·erfc a; relative error 2^−27.2.
#[rustfmt::skip]
const ERFC: Pieces = Pieces {
    centers: [0.272_888_18, 0.808_105_47, 1.362_793, 2.068_847_7, 3.027_832, 4.333_008, 6.158_203, 8.783_203],
    coefficients: [
        [0.753_637_43, 0.486_311_47, 0.345_559_3, 0.248_236_21, 0.177_500_07, 0.126_985_54, 0.090_452_924, 0.063_826_576],
        [-0.717_061_7, -0.342_397_27, -0.186_527_6, -0.101_253_37, -0.053_498_376, -0.027_920_533, -0.014_324_203, -0.007_175_606_7],
        [0.557_960_87, 0.209_618_43, 0.091_360_83, 0.038_758_46, 0.015_516, 0.006_005_664, 0.002_241_579, 0.000_801_764_84],
        [-0.376_530_65, -0.115_334_1, -0.041_348_137, -0.014_045_392, -0.004_345_770_5, -0.001_265_360_2, -0.000_346_769_1, -8.904_671e-5],
        [0.227_513_95, 0.058_200_5, 0.017_503_606, 0.004_848_876, 0.001_178_364_4, 0.000_261_266_08, 5.301_063e-5, 9.823_074e-6],
        [-0.125_845_63, -0.027_360_126, -0.006_991_601, -0.001_604_200_5, -0.000_310_228_64, -5.297_141_6e-5, -8.024_732e-6, -1.076_643_2e-6],
        [0.066_491_38, 0.012_264_043, 0.002_711_387_6, 0.000_525_182_87, 8.247_598_5e-5, 1.103_561_8e-5, 1.261_928_6e-6, 1.238_781_8e-7],
        [-0.030_835_994, -0.004_752_163, -0.000_995_11, -0.000_160_018_07, -2.094_402_6e-5, -2.176_93e-6, -1.856_813_6e-7, -1.391_531_2e-8],
    ],
};

/// e^(a²/2)·Φ(−a); relative error 2^−27.1.
#[rustfmt::skip]
const NORMAL: Pieces = Pieces {
    centers: [0.392_272_95, 1.142_822_3, 1.940_185_5, 2.943_359_4, 4.279_297, 6.119_140_6, 8.728_516, 12.308_594],
    coefficients: [
        [0.375_214_28, 0.243_157_12, 0.171_932_37, 0.123_492_21, 0.088_801_21, 0.063_578_345, 0.045_127_913, 0.032_201_853],
        [-0.251_755_86, -0.121_056_914, -0.065_361_58, -0.035_460_323, -0.018_935_53, -0.009_897_447, -0.005_042_583_7, -0.002_582_759_4],
        [0.138_228_86, 0.052_405_32, 0.022_559_395, 0.009_559_876, 0.003_885_236_6, 0.001_507_238_8, 0.000_556_823_33, 0.000_205_859_73],
        [-0.065_844_215, -0.020_388_823, -0.007_197_410_3, -0.002_440_739_7, -0.000_769_819_54, -0.000_224_821_24, -6.078_622e-5, -1.630_730_4e-5],
        [0.028_089_397, 0.007_274_948_5, 0.002_148_430_3, 0.000_593_822_7, 0.000_147_676_72, 3.286_502_8e-5, 6.557_732e-6, 1.283_085_9e-6],
        [-0.010_963_163, -0.002_416_905_2, -0.000_605_458_7, -0.000_138_388_95, -2.752_073_9e-5, -4.717_564_5e-6, -7.002_955e-7, -1.005_934_25e-7],
        [0.004_091_498_4, 0.000_767_878_66, 0.000_165_762_57, 3.192_292e-5, 5.161_815_4e-6, 6.938_476e-7, 7.772_201e-8, 8.220_627e-9],
        [-0.001_370_384_9, -0.000_215_931_8, -4.282_813e-5, -7.059_950_3e-6, -9.133_848e-7, -9.632_007e-8, -8.174_46e-9, -6.115_528_6e-10],
    ],
};

/// e^(a²/2)·(Φ(−a) − a·φ(a)); relative error 2^−26.4, of 0.1 where it is less.
#[rustfmt::skip]
const GELU_GRADIENT: Pieces = Pieces {
    centers: [0.405_151_37, 1.155_517_6, 1.947_021_5, 2.924_804_7, 4.257_812_5, 6.112_304_7, 8.681_641, 12.312_5],
    coefficients: [
        [0.210_362_84, -0.219_356_15, -0.605_262_6, -1.042_674_8, -1.609_411_6, -2.374_810_7, -3.418_108, -4.879_785],
        [-0.647_170_36, -0.518_678_37, -0.463_996_44, -0.434_759_9, -0.418_045_82, -0.408_860_36, -0.404_037_48, -0.401_523_44],
        [0.135_712_7, 0.051_635_765, 0.022_412_417, 0.009_697_052, 0.003_935_285_4, 0.001_511_837_8, 0.000_565_396_2, 0.000_205_668_87],
        [-0.064_413_65, -0.020_024_452, -0.007_138_89, -0.002_484_955_4, -0.000_782_717_6, -0.000_225_784_26, -6.201_836_4e-5, -1.627_190_8e-5],
        [0.027_393_093, 0.007_123_180_7, 0.002_127_466_3, 0.000_606_150_83, 0.000_150_573_72, 3.307_702e-5, 6.797_008_6e-6, 1.281_516e-6],
        [-0.010_670_921, -0.002_343_523_8, -0.000_599_458_1, -0.000_143_993_78, -2.795_560_4e-5, -4.650_509_3e-6, -7.317_513_6e-7, -1.070_674e-7],
        [0.003_970_341_8, 0.000_751_460_1, 0.000_165_202, 3.429_106e-5, 5.412_153e-6, 6.689_378e-7, 5.931_525_5e-8, 8.085_486e-9],
        [-0.001_302_134_6, -0.000_274_105_23, -4.003_319_6e-5, -3.658_35e-6, -1.125_211_7e-6, -1.390_786_5e-7, -5.842_653e-9, 2.180_194_5e-10],
    ],
};

/// e^(−rate·a²), for a up to the end of a tail.
struct Gaussian<V> {
    /// 2^(n + 64), a normal number.
    lifted_power: V,
    /// e^(−rate·a²) / 2ⁿ − 1.
    expm1: V,
    /// Where a is in [`OCTAVES`].
    octave: V,
}

impl<V: Vector<Elem = f32>> Gaussian<V> {
    /// `rate` is a power of two.
    #[inline(always)]
    fn new(a: V, rate: f32) -> Self {
        // −rate·a² = square + low.
        let scaled = a * -rate;
        let square = a * scaled;
        let low = a.mul_add_exact(scaled, -square);
        // The sum rounds to n, and holds the exponent of the power.
        let unit = a.splat(V::UNIT_EXPONENT + LIFT_EXPONENT);
        let exponent = square.mul_add(a.splat(LOG2_E), unit);
        let n = exponent - unit;
        let r = n.neg_mul_add(a.splat(LN_2_HIGH), square) + n.neg_mul_add(a.splat(LN_2_LOW), low);
        Self {
            lifted_power: exponent.into_exponent(),
            expm1: expm1_reduced(r),
            octave: square.mul_add(a.splat(-OCTAVES[1]), a.splat(OCTAVES[0])),
        }
    }

    /// The tail that belongs to `pieces`, times 2^64.
    #[inline(always)]
    fn lifted_tail(&self, a: V, pieces: &Pieces) -> V {
        let (t, others, first) = pieces.at(a, self.octave);
        // The last step of the polynomial keeps what it rounds away.
        let sum = others.mul_add(t, first);
        let lost = others.mul_add(t, first - sum);
        (sum + sum.mul_add(self.expm1, lost)) * self.lifted_power
    }
}

/// 1 − erf x, relatively accurate down to the subnormals.
///
/// At most 1.77 ULP, without FMA 2.00.
#[inline(always)]
pub(crate) fn erfc<V: Vector<Elem = f32>>(x: V) -> V {
    let magnitude = x.splat(ERFC_END).min(x.abs());
    let tail = unlift(Gaussian::new(magnitude, 1.0).lifted_tail(magnitude, &ERFC));
    x.lt(x.splat(0.0)).select(x.splat(2.0) - tail, tail)
}

/// 1/√(2π)
const FRAC_1_SQRT_2_PI: f32 = 0.398_942_3;

/// (Φ(x), φ(x)): the normal distribution function, relatively accurate down to the subnormals, and its density; they
/// share their exponential.
///
/// At most 1.73 and 1.27 ULP, without FMA 1.80 and 1.41.
#[inline(always)]
pub(crate) fn normal<V: Vector<Elem = f32>>(x: V) -> (V, V) {
    let magnitude = x.splat(NORMAL_END).min(x.abs());
    let gaussian = Gaussian::new(magnitude, 0.5);
    let tail = unlift(gaussian.lifted_tail(magnitude, &NORMAL));
    let peak = gaussian.lifted_power * FRAC_1_SQRT_2_PI;
    (x.gt(x.splat(0.0)).select(x.splat(1.0) - tail, tail), unlift(peak.mul_add(gaussian.expm1, peak)))
}

/// x·Φ(x) = max(x, 0) − |x|·Φ(−|x|), relatively accurate down to the subnormals; −0 at −∞.
///
/// At most 1.95 ULP over every 4099th input.
#[inline(always)]
pub(crate) fn gelu<V: Vector<Elem = f32>>(x: V) -> V {
    let magnitude = x.splat(NORMAL_END).min(x.abs());
    let lifted = magnitude * Gaussian::new(magnitude, 0.5).lifted_tail(magnitude, &NORMAL);
    // Zeros keep their sign, since of two the maximum is the second.
    lifted.neg_mul_add(x.splat(UNLIFT), x.splat(-0.0).max(x))
}

/// The derivative of [`gelu`], Φ(x) + x·φ(x): with D(a) = Φ(−a) − a·φ(a) it is D(−x) below 0, and 1 − D(x) above.
#[inline(always)]
pub(crate) fn gelu_gradient<V: Vector<Elem = f32>>(x: V) -> V {
    let magnitude = x.splat(NORMAL_END).min(x.abs());
    let gaussian = Gaussian::new(magnitude, 0.5);
    let (t, others, first) = GELU_GRADIENT.at(magnitude, gaussian.octave);
    let factor = others.mul_add(t, first);
    let lifted = factor.mul_add(gaussian.expm1, factor) * gaussian.lifted_power;
    x.gt(x.splat(0.0)).select(lifted.neg_mul_add(x.splat(UNLIFT), x.splat(1.0)), unlift(lifted))
}
