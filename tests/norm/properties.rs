//! What batch norm is for: moments, layouts, running statistics, and values that stay in their channel.

use proptest::prelude::*;
use steadygrad::norm::Affine;
use steadygrad::norm::batch_norm::{
    BackwardInputs, BatchStatistics, EpilogueBackward, Gradients, Momentum, RunningStatistics,
    SavedStatistics,
};
use steadygrad::reference::batch_norm as reference;
use steadygrad::stats::Moments;
use steadygrad::{Activation, BatchNorm, Epilogue};

use super::subject::{Batch, assert_same_results, norm_run, shape};
use crate::common::{assert_same_bits, channels_of, each_level, each_pool, numbers};

proptest! {
    #[test]
    fn batch_norm_output_has_mean_0_and_variance_1(
        outer in 2_usize..40, channels in 1_usize..40, inner in 1_usize..40, shift in -1e3_f64..1e3, scale in 0.1_f64..100.0,
    ) {
        let shape = shape(outer, channels, inner);
        // Beside the variance of two values that happen to be close, 1e-9 is not nothing.
        let norm = BatchNorm { eps: 1e-30, ..BatchNorm::default() };
        let batch = Batch::<f64>::new(shape);
        let batch = Batch { gamma: vec![1.0; channels], beta: vec![0.0; channels], ..batch };
        let plain = batch.run(norm, Epilogue::default(), false);
        for values in channels_of(shape, &plain.y) {
            let moments = Moments::of(&values);
            prop_assert!(moments.mean.abs() < 1e-10 && (moments.variance() - 1.0).abs() < 1e-6, "{moments:?}");
        }
        // x ↦ scale·x + shift changes nothing.
        let moved = Batch { x: batch.x.iter().map(|x| x * scale + shift).collect(), ..batch.clone() };
        for (moved, plain) in moved.run(norm, Epilogue::default(), false).y.iter().zip(&plain.y) {
            prop_assert!((moved - plain).abs() < 1e-6 * (1.0 + plain.abs()));
        }
        // dx is orthogonal to 1 and to x̂.
        let (dxs, ys) = (channels_of(shape, &plain.dx), channels_of(shape, &plain.y));
        for (channel, (dx, y)) in dxs.iter().zip(&ys).enumerate() {
            let size = plain.rstd[channel] * dx.len() as f64;
            prop_assert!(dx.iter().sum::<f64>().abs() < 1e-10 * size);
            prop_assert!(dx.iter().zip(y).map(|(dx, y)| dx * y).sum::<f64>().abs() < 1e-6 * size);
        }
    }

    #[test]
    fn batch_norm_layouts_agree(batch in 1_usize..12, channels in 1_usize..20, pixels in 2_usize..40) {
        let first = Batch::<f64>::new(shape(batch, channels, pixels));
        let last = shape(batch * pixels, channels, 1);
        let moved = |x: &[f64]| {
            let mut out = vec![0.0; x.len()];
            for (i, &x) in x.iter().enumerate() {
                let (image, channel, pixel) = (i / (channels * pixels), i / pixels % channels, i % pixels);
                out[(image * pixels + pixel) * channels + channel] = x;
            }
            out
        };
        let second = Batch {
            shape: last, x: moved(&first.x), dy: moved(&first.dy), residual: moved(&first.residual), ..first.clone()
        };
        let relu = |residual| Epilogue { residual: Some(residual), activation: Some(Activation::Softplus { beta: 1.0, threshold: 20.0 }) };
        let norm = BatchNorm::default();
        let (a, b) = (norm_run(&first, norm, relu(&first.residual)), norm_run(&second, norm, relu(&second.residual)));
        let close = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-10 * (1.0 + a.abs()));
        prop_assert!(close(&moved(&a.y), &b.y) && close(&moved(&a.dx), &b.dx) && close(&moved(&a.dresidual), &b.dresidual));
        prop_assert!(close(&a.dgamma, &b.dgamma) && close(&a.dbeta, &b.dbeta) && close(&a.mean, &b.mean));
    }
}

