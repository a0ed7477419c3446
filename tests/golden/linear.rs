//! Dense layers against PyTorch's `linear`.

use steadygrad::linear::{Dense, DenseGradients, DenseWeights};
use steadygrad::{Element, Epilogue};

use super::case::{Case, cases};

pub(crate) fn check<T: Element>() {
    for case in cases("linear") {
        dense::<T>(&case);
    }
}

fn dense<T: Element>(case: &Case) {
    let (batch, op) =
        (case.count("batch"), Dense { inputs: case.count("inputs"), outputs: case.count("outputs") });
    let (x, weights, bias) = (case.input::<T>("x"), case.input::<T>("weight"), case.input::<T>("bias"));
    let mut scratch =
        vec![T::nan(); op.forward_scratch_len::<T>(batch).max(op.backward_scratch_len::<T>(batch))];
    let packed = op.pack(&weights).expect("valid");
    for (name, bias) in [("y", Some(&bias[..])), ("y_without_bias", None)] {
        let mut y = vec![T::nan(); batch * op.outputs];
        let parameters = DenseWeights { weights: &weights, bias };
        op.forward(batch, &x, parameters, Epilogue::default(), &mut scratch, &mut y).expect("valid");
        case.compare(name, &y);
        y.fill(T::nan());
        op.forward_packed(batch, &x, (&packed, bias), Epilogue::default(), &mut scratch, &mut y)
            .expect("valid");
        case.compare(name, &y);
    }

    let dy = case.input::<T>("dy");
    let mut dx = vec![T::nan(); x.len()];
    let (mut dweight, mut dbias) = (vec![T::zero(); weights.len()], vec![T::zero(); bias.len()]);
    let gradients = DenseGradients {
        input: Some(&mut dx),
        weights: Some(&mut dweight),
        bias: Some(&mut dbias),
        ..DenseGradients::default()
    };
    op.backward(batch, &x, &dy, &weights, &mut scratch, gradients).expect("valid");
    case.compare("dx", &dx);
    case.compare("dweight", &dweight);
    case.compare("dbias", &dbias);
}
