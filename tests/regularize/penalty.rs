//! Elastic nets: their penalty, its gradient, and their proximal step.

use proptest::prelude::*;
use steadygrad::regularize::ElasticNet;
use steadygrad::{Element, GradCheck, reference};

use crate::common::{
    self, Guarded, argument, assert_equal_everywhere, assert_terms, each_level, lengths, special_values,
};

/// Lengths of a list that reach tails, block edges and the cuts between tasks.
const LIST: [usize; 8] = [0, 64, 150_001, 1, 16_384, 0, 5, 70_003];

const NETS: [ElasticNet; 4] = [
    ElasticNet { l1: 0.0, l2: 0.0 },
    ElasticNet { l1: 0.5, l2: 0.0 },
    ElasticNet { l1: 0.0, l2: 0.25 },
    ElasticNet { l1: 0.75, l2: 0.5 },
];

#[track_caller]
fn check_penalty<T: Element>(op: ElasticNet, weights: &[T]) {
    let len = weights.len();
    let before: Vec<T> = common::numbers(7, len, 1.0);
    each_level(|level| {
        let mut grad = Guarded::of(&before, len % 5);
        let value = op.add_gradient(&[weights], &mut [grad.slice()]).unwrap();
        assert_eq!(op.value(&[weights]).unwrap().is_nan(), value.is_nan());
        let (mut exact, mut finite) = (0.0, true);
        for i in 0..len {
            let w = weights[i].to_f64();
            exact += reference::penalty::value(w, op.l1, op.l2);
            let (before, part) = (before[i].to_f64(), reference::penalty::gradient(w, op.l1, op.l2));
            let largest = if part.is_finite() { before.abs() + part.abs() } else { 0.0 };
            assert_terms(grad.checked()[i], before + part, largest, || format!("{op:?} of {w} at {level}"));
            finite &= w.is_finite();
        }
        // f64 whatever the type: a few roundings a term.
        let close = (value - exact).abs() <= 1e-13 * exact || value.is_nan() && exact.is_nan();
        assert!(close || value == exact, "{value} is not {exact}: {op:?} at {level}");
        assert!(finite || !value.is_finite() || op == NETS[0]);
    });
}

#[test]
fn penalty_value_and_gradient_match_reference() {
    for op in NETS {
        for len in lengths().chain([1023, 1024, 1025, 2100]) {
            check_penalty::<f32>(op, &common::numbers(1, len, 1.0));
            check_penalty::<f64>(op, &common::numbers(2, len, 1.0));
        }
        for w in special_values::<f32>() {
            check_penalty(op, &[w; 3]);
        }
        for w in special_values::<f64>() {
            check_penalty(op, &[w]);
        }
    }
}

#[test]
fn penalty_gradient_matches_finite_differences() {
    let op = ElasticNet { l1: 0.3, l2: 0.7 };
    let forward = |w: &[f64], y: &mut [f64]| y[0] = op.value(&[w]).unwrap();
    let backward = |w: &[f64], dy: &[f64], dw: &mut [f64]| {
        dw.fill(0.0);
        op.add_gradient(&[w], &mut [dw]).unwrap();
        dw.iter_mut().for_each(|d| *d *= dy[0]);
    };
    GradCheck::default().check(&common::numbers(1, 9, 1.0), 1, forward, backward).unwrap();
}

#[test]
fn penalty_and_proximal_same_bits_in_any_pool_and_on_avx2_and_avx512() {
    let weights: Vec<Vec<f32>> = LIST.iter().map(|&len| common::numbers(len as u64, len, 1.0)).collect();
    let slices: Vec<&[f32]> = weights.iter().map(Vec::as_slice).collect();
    let values = std::sync::Mutex::new(Vec::new());
    assert_equal_everywhere(|| {
        let (mut grads, mut next) = (weights.clone(), weights.clone());
        let op = NETS[3];
        let value = op
            .add_gradient(&slices, &mut grads.iter_mut().map(Vec::as_mut_slice).collect::<Vec<_>>())
            .unwrap();
        values.lock().unwrap().push(value.to_bits());
        op.proximal(0.3, &mut next.iter_mut().map(Vec::as_mut_slice).collect::<Vec<_>>()).unwrap();
        vec![grads.concat(), next.concat()]
    });
    let values = values.into_inner().unwrap();
    assert!(values.iter().all(|&value| value == values[0]), "{values:?}");
}

