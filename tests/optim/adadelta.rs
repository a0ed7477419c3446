//! Adadelta.

use steadygrad::optim::{Adadelta, WeightDecay};
use steadygrad::reference::adadelta::{self as reference, State};

use super::subject::{DECAYS, LR, Place, Subject, check_all, refused_field};

const RHO: f64 = 0.875;
const EPS: f64 = 1.0 / 1024.0;

fn formula(_step: u64, g: f64, [p, v, u, _]: Place) -> Place {
    let State { p, v, u } = reference::adadelta(State { p, v, u }, g, LR, RHO, EPS);
    [p, v, u, 0.0]
}

#[test]
fn adadelta_step_matches_reference() {
    check_all(&DECAYS.map(|weight_decay| {
        let op = Adadelta { lr: LR, rho: RHO, eps: EPS, weight_decay };
        Subject::new(op, weight_decay, formula)
    }));
}

#[test]
fn adadelta_names_the_bad_argument() {
    let good = Adadelta::default();
    for bad in [-1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(refused_field(&Adadelta { lr: bad, ..good }), "lr");
        assert_eq!(refused_field(&Adadelta { rho: bad, ..good }), "rho");
        assert_eq!(refused_field(&Adadelta { eps: bad, ..good }), "eps");
        assert_eq!(
            refused_field(&Adadelta { weight_decay: WeightDecay::Decoupled(bad), ..good }),
            "weight_decay"
        );
    }
    // The second is 1 in `f32`.
    for beta in [1.0, 1.0 - 1e-9] {
        assert_eq!(refused_field(&Adadelta { rho: beta, ..good }), "rho");
    }
}
