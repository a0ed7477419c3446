//! Dropout's factors, penalties and constraints against PyTorch's.

use steadygrad::regularize::{
    AlphaDropout, Dropout, ElasticNet, GroupLasso, MaskShape, MaxNorm, Orthogonality,
};
use steadygrad::{Element, Philox, WeightShape};

use super::case::{Case, cases};

pub(crate) fn check<T: Element>() {
    for case in cases("regularize") {
        match case.op() {
            "dropout" | "alpha_dropout" => dropout::<T>(&case),
            "elastic_net" | "proximal" => elastic_net::<T>(&case),
            "group_lasso" | "orthogonality" | "max_norm" => weights::<T>(&case),
            op => panic!("nothing is called {op}"),
        }
    }
}

fn dropout<T: Element>(case: &Case) {
    let (p, stream, shape) = (case.float("p"), Philox::default(), MaskShape::elements(64));
    let (x, dy) = (vec![case.input::<T>("x")[0]; 64], vec![T::one(); 64]);
    let (mut y, mut dx) = (vec![T::nan(); 64], vec![T::nan(); 64]);
    if case.op() == "dropout" {
        Dropout { p }.forward(shape, stream, &x, &mut y).expect("valid");
        Dropout { p }.backward(shape, stream, &dy, &mut dx).expect("valid");
    } else {
        AlphaDropout { p }.forward(shape, stream, &x, &mut y).expect("valid");
        AlphaDropout { p }.backward(shape, stream, &dy, &mut dx).expect("valid");
    }
    let (mut kept, mut dropped) = (0, 0);
    for (&y, &dx) in y.iter().zip(&dx) {
        if dx == T::zero() {
            case.compare("dropped", &[y]);
            dropped += 1;
        } else {
            case.compare("kept", &[y]);
            case.compare("dkept", &[dx]);
            kept += 1;
        }
    }
    assert!(kept > 0 && dropped > 0, "{case:?}");
}

fn elastic_net<T: Element>(case: &Case) {
    let op = ElasticNet { l1: case.float("l1"), l2: case.float("l2") };
    let mut w = case.input::<T>("w");
    if case.op() == "proximal" {
        op.proximal(case.float("step"), &mut [&mut w]).expect("valid");
        return case.compare("next", &w);
    }
    let mut dw = vec![T::zero(); w.len()];
    let value = op.add_gradient(&[&w], &mut [&mut dw]).expect("valid");
    case.compare("value", &[T::from_f64(value)]);
    case.compare("dw", &dw);
}

fn weights<T: Element>(case: &Case) {
    let (lambda, mut w) = (case.float("value"), case.input::<T>("w"));
    let shape = WeightShape { outputs: case.count("rows"), inputs: case.count("cols"), field: 1 };
    let mut dw = vec![T::zero(); w.len()];
    let value = match case.op() {
        "group_lasso" => GroupLasso { lambda }.add_gradient(shape, &w, &mut dw),
        "orthogonality" => {
            let op = Orthogonality { lambda };
            let mut scratch = vec![T::nan(); op.scratch_len::<T>(shape).expect("small")];
            op.add_gradient(shape, &w, &mut scratch, &mut dw)
        }
        _ => {
            MaxNorm { max: lambda }.constrain(shape, &mut w).expect("valid");
            return case.compare("next", &w);
        }
    };
    case.compare("value", &[T::from_f64(value.expect("valid"))]);
    case.compare("dw", &dw);
}
