//! Uniform and normal numbers from a caller's generator by inversion: one draw a number, and no function whose last bit
//! depends on the platform.

use rand_core::Rng;

/// A multiple of 2⁻⁵² plus half of that: strictly inside (0, 1) and symmetric about ½.
fn unit(rng: &mut dyn Rng) -> f64 {
    const STEP: f64 = 1.0 / (1_u64 << 52) as f64;
    ((rng.next_u64() >> 12) as f64 + 0.5) * STEP
}

/// U(low, high).
pub(super) fn uniform(rng: &mut dyn Rng, low: f64, high: f64) -> f64 {
    (low + (high - low) * unit(rng)).clamp(low, high)
}

/// N(0, 1); at most 8.21 in magnitude.
pub(super) fn normal(rng: &mut dyn Rng) -> f64 {
    quantile(unit(rng))
}

/// Mass between two bounds below which a part of it may underflow: all of it is then at the bound nearest to the mean.
const SMALLEST_MASS: f64 = 1e-290;

/// N(mean, std²) between two bounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Truncated {
    mean: f64,
    /// Negative where the bell was mirrored to have its bounds where Φ is relatively accurate.
    std: f64,
    low: f64,
    high: f64,
    /// Φ of the lower bound.
    below: f64,
    /// Φ of the upper bound less that.
    mass: f64,
}

impl Truncated {
    pub(super) fn new(mean: f64, std: f64, low: f64, high: f64) -> Self {
        let std = if low > mean { -std } else { std };
        let (a, b) = (cumulative((low - mean) / std), cumulative((high - mean) / std));
        Self { mean, std, low, high, below: a.min(b), mass: (b - a).abs() }
    }

    /// x = mean + std·Φ⁻¹(Φ(low) + u·(Φ(high) − Φ(low))).
    pub(super) fn sample(&self, rng: &mut dyn Rng) -> f64 {
        let p = self.below + unit(rng) * self.mass;
        let x = if self.mass < SMALLEST_MASS { self.mean } else { self.mean + self.std * quantile(p) };
        x.clamp(self.low, self.high)
    }
}

/// Φ(x), relatively accurate for x < 0.
fn cumulative(x: f64) -> f64 {
    libm::erfc(-x * core::f64::consts::FRAC_1_SQRT_2) * 0.5
}

/// Φ⁻¹(p), by Wichura's algorithm AS 241 (Applied Statistics 37, 1988): three rational functions, relative error 1e-16.
fn quantile(p: f64) -> f64 {
    let q = p - 0.5;
    if q.abs() <= 0.425 {
        return q * ratio(0.180_625 - q * q, &CENTER);
    }
    let r = libm::sqrt(-libm::log(if q < 0.0 { p } else { 1.0 - p }));
    let tail = if r <= 5.0 { ratio(r - 1.6, &MIDDLE) } else { ratio(r - 5.0, &FAR) };
    tail.copysign(q)
}

/// Numerator over denominator, both from the constant term up.
fn ratio(x: f64, [numerator, denominator]: &[[f64; 8]; 2]) -> f64 {
    let horner = |coefficients: &[f64; 8]| coefficients.iter().rev().fold(0.0, |sum, c| sum * x + c);
    horner(numerator) / horner(denominator)
}

/// |p − ½| ≤ 0.425, in 0.425² − (p − ½)².
const CENTER: [[f64; 8]; 2] = [
    [
        3.387_132_872_796_366_5,
        1.331_416_678_917_843_8e2,
        1.971_590_950_306_551_3e3,
        1.373_169_376_550_946e4,
        4.592_195_393_154_987e4,
        6.726_577_092_700_87e4,
        3.343_057_558_358_813e4,
        2.509_080_928_730_122_7e3,
    ],
    [
        1.0,
        4.231_333_070_160_091e1,
        6.871_870_074_920_579e2,
        5.394_196_021_424_751e3,
        2.121_379_430_158_659_7e4,
        3.930_789_580_009_271e4,
        2.872_908_573_572_194_3e4,
        5.226_495_278_852_854e3,
    ],
];

/// √(−ln p) in (1.6, 5], less 1.6.
const MIDDLE: [[f64; 8]; 2] = [
    [
        1.423_437_110_749_683_5,
        4.630_337_846_156_546,
        5.769_497_221_460_691,
        3.647_848_324_763_204_5,
        1.270_458_252_452_368_4,
        2.417_807_251_774_506e-1,
        2.272_384_498_926_918_4e-2,
        7.745_450_142_783_414e-4,
    ],
    [
        1.0,
        2.053_191_626_637_759,
        1.676_384_830_183_803_8,
        6.897_673_349_851e-1,
        1.481_039_764_274_800_8e-1,
        1.519_866_656_361_645_7e-2,
        5.475_938_084_995_345e-4,
        1.050_750_071_644_416_9e-9,
    ],
];

/// √(−ln p) above 5, less 5.
const FAR: [[f64; 8]; 2] = [
    [
        6.657_904_643_501_103,
        5.463_784_911_164_114,
        1.784_826_539_917_291_3,
        2.965_605_718_285_048_7e-1,
        2.653_218_952_657_612_3e-2,
        1.242_660_947_388_078_4e-3,
        2.711_555_568_743_487_6e-5,
        2.010_334_399_292_288e-7,
    ],
    [
        1.0,
        5.998_322_065_558_88e-1,
        1.369_298_809_227_358e-1,
        1.487_536_129_085_061_5e-2,
        7.868_691_311_456_133e-4,
        1.846_318_317_510_054_8e-5,
        1.421_511_758_316_446e-7,
        2.044_263_103_389_939_8e-15,
    ],
];
