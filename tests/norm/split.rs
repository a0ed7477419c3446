//! The split form, whose parts merge their statistics.

use proptest::prelude::*;
use steadygrad::norm::batch_norm::{
    BackwardInputs, BatchStatistics, EpilogueBackward, GradientSums, Gradients, RunningStatistics,
    SavedStatistics,
};
use steadygrad::stats::Moments;
use steadygrad::{BatchNorm, ChannelShape, Epilogue, Error};

use super::subject::{ACTIVATIONS, Batch, norm_run, shape};
use crate::common::Guarded;

/// Small ones, and some of several strips of channels side by side.
fn shapes() -> impl Strategy<Value = (usize, usize, usize)> {
    prop_oneof![
        7 => (2_usize..30, 1_usize..20, 1_usize..30),
        1 => (2_usize..30, 130_usize..300, Just(1)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn batch_norm_split_form_is_the_whole(
        (outer, channels, inner) in shapes(),
        cuts in prop::collection::vec(0_usize..30, 0..4), activation in prop::sample::select(ACTIVATIONS.to_vec()),
    ) {
        let whole = Batch::<f64>::new(shape(outer, channels, inner));
        let norm = BatchNorm::default();
        let epilogue = Epilogue { residual: Some(&whole.residual[..]), activation: Some(activation) };
        let expected = norm_run(&whole, norm, epilogue);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(outer)).chain([0, outer]).collect();
        cuts.sort_unstable();
        let row = channels * inner;
        // Parts may be empty: a machine without rows still takes part.
        let parts: Vec<(ChannelShape, std::ops::Range<usize>)> = cuts
            .windows(2)
            .map(|cut| (shape(cut[1] - cut[0], channels, inner), cut[0] * row..cut[1] * row))
            .collect();
        let mut merged = vec![Moments::default(); channels];
        for (shape, range) in &parts {
            let mut local = vec![Moments::default(); channels];
            Moments::of_channels(*shape, &whole.x[range.clone()], &mut local).unwrap();
            merged.iter_mut().zip(&local).for_each(|(merged, local)| merged.merge(local));
        }
        let (mut mean, mut rstd) = (vec![0.0; channels], vec![0.0; channels]);
        let mut y = vec![f64::NAN; outer * row];
        let (mut running_mean, mut running_variance) = (vec![0.0; channels], vec![0.0; channels]);
        for (shape, range) in &parts {
            let epilogue = Epilogue { residual: Some(&whole.residual[range.clone()]), ..epilogue };
            running_mean.fill(0.0);
            running_variance.fill(1.0);
            let running = RunningStatistics { mean: &mut running_mean, variance: &mut running_variance, batches: &mut 0 };
            let statistics = BatchStatistics { merged: Some(&merged), mean: &mut mean, rstd: &mut rstd, running: Some(running) };
            norm.forward(*shape, &whole.x[range.clone()], whole.affine(), epilogue, statistics, &mut y[range.clone()]).unwrap();
        }
        let saved = SavedStatistics { mean: &mean, rstd: &rstd };
        let inputs = |range: &std::ops::Range<usize>| BackwardInputs {
            x: &whole.x[range.clone()],
            dy: &whole.dy[range.clone()],
            affine: whole.affine(),
            epilogue: EpilogueBackward::FromInput(Epilogue { residual: Some(&whole.residual[range.clone()]), ..epilogue }),
        };
        let (mut dgamma, mut dbeta) = (whole.beta.clone(), whole.gamma.clone());
        let (mut dresidual, mut dx) = (vec![f64::NAN; y.len()], vec![f64::NAN; y.len()]);
        let mut sums = vec![GradientSums::default(); channels];
        for (shape, range) in &parts {
            let mut local = vec![GradientSums { count: 9, dy: f64::NAN, dy_deviation: f64::NAN }; channels];
            let gradients = Gradients {
                input: None,
                residual: Some(&mut dresidual[range.clone()]),
                gamma: Some(&mut dgamma),
                beta: Some(&mut dbeta),
            };
            norm.gradient_sums(*shape, inputs(range), saved, gradients, &mut local).unwrap();
            sums.iter_mut().zip(&local).for_each(|(sums, local)| sums.merge(local));
        }
        for (shape, range) in &parts {
            norm.backward_from_sums(*shape, inputs(range), saved, &sums, &mut dx[range.clone()]).unwrap();
        }
        let close = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-12 * (1.0 + b.abs() + expected.rstd.iter().fold(0.0, |a: f64, &b| a.max(b))));
        prop_assert!(close(&y, &expected.y), "y");
        prop_assert!(close(&running_mean, &expected.running_mean), "running mean");
        prop_assert!(close(&running_variance, &expected.running_variance), "running variance");
        prop_assert!(close(&dresidual, &expected.dresidual), "dresidual");
        prop_assert!(close(&dgamma, &expected.dgamma) && close(&dbeta, &expected.dbeta), "parameters");
        prop_assert!(close(&dx, &expected.dx), "dx");
    }
}

#[test]
fn batch_norm_split_form_names_the_bad_argument() {
    let (batch, norm) = (Batch::<f32>::new(shape(2, 3, 4)), BatchNorm::default());
    let saved = SavedStatistics { mean: &[0.0; 3], rstd: &[1.0; 3] };
    let mut sums = [GradientSums { count: 1, dy: 2.0, dy_deviation: 3.0 }; 3];
    let before = sums;
    let mut dx = Guarded::<f32>::new(24, 0);
    let gradients = Gradients { input: Some(dx.slice()), ..Gradients::default() };
    let refused = norm.gradient_sums(batch.shape, batch.inputs(), saved, gradients, &mut sums);
    assert!(matches!(refused, Err(Error::Unsupported { .. })));
    let refused =
        norm.gradient_sums(batch.shape, batch.inputs(), saved, Gradients::default(), &mut sums[..2]);
    assert_eq!(refused, Err(Error::Length { argument: "sums", expected: 3, actual: 2 }));
    assert_eq!(sums, before);
    let refused = norm.backward_from_sums(batch.shape, batch.inputs(), saved, &sums[..2], dx.slice());
    assert_eq!(refused, Err(Error::Length { argument: "sums", expected: 3, actual: 2 }));
    let refused = norm.backward_from_sums(
        batch.shape,
        batch.inputs(),
        saved,
        &[GradientSums::default(); 3],
        dx.slice(),
    );
    assert!(matches!(refused, Err(Error::OutOfRange { argument: "sums", .. })));
    let (mut mean, mut rstd, mut y) = ([0.0; 3], [0.0; 3], [0.0_f32; 24]);
    let one = [Moments { count: 1, mean: 0.0, m2: 0.0 }; 3];
    let statistics = BatchStatistics { merged: Some(&one), mean: &mut mean, rstd: &mut rstd, running: None };
    let refused =
        norm.forward(batch.shape, &batch.x, batch.affine(), Epilogue::default(), statistics, &mut y);
    assert!(matches!(refused, Err(Error::OutOfRange { argument: "statistics.merged", .. })));
    assert!(dx.is_untouched() && mean == [0.0; 3] && y == [0.0; 24]);
}
