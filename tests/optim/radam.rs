//! RAdam.

use steadygrad::optim::{RAdam, WeightDecay};
use steadygrad::reference::adam::{Coefficients, State};
use steadygrad::reference::radam as reference;

use super::subject::{DECAYS, LR, Place, Subject, check_all, refused_field};

const BETA1: f64 = 0.875;
const BETA2: f64 = 0.96875;
const EPS: f64 = 1.0 / 1024.0;

fn formula(step: u64, g: f64, [p, m, v, u]: Place) -> Place {
    let with = Coefficients { lr: LR, beta1: BETA1, beta2: BETA2, eps: EPS };
    let State { p, m, v, u } = reference::radam(State { p, m, v, u }, g, with, step as i32);
    [p, m, v, u]
}

#[test]
fn radam_step_matches_reference() {
    check_all(&DECAYS.map(|weight_decay| {
        let op = RAdam { lr: LR, beta1: BETA1, beta2: BETA2, eps: EPS, weight_decay };
        Subject::new(op, weight_decay, formula)
    }));
}

#[test]
fn radam_names_the_bad_argument() {
    let good = RAdam::default();
    for bad in [-1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(refused_field(&RAdam { lr: bad, ..good }), "lr");
        assert_eq!(refused_field(&RAdam { beta1: bad, ..good }), "beta1");
        assert_eq!(refused_field(&RAdam { beta2: bad, ..good }), "beta2");
        assert_eq!(refused_field(&RAdam { eps: bad, ..good }), "eps");
        assert_eq!(
            refused_field(&RAdam { weight_decay: WeightDecay::Decoupled(bad), ..good }),
            "weight_decay"
        );
    }
    // The second is 1 in `f32`.
    for beta in [1.0, 1.0 - 1e-9] {
        assert_eq!(refused_field(&RAdam { beta1: beta, ..good }), "beta1");
        assert_eq!(refused_field(&RAdam { beta2: beta, ..good }), "beta2");
    }
}
