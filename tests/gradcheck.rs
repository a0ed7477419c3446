//! The gradient check must pass what is right and name what is wrong.

use proptest::prelude::*;
use steadygrad::gradcheck::{Failure, GradCheck, Report};
use steadygrad::{Activation, Error};

/// yⱼ = Σᵢ aⱼᵢ·sin(xᵢ) with aⱼᵢ = cos(j + 2i).
fn forward(x: &[f64], y: &mut [f64]) {
    for (j, y) in y.iter_mut().enumerate() {
        *y = x.iter().enumerate().map(|(i, x)| coefficient(j, i) * x.sin()).sum();
    }
}

fn backward(x: &[f64], dy: &[f64], dx: &mut [f64]) {
    for (i, dx) in dx.iter_mut().enumerate() {
        let sum: f64 = dy.iter().enumerate().map(|(j, dy)| coefficient(j, i) * dy).sum();
        *dx = sum * x[i].cos();
    }
}

fn coefficient(j: usize, i: usize) -> f64 {
    (j as f64 + 2.0 * i as f64).cos()
}

fn points(n: usize) -> Vec<f64> {
    (0..n).map(|i| (i as f64 * 0.7).sin() * 3.0).collect()
}

fn mismatch(result: Result<Report, Failure>) -> Report {
    match result {
        Err(Failure::Mismatch(report)) => report,
        other => panic!("expected a mismatch, got {other:?}"),
    }
}

#[test]
fn gradcheck_passes_a_right_gradient() {
    let report = GradCheck::default().check(&points(7), 5, forward, backward).unwrap();
    assert_eq!((report.compared, report.projected), (7 * 5 + 7, false));
    assert!(report.worst.unwrap().relative_error < 1e-7, "{report}");

    let report =
        GradCheck { full: 0, ..GradCheck::default() }.check(&points(700), 50, forward, backward).unwrap();
    assert_eq!((report.compared, report.projected), (8, true));
    assert!(report.worst.unwrap().relative_error < 1e-7, "{report}");
}

#[test]
fn gradcheck_names_the_element_off_by_a_thousandth() {
    for full in [0, usize::MAX] {
        let check = GradCheck { full, ..GradCheck::default() };
        for (inputs, wrong) in [(1, 0), (2, 1), (9, 0), (9, 8), (300, 177)] {
            let corrupted = |x: &[f64], dy: &[f64], dx: &mut [f64]| {
                backward(x, dy, dx);
                dx[wrong] *= 1.001;
            };
            let report = mismatch(check.check(&points(inputs), 4, forward, corrupted));
            let worst = report.worst.unwrap();
            assert_eq!(worst.input, wrong, "{report}");
            assert!((worst.relative_error - 1e-3).abs() < 1e-5, "{report}");
            assert!((worst.analytic / worst.numeric - 1.001).abs() < 1e-5, "{report}");
            assert!(!worst.is_kink());
        }
    }
}

#[test]
fn gradcheck_names_the_output_of_a_wrong_element() {
    let corrupted = |x: &[f64], dy: &[f64], dx: &mut [f64]| {
        backward(x, dy, dx);
        dx[3] += 0.01 * dy[1];
    };
    let report = mismatch(GradCheck::default().check(&points(5), 3, forward, corrupted));
    let worst = report.worst.unwrap();
    assert_eq!((worst.input, worst.output), (3, Some(1)));
    let text = Failure::Mismatch(report).to_string();
    assert!(text.contains("dy[1]/dx[3]: analytic"), "{text}");
}

#[test]
fn gradcheck_finds_a_large_vectors_one_wrong_element() {
    let n = 20_000;
    let forward = |x: &[f64], y: &mut [f64]| Activation::Tanh.forward(x, y).unwrap();
    let corrupted = |x: &[f64], dy: &[f64], dx: &mut [f64]| {
        Activation::Tanh.backward(x, dy, dx).unwrap();
        dx[12_345] += 1e-3;
    };
    let report = mismatch(GradCheck::default().check(&points(n), n, forward, corrupted));
    assert!(report.projected);
    assert_eq!(report.worst.unwrap().input, 12_345, "{report}");
}

