//! Batch norm against PyTorch's, with and without what is fused behind it.

use steadygrad::norm::Affine;
use steadygrad::norm::batch_norm::{
    BackwardInputs, BatchStatistics, EpilogueBackward, FrozenStatistics, Gradients, Momentum,
    RunningStatistics, SavedStatistics,
};
use steadygrad::{Activation, BatchNorm, ChannelShape, Element, Epilogue};

use super::case::{Case, cases};

pub(crate) fn check<T: Element>() {
    for case in cases("norm") {
        batch_norm::<T>(&case);
    }
}

fn batch_norm<T: Element>(case: &Case) {
    let shape = ChannelShape {
        outer: case.count("outer"),
        channels: case.count("channels"),
        inner: case.count("inner"),
    };
    let momentum = if case.flag("cumulative") { Momentum::Cumulative } else { Momentum::Exponential(0.1) };
    let norm = BatchNorm { eps: case.float("eps"), momentum };
    let (xs, dy, residual) =
        (case.input_lists::<T>("xs"), case.input::<T>("dy"), case.input::<T>("residual"));
    let (gamma, beta) = (case.input::<T>("gamma"), case.input::<T>("beta"));
    let affine = Affine { gamma: Some(&gamma), beta: Some(&beta) };

    let (mut mean, mut rstd) = (vec![f64::NAN; shape.channels], vec![f64::NAN; shape.channels]);
    let (mut running_mean, mut variance) = (vec![T::zero(); shape.channels], vec![T::one(); shape.channels]);
    let (mut y, mut batches) = (vec![T::nan(); dy.len()], 0);
    for x in &xs {
        let running =
            RunningStatistics { mean: &mut running_mean, variance: &mut variance, batches: &mut batches };
        let statistics =
            BatchStatistics { merged: None, mean: &mut mean, rstd: &mut rstd, running: Some(running) };
        norm.forward(shape, x, affine, Epilogue::default(), statistics, &mut y).expect("valid");
    }
    case.compare("y", &y);
    case.compare("running_mean", &running_mean);
    case.compare("running_variance", &variance);

    let x = &xs[2][..];
    let saved = SavedStatistics { mean: &mean, rstd: &rstd };
    let frozen = FrozenStatistics { mean: &running_mean, variance: &variance };
    let inputs = BackwardInputs { x, dy: &dy, affine, epilogue: EpilogueBackward::default() };
    let run = |suffix: &str, inputs: BackwardInputs<'_, T>| {
        let (mut dx, mut dresidual) = (vec![T::nan(); x.len()], vec![T::nan(); x.len()]);
        let (mut dgamma, mut dbeta) = (vec![T::zero(); shape.channels], vec![T::zero(); shape.channels]);
        let gradients = Gradients {
            input: Some(&mut dx),
            residual: Some(&mut dresidual),
            gamma: Some(&mut dgamma),
            beta: Some(&mut dbeta),
        };
        if suffix == "_eval" {
            norm.backward_frozen(shape, inputs, frozen, gradients).expect("valid");
        } else {
            norm.backward(shape, inputs, saved, gradients).expect("valid");
        }
        for (name, gradient) in [("dx", &dx), ("dgamma", &dgamma), ("dbeta", &dbeta)] {
            case.compare(&format!("{name}{suffix}"), gradient);
        }
        if inputs.epilogue != EpilogueBackward::default() {
            case.compare(&format!("dresidual{suffix}"), &dresidual);
        }
    };
    run("", inputs);
    norm.infer(shape, x, affine, Epilogue::default(), frozen, &mut y).expect("valid");
    case.compare("y_eval", &y);
    run("_eval", inputs);
    let activations = [("relu", Activation::Relu), ("tanh", Activation::Tanh), ("gelu", Activation::Gelu)];
    for (name, activation) in activations {
        let epilogue = Epilogue { residual: Some(&residual[..]), activation: Some(activation) };
        let (mut mean, mut rstd) = (mean.clone(), rstd.clone());
        let statistics = BatchStatistics { merged: None, mean: &mut mean, rstd: &mut rstd, running: None };
        norm.forward(shape, x, affine, epilogue, statistics, &mut y).expect("valid");
        case.compare(&format!("y_{name}"), &y);
        let suffix = format!("_{name}");
        run(&suffix, BackwardInputs { epilogue: EpilogueBackward::FromInput(epilogue), ..inputs });
        if activation != Activation::Gelu {
            let epilogue = EpilogueBackward::FromOutput { activation, y: &y };
            run(&suffix, BackwardInputs { epilogue, ..inputs });
        }
    }
}
