//! The `f32` functions and activations against their values in `f64`, at every level: over a prime stride of all 2³²
//! inputs in every run, over all of them with
//! `cargo test --release --test accuracy -- --ignored exhaustive --nocapture`; `STEADYGRAD_SWEEP=erf,Gelu` before it takes only
//! those whose names have one of these words in them.

use std::f64::consts::FRAC_1_SQRT_2;

use steadygrad::{Activation, Error, Level, math, reference};

/// A function over slices.
type Function<T> = fn(&[T], &mut [T]) -> Result<(), Error>;

/// A function and its value in `f64`, whose error is some 2⁻²⁰ units of `f32` or less.
struct Row {
    name: &'static str,
    function: Function<f32>,
    /// The judge of every run.
    exact: fn(f64) -> f64,
    /// The judge of all 2³² inputs, twenty times as fast; its own are `tests/accuracy_f64.rs` and, over the same stride,
    /// `exact`.
    wide: Function<f64>,
}

const TABLE: [Row; 12] = [
    Row { name: "exp", function: math::exp, exact: f64::exp, wide: math::exp },
    Row { name: "expm1", function: math::expm1, exact: f64::exp_m1, wide: math::expm1 },
    Row { name: "ln", function: math::ln, exact: f64::ln, wide: math::ln },
    Row { name: "ln_1p", function: math::ln_1p, exact: f64::ln_1p, wide: math::ln_1p },
    Row { name: "tanh", function: math::tanh, exact: f64::tanh, wide: math::tanh },
    Row {
        name: "sigmoid",
        function: math::sigmoid,
        exact: |x| 1.0 / (1.0 + (-x).exp()),
        wide: math::sigmoid,
    },
    Row { name: "softplus", function: math::softplus, exact: softplus, wide: math::softplus },
    Row {
        name: "log_sigmoid",
        function: math::log_sigmoid,
        exact: |x| -softplus(-x),
        wide: math::log_sigmoid,
    },
    Row { name: "erf", function: math::erf, exact: libm::erf, wide: math::erf },
    Row { name: "erfc", function: math::erfc, exact: libm::erfc, wide: math::erfc },
    Row {
        name: "normal_cdf",
        function: math::normal_cdf,
        exact: |x| libm::erfc(-x * FRAC_1_SQRT_2) / 2.0,
        wide: math::normal_cdf,
    },
    Row {
        name: "normal_pdf",
        function: math::normal_pdf,
        exact: |x| (-x * x / 2.0).exp() * 0.398_942_280_401_432_7,
        wide: math::normal_pdf,
    },
];

/// The activations that compute; parameters that `f32` holds.
const ACTIVATIONS: [Activation; 16] = [
    Activation::LeakyRelu { slope: 0.0078125 },
    Activation::Elu { alpha: 1.0 },
    Activation::Elu { alpha: 0.375 },
    Activation::Selu,
    Activation::Celu { alpha: 2.0 },
    Activation::Gelu,
    Activation::GeluTanh,
    Activation::Silu,
    Activation::Mish,
    Activation::Softplus { beta: 1.0, threshold: 20.0 },
    Activation::Softsign,
    Activation::LogSigmoid,
    Activation::Tanh,
    Activation::HardSigmoid,
    Activation::HardSwish,
    Activation::TanhShrink,
];

/// What is swept.
#[derive(Clone, Copy)]
enum Subject<'a> {
    Math(&'a Row),
    Activation(Activation),
}

/// Who says what is right.
#[derive(Clone, Copy, PartialEq)]
enum Judge {
    /// The standard library, libm and the formulas.
    Scalar,
    /// The crate's kernels of `f64`.
    Wide,
}

