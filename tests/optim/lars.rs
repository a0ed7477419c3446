//! LARS.

use steadygrad::optim::{Clipped, Gradients, Lars, Optimizer};
use steadygrad::reference::lars::{self as reference, Coefficients, State};

use super::subject::{LR, Place, Subject, check_all, refused_field};

const MOMENTUM: f64 = 0.875;
const TRUST: f64 = 0.5;

fn formula(decay: f64) -> impl Fn(u64, &[f64], &mut [Place]) {
    move |_, g, places| {
        let mut tensor: Vec<State<f64>> = places.iter().map(|&[w, v, ..]| State { w, v }).collect();
        reference::lars(&mut tensor, g, Coefficients { lr: LR, momentum: MOMENTUM, trust: TRUST, decay });
        for (place, State { w, v }) in places.iter_mut().zip(tensor) {
            *place = [w, v, 0.0, 0.0];
        }
    }
}

#[test]
fn lars_step_matches_reference() {
    check_all(&[0.0, 0.25].map(|weight_decay| {
        let op = Lars { lr: LR, momentum: MOMENTUM, trust: TRUST, weight_decay };
        Subject::of_tensors(op, formula(weight_decay))
    }));
}

/// A tensor after two steps along one gradient.
fn two_steps<const N: usize>(op: Lars, param: [f64; N], grad: [f64; N]) -> [f64; N] {
    let (mut param, mut velocity) = (param, [0.0; N]);
    for step in 1..=2 {
        op.step(step, &mut [&mut param], Gradients::new(&[&grad]), &mut [&mut [&mut velocity]]).unwrap();
    }
    param
}

#[test]
fn lars_step_of_zero_norms_has_a_ratio_of_one() {
    let op = Lars { lr: 0.5, momentum: 0.0, trust: 1e-3, weight_decay: 0.25 };
    // v = 0.5·g, then of weights that are not 0.
    let mut param = [0.0_f64; 3];
    op.step(1, &mut [&mut param], Gradients::new(&[&[1.0, -2.0, 0.0]]), &mut [&mut [&mut [0.0; 3]]]).unwrap();
    assert_eq!(param, [-0.5, 1.0, 0.0]);
    // v = 0.5·0.25·w: twice 1 − 1/8.
    assert_eq!(two_steps(op, [64.0, -128.0], [0.0; 2]), [49.0, -98.0]);
    assert_eq!(two_steps(op, [0.0; 20], [0.0; 20]), [0.0; 20]);
}

#[test]
fn lars_step_does_not_depend_on_the_length_of_the_gradient() {
    let op = Lars { lr: 0.5, momentum: 0.5, trust: 0.25, weight_decay: 0.0 };
    let expected = two_steps(op, [3.0, 4.0], [3.0, -1.0]);
    for factor in [1e200, 1e-200, 1e290, 1e-290] {
        let actual = two_steps(op, [3.0, 4.0], [3.0 * factor, -factor]);
        for (actual, expected) in actual.iter().zip(expected) {
            assert!((actual - expected).abs() < 1e-14, "{actual} is not {expected} with {factor}");
        }
    }
    // A ratio past the largest `f32`, and one below the smallest.
    for factor in [1e25_f32, 1e-25, 1e-40, 1e38] {
        let (mut param, mut velocity) = ([3.0_f32, 4.0, 0.0], [0.0; 3]);
        let grad = [3.0 * factor, -factor, 0.0];
        for step in 1..=2 {
            op.step(step, &mut [&mut param], Gradients::new(&[&grad]), &mut [&mut [&mut velocity]]).unwrap();
        }
        for (actual, expected) in param.iter().zip([expected[0], expected[1], 0.0]) {
            // Subnormal gradients have few digits.
            let within = if factor < 1e-38 { 1e-4 } else { 1e-6 };
            assert!(
                (f64::from(*actual) - expected).abs() < within,
                "{actual} is not {expected} with {factor}"
            );
        }
    }
}

#[test]
fn lars_step_each_tensor_has_its_own_ratio() {
    let op = Lars { lr: 1.0, momentum: 0.0, trust: 0.5, weight_decay: 0.0 };
    let ([mut a, mut b], [mut c, mut d]) = ([[3.0_f32, 4.0], [0.0, 1.0]], [[0.0; 2]; 2]);
    let grads = Gradients::new(&[&[0.0, 10.0], &[8.0, 0.0]]);
    op.step(1, &mut [&mut a, &mut b], grads, &mut [&mut [&mut c, &mut d]]).unwrap();
    assert_eq!((a, b), ([3.0, 1.5], [-0.5, 1.0]));
    assert_eq!((c, d), ([0.0, 2.5], [0.5, 0.0]));
}

#[test]
fn lars_step_clipped_is_that_of_shorter_gradients() {
    let op = Lars { lr: 1.0, momentum: 0.5, trust: 0.25, weight_decay: 0.5 };
    let step = |max_norm: f64, factor: f64| {
        let (mut param, mut velocity) = ([3.0_f64, 4.0], [1.0; 2]);
        let grad = [6.0 * factor, -8.0 * factor];
        let state: &mut [&mut [&mut [f64]]] = &mut [&mut [&mut velocity]];
        Clipped::new(op, max_norm).step(1, &mut [&mut param], Gradients::new(&[&grad]), state).unwrap();
        param
    };
    for (clipped, short) in step(2.5, 1.0).iter().zip(step(f64::INFINITY, 0.25)) {
        assert!((clipped - short).abs() < 1e-15);
    }
}

#[test]
fn lars_names_the_bad_argument() {
    let good = Lars::default();
    for bad in [-1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(refused_field(&Lars { lr: bad, ..good }), "lr");
        assert_eq!(refused_field(&Lars { momentum: bad, ..good }), "momentum");
        assert_eq!(refused_field(&Lars { trust: bad, ..good }), "trust");
        assert_eq!(refused_field(&Lars { weight_decay: bad, ..good }), "weight_decay");
    }
    assert_eq!(refused_field(&Lars { momentum: 1.0, ..good }), "momentum");
}
