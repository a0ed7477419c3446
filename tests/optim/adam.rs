//! Adam, AdamW and AMSGrad.

use steadygrad::optim::{Adam, WeightDecay};
use steadygrad::reference::adam::{self as reference, Coefficients, State};

use super::subject::{DECAYS, LR, Place, Subject, check_all, refused_field};

const BETA1: f64 = 0.875;
const BETA2: f64 = 0.96875;
const EPS: f64 = 1.0 / 1024.0;

fn formula(amsgrad: bool, step: u64, g: f64, [p, m, v, u]: Place) -> Place {
    let with = Coefficients { lr: LR, beta1: BETA1, beta2: BETA2, eps: EPS };
    let state = State { p, m, v, u };
    let step = step as i32;
    let State { p, m, v, u } = if amsgrad {
        reference::amsgrad(state, g, with, step)
    } else {
        reference::adam(state, g, with, step)
    };
    [p, m, v, u]
}

#[test]
fn adam_step_matches_reference() {
    for amsgrad in [false, true] {
        check_all(&DECAYS.map(|weight_decay| {
            let op = Adam { lr: LR, beta1: BETA1, beta2: BETA2, eps: EPS, weight_decay, amsgrad };
            Subject::new(op, weight_decay, move |step, g, place| formula(amsgrad, step, g, place))
        }));
    }
}

#[test]
fn adam_names_the_bad_argument() {
    let good = Adam { amsgrad: true, ..Adam::default() };
    for bad in [-1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(refused_field(&Adam { lr: bad, ..good }), "lr");
        assert_eq!(refused_field(&Adam { beta1: bad, ..good }), "beta1");
        assert_eq!(refused_field(&Adam { beta2: bad, ..good }), "beta2");
        assert_eq!(refused_field(&Adam { eps: bad, ..good }), "eps");
        assert_eq!(
            refused_field(&Adam { weight_decay: WeightDecay::Decoupled(bad), ..good }),
            "weight_decay"
        );
    }
    // The second is 1 in `f32`.
    for beta in [1.0, 1.0 - 1e-9] {
        assert_eq!(refused_field(&Adam { beta1: beta, ..good }), "beta1");
        assert_eq!(refused_field(&Adam { beta2: beta, ..good }), "beta2");
    }
}