impl Subject<'_> {
    fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(Subject::Math).chain(ACTIVATIONS.into_iter().map(Subject::Activation))
    }

    fn name(self) -> String {
        match self {
            Self::Math(row) => row.name.into(),
            Self::Activation(activation) => format!("{activation:?}"),
        }
    }

    fn run(self, x: &[f32], y: &mut [f32]) {
        match self {
            Self::Math(row) => (row.function)(x, y),
            Self::Activation(activation) => activation.forward(x, y),
        }
        .expect("the lengths agree");
    }

    fn judge(self, judge: Judge, x: &[f64], exact: &mut [f64]) {
        match (judge, self) {
            (Judge::Wide, Self::Math(row)) => (row.wide)(x, exact).expect("the lengths agree"),
            (Judge::Wide, Self::Activation(activation)) => {
                activation.forward(x, exact).expect("the lengths agree")
            }
            (Judge::Scalar, _) => {
                for (&x, exact) in x.iter().zip(exact) {
                    *exact = match self {
                        Self::Math(row) => (row.exact)(x),
                        Self::Activation(activation) => reference::activation::forward(activation, x),
                    };
                }
            }
        }
    }

    /// The largest error in units in the last place of the exact value.
    fn bound(self, level: Level) -> f64 {
        match self {
            Self::Math(_) if level > Level::Portable => 2.0,
            _ => 4.0,
        }
    }

    /// The absolute error that results which cancel, and gates that are subnormal, may have at `x`.
    fn slack(self, x: f64) -> f64 {
        let Self::Activation(activation) = self else { return 0.0 };
        match activation {
            Activation::TanhShrink => 2.0 * unit(x),
            Activation::GeluTanh if x < 0.0 => 4.0 * unit(x),
            Activation::Gelu | Activation::Silu | Activation::Mish => x.abs() * unit(0.0),
            _ => 0.0,
        }
    }
}

fn softplus(x: f64) -> f64 {
    if x.is_nan() { x } else { x.max(0.0) + (-x.abs()).exp().ln_1p() }
}

/// The unit in the last place of `f32` at `exact`; subnormals share that of the smallest normal.
fn unit(exact: f64) -> f64 {
    let exponent = ((exact.to_bits() >> 52) & 0x7ff) as i32 - 1023;
    f64::from_bits(((exponent.clamp(-126, 127) - 23 + 1023) as u64) << 52)
}

/// The error of `actual` in units in the last place of the exact value; 0 or infinite where that has none.
fn ulp_error(actual: f32, exact: f64) -> f64 {
    let rounded = exact as f32;
    if exact.is_nan() || rounded.is_infinite() || exact == 0.0 {
        let same = actual.to_bits() == rounded.to_bits() || (actual.is_nan() && exact.is_nan());
        return if same { 0.0 } else { f64::INFINITY };
    }
    if actual.is_nan() || actual.is_sign_negative() != rounded.is_sign_negative() {
        return f64::INFINITY;
    }
    // Infinity stands where the next number would, 2¹²⁸.
    let magnitude = if actual.is_infinite() { 2.0_f64.powi(128) } else { f64::from(actual.abs()) };
    (magnitude - exact.abs()).abs() / unit(exact)
}

/// The worst of a sweep: its error, where, and what came out.
#[derive(Clone, Copy)]
struct Worst {
    error: f64,
    at: f32,
    actual: f32,
}

/// Every `stride`-th bit pattern, shared among all cores.
fn sweep(subject: Subject<'_>, level: Level, stride: usize, judge: Judge) -> Worst {
    const BLOCK: usize = 4096;
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let share = |worker: usize| {
        let mut worst = Worst { error: 0.0, at: 0.0, actual: 0.0 };
        let mut patterns = (0..=u32::MAX).step_by(stride).skip(worker).step_by(workers);
        let (mut y, mut exact) = ([0.0; BLOCK], [0.0; BLOCK]);
        loop {
            let x: Vec<f32> = patterns.by_ref().take(BLOCK).map(f32::from_bits).collect();
            if x.is_empty() {
                return worst;
            }
            let wide: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
            let (y, exact) = (&mut y[..x.len()], &mut exact[..x.len()]);
            y.fill(f32::NAN);
            Level::scoped(level, || subject.run(&x, y)).expect("the level is available");
            subject.judge(judge, &wide, exact);
            for ((&at, &actual), &exact) in x.iter().zip(&*y).zip(&*exact) {
                let error = ulp_error(actual, exact);
                let forgiven = (f64::from(actual) - exact).abs() <= subject.slack(f64::from(at));
                if error > worst.error && !forgiven {
                    worst = Worst { error, at, actual };
                }
            }
        }
    };
    let workers: Vec<usize> = (0..workers).collect();
    std::thread::scope(|scope| {
        let running: Vec<_> = workers.iter().map(|&worker| scope.spawn(move || share(worker))).collect();
        let found = running.into_iter().map(|worker| worker.join().unwrap());
        found.max_by(|a, b| a.error.total_cmp(&b.error)).unwrap()
    })
}

fn sweep_all(stride: usize, judge: Judge) {
    sweep_those(Subject::all(), stride, judge);
}

