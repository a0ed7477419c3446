//! Lion.

use steadygrad::optim::{Gradients, Lion, Optimizer, WeightDecay};
use steadygrad::reference::lion::{self as reference, State};

use super::subject::{DECAYS, LR, Place, Subject, check_all, refused_field};

const BETA1: f64 = 0.875;
const BETA2: f64 = 0.96875;

fn formula(_step: u64, g: f64, [p, m, ..]: Place) -> Place {
    let State { p, m } = reference::lion(State { p, m }, g, LR, BETA1, BETA2);
    [p, m, 0.0, 0.0]
}

#[test]
fn lion_step_matches_reference() {
    check_all(&DECAYS.map(|weight_decay| {
        let op = Lion { lr: LR, beta1: BETA1, beta2: BETA2, weight_decay };
        Subject::new(op, weight_decay, formula)
    }));
}

#[test]
fn lion_step_the_sign_of_zero_is_zero() {
    let lion = Lion { lr: 0.5, ..Lion::default() };
    for zero in [0.0_f64, -0.0] {
        let (mut param, mut mean) = ([1.0; 11], [zero; 11]);
        lion.step(1, &mut [&mut param], Gradients::new(&[&[zero; 11]]), &mut [&mut [&mut mean]]).unwrap();
        assert_eq!((param, mean), ([1.0; 11], [0.0; 11]));
    }
    let infinite = [f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE];
    let (mut param, mut mean) = ([1.0; 3], [0.0; 3]);
    lion.step(1, &mut [&mut param], Gradients::new(&[&infinite]), &mut [&mut [&mut mean]]).unwrap();
    assert_eq!(param, [0.5, 1.5, 0.5]);
}

#[test]
fn lion_names_the_bad_argument() {
    let good = Lion::default();
    for bad in [-1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(refused_field(&Lion { lr: bad, ..good }), "lr");
        assert_eq!(refused_field(&Lion { beta1: bad, ..good }), "beta1");
        assert_eq!(refused_field(&Lion { beta2: bad, ..good }), "beta2");
        assert_eq!(
            refused_field(&Lion { weight_decay: WeightDecay::Decoupled(bad), ..good }),
            "weight_decay"
        );
    }
    // The second is 1 in `f32`.
    for beta in [1.0, 1.0 - 1e-9] {
        assert_eq!(refused_field(&Lion { beta1: beta, ..good }), "beta1");
        assert_eq!(refused_field(&Lion { beta2: beta, ..good }), "beta2");
    }
}
