//! Clip and step in one call.

use proptest::prelude::*;
use steadygrad::clip::{ClipNorm, ClipReport, ClipRule, NonFinite};
use steadygrad::optim::{Adam, Clipped, Gradients, Momentum, Optimizer, Sgd};
use steadygrad::{Element, Error};

use crate::common::{Guarded, assert_same_bits, numbers};

const LENGTHS: [usize; 4] = [3, 40_000, 0, 64];

fn gradients<T: Element>(deviation: f64) -> Vec<Vec<T>> {
    LENGTHS.iter().map(|&len| numbers(len as u64, len, deviation)).collect()
}

/// Parameters after two steps from 1 with gradients times `scale`.
fn two_steps<T: Element>(
    optimizer: Clipped<Adam>,
    grads: &[Vec<T>],
    scale: f64,
) -> (Vec<ClipReport>, Vec<T>) {
    let slices: Vec<&[T]> = grads.iter().map(Vec::as_slice).collect();
    let mut tensors = [1.0, 0.0, 0.0].map(|start| LENGTHS.map(|len| vec![T::from_f64(start); len]));
    let mut reports = Vec::new();
    for step in 1..=2 {
        let [mut params, mut first, mut second] =
            tensors.each_mut().map(|list| list.each_mut().map(Vec::as_mut_slice));
        let grads = Gradients { tensors: &slices, scale };
        reports.push(optimizer.step(step, &mut params, grads, &mut [&mut first, &mut second]).unwrap());
    }
    (reports, tensors[0].concat())
}

/// Parameters after clipping a copy and stepping.
fn separately<T: Element>(optimizer: Clipped<Adam>, grads: &[Vec<T>]) -> (Vec<ClipReport>, Vec<T>) {
    let mut clipped = grads.to_vec();
    let report =
        optimizer.clip.clip(&mut clipped.iter_mut().map(Vec::as_mut_slice).collect::<Vec<_>>()).unwrap();
    let (_, params) = two_steps(Clipped::new(optimizer.optimizer, f64::INFINITY), &clipped, 1.0);
    (vec![report; 2], params)
}

#[test]
fn clipped_step_is_clip_then_step() {
    for (max_norm, rule) in
        [(0.5, ClipRule::Exact), (0.5, ClipRule::Torch { eps: 1e-6 }), (1e9, ClipRule::Exact)]
    {
        let clip = ClipNorm { max_norm, rule, ..ClipNorm::default() };
        let optimizer = Clipped { optimizer: Adam::adamw(), clip };
        let grads = gradients::<f32>(1.0);
        let (expected, actual) = (separately(optimizer, &grads), two_steps(optimizer, &grads, 1.0));
        assert_eq!(actual.0, expected.0);
        assert_same_bits(&actual.1, &expected.1, || format!("{clip:?}"));
    }
}

#[test]
fn clipped_step_unscales() {
    for rule in [ClipRule::Exact, ClipRule::Torch { eps: 1e-6 }] {
        for max_norm in [0.5, 1e9, f64::INFINITY] {
            let clip = ClipNorm { max_norm, rule, ..ClipNorm::default() };
            let optimizer = Clipped { optimizer: Adam::default(), clip };
            let grads = gradients::<f64>(1.0);
            // A power of two, so that the product is exact.
            let scaled: Vec<Vec<f64>> =
                grads.iter().map(|grad| grad.iter().map(|g| g * 65536.0).collect()).collect();
            let (expected, actual) =
                (two_steps(optimizer, &grads, 1.0), two_steps(optimizer, &scaled, 1.0 / 65536.0));
            assert_eq!(actual.0, expected.0);
            assert_same_bits(&actual.1, &expected.1, || format!("{clip:?}"));
        }
    }
}

#[test]
fn clipped_step_huge_and_tiny_gradients() {
    let op = Clipped::new(Sgd { lr: 1.0, ..Sgd::default() }, 5.0);
    for factor in [1e25_f32, 1e-25, 1.0] {
        let (grads, mut param) = ([3.0 * factor, -4.0 * factor], [0.0_f32; 2]);
        let report = op.step(1, &mut [&mut param], Gradients::new(&[&grads]), &mut []).unwrap();
        let expected = if factor < 1.0 { grads.map(|g| -g) } else { [-3.0, 4.0] };
        for (actual, expected) in param.iter().zip(expected) {
            assert!((actual / expected - 1.0).abs() < 1e-6, "{actual} {expected} {report:?}");
        }
    }
    for factor in [1e200_f64, 1e-200] {
        let (grads, mut param) = ([3.0 * factor, -4.0 * factor], [0.0_f64; 2]);
        op.step(1, &mut [&mut param], Gradients::new(&[&grads]), &mut []).unwrap();
        let expected = if factor < 1.0 { grads.map(|g| -g) } else { [-3.0, 4.0] };
        for (actual, expected) in param.iter().zip(expected) {
            assert!((actual / expected - 1.0).abs() < 1e-14, "{actual} {expected}");
        }
    }
}

