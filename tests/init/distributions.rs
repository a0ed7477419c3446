//! Moments, bounds and shapes of what is drawn.

use steadygrad::init::{self, Distribution, Fan};
use steadygrad::{Activation, Error, Init, WeightShape};

use super::subject::{DISTRIBUTIONS, Given, drawn, moments, row};

/// The largest distance between the distribution of `x` and `cumulative`, times √n: over 1.95 in one case of a thousand.
fn kolmogorov_smirnov(x: &[f64], cumulative: impl Fn(f64) -> f64) -> f64 {
    let mut sorted = x.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len() as f64;
    let distance = |(i, &x): (usize, &f64)| {
        let p = cumulative(x);
        (p - i as f64 / n).abs().max((p - (i + 1) as f64 / n).abs())
    };
    sorted.iter().enumerate().map(distance).fold(0.0, f64::max) * n.sqrt()
}

fn phi(x: f64) -> f64 {
    libm::erfc(-x / 2.0_f64.sqrt()) / 2.0
}

const MANY: usize = 400_000;

#[test]
fn init_normal_is_normal() {
    let x: Vec<f64> = drawn(Init::Normal { mean: 0.0, std: 1.0 }, row(MANY), 1);
    let [mean, std, skewness, kurtosis] = moments(&x);
    let error = 1.0 / (MANY as f64).sqrt();
    assert!(mean.abs() < 4.0 * error, "mean {mean}");
    assert!((std - 1.0).abs() < 4.0 * error / 2.0_f64.sqrt(), "std {std}");
    assert!(skewness.abs() < 4.0 * error * 6.0_f64.sqrt(), "skewness {skewness}");
    assert!((kurtosis - 3.0).abs() < 4.0 * error * 24.0_f64.sqrt(), "kurtosis {kurtosis}");
    assert!(kolmogorov_smirnov(&x, phi) < 1.95);
    // The control: a deviation off by a fiftieth, or a mean by a hundredth, is seen.
    assert!(kolmogorov_smirnov(&x, |x| phi(x * 1.02)) > 1.95);
    assert!(kolmogorov_smirnov(&x, |x| phi(x + 0.01)) > 1.95);
    // Tails: about 18 and 1,080 in 400,000 lie beyond 4.1 and 3 deviations.
    let beyond = |limit: f64| x.iter().filter(|x| x.abs() > limit).count();
    assert!((6..40).contains(&beyond(4.1)), "{}", beyond(4.1));
    assert!((950..1210).contains(&beyond(3.0)), "{}", beyond(3.0));
    // Neighbours are independent.
    let correlation: f64 = x.windows(2).map(|w| w[0] * w[1]).sum::<f64>() / MANY as f64;
    assert!(correlation.abs() < 4.0 * error);
}

fn quantile(bits: u64) -> f64 {
    let mut x = [f64::NAN];
    Init::Normal { mean: 0.0, std: 1.0 }.fill(row(1), &mut Given(vec![bits]), &mut x).unwrap();
    x[0]
}

