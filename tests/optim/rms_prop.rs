//! RMSProp.

use steadygrad::optim::{Gradients, Optimizer, RmsProp, Spread, WeightDecay};
use steadygrad::reference::rms_prop::{self as reference, Coefficients, State};

use super::subject::{DECAYS, LR, Place, Subject, check_all, refused_field};

const ALPHA: f64 = 0.96875;
const EPS: f64 = 1.0 / 1024.0;

fn formula(op: RmsProp, g: f64, place: Place) -> Place {
    let with = Coefficients { lr: LR, alpha: ALPHA, eps: EPS, momentum: op.momentum };
    match op.spread {
        Spread::Square => {
            let [p, v, b, _] = place;
            let after = reference::square(State { p, v, a: 0.0, b }, g, with);
            [after.p, after.v, after.b, 0.0]
        }
        Spread::Variance => {
            let [p, v, a, b] = place;
            let after = reference::variance(State { p, v, a, b }, g, with);
            [after.p, after.v, after.a, after.b]
        }
    }
}

#[test]
fn rms_prop_step_matches_reference() {
    for spread in [Spread::Square, Spread::Variance] {
        for momentum in [0.0, 0.875] {
            check_all(&DECAYS.map(|weight_decay| {
                let op = RmsProp { lr: LR, alpha: ALPHA, eps: EPS, spread, momentum, weight_decay };
                // Means far below the root of the mean squares, so that the variance does not cancel.
                let state = move |list, x| match (spread, list) {
                    (Spread::Variance, 0) => x + 1.0,
                    (Spread::Variance, 1) => x / 64.0,
                    _ => x,
                };
                Subject::new(op, weight_decay, move |_, g, place| formula(op, g, place)).with_state(state)
            }));
        }
    }
}

#[test]
fn rms_prop_step_of_equal_gradients_has_no_variance() {
    let op = RmsProp { spread: Spread::Variance, alpha: 0.3, eps: 1e-3, ..RmsProp::default() };
    let (mut param, mut square, mut mean) = ([1.0_f32; 20], [0.0; 20], [0.0; 20]);
    let grad: Vec<f32> = (1..=20).map(|i| i as f32 / 7.0).collect();
    for step in 1..=200 {
        let state: &mut [&mut [&mut [f32]]] = &mut [&mut [&mut square], &mut [&mut mean]];
        op.step(step, &mut [&mut param], Gradients::new(&[&grad]), state).unwrap();
        assert!(param.iter().all(|p| p.is_finite()), "{param:?} after {step}");
    }
}

#[test]
fn rms_prop_names_the_bad_argument() {
    let good = RmsProp { spread: Spread::Variance, momentum: 0.5, ..RmsProp::default() };
    for bad in [-1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(refused_field(&RmsProp { lr: bad, ..good }), "lr");
        assert_eq!(refused_field(&RmsProp { alpha: bad, ..good }), "alpha");
        assert_eq!(refused_field(&RmsProp { eps: bad, ..good }), "eps");
        assert_eq!(refused_field(&RmsProp { momentum: bad, ..good }), "momentum");
        assert_eq!(
            refused_field(&RmsProp { weight_decay: WeightDecay::Decoupled(bad), ..good }),
            "weight_decay"
        );
    }
    // The second is 1 in `f32`.
    for beta in [1.0, 1.0 - 1e-9] {
        assert_eq!(refused_field(&RmsProp { alpha: beta, ..good }), "alpha");
    }
}
