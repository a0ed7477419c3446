//! Clipping by norm and by value against PyTorch's.

use steadygrad::Element;
use steadygrad::clip::{ClipNorm, ClipRule, ClipValue, NonFinite};

use super::case::{Case, cases};
use crate::common::tolerance;

pub(crate) fn check<T: Element>() {
    for case in cases("clip") {
        let mut grads = case.input_lists::<T>("grads");
        // 3e200 is past the largest f32.
        if grads.iter().flatten().any(|g| g.is_infinite()) != has_infinity(&case) {
            continue;
        }
        match case.op() {
            "clip_norm" => clip_norm(&case, &mut grads),
            "clip_each" => clip_each(&case, &mut grads),
            "clip_value" => clip_value(&case, &mut grads),
            op => panic!("nothing is called {op}"),
        }
    }
}

fn has_infinity(case: &Case) -> bool {
    case.input_lists::<f64>("grads").iter().flatten().any(|g| g.is_infinite())
}

fn norm_of(case: &Case) -> ClipNorm {
    ClipNorm {
        max_norm: case.float("max_norm"),
        p: case.float("p"),
        rule: ClipRule::Torch { eps: case.float("torch_eps") },
        non_finite: NonFinite::Propagate,
    }
}

fn clip_each<T: Element>(case: &Case, grads: &mut [Vec<T>]) {
    let mut slices: Vec<&mut [T]> = grads.iter_mut().map(Vec::as_mut_slice).collect();
    let report = norm_of(case).clip_each(&mut slices).expect("valid");
    case.compare_within("norm", &[T::from_f64(report.norm)], &case.expected("norm"), tolerance::GOLDEN);
    compare_grads(case, grads);
}

fn clip_norm<T: Element>(case: &Case, grads: &mut [Vec<T>]) {
    let op = norm_of(case);
    let finite = grads.iter().flatten().all(|g| g.is_finite());
    let mut slices: Vec<&mut [T]> = grads.iter_mut().map(Vec::as_mut_slice).collect();
    let report = op.clip(&mut slices).expect("valid");
    let norm = case.expected("norm");
    if finite && norm[0].is_infinite() {
        // The one deviation: PyTorch's norm of 3e200 and 4e200 overflows, and every gradient becomes 0.
        assert!(report.norm.is_finite(), "{case:?}");
        return;
    }
    case.compare_within("norm", &[T::from_f64(report.norm)], &norm, tolerance::GOLDEN);
    compare_grads(case, grads);
}

fn clip_value<T: Element>(case: &Case, grads: &mut [Vec<T>]) {
    let limit = case.float("limit");
    let mut slices: Vec<&mut [T]> = grads.iter_mut().map(Vec::as_mut_slice).collect();
    ClipValue { min: -limit, max: limit }.clip(&mut slices).expect("valid");
    compare_grads(case, grads);
}

fn compare_grads<T: Element>(case: &Case, grads: &[Vec<T>]) {
    for (actual, expected) in grads.iter().zip(case.expected_lists("grads")) {
        case.compare_within("grads", actual, &expected, tolerance::GOLDEN);
    }
}
