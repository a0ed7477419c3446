//! The `f32` functions against their values in `f64`, at every level: over a prime stride of all 2³² inputs in every
//! run, over all of them with `cargo test --release --test accuracy -- --ignored exhaustive --nocapture`.

use std::f64::consts::FRAC_1_SQRT_2;

use steadygrad::{Error, Level, math};

type Function = fn(&[f32], &mut [f32]) -> Result<(), Error>;

/// A function and its value in `f64`, whose error is some 2⁻²⁰ units of `f32` or less.
struct Row {
    name: &'static str,
    function: Function,
    exact: fn(f64) -> f64,
}

const TABLE: [Row; 12] = [
    Row { name: "exp", function: math::exp, exact: f64::exp },
    Row { name: "expm1", function: math::expm1, exact: f64::exp_m1 },
    Row { name: "ln", function: math::ln, exact: f64::ln },
    Row { name: "ln_1p", function: math::ln_1p, exact: f64::ln_1p },
    Row { name: "tanh", function: math::tanh, exact: f64::tanh },
    Row { name: "sigmoid", function: math::sigmoid, exact: |x| 1.0 / (1.0 + (-x).exp()) },
    Row { name: "softplus", function: math::softplus, exact: softplus },
    Row { name: "log_sigmoid", function: math::log_sigmoid, exact: |x| -softplus(-x) },
    Row { name: "erf", function: math::erf, exact: libm::erf },
    Row { name: "erfc", function: math::erfc, exact: libm::erfc },
    Row { name: "normal_cdf", function: math::normal_cdf, exact: |x| libm::erfc(-x * FRAC_1_SQRT_2) / 2.0 },
    Row {
        name: "normal_pdf",
        function: math::normal_pdf,
        exact: |x| (-x * x / 2.0).exp() * 0.398_942_280_401_432_7,
    },
];

fn softplus(x: f64) -> f64 {
    if x.is_nan() { x } else { x.max(0.0) + (-x.abs()).exp().ln_1p() }
}

/// The largest error in units in the last place of the exact value.
fn bound(level: Level) -> f64 {
    if level == Level::Portable { 4.0 } else { 2.0 }
}

/// The error of `actual` in units in the last place of the exact value; 0 or infinite where that has none.
fn ulp_error(actual: f32, exact: f64) -> f64 {
    let rounded = exact as f32;
    if exact.is_nan() || rounded.is_infinite() || exact == 0.0 {
        let same = actual.to_bits() == rounded.to_bits() || (actual.is_nan() && exact.is_nan());
        return if same { 0.0 } else { f64::INFINITY };
    }
    if !actual.is_finite() || actual.is_sign_negative() != rounded.is_sign_negative() {
        return f64::INFINITY;
    }
    // An exponent below −126 is that of a subnormal, which shares the unit of the smallest normal.
    let exponent = ((exact.to_bits() >> 52) & 0x7ff) as i32 - 1023;
    let unit = 2.0_f64.powi(exponent.max(-126) - 23);
    (f64::from(actual) - exact).abs() / unit
}

/// The worst of a sweep: its error, where, and what came out.
#[derive(Clone, Copy)]
struct Worst {
    error: f64,
    at: f32,
    actual: f32,
}

/// Every `stride`-th bit pattern, shared among all cores.
fn sweep(row: &Row, level: Level, stride: usize) -> Worst {
    const BLOCK: usize = 4096;
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let share = |worker: usize| {
        let mut worst = Worst { error: 0.0, at: 0.0, actual: 0.0 };
        let mut patterns = (0..=u32::MAX).step_by(stride).skip(worker).step_by(workers);
        let mut y = [0.0; BLOCK];
        loop {
            let x: Vec<f32> = patterns.by_ref().take(BLOCK).map(f32::from_bits).collect();
            if x.is_empty() {
                return worst;
            }
            let y = &mut y[..x.len()];
            y.fill(f32::NAN);
            Level::scoped(level, || (row.function)(&x, y)).unwrap().unwrap();
            for (&at, &actual) in x.iter().zip(&*y) {
                let error = ulp_error(actual, (row.exact)(f64::from(at)));
                if error > worst.error {
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

fn sweep_all(stride: usize) {
    let mut failures = Vec::new();
    for row in &TABLE {
        for level in Level::available() {
            let Worst { error, at, actual } = sweep(row, level, stride);
            println!("{:12} {level:9} {error:.3} ULP at {at:e}", row.name);
            if error > bound(level) {
                failures
                    .push(format!("{} at {level}: {error} ULP at {at:e}, which gave {actual:e}", row.name));
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn math_f32_is_within_its_bound() {
    sweep_all(4099);
}

#[test]
#[ignore = "about ten minutes a function and core"]
fn math_f32_exhaustive_is_within_its_bound() {
    sweep_all(1);
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
                assert!(error <= bound(level), "{}({x:e}) at {level}: {:e}", row.name, y[0]);
            }
        }
    }
}

/// What callers rely on to the bit, at every level.
#[test]
fn math_f32_exact_values() {
    let exact: [(Function, f32, f32); 12] = [
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