#[test]
fn gradcheck_catches_what_one_hot_gradients_of_one_miss() {
    type Backward = fn(&[f64], &[f64], &mut [f64]);
    let nonlinear: Backward = |x, dy, dx| {
        let squared: Vec<f64> = dy.iter().map(|dy| dy * dy).collect();
        backward(x, &squared, dx);
    };
    let not_additive: Backward = |x, dy, dx| {
        let most = dy.iter().fold(0.0_f64, |most, dy| if dy.abs() > most.abs() { *dy } else { most });
        let largest_only: Vec<f64> = dy.iter().map(|&dy| if dy == most { dy } else { 0.0 }).collect();
        backward(x, &largest_only, dx);
    };
    let forgets_one: Backward = |x, dy, dx| {
        let last = dx[2];
        backward(x, dy, dx);
        dx[2] = last;
    };
    let accumulates: Backward = |x, dy, dx| {
        let before = dx.to_vec();
        backward(x, dy, dx);
        dx.iter_mut().zip(before).for_each(|(dx, before)| *dx += before);
    };
    for full in [0, usize::MAX] {
        let check = GradCheck { full, ..GradCheck::default() };
        for wrong in [nonlinear, not_additive, forgets_one, accumulates] {
            mismatch(check.check(&points(6), 3, forward, wrong));
        }
        let report = mismatch(check.check(&points(6), 3, forward, forgets_one));
        assert_eq!(report.worst.unwrap().input, 2);
    }
}

#[test]
fn gradcheck_fails_where_the_forward_is_not_finite_or_not_written() {
    mismatch(GradCheck::default().check(&[1.0], 1, |_, y| y[0] = f64::INFINITY, |_, _, dx| dx[0] = 0.0));
    mismatch(GradCheck::default().check(
        &[1.0, 2.0],
        2,
        |x, y| y[0] = x[0],
        |_, dy, dx| {
            dx[0] = dy[0];
            dx[1] = 0.0;
        },
    ));
}

#[test]
fn gradcheck_recognises_a_kink() {
    let relu = |x: &[f64], y: &mut [f64]| Activation::Relu.forward(x, y).unwrap();
    let drelu = |x: &[f64], dy: &[f64], dx: &mut [f64]| Activation::Relu.backward(x, dy, dx).unwrap();
    let report = mismatch(GradCheck::default().check(&[1.0, 0.0, -1.0], 3, relu, drelu));
    let worst = report.worst.unwrap();
    assert_eq!((worst.input, worst.analytic), (1, 0.0));
    assert!(worst.is_kink() && report.to_string().contains("a kink?"), "{report}");
    GradCheck::default().check(&[1.0, 1e-5, -1e-5], 3, relu, drelu).unwrap();
}

#[test]
fn gradcheck_checks_every_activation() {
    let x: Vec<f64> = (0..200).map(|i| f64::from(i) * 0.0811 - 8.013).collect();
    for activation in [
        Activation::Identity,
        Activation::Elu { alpha: 0.7 },
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Mish,
        Activation::Silu,
        Activation::Softplus { beta: 2.0, threshold: 20.0 },
        Activation::Sigmoid,
        Activation::HardSwish,
    ] {
        let forward = |x: &[f64], y: &mut [f64]| activation.forward(x, y).unwrap();
        let backward = |x: &[f64], dy: &[f64], dx: &mut [f64]| activation.backward(x, dy, dx).unwrap();
        let result = GradCheck::default().check(&x, x.len(), forward, backward);
        assert!(result.is_ok(), "{activation:?}: {result:?}");
    }
}

#[test]
fn gradcheck_of_nothing_passes() {
    for (x, outputs) in [(&[][..], 3), (&[1.0][..], 0), (&[][..], 0)] {
        let report = GradCheck::default().check(x, outputs, |_, _| panic!(), |_, _, _| panic!()).unwrap();
        assert_eq!((report.compared, report.worst), (0, None));
    }
}

#[test]
fn gradcheck_names_the_bad_argument() {
    let of = |check: GradCheck| check.check(&[1.0], 1, |_, _| panic!(), |_, _, _| panic!());
    let good = GradCheck::default();
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        for (name, check) in [
            ("step", GradCheck { step: bad, ..good }),
            ("relative", GradCheck { relative: bad, ..good }),
            ("absolute", GradCheck { absolute: bad, ..good }),
        ] {
            let Err(Failure::Argument(Error::OutOfRange { argument, .. })) = of(check) else {
                panic!("{name}")
            };
            assert_eq!(argument, name);
        }
    }
    let none = of(GradCheck { projections: 0, ..good });
    assert!(matches!(none, Err(Failure::Argument(Error::OutOfRange { argument: "projections", .. }))));
}

proptest! {
    #[test]
    fn gradcheck_agrees_with_itself_for_any_shape(inputs in 1..20_usize, outputs in 1..20_usize, seed: u64, wrong: prop::sample::Index) {
        let wrong = wrong.index(inputs);
        for full in [0, usize::MAX] {
            let check = GradCheck { full, seed, ..GradCheck::default() };
            let x = points(inputs);
            prop_assert!(check.check(&x, outputs, forward, backward).is_ok());
            let corrupted = |x: &[f64], dy: &[f64], dx: &mut [f64]| {
                backward(x, dy, dx);
                dx[wrong] += 1e-3 * dy[0];
            };
            let report = mismatch(check.check(&x, outputs, forward, corrupted));
            prop_assert_eq!(report.worst.unwrap().input, wrong);
        }
    }
}