#[test]
fn init_normal_inverts_the_distribution() {
    let step = 2.0_f64.powi(-52);
    let mut worst = 0.0_f64;
    let ends = (0..52).map(|bit| 1_u64 << (bit + 12));
    for bits in (0..4000_u64).map(|i| i << 52).chain(ends).chain([0]) {
        let p = ((bits >> 12) as f64 + 0.5) * step;
        let x = quantile(bits);
        // Relative error of p through the density: an error of ε in x.
        let density = (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
        worst = worst.max(((phi(x) - p) / density).abs() / x.abs().max(1e-3));
        assert_eq!(x, -quantile(!bits), "symmetric");
    }
    assert!(worst < 4e-14, "{worst:e}");
    assert!((quantile(0) + 8.2095).abs() < 1e-3, "{}", quantile(0));
}

#[test]
fn init_normal_matches_known_quantiles() {
    // Φ⁻¹ of these and 2⁻⁵³ (mpmath, 200 bits).
    let of = |p: f64| quantile(((p * 2.0_f64.powi(52)) as u64) << 12);
    for (p, x) in QUANTILES {
        assert!((of(p) / x - 1.0).abs() < 2e-15, "{p}: {} {x}", of(p));
    }
}

const QUANTILES: [(f64, f64); 4] = [
    (0.75, 0.674_489_750_196_082_1),
    (0.25, -0.674_489_750_196_081_4),
    (0.975, 1.959_963_984_540_053_9),
    (9.094_947_017_729_282e-13, -7.047_683_266_610_572),
];

#[test]
fn init_uniform_is_uniform() {
    let x: Vec<f64> = drawn(Init::Uniform { low: -2.0, high: 1.0 }, row(MANY), 2);
    assert!(kolmogorov_smirnov(&x, |x| (x + 2.0) / 3.0) < 1.95);
    let (low, high) = x.iter().fold((0.0_f64, 0.0_f64), |(low, high), &x| (low.min(x), high.max(x)));
    assert!((-2.0..-1.9999).contains(&low) && high <= 1.0 && high > 0.9999);
    let x: Vec<f32> = drawn(Init::Uniform { low: 0.1, high: 0.100_000_01 }, row(1000), 2);
    assert!(x.iter().all(|&x| x == 0.1_f32 || x == 0.100_000_01));
    let x: Vec<f64> = drawn(Init::Uniform { low: 0.3, high: 0.3 }, row(10), 2);
    assert_eq!(x, [0.3; 10]);
}

#[test]
fn init_truncated_normal_is_the_bell_between_its_bounds() {
    for (mean, std, low, high) in [
        (0.0, 1.0, -2.0, 2.0),
        (0.0, 0.02, -2.0, 2.0),
        (1.0, 2.0, 0.0, 0.5),
        (0.0, 1.0, 3.0, f64::INFINITY),
        (0.0, 1.0, f64::NEG_INFINITY, -6.0),
        (5.0, 0.1, 0.0, 4.0),
        (0.0, 1.0, 20.0, 21.0),
    ] {
        let x: Vec<f64> = drawn(Init::TruncatedNormal { mean, std, low, high }, row(40_000), 3);
        assert!(x.iter().all(|&x| (low..=high).contains(&x)), "{low}..{high}");
        // Φ of the standard bounds, mirrored to where it is accurate.
        let side = if low > mean { -1.0 } else { 1.0 };
        let cumulative = |x: f64| phi(side * (x - mean) / std);
        let (a, b) = (cumulative(low), cumulative(high));
        let distance = kolmogorov_smirnov(&x, |x| (cumulative(x) - a) / (b - a));
        assert!(distance < 1.95, "N({mean}, {std}²) in {low}..{high}: {distance}");
    }
    // Beyond what Φ can hold, everything is at the nearer bound.
    let far = Init::TruncatedNormal { mean: 0.0, std: 1.0, low: 50.0, high: 60.0 };
    assert_eq!(drawn::<f64>(far, row(2), 3), [50.0; 2]);
    let far = Init::TruncatedNormal { mean: 0.0, std: 1.0, low: f64::NEG_INFINITY, high: -50.0 };
    assert_eq!(drawn::<f64>(far, row(2), 3), [-50.0; 2]);
}

#[test]
fn init_scales_have_their_deviation() {
    let shape = WeightShape { outputs: 300, inputs: 25, field: 4 };
    let cases = [(Fan::In, 1.7 / 100.0_f64.sqrt()), (Fan::Out, 1.7 / 1200.0_f64.sqrt())];
    for distribution in DISTRIBUTIONS {
        let mut expected: Vec<(Init, f64)> =
            cases.map(|(fan, std)| (Init::Kaiming { gain: 1.7, fan, distribution }, std)).into();
        expected.push((Init::Xavier { gain: 1.7, distribution }, 1.7 * (2.0_f64 / 1300.0).sqrt()));
        expected.push((Init::LeCun { distribution }, 0.1));
        for (init, expected) in expected {
            let x: Vec<f64> = drawn(init, shape, 4);
            let [mean, std, _, kurtosis] = moments(&x);
            assert!((std / expected - 1.0).abs() < 0.015, "{init:?}: {std} {expected}");
            assert!(mean.abs() < 0.025 * expected, "{init:?}: mean {mean}");
            let furthest = x.iter().fold(0.0_f64, |m, x| m.max(x.abs())) / expected;
            let (peak, limit) = match distribution {
                Distribution::Uniform => (1.8, 3.0_f64.sqrt()),
                Distribution::Normal => (3.0, 6.0),
                Distribution::TruncatedNormal => (2.37, 2.0 / 0.879_625_661_034_239_8),
            };
            assert!((kurtosis - peak).abs() < 0.12, "{init:?}: kurtosis {kurtosis}");
            assert!(
                furthest <= limit * (1.0 + 1e-15) && furthest > 0.99 * limit.min(3.5),
                "{init:?}: {furthest}"
            );
        }
    }
}

#[test]
fn init_gain_is_pytorchs() {
    let cases = [
        (Activation::Identity, 1.0),
        (Activation::Sigmoid, 1.0),
        (Activation::Tanh, 1.666_666_666_666_666_7),
        (Activation::Relu, std::f64::consts::SQRT_2),
        (Activation::LeakyRelu { slope: 0.01 }, 1.414_142_856_997_835_4),
        (Activation::LeakyRelu { slope: 0.2 }, 1.386_750_490_563_073),
        (Activation::Selu, 0.75),
    ];
    for (activation, expected) in cases {
        assert!((init::gain(activation).unwrap() - expected).abs() < 1e-15, "{activation:?}");
    }
    assert!(matches!(init::gain(Activation::Gelu), Err(Error::Unsupported { .. })));
    assert!(matches!(
        init::gain(Activation::LeakyRelu { slope: f64::NAN }),
        Err(Error::OutOfRange { argument: "slope", .. })
    ));
}
