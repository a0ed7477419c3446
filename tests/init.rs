//! Initialisers: their moments, bounds and distributions, orthogonality, and bits that never change.

mod common;

use common::{Guarded, assert_same_bits, each_pool};
use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use steadygrad::init::{self, Branch, BranchLayer, Distribution, Fan, Lsuv, LsuvReport};
use steadygrad::linear::{Dense, DenseWeights};
use steadygrad::rand_core::{Infallible, Rng, TryRng};
use steadygrad::{Activation, Element, Epilogue, Error, Init, RowShape, WeightShape};

const DISTRIBUTIONS: [Distribution; 3] =
    [Distribution::Uniform, Distribution::Normal, Distribution::TruncatedNormal];

fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

fn drawn<T: Element>(init: Init, shape: impl Into<WeightShape>, seed: u64) -> Vec<T> {
    let shape = shape.into();
    let mut weights = Guarded::new(shape.elements().unwrap(), 3);
    init.fill(shape, &mut rng(seed), weights.slice()).unwrap();
    weights.checked().to_vec()
}

fn row(cols: usize) -> RowShape {
    RowShape { rows: 1, cols }
}

/// Every initialiser that works for any shape.
fn all() -> Vec<Init> {
    let mut all = vec![
        Init::Constant { value: 0.25 },
        Init::Uniform { low: -2.0, high: 0.5 },
        Init::Normal { mean: 1.0, std: 0.1 },
        Init::TruncatedNormal { mean: 0.0, std: 1.0, low: -0.5, high: 2.0 },
        Init::Orthogonal { gain: 1.0 },
    ];
    for distribution in DISTRIBUTIONS {
        all.push(Init::Xavier { gain: 1.0, distribution });
        all.push(Init::LeCun { distribution });
        all.extend([Fan::In, Fan::Out].map(|fan| Init::Kaiming { gain: 2.0, fan, distribution }));
    }
    all
}

/// Mean, standard deviation, skewness and kurtosis.
fn moments(x: &[f64]) -> [f64; 4] {
    let mean = |f: &dyn Fn(f64) -> f64| x.iter().map(|&x| f(x)).sum::<f64>() / x.len() as f64;
    let center = mean(&|x| x);
    let std = mean(&|x| (x - center).powi(2)).sqrt();
    [center, std, mean(&|x| ((x - center) / std).powi(3)), mean(&|x| ((x - center) / std).powi(4))]
}

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

/// A generator whose numbers are given, all of which end in the middle of a unit step.
struct Given(Vec<u64>);

impl TryRng for Given {
    type Error = Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        unreachable!("weights take 64 bits")
    }
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.0.pop().expect("one draw a weight"))
    }
    fn try_fill_bytes(&mut self, _: &mut [u8]) -> Result<(), Infallible> {
        unreachable!("weights take 64 bits")
    }
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

/// How far `gain²·1` is from the products of the shorter side's vectors.
fn orthogonality<T: Element>(x: &[T], rows: usize, cols: usize, gain: f64) -> f64 {
    let (count, len) = (rows.min(cols), rows.max(cols));
    let at = |v: usize, k: usize| if rows <= cols { x[v * cols + k] } else { x[k * cols + v] }.to_f64();
    let mut worst = 0.0_f64;
    for v in 0..count {
        for w in 0..=v {
            let product: f64 = (0..len).map(|k| at(v, k) * at(w, k)).sum();
            worst = worst.max((product - if v == w { gain * gain } else { 0.0 }).abs());
        }
    }
    worst / (gain * gain)
}

#[test]
fn init_orthogonal_is_orthogonal() {
    for (rows, cols) in [(1, 1), (1, 9), (9, 1), (7, 7), (30, 50), (50, 30), (256, 256), (64, 65), (300, 100)]
    {
        for gain in [1.0, 2.0_f64.sqrt(), -3.0] {
            let (init, shape) = (Init::Orthogonal { gain }, RowShape { rows, cols });
            let single = orthogonality(&drawn::<f32>(init, shape, 5), rows, cols, gain);
            let double = orthogonality(&drawn::<f64>(init, shape, 5), rows, cols, gain);
            assert!(single < 1e-6 && double < 1e-13, "{rows}x{cols}: {single:e} {double:e}");
        }
    }
    let wrong: Vec<f64> = drawn(Init::Normal { mean: 0.0, std: 0.1 }, row(10_000), 5);
    assert!(orthogonality(&wrong, 100, 100, 1.0) > 0.1);
}