#[test]
fn batch_norm_running_statistics_follow_the_momentum() {
    let batch = Batch::<f64>::new(shape(6, 3, 2));
    let one_step = |norm: BatchNorm, x: &[f64], running: &mut (Vec<f64>, Vec<f64>, u64)| {
        let (mut mean, mut rstd, mut y) = ([0.0; 3], [0.0; 3], vec![0.0; x.len()]);
        let (running_mean, variance, batches) = (&mut running.0[..], &mut running.1[..], &mut running.2);
        let running = Some(RunningStatistics { mean: running_mean, variance, batches });
        let statistics = BatchStatistics { merged: None, mean: &mut mean, rstd: &mut rstd, running };
        norm.forward(batch.shape, x, Affine::default(), Epilogue::default(), statistics, &mut y).unwrap();
    };
    let batches: Vec<Vec<f64>> = (0..4).map(|seed| numbers(seed, 36, 2.0)).collect();
    let moments: Vec<Vec<Moments>> = batches
        .iter()
        .map(|x| channels_of(batch.shape, x).iter().map(|x| Moments::of(x)).collect())
        .collect();
    // The cumulative average is the mean over the batches, whatever there was before.
    let mut running = (vec![f64::NAN; 3], vec![f64::INFINITY; 3], 0);
    for x in &batches {
        one_step(BatchNorm { momentum: Momentum::Cumulative, ..BatchNorm::default() }, x, &mut running);
    }
    assert_eq!(running.2, 4);
    for channel in 0..3 {
        let mean = moments.iter().map(|moments| moments[channel].mean).sum::<f64>() / 4.0;
        let variance = moments.iter().map(|moments| moments[channel].unbiased_variance()).sum::<f64>() / 4.0;
        assert!(
            (running.0[channel] - mean).abs() < 1e-14 && (running.1[channel] / variance - 1.0).abs() < 1e-14
        );
    }
    // A momentum of 0 keeps them to the bit, one of 1 takes the batch's.
    let before = running.clone();
    one_step(
        BatchNorm { momentum: Momentum::Exponential(0.0), ..BatchNorm::default() },
        &batches[0],
        &mut running,
    );
    assert_eq!((&running.0, &running.1, running.2), (&before.0, &before.1, 5));
    running.0.fill(f64::NAN);
    running.1.fill(f64::NAN);
    one_step(
        BatchNorm { momentum: Momentum::Exponential(1.0), ..BatchNorm::default() },
        &batches[0],
        &mut running,
    );
    assert_eq!(running.0, moments[0].iter().map(|moments| moments.mean).collect::<Vec<f64>>());
    for (running, moments) in running.1.iter().zip(&moments[0]) {
        assert!((running / moments.unbiased_variance() - 1.0).abs() < 1e-14);
    }
}

#[test]
fn batch_norm_holds_where_the_mean_is_far_larger_than_the_deviation() {
    for shape in [shape(400, 3, 1), shape(4, 3, 100)] {
        let mut batch = Batch::<f32>::new(shape);
        // The spacing of `f32` at 1e6 is 1/16: the rounding to it is part of the input, as it is for the judge.
        batch.x = numbers::<f64>(7, 1200, 0.0866).iter().map(|x| (x + 1e6) as f32).collect();
        let norm = BatchNorm { eps: 1e-9, ..BatchNorm::default() };
        batch.beta.fill(0.0);
        batch.gamma.fill(1.0);
        each_level(|level| {
            let results = norm_run(&batch, norm, Epilogue::default());
            for (channel, x) in channels_of(shape, &batch.x).iter().enumerate() {
                let deviations: Vec<f64> = x.iter().map(|x| x - 1e6).collect();
                let (mean, rstd) = reference::statistics(&deviations, norm.eps);
                assert!((results.mean[channel] - 1e6 - mean).abs() < 1e-9, "mean at {level}");
                assert!((results.rstd[channel] / rstd - 1.0).abs() < 1e-9, "variance at {level}");
                let y = &channels_of(shape, &results.y)[channel];
                let moments = Moments::of(y);
                assert!(moments.mean.abs() < 1e-6 && (moments.variance() - 1.0).abs() < 1e-5, "{moments:?}");
                for (y, deviation) in y.iter().zip(deviations) {
                    let expected = (deviation - mean) * rstd;
                    assert!(
                        (y - expected).abs() < 1e-6 * (1.0 + expected.abs()),
                        "{y}, not {expected}, at {level}"
                    );
                }
            }
        });
    }
}