fn sweep_those<'a>(subjects: impl Iterator<Item = Subject<'a>>, stride: usize, judge: Judge) {
    let mut failures = Vec::new();
    for subject in subjects {
        for level in Level::available() {
            let Worst { error, at, actual } = sweep(subject, level, stride, judge);
            let name = subject.name();
            println!("{name:12} {level:9} {error:.3} ULP at {at:e}");
            if error > subject.bound(level) {
                failures.push(format!("{name} at {level}: {error} ULP at {at:e}, which gave {actual:e}"));
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn f32_is_within_its_bound() {
    sweep_all(4099, Judge::Scalar);
}

/// What lets the kernels of `f64` judge all inputs.
#[test]
fn f32_judges_agree() {
    sweep_all(8191, Judge::Wide);
}

#[test]
#[ignore = "half an hour on two cores"]
fn f32_exhaustive_is_within_its_bound() {
    let words = std::env::var("STEADYGRAD_SWEEP").unwrap_or_default();
    let wanted = |subject: &Subject<'_>| words.split(',').any(|word| subject.name().contains(word));
    sweep_those(Subject::all().filter(wanted), 1, Judge::Wide);
}

#[test]
fn math_f32_special_values() {
    let inputs = [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1e-45, -1e-45, f32::MIN_POSITIVE];
    let edges = [f32::MAX, f32::MIN, -1.0, 1.0, 88.722_84, 88.722_85, -103.972_07, -103.972_09];
    for row in &TABLE {
        for level in Level::available() {
            for x in inputs.into_iter().chain(edges) {
                let mut y = [f32::NAN];
                Level::scoped(level, || (row.function)(&[x], &mut y)).unwrap().unwrap();
                let error = ulp_error(y[0], (row.exact)(f64::from(x)));
                assert!(
                    error <= Subject::Math(row).bound(level),
                    "{}({x:e}) at {level}: {:e}",
                    row.name,
                    y[0]
                );
            }
        }
    }
}

/// What callers rely on to the bit, at every level.
#[test]
fn math_f32_exact_values() {
    let exact: [(Function<f32>, f32, f32); 12] = [
        (math::exp, 0.0, 1.0),
        (math::ln, 1.0, 0.0),
        (math::sigmoid, 0.0, 0.5),
        (math::sigmoid, f32::NEG_INFINITY, 0.0),
        (math::sigmoid, f32::INFINITY, 1.0),
        (math::tanh, f32::INFINITY, 1.0),
        (math::tanh, f32::NEG_INFINITY, -1.0),
        (math::erf, f32::INFINITY, 1.0),
        (math::erf, f32::NEG_INFINITY, -1.0),
        (math::erfc, 0.0, 1.0),
        (math::normal_cdf, 0.0, 0.5),
        (math::normal_cdf, f32::INFINITY, 1.0),
    ];
    for (function, x, expected) in exact {
        for level in Level::available() {
            let mut y = [f32::NAN];
            Level::scoped(level, || function(&[x], &mut y)).unwrap().unwrap();
            assert_eq!(y[0].to_bits(), expected.to_bits(), "{x} at {level}: {} is not {expected}", y[0]);
        }
    }
}

#[test]
fn math_f32_comparison_can_fail() {
    assert!((ulp_error(1.0, 1.0 + 2.0_f64.powi(-24)) - 0.5).abs() < 1e-12);
    assert!((ulp_error(1.0, 1.0 - 2.0_f64.powi(-24)) - 1.0).abs() < 1e-12);
    assert!((ulp_error(0.0, 2.0_f64.powi(-150)) - 0.5).abs() < 1e-12);
    assert!(ulp_error(1.000_000_4, 1.0) > 2.0);
    assert!(ulp_error(-0.0, 0.0).is_infinite());
    assert!(ulp_error(f32::NAN, 1.0).is_infinite());
    assert!(ulp_error(f32::MAX, f64::INFINITY).is_infinite());
}

/// AVX2 and AVX-512 run the same operations in the same order.
#[test]
fn math_f32_gives_equal_bits_at_levels_with_fma() {
    let x: Vec<f32> = (0..=u32::MAX).step_by(65_537).map(f32::from_bits).collect();
    for row in &TABLE {
        let results: Vec<Vec<f32>> = Level::available()
            .filter(|&level| level > Level::Portable)
            .map(|level| {
                let mut y = vec![f32::NAN; x.len()];
                Level::scoped(level, || (row.function)(&x, &mut y)).unwrap().unwrap();
                y
            })
            .collect();
        for pair in results.windows(2) {
            for ((x, a), b) in x.iter().zip(&pair[0]).zip(&pair[1]) {
                let same = a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
                assert!(same, "{}({x:e}): {a:e} and {b:e}", row.name);
            }
        }
    }
}
