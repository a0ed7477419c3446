//! Optimizers against PyTorch's, over several steps.

use steadygrad::Element;
use steadygrad::optim::{Gradients, Momentum, Sgd, WeightDecay};

use super::case::{Case, cases};
use crate::common::tolerance;

pub(crate) fn check<T: Element>() {
    for case in cases("optim") {
        match case.op() {
            "sgd" => sgd::<T>(&case),
            op => panic!("no optimizer is called {op}"),
        }
    }
}

fn sgd<T: Element>(case: &Case) {
    let momentum = case.float("momentum");
    let op = Sgd {
        lr: case.float("lr"),
        momentum: match (momentum == 0.0, case.flag("nesterov")) {
            (true, _) => Momentum::None,
            (false, true) => Momentum::Nesterov { momentum },
            (false, false) => Momentum::Classical { momentum, dampening: case.float("dampening") },
        },
        weight_decay: WeightDecay::Coupled(case.float("weight_decay")),
    };
    let mut weights = case.input::<T>("weights");
    let mut buffer = vec![T::nan(); weights.len()];
    let steps = case.input_lists::<T>("grads").into_iter().zip(case.expected_lists("weights"));
    for (step, (grads, expected)) in (1..).zip(steps) {
        op.step(step, &mut [&mut weights], Gradients::new(&[&grads]), &mut [&mut buffer]).expect("valid");
        case.compare_within("weights", &weights, &expected, tolerance::GOLDEN);
    }
    if momentum != 0.0 {
        case.compare("momentum", &buffer);
    }
}
