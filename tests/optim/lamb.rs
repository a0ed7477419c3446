//! LAMB.

use steadygrad::optim::{Gradients, Lamb, Optimizer};
use steadygrad::reference::lamb::{self as reference, Coefficients, State};

use super::subject::{LR, Place, Subject, check_all, refused_field};

const WITH: Coefficients<f64> = Coefficients { lr: LR, beta1: 0.875, beta2: 0.96875, eps: 0.0625 };

fn op(weight_decay: f64, lower: f64, upper: f64) -> Lamb {
    let Coefficients { lr, beta1, beta2, eps } = WITH;
    Lamb { lr, beta1, beta2, eps, weight_decay, lower, upper }
}

fn formula(op: Lamb) -> impl Fn(u64, &[f64], &mut [Place]) {
    move |step, g, places| {
        let mut tensor: Vec<State<f64>> = places.iter().map(|&[p, m, v, u]| State { p, m, v, u }).collect();
        reference::lamb(&mut tensor, g, WITH, op.weight_decay, [op.lower, op.upper], step as i32);
        for (place, State { p, m, v, .. }) in places.iter_mut().zip(tensor) {
            *place = [p, m, v, 0.0];
        }
    }
}

#[test]
fn lamb_step_matches_reference() {
    let ops = [op(0.0, 0.0, f64::INFINITY), op(0.25, 0.0, f64::INFINITY), op(0.25, 8.0, 10.0)];
    check_all(&ops.map(|op| Subject::of_tensors(op, formula(op))));
}

/// Weights after a first step, which is along the signs of the gradients.
fn first_step<const N: usize>(op: Lamb, param: [f64; N], grad: [f64; N]) -> [f64; N] {
    let (mut param, mut first, mut second) = (param, [0.0; N], [0.0; N]);
    let state: &mut [&mut [&mut [f64]]] = &mut [&mut [&mut first], &mut [&mut second]];
    op.step(1, &mut [&mut param], Gradients::new(&[&grad]), state).unwrap();
    param
}

#[track_caller]
fn assert_near<const N: usize>(actual: [f64; N], expected: [f64; N]) {
    for (a, b) in actual.iter().zip(expected) {
        assert!((a - b).abs() <= 1e-14 * b.abs().max(1.0), "{actual:?} is not {expected:?}");
    }
}

#[test]
fn lamb_step_of_zero_norms_has_a_ratio_of_one() {
    let op = Lamb { lr: 0.5, ..Lamb::default() };
    assert_near(
        first_step(Lamb { eps: 0.0, ..op }, [0.0; 4], [1.0, -2.0, 3e-9, 4e9]),
        [-0.5, 0.5, -0.5, -0.5],
    );
    assert_eq!(first_step(op, [1.0, -2.0], [0.0; 2]), [1.0, -2.0]);
    assert_eq!(first_step(op, [0.0; 30], [0.0; 30]), [0.0; 30]);
}

#[test]
fn lamb_step_the_norm_of_weights_has_bounds() {
    let op = Lamb { lr: 0.5, eps: 0.0, lower: 2.0, upper: 4.0, ..Lamb::default() };
    let (grad, [a, b]) = ([1.0, -1.0, 1.0, -1.0], [0.5 * 4.0 / 2.0, 0.5 * 2.0 / 2.0]);
    assert_near(first_step(op, [3.0, 0.0, 0.0, 4.0], grad), [3.0 - a, a, -a, 4.0 + a]);
    assert_near(first_step(op, [0.0; 4], grad), [-b, b, -b, b]);
}

#[test]
fn lamb_step_gradients_of_every_magnitude() {
    let op = Lamb { lr: 0.5, eps: 0.0, ..Lamb::default() };
    for factor in [1.0, 1e150, 1e-140] {
        let actual = first_step(op, [6.0, 8.0, 0.0, 0.0], [factor, -factor, factor, factor]);
        assert_near(actual, [3.5, 10.5, -2.5, -2.5]);
    }
    // Weights whose square is no number: the update is along the weights.
    for factor in [1e200, 1e-200] {
        let op = Lamb { lr: 0.25, weight_decay: 1.0, ..Lamb::default() };
        let actual = first_step(op, [3.0 * factor, 4.0 * factor], [0.0; 2]);
        assert_near(actual.map(|x| x / factor), [2.25, 3.0]);
    }
}

#[test]
fn lamb_names_the_bad_argument() {
    let good = Lamb::default();
    for bad in [-1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(refused_field(&Lamb { lr: bad, ..good }), "lr");
        assert_eq!(refused_field(&Lamb { beta1: bad, ..good }), "beta1");
        assert_eq!(refused_field(&Lamb { beta2: bad, ..good }), "beta2");
        assert_eq!(refused_field(&Lamb { eps: bad, ..good }), "eps");
        assert_eq!(refused_field(&Lamb { weight_decay: bad, ..good }), "weight_decay");
        assert_eq!(refused_field(&Lamb { lower: bad, ..good }), "lower");
    }
    for bad in [-1.0, f64::NAN, 0.5] {
        assert_eq!(refused_field(&Lamb { lower: 1.0, upper: bad, ..good }), "upper");
    }
}