#[test]
fn batch_norm_propagates_nan_in_its_channel_only() {
    for shape in [shape(9, 21, 1), shape(3, 4, 19)] {
        let clean = Batch::<f32>::new(shape);
        let norm = BatchNorm::default();
        each_level(|level| {
            let expected = norm_run(&clean, norm, Epilogue::default());
            for at in 0..clean.x.len() {
                for value in [f32::NAN, f32::INFINITY] {
                    let mut batch = clean.clone();
                    batch.x[at] = value;
                    let results = norm_run(&batch, norm, Epilogue::default());
                    for i in 0..clean.x.len() {
                        let channel = |i: usize| i / shape.inner % shape.channels;
                        if channel(i) == channel(at) {
                            let all_nan = results.y[i].is_nan() && results.dx[i].is_nan();
                            assert!(all_nan, "{value} at {at} was swallowed at {i}, {level}");
                        } else {
                            let same = results.y[i] == expected.y[i] && results.dx[i] == expected.dx[i];
                            assert!(same, "{value} at {at} reached {i}, {level}");
                        }
                    }
                    let channel = at / shape.inner % shape.channels;
                    assert!(results.dgamma[channel].is_nan() && results.running_variance[channel].is_nan());
                }
            }
        });
    }
}

#[test]
fn batch_norm_same_bits_in_any_pool() {
    for shape in
        [shape(70_001, 5, 1), shape(700, 300, 1), shape(90, 7, 201), shape(9, 3, 20_000), shape(3, 40, 400)]
    {
        let batch = Batch::<f32>::new(shape);
        let epilogue = Epilogue { residual: Some(&batch.residual[..]), activation: Some(Activation::Silu) };
        for epilogue in [Epilogue::default(), epilogue] {
            let expected = norm_run(&batch, BatchNorm::default(), epilogue);
            each_pool(|threads| {
                let results = norm_run(&batch, BatchNorm::default(), epilogue);
                assert_same_results(&results, &expected, || format!("{shape:?}, {threads} threads"));
            });
        }
    }
}

#[test]
fn batch_norm_backward_writes_only_what_is_asked_for() {
    let batch = Batch::<f32>::new(shape(40, 30, 49));
    let norm = BatchNorm::default();
    let epilogue = Epilogue { residual: Some(&batch.residual[..]), activation: Some(Activation::Silu) };
    for epilogue in [Epilogue::default(), epilogue] {
        let all = norm_run(&batch, norm, epilogue);
        let inputs = BackwardInputs { epilogue: EpilogueBackward::FromInput(epilogue), ..batch.inputs() };
        let saved = SavedStatistics { mean: &all.mean, rstd: &all.rstd };
        let mut large = vec![f32::NAN; batch.x.len()];
        let gradients = Gradients { input: Some(&mut large), ..Gradients::default() };
        norm.backward(batch.shape, inputs, saved, gradients).unwrap();
        assert_same_bits(&large, &all.dx, || "dx alone".into());
        let gradients = Gradients { residual: Some(&mut large), ..Gradients::default() };
        norm.backward(batch.shape, inputs, saved, gradients).unwrap();
        assert_same_bits(&large, &all.dresidual, || "dresidual alone".into());
        let mut small = batch.beta.clone();
        let gradients = Gradients { gamma: Some(&mut small), ..Gradients::default() };
        norm.backward(batch.shape, inputs, saved, gradients).unwrap();
        assert_same_bits(&small, &all.dgamma, || "dgamma alone".into());
    }
}