#[test]
fn init_orthogonal_is_the_q_of_the_gaussian() {
    for (rows, cols) in [(6, 6), (9, 4), (4, 9), (40, 40)] {
        let shape = RowShape { rows, cols };
        let q: Vec<f64> = drawn(Init::Orthogonal { gain: 1.0 }, shape, 6);
        let a: Vec<f64> = drawn(Init::Normal { mean: 0.0, std: 1.0 }, shape, 6);
        // R = Qᵀ·A of the tall matrix, or L = A·Qᵀ of the wide one: triangular, with a positive diagonal.
        let at = |x: &[f64], v: usize, k: usize| if rows <= cols { x[v * cols + k] } else { x[k * cols + v] };
        for v in 0..rows.min(cols) {
            for w in 0..rows.min(cols) {
                let r: f64 = (0..rows.max(cols)).map(|k| at(&q, v, k) * at(&a, w, k)).sum();
                assert!(if v > w { r.abs() < 1e-12 } else { v < w || r > 0.0 }, "{rows}x{cols} {v} {w}: {r}");
            }
        }
    }
}

#[test]
fn init_orthogonal_refuses_a_generator_that_repeats() {
    struct Constant;
    impl TryRng for Constant {
        type Error = Infallible;
        fn try_next_u32(&mut self) -> Result<u32, Infallible> {
            Ok(7)
        }
        fn try_next_u64(&mut self) -> Result<u64, Infallible> {
            Ok(7)
        }
        fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), Infallible> {
            to.fill(7);
            Ok(())
        }
    }
    let mut weights = Guarded::<f32>::new(6, 0);
    let result =
        Init::Orthogonal { gain: 1.0 }.fill(RowShape { rows: 2, cols: 3 }, &mut Constant, weights.slice());
    assert!(matches!(result, Err(Error::OutOfRange { argument: "rng", .. })));
    assert!(weights.is_untouched());
}

#[test]
fn init_identity_and_constant() {
    let identity = Init::Identity { gain: -2.0 };
    assert_eq!(drawn::<f32>(identity, RowShape { rows: 3, cols: 2 }, 0), [-2.0, 0.0, 0.0, -2.0, 0.0, 0.0]);
    assert_eq!(drawn::<f64>(identity, RowShape { rows: 1, cols: 3 }, 0), [-2.0, 0.0, 0.0]);
    assert_eq!(drawn::<f64>(Init::Constant { value: 0.1 }, row(2), 0), [0.1; 2]);
    let mut generator = Given(vec![]);
    identity.fill(row(2), &mut generator, &mut [0.0_f32; 2]).unwrap();
    Init::Constant { value: 1.0 }.fill(row(2), &mut generator, &mut [0.0_f32; 2]).unwrap();
}

#[test]
fn init_takes_one_draw_a_weight() {
    let shape = WeightShape { outputs: 4, inputs: 3, field: 2 };
    for init in all().into_iter().filter(|init| !matches!(init, Init::Constant { .. })) {
        let (mut used, mut skipped) = (rng(8), rng(8));
        init.fill(shape, &mut used, &mut [0.0_f32; 24]).unwrap();
        (0..24).for_each(|_| _ = skipped.next_u64());
        assert_eq!(used.next_u64(), skipped.next_u64(), "{init:?}");
    }
}

#[test]
fn init_of_f32_is_the_rounded_f64() {
    let shape = RowShape { rows: 11, cols: 13 };
    for init in all() {
        let rounded: Vec<f32> = drawn::<f64>(init, shape, 9).into_iter().map(|x| x as f32).collect();
        assert_eq!(drawn::<f32>(init, shape, 9), rounded, "{init:?}");
    }
}

#[test]
fn init_is_the_same_in_any_pool() {
    for init in all() {
        for (rows, cols) in [(300, 200), (33, 700)] {
            let shape = RowShape { rows, cols };
            let here: Vec<f64> = drawn(init, shape, 10);
            each_pool(|threads| {
                assert_same_bits(&here, &drawn(init, shape, 10), || format!("{init:?} {threads} threads"));
            });
        }
    }
}

