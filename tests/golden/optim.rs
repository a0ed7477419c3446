//! Optimizers against PyTorch's, and those it lacks against their papers' formulas in f64, after one, ten and a thousand steps.

use steadygrad::Element;
use steadygrad::clip::{ClipNorm, ClipRule};
use steadygrad::optim::{
    Adadelta, Adagrad, Adam, Clipped, Gradients, Lamb, Lars, Lion, Momentum, NAdam, Optimizer, RAdam,
    RmsProp, Sgd, Spread, WeightDecay,
};

use super::case::{Case, cases};
use crate::common::tolerance;

/// The steps after which weights are compared.
const STEPS: [u64; 3] = [1, 10, 1000];

pub(crate) fn check<T: Element>() {
    for case in cases("optim") {
        let op: Box<dyn Optimizer<T>> = match case.op() {
            "sgd" => Box::new(sgd(&case)),
            "adam" => Box::new(adam(&case, WeightDecay::Coupled)),
            "adamw" => Box::new(adam(&case, WeightDecay::Decoupled)),
            "nadam" => Box::new(nadam(&case)),
            "radam" => Box::new(radam(&case)),
            "rms_prop" => Box::new(rms_prop(&case)),
            "adagrad" => Box::new(Adagrad {
                lr: case.float("lr"),
                lr_decay: case.float("lr_decay"),
                eps: case.float("eps"),
                weight_decay: WeightDecay::Coupled(case.float("weight_decay")),
            }),
            "adadelta" => Box::new(Adadelta {
                lr: case.float("lr"),
                rho: case.float("rho"),
                eps: case.float("eps"),
                weight_decay: WeightDecay::Coupled(case.float("weight_decay")),
            }),
            "lion" => Box::new(lion(&case)),
            "lars" => Box::new(Lars {
                lr: case.float("lr"),
                momentum: case.float("momentum"),
                trust: case.float("trust"),
                weight_decay: case.float("weight_decay"),
            }),
            "lamb" => Box::new(lamb(&case)),
            op => panic!("no optimizer is called {op}"),
        };
        steps(&case, &*op);
    }
}

fn sgd(case: &Case) -> Sgd {
    let momentum = case.float("momentum");
    Sgd {
        lr: case.float("lr"),
        momentum: match (momentum == 0.0, case.flag("nesterov")) {
            (true, _) => Momentum::None,
            (false, true) => Momentum::Nesterov { momentum },
            (false, false) => Momentum::Classical { momentum, dampening: case.float("dampening") },
        },
        weight_decay: WeightDecay::Coupled(case.float("weight_decay")),
    }
}

fn adam(case: &Case, decay: impl Fn(f64) -> WeightDecay) -> Adam {
    let [beta1, beta2] = case.pair("betas");
    Adam {
        lr: case.float("lr"),
        beta1,
        beta2,
        eps: case.float("eps"),
        weight_decay: decay(case.float("weight_decay")),
        amsgrad: case.flag("amsgrad"),
    }
}

/// What a flag of the case says decay is.
fn decay(case: &Case) -> WeightDecay {
    let decay = case.float("weight_decay");
    if case.flag("decoupled_weight_decay") {
        WeightDecay::Decoupled(decay)
    } else {
        WeightDecay::Coupled(decay)
    }
}

fn nadam(case: &Case) -> NAdam {
    let [beta1, beta2] = case.pair("betas");
    let (lr, eps, momentum_decay) = (case.float("lr"), case.float("eps"), case.float("momentum_decay"));
    NAdam { lr, beta1, beta2, eps, momentum_decay, weight_decay: decay(case) }
}

fn radam(case: &Case) -> RAdam {
    let [beta1, beta2] = case.pair("betas");
    RAdam { lr: case.float("lr"), beta1, beta2, eps: case.float("eps"), weight_decay: decay(case) }
}

fn lion(case: &Case) -> Lion {
    let [beta1, beta2] = case.pair("betas");
    Lion { lr: case.float("lr"), beta1, beta2, weight_decay: decay(case) }
}

fn lamb(case: &Case) -> Lamb {
    let [beta1, beta2] = case.pair("betas");
    let (lr, eps, weight_decay) = (case.float("lr"), case.float("eps"), case.float("weight_decay"));
    Lamb { lr, beta1, beta2, eps, weight_decay, ..Lamb::default() }
}

fn rms_prop(case: &Case) -> RmsProp {
    RmsProp {
        lr: case.float("lr"),
        alpha: case.float("alpha"),
        eps: case.float("eps"),
        spread: if case.flag("centered") { Spread::Variance } else { Spread::Square },
        momentum: case.float("momentum"),
        weight_decay: WeightDecay::Coupled(case.float("weight_decay")),
    }
}

/// The gradient of a step, as `make.py` makes it.
fn gradient<T: Element>(step: u64, len: usize) -> Vec<T> {
    (0..len as u64).map(|i| T::from_f64((((37 * step + 101 * i) % 97) as f64 - 40.0) / 64.0)).collect()
}

fn steps<T: Element>(case: &Case, op: &dyn Optimizer<T>) {
    let mut weights = case.input::<T>("weights");
    let names = op.state_names();
    let mut state = vec![vec![T::zero(); weights.len()]; names.len()];
    let mut expected = case.expected_lists("weights").into_iter();
    let clipped = case.optional_float("max_norm").map(|max_norm| {
        let rule = ClipRule::Torch { eps: case.float("torch_eps") };
        Clipped { optimizer: op, clip: ClipNorm { max_norm, rule, ..ClipNorm::default() } }
    });
    for step in 1..=1000 {
        let grad = gradient::<T>(step, weights.len());
        let mut lists: Vec<[&mut [T]; 1]> = state.iter_mut().map(|list| [&mut list[..]]).collect();
        let mut lists: Vec<&mut [&mut [T]]> = lists.iter_mut().map(|list| &mut list[..]).collect();
        match &clipped {
            Some(op) => {
                op.step(step, &mut [&mut weights], Gradients::new(&[&grad]), &mut lists).expect("valid");
            }
            None => op.step(step, &mut [&mut weights], Gradients::new(&[&grad]), &mut lists).expect("valid"),
        }
        if STEPS.contains(&step) {
            compare(case, step, &weights, &expected.next().expect("as many as steps"));
        }
    }
    for (name, list) in names.iter().zip(&state) {
        compare(case, 1000, list, &case.expected(name));
    }
}

#[track_caller]
fn compare<T: Element>(case: &Case, step: u64, actual: &[T], expected: &[f64]) {
    assert_eq!(actual.len(), expected.len());
    for (&actual, &expected) in actual.iter().zip(expected) {
        let allowed = tolerance::steps::<T>() * expected.abs().max(1.0);
        let distance = (actual.to_f64() - expected).abs();
        assert!(distance <= allowed, "{actual:?} is not {expected} after {step} steps of {case:?}");
    }
}
