//! What batch norm refuses: errors name the argument, and nothing is written.

use steadygrad::norm::Affine;
use steadygrad::norm::batch_norm::{
    BackwardInputs, BatchStatistics, EpilogueBackward, FrozenStatistics, Gradients, Momentum,
    RunningStatistics, SavedStatistics,
};
use steadygrad::stats::Moments;
use steadygrad::{Activation, BatchNorm, ChannelShape, Epilogue, Error};

use super::subject::{Batch, shape};
use crate::common::Guarded;

/// Fails where a forward accepts the batch, or writes anything before it refuses it.
#[track_caller]
fn assert_refused(
    expected: Error,
    norm: BatchNorm,
    shape: ChannelShape,
    lens: impl Fn(&'static str, usize) -> usize,
    epilogue: Epilogue<'_, f32>,
) {
    let elements = shape.outer * shape.channels * shape.inner;
    let channels = shape.channels;
    let numbers = |name, len| vec![1.0_f32; lens(name, len)];
    let (x, gamma, beta) =
        (numbers("x", elements), numbers("affine.gamma", channels), numbers("affine.beta", channels));
    let mut mean = Guarded::<f64>::new(lens("statistics.mean", channels), 0);
    let mut rstd = Guarded::<f64>::new(lens("statistics.rstd", channels), 0);
    let mut running_mean = Guarded::<f32>::new(lens("statistics.running.mean", channels), 0);
    let mut variance = Guarded::<f32>::new(lens("statistics.running.variance", channels), 0);
    let (mut y, mut batches) = (Guarded::<f32>::new(lens("y", elements), 0), 3);
    let running =
        RunningStatistics { mean: running_mean.slice(), variance: variance.slice(), batches: &mut batches };
    let merged = vec![Moments { count: 5, mean: 0.0, m2: 1.0 }; lens("statistics.merged", channels)];
    let merged = (merged.len() != channels).then_some(&merged[..]);
    let statistics =
        BatchStatistics { merged, mean: mean.slice(), rstd: rstd.slice(), running: Some(running) };
    let affine = Affine { gamma: Some(&gamma), beta: Some(&beta) };
    let refused = norm.forward(shape, &x, affine, epilogue, statistics, y.slice());
    assert_eq!(refused, Err(expected));
    assert!(mean.is_untouched() && rstd.is_untouched() && y.is_untouched() && batches == 3);
    assert!(running_mean.is_untouched() && variance.is_untouched());
}

#[test]
fn batch_norm_names_the_bad_argument() {
    let (norm, fine) = (BatchNorm::default(), shape(2, 3, 4));
    let (all, plain) = (|_, len| len, Epilogue::default());
    let names = [
        "x",
        "affine.gamma",
        "affine.beta",
        "statistics.merged",
        "statistics.mean",
        "statistics.rstd",
        "statistics.running.mean",
        "statistics.running.variance",
        "y",
    ];
    for argument in names {
        let expected = if matches!(argument, "x" | "y") { 24 } else { 3 };
        for actual in [expected - 1, expected + 1] {
            let lens = |name, len| if name == argument { actual } else { len };
            assert_refused(Error::Length { argument, expected, actual }, norm, fine, lens, plain);
        }
    }
    let residual = Epilogue { residual: Some(&[0.0_f32; 23][..]), activation: None };
    let expected = Error::Length { argument: "residual", expected: 24, actual: 23 };
    assert_refused(expected, norm, fine, all, residual);
    let activation = Some(Activation::Elu { alpha: f64::NAN });
    let requirement = "finite in the element type";
    let expected = Error::OutOfRange { argument: "alpha", requirement };
    assert_refused(expected, norm, fine, all, Epilogue { residual: None, activation });
    for eps in [0.0, -1e-5, f64::NAN, f64::INFINITY] {
        let expected = Error::OutOfRange { argument: "eps", requirement: "positive and finite" };
        assert_refused(expected, BatchNorm { eps, ..norm }, fine, all, plain);
    }
    for momentum in [-0.1, 1.1, f64::NAN] {
        let expected = Error::OutOfRange { argument: "momentum", requirement: "between 0 and 1" };
        let momentum = Momentum::Exponential(momentum);
        assert_refused(expected, BatchNorm { momentum, ..norm }, fine, all, plain);
    }
    let requirement = "of at least two values a channel in training";
    let expected = Error::OutOfRange { argument: "shape", requirement };
    assert_refused(expected, norm, shape(1, 3, 1), all, plain);
    assert_refused(Error::Empty { dimension: "outer" }, norm, shape(0, 3, 2), all, plain);
    assert_refused(Error::Empty { dimension: "inner" }, norm, shape(2, 3, 0), all, plain);

    // No channels, or no elements in inference: nothing to do.
    let (mut batches, mut y) = (0, [0.0_f32; 0]);
    let running = RunningStatistics { mean: &mut [], variance: &mut [], batches: &mut batches };
    let statistics = BatchStatistics { merged: None, mean: &mut [], rstd: &mut [], running: Some(running) };
    norm.forward(shape(2, 0, 4), &[], Affine::default(), plain, statistics, &mut y).unwrap();
    let frozen = FrozenStatistics { mean: &[0.0; 3], variance: &[1.0; 3] };
    norm.infer(shape(0, 3, 4), &[], Affine::default(), plain, frozen, &mut y).unwrap();
}

#[test]
fn batch_norm_backward_names_the_bad_argument() {
    let (norm, shape) = (BatchNorm::default(), shape(2, 3, 4));
    let names = [
        "inputs.x",
        "inputs.dy",
        "affine.gamma",
        "affine.beta",
        "inputs.epilogue.y",
        "statistics.mean",
        "statistics.rstd",
        "gradients.input",
        "gradients.residual",
        "gradients.gamma",
        "gradients.beta",
    ];
    for argument in names {
        let expected = match argument {
            "inputs.x" | "inputs.dy" | "inputs.epilogue.y" | "gradients.input" | "gradients.residual" => 24,
            _ => 3,
        };
        for actual in [expected - 1, expected + 1] {
            let len = |name, len| if name == argument { actual } else { len };
            let (x, dy, y) = (
                vec![1.0; len("inputs.x", 24)],
                vec![1.0; len("inputs.dy", 24)],
                vec![1.0; len("inputs.epilogue.y", 24)],
            );
            let (gamma, beta) = (vec![1.0; len("affine.gamma", 3)], vec![1.0; len("affine.beta", 3)]);
            let (mean, rstd) = (vec![1.0; len("statistics.mean", 3)], vec![1.0; len("statistics.rstd", 3)]);
            let mut dx = Guarded::<f32>::new(len("gradients.input", 24), 0);
            let mut dresidual = Guarded::<f32>::new(len("gradients.residual", 24), 0);
            let mut dgamma = Guarded::<f32>::new(len("gradients.gamma", 3), 0);
            let mut dbeta = Guarded::<f32>::new(len("gradients.beta", 3), 0);
            let gradients = Gradients {
                input: Some(dx.slice()),
                residual: Some(dresidual.slice()),
                gamma: Some(dgamma.slice()),
                beta: Some(dbeta.slice()),
            };
            let inputs = BackwardInputs {
                x: &x,
                dy: &dy,
                affine: Affine { gamma: Some(&gamma), beta: Some(&beta) },
                epilogue: EpilogueBackward::FromOutput { activation: Activation::Relu, y: &y },
            };
            let refused =
                norm.backward(shape, inputs, SavedStatistics { mean: &mean, rstd: &rstd }, gradients);
            assert_eq!(refused, Err(Error::Length { argument, expected, actual }));
            assert!(
                dx.is_untouched()
                    && dresidual.is_untouched()
                    && dgamma.is_untouched()
                    && dbeta.is_untouched()
            );
        }
    }
    let batch = Batch::<f32>::new(shape);
    let saved = SavedStatistics { mean: &[0.0; 3], rstd: &[1.0; 3] };
    let epilogue = EpilogueBackward::FromOutput { activation: Activation::Gelu, y: &batch.x };
    let refused =
        norm.backward(shape, BackwardInputs { epilogue, ..batch.inputs() }, saved, Gradients::default());
    assert!(matches!(refused, Err(Error::Unsupported { .. })));
}