/// FNV-1a over the bits: a change of these is value-breaking, on this platform or on another.
fn fingerprint(x: &[f64]) -> u64 {
    x.iter()
        .flat_map(|x| x.to_bits().to_le_bytes())
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[test]
fn init_bits_never_change() {
    let shape = RowShape { rows: 60, cols: 50 };
    let actual = FINGERPRINTS.map(|(init, _)| (init, fingerprint(&drawn(init, shape, 11))));
    assert_eq!(actual, FINGERPRINTS);
}

const FINGERPRINTS: [(Init, u64); 4] = [
    (Init::Uniform { low: -1.0, high: 1.0 }, 0xd0f4_7a18_87cb_ecea),
    (Init::Normal { mean: 0.0, std: 1.0 }, 0xc728_aac2_72b3_58d5),
    (Init::TruncatedNormal { mean: 0.0, std: 1.0, low: -2.0, high: 1.0 }, 0x6472_37c9_eb73_75f8),
    (Init::Orthogonal { gain: 1.0 }, 0x35cf_c7e8_dfb6_95c3),
];

#[test]
fn init_of_nothing_is_ok() {
    for init in all() {
        for (rows, cols) in [(0, 5), (5, 0), (0, 0)] {
            assert_eq!(init.fill(RowShape { rows, cols }, &mut rng(0), &mut [0.0_f32; 0]), Ok(()));
        }
    }
}

#[test]
fn init_names_the_bad_argument() {
    let nan = f64::NAN;
    let normal = |mean, std| Init::Normal { mean, std };
    let truncated = |mean, std, low, high| Init::TruncatedNormal { mean, std, low, high };
    let distribution = Distribution::Normal;
    let mut bad = vec![
        ("value", Init::Constant { value: nan }),
        ("value", Init::Constant { value: 1e300 }),
        ("gain", Init::Identity { gain: f64::INFINITY }),
        ("gain", Init::Orthogonal { gain: nan }),
        ("low", Init::Uniform { low: nan, high: 1.0 }),
        ("high", Init::Uniform { low: 0.0, high: nan }),
        ("high", Init::Uniform { low: 0.0, high: -1.0 }),
        ("mean", normal(nan, 1.0)),
        ("std", normal(0.0, nan)),
        ("std", normal(0.0, -1.0)),
        ("std", normal(0.0, f64::INFINITY)),
        ("mean", truncated(f64::INFINITY, 1.0, 0.0, 1.0)),
        ("std", truncated(0.0, 0.0, 0.0, 1.0)),
        ("std", truncated(0.0, nan, 0.0, 1.0)),
        ("low", truncated(0.0, 1.0, nan, 1.0)),
        ("low", truncated(0.0, 1.0, f64::INFINITY, f64::INFINITY)),
        ("high", truncated(0.0, 1.0, 0.0, nan)),
        ("high", truncated(0.0, 1.0, 0.0, -1.0)),
    ];
    for gain in [nan, -1.0, f64::INFINITY] {
        bad.push(("gain", Init::Xavier { gain, distribution }));
        bad.push(("gain", Init::Kaiming { gain, fan: Fan::In, distribution }));
    }
    for (name, init) in bad {
        let mut weights = Guarded::<f32>::new(6, 0);
        let result = init.fill(RowShape { rows: 2, cols: 3 }, &mut rng(0), weights.slice());
        let Err(Error::OutOfRange { argument, .. }) = result else { panic!("{init:?}: {result:?}") };
        assert_eq!(argument, name, "{init:?}");
        assert!(weights.is_untouched());
    }
    for init in all() {
        let mut weights = Guarded::<f32>::new(5, 0);
        let result = init.fill(RowShape { rows: 2, cols: 3 }, &mut rng(0), weights.slice());
        assert_eq!(result, Err(Error::Length { argument: "weights", expected: 6, actual: 5 }));
        let huge = WeightShape { outputs: usize::MAX, inputs: 2, field: 1 };
        let result = init.fill(huge, &mut rng(0), weights.slice());
        assert_eq!(result, Err(Error::Overflow { argument: "shape" }));
        assert!(weights.is_untouched());
    }
    let conv = WeightShape { outputs: 1, inputs: 1, field: 5 };
    let result = Init::Identity { gain: 1.0 }.fill(conv, &mut rng(0), &mut [0.0_f32; 5]);
    assert!(matches!(result, Err(Error::OutOfRange { argument: "shape", .. })));
}

proptest! {
    #[test]
    fn init_fills_any_shape(outputs in 0..20_usize, inputs in 0..20_usize, field in 0..5_usize, seed: u64) {
        let shape = WeightShape { outputs, inputs, field };
        for init in all() {
            prop_assert!(drawn::<f32>(init, shape, seed).iter().all(|x| x.is_finite()), "{:?}", init);
            prop_assert_eq!(drawn::<f64>(init, shape, seed), drawn::<f64>(init, shape, seed));
        }
    }
}

/// Sums of every layer of a stack on `x`, with the crate's forward.
fn sums_of<T: Element>(layers: &[Dense], activation: Activation, weights: &[Vec<T>], x: &[T]) -> Vec<Vec<T>> {
    let (mut given, mut all) = (x.to_vec(), Vec::new());
    for (layer, weights) in layers.iter().zip(weights) {
        let batch = given.len() / layer.inputs;
        let mut sums = vec![T::zero(); batch * layer.outputs];
        let mut scratch = vec![T::zero(); layer.forward_scratch_len::<T>(batch)];
        let parameters = DenseWeights { weights, bias: None };
        layer.forward(batch, &given, parameters, Epilogue::default(), &mut scratch, &mut sums).unwrap();
        given = sums.clone();
        activation.forward_in_place(&mut given).unwrap();
        all.push(sums);
    }
    all
}

fn stack<T: Element>(sizes: &[usize]) -> (Vec<Dense>, Vec<Vec<T>>) {
    let layers: Vec<Dense> =
        sizes.windows(2).map(|pair| Dense { inputs: pair[0], outputs: pair[1] }).collect();
    let weights = layers.iter().map(|layer| vec![T::nan(); layer.inputs * layer.outputs]).collect();
    (layers, weights)
}

fn filled<T: Element>(
    op: Lsuv,
    (layers, weights): &mut (Vec<Dense>, Vec<Vec<T>>),
    activation: Activation,
    x: &[T],
    seed: u64,
) -> Result<Vec<LsuvReport>, Error> {
    let mut weights: Vec<&mut [T]> = weights.iter_mut().map(Vec::as_mut_slice).collect();
    op.fill_stack(layers, activation, x, &mut rng(seed), &mut weights)
}

fn unit_variance<T: Element>() {
    for seed in 0..20 {
        for activation in [Activation::Relu, Activation::Tanh, Activation::Gelu, Activation::Sigmoid] {
            let mut net = stack::<T>(&[20, 40, 40, 30, 40, 8]);
            let x: Vec<T> = common::numbers(seed, 200 * 20, 3.0);
            let reports = filled(Lsuv::default(), &mut net, activation, &x, seed).unwrap();
            for (report, sums) in reports.iter().zip(sums_of(&net.0, activation, &net.1, &x)) {
                let sums: Vec<f64> = sums.iter().map(|&x| Element::to_f64(x)).collect();
                let std = moments(&sums)[1];
                assert!((std * std - 1.0).abs() < 0.1, "{activation:?}: variance {}", std * std);
                assert!((report.variance - std * std).abs() < 1e-6);
                assert!(report.iterations <= 2);
            }
        }
    }
}

#[test]
fn lsuv_gives_every_layer_unit_variance() {
    unit_variance::<f32>();
    unit_variance::<f64>();
}

/// The weights are orthogonal ones times a number.
#[test]
fn lsuv_scales_orthogonal_weights() {
    let mut net = stack::<f64>(&[16, 16, 24]);
    let x = common::numbers(3, 100 * 16, 0.1);
    filled(Lsuv::default(), &mut net, Activation::Relu, &x, 5).unwrap();
    let mut generator = rng(5);
    for (layer, weights) in net.0.iter().zip(&net.1) {
        let mut plain = vec![0.0; weights.len()];
        let shape = RowShape { rows: layer.outputs, cols: layer.inputs };
        Init::Orthogonal { gain: 1.0 }.fill(shape, &mut generator, &mut plain).unwrap();
        let scale = weights[0] / plain[0];
        assert!(scale > 0.0);
        assert!(weights.iter().zip(&plain).all(|(w, plain)| (w - scale * plain).abs() < 1e-12 * scale));
    }
}

#[test]
fn lsuv_stops_at_its_iterations() {
    let shape = RowShape { rows: 2, cols: 2 };
    let (mut weights, mut calls) = ([f64::NAN; 4], 0);
    // A layer that ignores its weights.
    let variance = |_: &[f64]| {
        calls += 1;
        Ok(4.0)
    };
    let report =
        Lsuv { iterations: 3, ..Lsuv::default() }.fill(shape, &mut rng(1), variance, &mut weights).unwrap();
    assert_eq!((report, calls), (LsuvReport { variance: 4.0, iterations: 3 }, 4));
    let norm = weights.iter().map(|w| w * w).sum::<f64>();
    assert!((norm - 2.0 / 64.0).abs() < 1e-12, "three times a half of two orthonormal rows: {norm}");
}

#[test]
fn lsuv_is_the_same_in_every_pool() {
    let x: Vec<f32> = common::numbers(1, 300 * 50, 1.0);
    let mut expected = stack::<f32>(&[50, 200, 100]);
    filled(Lsuv::default(), &mut expected, Activation::Relu, &x, 2).unwrap();
    each_pool(|threads| {
        let mut net = stack::<f32>(&[50, 200, 100]);
        filled(Lsuv::default(), &mut net, Activation::Relu, &x, 2).unwrap();
        for (a, b) in net.1.iter().zip(&expected.1) {
            assert_same_bits(a, b, || format!("on {threads} threads"));
        }
    });
}

#[test]
fn lsuv_names_the_bad_argument() {
    let op = Lsuv::default();
    let x: Vec<f32> = common::numbers(1, 40, 1.0);
    let refused = |op: Lsuv, sizes: &[usize], x: &[f32]| {
        let mut net = stack::<f32>(sizes);
        let error = filled(op, &mut net, Activation::Relu, x, 1).unwrap_err();
        assert!(net.1.iter().flatten().all(|w| w.is_nan()), "weights were written although refused");
        error
    };
    let argument = |error| match error {
        Error::OutOfRange { argument, .. } => argument,
        other => panic!("{other:?}"),
    };
    assert_eq!(argument(refused(Lsuv { tolerance: 0.0, ..op }, &[4, 3], &x)), "tolerance");
    assert_eq!(argument(refused(Lsuv { tolerance: f64::NAN, ..op }, &[4, 3], &x)), "tolerance");
    // Data that say nothing, and data that are none.
    assert_eq!(argument(refused(op, &[4, 3, 3], &[0.0; 40])), "variance");
    assert_eq!(argument(refused(op, &[4, 3, 3], &[f32::NAN; 40])), "variance");
    assert_eq!(refused(op, &[4, 3], &x[..39]), Error::Length { argument: "x", expected: 36, actual: 39 });
    assert_eq!(refused(op, &[0, 3], &x), Error::Empty { dimension: "inputs" });
    let mut net = stack::<f32>(&[4, 3, 2]);
    net.0[1].inputs = 4;
    let error = filled(op, &mut net, Activation::Relu, &x, 1);
    assert_eq!(error, Err(Error::LayerSize { layer: 1, expected: 3, actual: 4 }));
    net.0[1].inputs = 3;
    net.1[1].pop();
    let error = filled(op, &mut net, Activation::Relu, &x, 1);
    assert_eq!(error, Err(Error::Length { argument: "weights", expected: 6, actual: 5 }));
    net.1.pop();
    let error = filled(op, &mut net, Activation::Relu, &x, 1);
    assert_eq!(error, Err(Error::Length { argument: "weights", expected: 2, actual: 1 }));
    assert_eq!(filled::<f32>(op, &mut (vec![], vec![]), Activation::Relu, &[], 1), Ok(vec![]));
    // What the caller's network says comes back.
    let error = Error::Unsupported { operation: "this layer" };
    let mut weights = [f32::NAN; 4];
    let result = op.fill(RowShape { rows: 2, cols: 2 }, &mut rng(1), |_| Err(error), &mut weights);
    assert!(result == Err(error) && weights.iter().all(|w| w.is_nan()));
}

/// The sum of all branches keeps to a small multiple of what goes around, where unscaled ones double it each time.
#[test]
fn branch_keeps_the_sum_of_all_branches() {
    const WIDTH: usize = 64;
    const BRANCHES: usize = 24;
    let layer = Dense { inputs: WIDTH, outputs: WIDTH };
    let shape = RowShape { rows: WIDTH, cols: WIDTH };
    let he =
        Init::Kaiming { gain: std::f64::consts::SQRT_2, fan: Fan::In, distribution: Distribution::Normal };
    // x + W₂·relu(W₁·x), again and again: the variance over that of the input.
    let growth = |branch: Option<Branch>, seed: u64| {
        let mut generator = rng(seed);
        let mut x: Vec<f64> = common::numbers(seed, 32 * WIDTH, 0.85);
        let square = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>();
        let start = square(&x);
        let mut draw = |place| {
            let mut weights = vec![f64::NAN; WIDTH * WIDTH];
            match branch {
                Some(branch) => branch.fill(place, he, shape, &mut generator, &mut weights),
                None => he.fill(shape, &mut generator, &mut weights),
            }
            .unwrap();
            weights
        };
        for _ in 0..BRANCHES {
            let weights = [draw(BranchLayer::Inner), draw(BranchLayer::Last)];
            let sums = sums_of(&[layer; 2], Activation::Relu, &weights, &x).pop().unwrap();
            x.iter_mut().zip(sums).for_each(|(x, sum)| *x += sum);
        }
        square(&x) / start
    };
    for seed in 0..20 {
        assert!(growth(None, seed) > 1e6);
        let scaled = growth(Some(Branch::Scaled { branches: BRANCHES }), seed);
        // (1 + 2/24)²⁴ is 6.8.
        assert!((3.0..15.0).contains(&scaled), "{scaled}");
        assert_eq!(growth(Some(Branch::Fixup { branches: BRANCHES, layers: 2 }), seed), 1.0);
        assert_eq!(growth(Some(Branch::ZeroLast), seed), 1.0);
    }
}

#[test]
fn branch_factors_are_those_of_the_papers() {
    for branches in [1, 2, 24, 96, 1000] {
        let n = branches as f64;
        let scaled = Branch::Scaled { branches };
        assert!((scaled.factor(BranchLayer::Last).unwrap() - 1.0 / n.sqrt()).abs() < 1e-15);
        assert_eq!(scaled.factor(BranchLayer::Inner), Ok(1.0));
        for (layers, exponent) in [(2, -0.5), (3, -0.25), (5, -0.125)] {
            let fixup = Branch::Fixup { branches, layers };
            assert!((fixup.factor(BranchLayer::Inner).unwrap() - n.powf(exponent)).abs() < 1e-15);
            assert_eq!(fixup.factor(BranchLayer::Last), Ok(0.0));
        }
    }
    assert_eq!(Branch::ZeroLast.factor(BranchLayer::Inner), Ok(1.0));
    // The weights are the initialiser's times the factor.
    let plain: Vec<f32> = drawn(Init::Normal { mean: 0.0, std: 1.0 }, row(50), 3);
    let mut weights = Guarded::<f32>::new(50, 3);
    let normal = Init::Normal { mean: 0.0, std: 1.0 };
    let quarter = Branch::Scaled { branches: 16 };
    quarter.fill(BranchLayer::Last, normal, row(50), &mut rng(3), weights.slice()).unwrap();
    assert!(weights.checked().iter().zip(&plain).all(|(w, plain)| *w == plain / 4.0));
}

#[test]
fn branch_names_the_bad_argument() {
    let normal = Init::Normal { mean: 0.0, std: 1.0 };
    let refused = |branch: Branch, layer, init: Init, cols| {
        let mut weights = Guarded::<f32>::new(6, 0);
        let error = branch.fill(layer, init, row(cols), &mut rng(1), weights.slice()).unwrap_err();
        assert!(weights.is_untouched());
        match error {
            Error::OutOfRange { argument, .. } | Error::Length { argument, .. } => argument,
            other => panic!("{other:?}"),
        }
    };
    for layer in [BranchLayer::Inner, BranchLayer::Last] {
        assert_eq!(refused(Branch::Scaled { branches: 0 }, layer, normal, 6), "branches");
        assert_eq!(refused(Branch::Fixup { branches: 0, layers: 2 }, layer, normal, 6), "branches");
        assert_eq!(refused(Branch::Fixup { branches: 3, layers: 1 }, layer, normal, 6), "layers");
        assert_eq!(refused(Branch::ZeroLast, layer, normal, 5), "weights");
        let bad = Init::Normal { mean: 0.0, std: -1.0 };
        assert_eq!(refused(Branch::ZeroLast, layer, bad, 6), "std");
    }
}