#[track_caller]
fn check_proximal<T: Element>(op: ElasticNet, step: f64, weights: &[T]) {
    each_level(|level| {
        let mut next = Guarded::of(weights, weights.len() % 5);
        op.proximal(step, &mut [next.slice()]).unwrap();
        for (&w, &next) in weights.iter().zip(next.checked()) {
            let w = w.to_f64();
            let exact = reference::proximal::proximal(w, step, op.l1, op.l2);
            let largest = if exact.is_finite() { w.abs() } else { 0.0 };
            assert_terms(next, exact, largest, || format!("{op:?} of {w} at {level}"));
        }
    });
}

#[test]
fn proximal_matches_reference() {
    for op in NETS {
        for len in lengths() {
            check_proximal::<f32>(op, 0.5, &common::numbers(1, len, 1.0));
            check_proximal::<f64>(op, 0.25, &common::numbers(2, len, 1.0));
        }
        check_proximal(op, 0.5, &special_values::<f32>());
        check_proximal(op, 0.5, &special_values::<f64>());
    }
}

#[test]
fn proximal_is_the_minimiser_on_a_fine_grid() {
    for op in NETS {
        for step in [0.1, 1.0, 3.0] {
            for w in [-2.5, -0.4, -0.01, 0.0, 0.05, 0.8, 3.0_f64] {
                let objective =
                    |u: f64| 0.5 * (u - w).powi(2) + step * (op.l1 * u.abs() + 0.5 * op.l2 * u * u);
                let mut next = [w];
                op.proximal(step, &mut [&mut next]).unwrap();
                let least =
                    (-40_000..=40_000).map(|k| objective(f64::from(k) * 1e-4)).fold(f64::MAX, f64::min);
                assert!(objective(next[0]) <= least + 1e-12, "{op:?} step {step} of {w}: {}", next[0]);
            }
        }
    }
}

#[test]
fn penalty_and_proximal_name_the_bad_argument() {
    let weights: [&[f32]; 2] = [&[1.0, 2.0], &[3.0]];
    let (mut a, mut b) = (Guarded::<f32>::new(2, 0), Guarded::<f32>::new(1, 0));
    for bad in [-1.0, f64::NAN, f64::INFINITY, 1e300] {
        for (op, name) in [(ElasticNet { l1: bad, l2: 0.0 }, "l1"), (ElasticNet { l1: 0.0, l2: bad }, "l2")] {
            assert_eq!(argument(op.value(&weights).unwrap_err()), name);
            let refused = op.add_gradient(&weights, &mut [a.slice(), b.slice()]);
            assert_eq!(argument(refused.unwrap_err()), name);
            assert_eq!(argument(op.proximal(1.0, &mut [a.slice()]).unwrap_err()), name);
        }
        if bad != 1e300 {
            assert_eq!(argument(NETS[3].proximal(bad, &mut [a.slice()]).unwrap_err()), "step");
        }
    }
    assert_eq!(argument(NETS[3].add_gradient(&weights, &mut [a.slice()]).unwrap_err()), "weights");
    let refused = NETS[3].add_gradient(&weights, &mut [b.slice(), a.slice()]);
    assert_eq!(argument(refused.unwrap_err()), "weights");
    assert!(a.is_untouched() && b.is_untouched());
    assert_eq!(NETS[3].value::<f32>(&[]), Ok(0.0));
}

#[test]
#[should_panic(expected = "is not")]
fn regularize_comparison_can_fail() {
    let value = NETS[3].value(&[&[1.0_f32]]).unwrap();
    assert!((value - 0.9).abs() < 1e-3, "{value} is not 0.9");
}

proptest! {
    #[test]
    fn penalty_and_proximal_match_reference_for_any_coefficients(
        l1 in 0.0..2.0_f64, l2 in 0.0..2.0_f64, step in 0.0..2.0_f64, len in 0..300_usize,
    ) {
        let (op, weights) = (ElasticNet { l1, l2 }, common::numbers::<f64>(1, len, 1.0));
        check_penalty(op, &weights);
        check_proximal(op, step, &weights);
    }
}
