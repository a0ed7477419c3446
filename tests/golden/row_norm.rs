//! Layer norm, RMS norm, group norm and instance norm against PyTorch's.

use steadygrad::norm::{Affine, GroupNorm, InstanceNorm, LayerNorm, NormGradients, RmsNorm, SavedRows};
use steadygrad::{ChannelShape, Element, RowShape};

use super::case::{Case, cases};

pub(crate) fn check<T: Element>() {
    for case in cases("row_norm") {
        match case.op() {
            "layer_norm" | "rms_norm" => of_rows::<T>(&case),
            "group_norm" | "instance_norm" => of_channels::<T>(&case),
            "layer_norm_far" => far_from_zero::<T>(&case),
            op => panic!("no norm is called {op}"),
        }
    }
}

fn of_rows<T: Element>(case: &Case) {
    let (rows, cols, eps) = (case.count("rows"), case.count("cols"), case.float("eps"));
    let shape = RowShape { rows, cols };
    let (x, dy) = (case.input::<T>("x"), case.input::<T>("dy"));
    let (gamma, beta) = (case.optional_input::<T>("gamma"), case.optional_input::<T>("beta"));
    let affine = Affine { gamma: gamma.as_deref(), beta: beta.as_deref() };
    let (mut mean, mut rstd) = (vec![0.0; rows], vec![0.0; rows]);
    let (mut y, mut dx) = (vec![T::nan(); rows * cols], vec![T::nan(); rows * cols]);
    let (mut dgamma, mut dbeta) = (vec![T::zero(); cols], vec![T::zero(); cols]);
    let gradients = NormGradients { input: &mut dx, gamma: Some(&mut dgamma), beta: Some(&mut dbeta) };
    if case.op() == "layer_norm" {
        let op = LayerNorm { eps };
        let mut scratch = vec![0.0; op.backward_scratch_len(shape)];
        op.forward(shape, &x, affine, &mut mean, &mut rstd, &mut y).expect("valid");
        let saved = SavedRows { x: &x, mean: &mean, rstd: &rstd };
        op.backward(shape, &dy, affine.gamma, saved, &mut scratch, gradients).expect("valid");
    } else {
        let op = RmsNorm { eps };
        let mut scratch = vec![0.0; op.backward_scratch_len(shape)];
        op.forward(shape, &x, affine, &mut rstd, &mut y).expect("valid");
        op.backward(shape, &dy, affine.gamma, (&x, &rstd), &mut scratch, gradients).expect("valid");
    }
    compare(case, &y, &dx, gamma.is_some().then_some(&dgamma), beta.is_some().then_some(&dbeta));
}

fn of_channels<T: Element>(case: &Case) {
    let shape = ChannelShape {
        outer: case.count("outer"),
        channels: case.count("channels"),
        inner: case.count("inner"),
    };
    let eps = case.float("eps");
    let (x, dy) = (case.input::<T>("x"), case.input::<T>("dy"));
    let (gamma, beta) = (case.optional_input::<T>("gamma"), case.optional_input::<T>("beta"));
    let affine = Affine { gamma: gamma.as_deref(), beta: beta.as_deref() };
    let (mut y, mut dx) = (vec![T::nan(); x.len()], vec![T::nan(); x.len()]);
    let (mut dgamma, mut dbeta) = (vec![T::zero(); shape.channels], vec![T::zero(); shape.channels]);
    let gradients = NormGradients { input: &mut dx, gamma: Some(&mut dgamma), beta: Some(&mut dbeta) };
    if case.op() == "group_norm" {
        let op = GroupNorm { groups: case.count("groups"), eps };
        let rows = shape.outer * op.groups;
        let (mut mean, mut rstd) = (vec![0.0; rows], vec![0.0; rows]);
        op.forward(shape, &x, affine, &mut mean, &mut rstd, &mut y).expect("valid");
        let mut scratch = vec![0.0; op.backward_scratch_len(shape)];
        let saved = SavedRows { x: &x, mean: &mean, rstd: &rstd };
        op.backward(shape, &dy, affine.gamma, saved, &mut scratch, gradients).expect("valid");
    } else {
        let (op, rows) = (InstanceNorm { eps }, shape.outer * shape.channels);
        let (mut mean, mut rstd) = (vec![0.0; rows], vec![0.0; rows]);
        op.forward(shape, &x, affine, &mut mean, &mut rstd, &mut y).expect("valid");
        let mut scratch = vec![0.0; op.backward_scratch_len(shape)];
        let saved = SavedRows { x: &x, mean: &mean, rstd: &rstd };
        op.backward(shape, &dy, affine.gamma, saved, &mut scratch, gradients).expect("valid");
    }
    compare(case, &y, &dx, gamma.is_some().then_some(&dgamma), beta.is_some().then_some(&dbeta));
}

fn compare<T: Element>(case: &Case, y: &[T], dx: &[T], dgamma: Option<&Vec<T>>, dbeta: Option<&Vec<T>>) {
    case.compare("y", y);
    case.compare("dx", dx);
    if let Some(dgamma) = dgamma {
        case.compare("dgamma", dgamma);
    }
    if let Some(dbeta) = dbeta {
        case.compare("dbeta", dbeta);
    }
}

/// Mean a million, deviation a tenth, in numbers that `f32` has: the variance is PyTorch's of `f64`.
fn far_from_zero<T: Element>(case: &Case) {
    let shape = RowShape { rows: case.count("rows"), cols: case.count("cols") };
    let x = case.input::<T>("x");
    let (mut mean, mut rstd) = (vec![0.0; shape.rows], vec![0.0; shape.rows]);
    let mut y = vec![T::nan(); x.len()];
    let op = LayerNorm { eps: case.float("eps") };
    op.forward(shape, &x, Affine::default(), &mut mean, &mut rstd, &mut y).expect("valid");
    case.compare("mean", &mean);
    for (rstd, expected) in rstd.iter().zip(case.expected("rstd")) {
        let ratio = (expected / rstd).powi(2);
        assert!((ratio - 1.0).abs() < 1e-6, "the variance is {ratio} times PyTorch's");
    }
}
