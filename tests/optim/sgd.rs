//! Stochastic gradient descent.

use steadygrad::optim::{Gradients, Momentum, Optimizer, Sgd, WeightDecay};
use steadygrad::reference::sgd::{self as reference, State};

use super::subject::{DECAYS, LR, Place, Subject, check_all, refused_field};

const CLASSICAL: Momentum = Momentum::Classical { momentum: 0.875, dampening: 0.0 };
const DAMPENED: Momentum = Momentum::Classical { momentum: 0.75, dampening: 0.375 };
const NESTEROV: Momentum = Momentum::Nesterov { momentum: 0.875 };

fn formula(momentum: Momentum, step: u64, g: f64, [p, b, ..]: Place) -> Place {
    let State { p, b } = match momentum {
        Momentum::None => State { p: reference::plain(p, g, LR), b },
        Momentum::Classical { momentum, dampening } => {
            reference::classical(State { p, b }, g, LR, momentum, dampening, step)
        }
        Momentum::Nesterov { momentum } => reference::nesterov(State { p, b }, g, LR, momentum, step),
    };
    [p, b, 0.0, 0.0]
}

#[test]
fn sgd_step_matches_reference() {
    for momentum in [Momentum::None, CLASSICAL, DAMPENED, NESTEROV] {
        check_all(&DECAYS.map(|weight_decay| {
            let op = Sgd { lr: LR, momentum, weight_decay };
            Subject::new(op, weight_decay, move |step, g, place| formula(momentum, step, g, place))
        }));
    }
}

#[test]
fn sgd_step_the_first_fills_the_buffer() {
    let op = Sgd { lr: 0.5, momentum: DAMPENED, ..Sgd::default() };
    let (mut param, mut buffer) = ([1.0_f32; 20], [f32::NAN; 20]);
    op.step(1, &mut [&mut param], Gradients::new(&[&[2.0; 20]]), &mut [&mut [&mut buffer]]).unwrap();
    assert_eq!((param, buffer), ([0.0; 20], [2.0; 20]));
}

#[test]
fn sgd_names_the_bad_argument() {
    let good = Sgd { momentum: CLASSICAL, ..Sgd::default() };
    for lr in [-1.0, f64::NAN, f64::INFINITY, 1e39] {
        assert_eq!(refused_field(&Sgd { lr, ..good }), "lr");
    }
    for momentum in [0.0, -0.1, f64::NAN, 1e39] {
        let classical = Momentum::Classical { momentum, dampening: 0.0 };
        assert_eq!(refused_field(&Sgd { momentum: classical, ..good }), "momentum");
        assert_eq!(refused_field(&Sgd { momentum: Momentum::Nesterov { momentum }, ..good }), "momentum");
    }
    let dampening = Momentum::Classical { momentum: 0.9, dampening: f64::NAN };
    assert_eq!(refused_field(&Sgd { momentum: dampening, ..good }), "dampening");
    for weight_decay in [WeightDecay::Coupled(-1.0), WeightDecay::Decoupled(f64::NAN)] {
        assert_eq!(refused_field(&Sgd { weight_decay, ..good }), "weight_decay");
    }
}

#[test]
#[should_panic(expected = "is not")]
fn sgd_comparison_can_fail() {
    let op = Sgd { lr: LR, momentum: CLASSICAL, ..Sgd::default() };
    let wrong = |step, g, place| formula(NESTEROV, step, g, place);
    check_all(&[Subject::new(op, WeightDecay::NONE, wrong)]);
}

/// 1 − lr·λ has no exact `f32`: multiplied a thousand times, its rounding must not add up.
#[test]
fn sgd_step_decoupled_decay_does_not_drift() {
    for decay in [1e-4, 3e-4, 7e-4, 1e-3] {
        let sgd = Sgd { lr: 1.0, weight_decay: WeightDecay::Decoupled(decay), ..Sgd::default() };
        let mut params: Vec<f32> = (0..1000).map(|i| 1.0 + i as f32 / 1000.0).collect();
        let (grads, start) = (vec![0.0; params.len()], params.clone());
        for step in 1..=1000 {
            sgd.step(step, &mut [&mut params], Gradients::new(&[&grads]), &mut []).unwrap();
        }
        let ratios = params.iter().zip(&start).map(|(p, start)| f64::from(*p) / f64::from(*start));
        let mean = ratios.sum::<f64>() / params.len() as f64;
        let exact = (1.0 - decay).powi(1000);
        // Roundings to either side, a thousand a parameter, of a thousand parameters.
        assert!((mean / exact - 1.0).abs() < 5e-7, "{mean} is not {exact}");
    }
}

#[test]
fn sgd_step_decay_keeps_infinite_parameters() {
    for weight_decay in [WeightDecay::Decoupled(0.5), WeightDecay::Decoupled(2.0), WeightDecay::NONE] {
        let sgd = Sgd { lr: 1.0, weight_decay, ..Sgd::default() };
        let mut params = [f32::INFINITY, f32::NEG_INFINITY, f32::MAX];
        sgd.step(1, &mut [&mut params], Gradients::new(&[&[0.0; 3]]), &mut []).unwrap();
        assert!(params[..2].iter().all(|p| p.is_infinite()) && params[2].is_finite(), "{params:?}");
    }
}
