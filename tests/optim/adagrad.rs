//! Adagrad.

use steadygrad::optim::{Adagrad, WeightDecay};
use steadygrad::reference::adagrad::{self as reference, State};

use super::subject::{DECAYS, LR, Place, Subject, check_all, refused_field};

const EPS: f64 = 1.0 / 1024.0;

fn formula(lr_decay: f64, step: u64, g: f64, [p, s, ..]: Place) -> Place {
    let lr = reference::learning_rate(LR, lr_decay, step as f64);
    let State { p, s } = reference::adagrad(State { p, s }, g, lr, EPS);
    [p, s, 0.0, 0.0]
}

#[test]
fn adagrad_step_matches_reference() {
    let subject = |lr_decay, weight_decay| {
        let op = Adagrad { lr: LR, lr_decay, eps: EPS, weight_decay };
        Subject::new(op, weight_decay, move |step, g, place| formula(lr_decay, step, g, place))
    };
    check_all(&DECAYS.map(|weight_decay| subject(0.0, weight_decay)));
    check_all(&[subject(0.5, WeightDecay::NONE), subject(0.5, WeightDecay::Coupled(0.25))]);
}

#[test]
fn adagrad_names_the_bad_argument() {
    let good = Adagrad::default();
    for bad in [-1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(refused_field(&Adagrad { lr: bad, ..good }), "lr");
        assert_eq!(refused_field(&Adagrad { lr_decay: bad, ..good }), "lr_decay");
        assert_eq!(refused_field(&Adagrad { eps: bad, ..good }), "eps");
        assert_eq!(
            refused_field(&Adagrad { weight_decay: WeightDecay::Decoupled(bad), ..good }),
            "weight_decay"
        );
    }
}