/// A step of two tensors whose gradients are as given: the result, the parameters and the buffer.
fn step_with(non_finite: NonFinite, grads: [f32; 2]) -> (Result<ClipReport, Error>, [f32; 2], [f32; 2]) {
    let momentum = Momentum::Classical { momentum: 0.5, dampening: 0.0 };
    let clip = ClipNorm { non_finite, ..ClipNorm::default() };
    let op = Clipped { optimizer: Sgd { lr: 1.0, momentum, ..Sgd::default() }, clip };
    let ([mut a, mut b], [mut c, mut d]) = ([[1.0], [2.0]], [[4.0], [8.0]]);
    let [first, second] = grads.map(|g| [g]);
    let report =
        op.step(2, &mut [&mut a, &mut b], Gradients::new(&[&first, &second]), &mut [&mut [&mut c, &mut d]]);
    (report, [a[0], b[0]], [c[0], d[0]])
}

#[test]
fn clipped_step_non_finite() {
    let untouched = ([1.0, 2.0], [4.0, 8.0]);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let (result, params, buffer) = step_with(NonFinite::Error, [0.5, bad]);
        assert_eq!(result, Err(Error::NonFinite { argument: "grads", index: 1 }));
        assert_eq!((params, buffer), untouched);
        let (result, params, buffer) = step_with(NonFinite::Skip, [0.5, bad]);
        let report = result.unwrap();
        assert_eq!((report.scale, report.non_finite), (0.0, Some(1)));
        assert_eq!((params, buffer), untouched);
        let (result, params, buffer) = step_with(NonFinite::Propagate, [0.5, bad]);
        assert_eq!(result.unwrap().non_finite, Some(1));
        assert!(params[1].is_nan() && buffer[1].is_nan());
        if bad.is_nan() {
            assert!(params[0].is_nan() && buffer[0].is_nan());
        } else {
            // An infinite norm makes finite gradients 0.
            assert_eq!((params[0], buffer[0]), (-1.0, 2.0));
        }
    }
}

#[test]
fn clipped_step_a_scale_of_zero_leaves_the_gradient_out() {
    let op = Clipped::new(Sgd::default(), 1.0);
    let mut param = [1.0_f32; 3];
    let grads = Gradients { tensors: &[&[f32::NAN, 1.0, f32::INFINITY]], scale: 0.0 };
    let report = op.step(1, &mut [&mut param], grads, &mut []).unwrap();
    assert_eq!((report.norm, report.scale, report.non_finite, param), (0.0, 1.0, None, [1.0; 3]));
}

#[test]
fn clipped_step_names_the_bad_argument() {
    let refused = |op: Clipped<&dyn Optimizer<f32>>, grads: Gradients<'_, f32>| {
        let mut param = Guarded::<f32>::new(2, 0);
        let error = op.step(1, &mut [param.slice()], grads, &mut []).unwrap_err();
        assert!(param.is_untouched());
        match error {
            Error::Length { argument, .. } | Error::OutOfRange { argument, .. } => argument,
            other => panic!("{other:?}"),
        }
    };
    let (sgd, grads) = (Sgd::default(), Gradients::new(&[&[1.0_f32, 2.0]]));
    for max_norm in [-1.0, f64::NAN] {
        assert_eq!(refused(Clipped::new(&sgd, max_norm), grads), "max_norm");
        assert_eq!(refused(Clipped::new(&sgd, max_norm), Gradients { scale: 0.0, ..grads }), "max_norm");
    }
    let clip = ClipNorm { rule: ClipRule::Torch { eps: -1.0 }, ..ClipNorm::default() };
    assert_eq!(refused(Clipped { optimizer: &sgd, clip }, grads), "eps");
    assert_eq!(refused(Clipped::new(&Sgd { lr: -1.0, ..sgd }, 1.0), grads), "lr");
    assert_eq!(refused(Clipped::new(&sgd, 1.0), Gradients::new(&[&[1.0]])), "grads");
    assert_eq!(refused(Clipped::new(&sgd, 1.0), Gradients { scale: f64::NAN, ..grads }), "scale");
}

proptest! {
    #[test]
    fn clipped_step_is_no_longer_than_the_limit(
        grads in prop::collection::vec(-1e6_f64..1e6, 1..50),
        max_norm in 1e-3_f64..1e3,
        scale in 1e-3_f64..1e3,
    ) {
        let op = Clipped::new(Sgd { lr: 1.0, ..Sgd::default() }, max_norm);
        let mut param = vec![0.0; grads.len()];
        let list = Gradients { tensors: &[&grads], scale };
        let report = op.step(1, &mut [&mut param], list, &mut []).unwrap();
        let norm = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
        prop_assert!(norm(&param) <= max_norm * (1.0 + 1e-6));
        prop_assert!((report.norm - norm(&grads) * scale).abs() <= 1e-12 * report.norm);
        for (p, g) in param.iter().zip(&grads) {
            prop_assert!((p + g * scale * report.scale).abs() <= 1e-12 * g.abs() * scale);
        }
    }
}
