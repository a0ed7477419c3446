//! Norms: every level against the references, the properties that define them, and fused against composed.

mod common;
mod norm {
    mod streaming;
}

use common::{
    Guarded, assert_same_bits, channel_shapes, channels_of, each_level, each_pool, numbers, tolerance,
};
use proptest::prelude::*;
use steadygrad::linear::{Dense, DenseWeights};
use steadygrad::norm::Affine;
use steadygrad::norm::batch_norm::{
    BackwardInputs, BatchStatistics, EpilogueBackward, FrozenStatistics, GradientSums, Gradients, Momentum,
    RunningStatistics, SavedStatistics,
};
use steadygrad::reference::batch_norm as reference;
use steadygrad::stats::Moments;
use steadygrad::{Activation, BatchNorm, ChannelShape, Element, Epilogue, Error, Level};

/// A batch with all that belongs to it.
#[derive(Clone, Debug)]
struct Batch<T> {
    shape: ChannelShape,
    x: Vec<T>,
    dy: Vec<T>,
    residual: Vec<T>,
    gamma: Vec<T>,
    beta: Vec<T>,
}

/// Everything that a forward writes, and everything that a backward does.
#[derive(Clone, Debug)]
struct Results<T> {
    y: Vec<T>,
    mean: Vec<f64>,
    rstd: Vec<f64>,
    running_mean: Vec<T>,
    running_variance: Vec<T>,
    dx: Vec<T>,
    dresidual: Vec<T>,
    dgamma: Vec<T>,
    dbeta: Vec<T>,
}

fn shape(outer: usize, channels: usize, inner: usize) -> ChannelShape {
    ChannelShape { outer, channels, inner }
}

/// Shapes with a variance.
fn batch_shapes() -> impl Iterator<Item = ChannelShape> {
    channel_shapes().into_iter().filter(|shape| shape.outer * shape.inner > 1)
}

impl<T: Element> Batch<T> {
    fn new(shape: ChannelShape) -> Self {
        let elements = shape.elements().unwrap();
        let (seed, channels) = (elements as u64, shape.channels);
        Self {
            shape,
            x: numbers::<T>(seed, elements, 2.0).into_iter().map(|x| x + T::one()).collect(),
            dy: numbers(seed + 1, elements, 1.0),
            residual: numbers(seed + 2, elements, 1.0),
            gamma: numbers(seed + 3, channels, 1.0),
            beta: numbers(seed + 4, channels, 1.0),
        }
    }

    fn affine(&self) -> Affine<'_, T> {
        Affine { gamma: Some(&self.gamma), beta: Some(&self.beta) }
    }

    fn inputs(&self) -> BackwardInputs<'_, T> {
        BackwardInputs {
            x: &self.x,
            dy: &self.dy,
            affine: self.affine(),
            epilogue: EpilogueBackward::default(),
        }
    }

    /// Forward and backward, with buffers that show what was not written, and what was written beside them.
    fn run(&self, norm: BatchNorm, epilogue: Epilogue<'_, T>, from_output: bool) -> Results<T> {
        let (shape, channels, elements) = (self.shape, self.shape.channels, self.x.len());
        let (mut mean, mut rstd) = (Guarded::<f64>::new(channels, 1), Guarded::<f64>::new(channels, 2));
        let mut running_mean = Guarded::of(&vec![T::zero(); channels], 3);
        let mut running_variance = Guarded::of(&vec![T::one(); channels], 0);
        let (mut y, mut batches) = (Guarded::<T>::new(elements, elements % 3), 0);
        let running = RunningStatistics {
            mean: running_mean.slice(),
            variance: running_variance.slice(),
            batches: &mut batches,
        };
        let statistics =
            BatchStatistics { merged: None, mean: mean.slice(), rstd: rstd.slice(), running: Some(running) };
        norm.forward(shape, &self.x, self.affine(), epilogue, statistics, y.slice()).unwrap();
        assert_eq!(batches, 1);

        let (mut dx, mut dresidual) = (Guarded::new(elements, 1), Guarded::new(elements, elements % 2));
        let (mut dgamma, mut dbeta) = (Guarded::of(&self.beta, 1), Guarded::of(&self.gamma, 0));
        let gradients = Gradients {
            input: Some(dx.slice()),
            residual: Some(dresidual.slice()),
            gamma: Some(dgamma.slice()),
            beta: Some(dbeta.slice()),
        };
        let epilogue = match (from_output, epilogue.activation) {
            (true, Some(activation)) => EpilogueBackward::FromOutput { activation, y: y.checked() },
            _ => EpilogueBackward::FromInput(epilogue),
        };
        let saved = SavedStatistics { mean: mean.checked(), rstd: rstd.checked() };
        norm.backward(shape, BackwardInputs { epilogue, ..self.inputs() }, saved, gradients).unwrap();
        Results {
            y: y.checked().to_vec(),
            mean: mean.checked().to_vec(),
            rstd: rstd.checked().to_vec(),
            running_mean: running_mean.checked().to_vec(),
            running_variance: running_variance.checked().to_vec(),
            dx: dx.checked().to_vec(),
            dresidual: dresidual.checked().to_vec(),
            dgamma: dgamma.checked().to_vec(),
            dbeta: dbeta.checked().to_vec(),
        }
    }
}

/// Fails where `actual` is further from `exact` than `rounding` epsilons of the type, and what sums of magnitude `sums`
/// lose in `f64`.
#[track_caller]
fn assert_near<T: Element>(actual: T, exact: f64, rounding: f64, sums: f64, context: impl Fn() -> String) {
    let bound = rounding * T::epsilon().to_f64() + tolerance::SUMS * sums;
    let near = (actual.to_f64() - exact).abs() <= bound;
    assert!(near, "{actual:?} is not near {exact}, the bound is {bound:e}: {}", context());
}

/// Fails where `results` are not those of the reference, channel by channel.
#[track_caller]
fn check_channels<T: Element>(batch: &Batch<T>, norm: BatchNorm, results: &Results<T>, context: &str) {
    let shape = batch.shape;
    let (xs, dys) = (channels_of(shape, &batch.x), channels_of(shape, &batch.dy));
    let (ys, dxs) = (channels_of(shape, &results.y), channels_of(shape, &results.dx));
    for channel in 0..shape.channels {
        let context = || format!("channel {channel}, {shape:?} {context}");
        let (x, dy, n) = (&xs[channel], &dys[channel], xs[channel].len() as f64);
        let (gamma, beta) = (batch.gamma[channel].to_f64(), batch.beta[channel].to_f64());
        let (mean, rstd) = reference::statistics(x, norm.eps);
        let scale = mean.abs() + 1.0 / rstd;
        assert_near(results.mean[channel], mean, 0.0, scale, context);
        assert_near(results.rstd[channel], rstd, 0.0, rstd * (1.0 + scale * rstd), context);
        if let Momentum::Exponential(momentum) = norm.momentum {
            let (mean, variance) = reference::running(x, (0.0, 1.0), momentum);
            assert_near(results.running_mean[channel], mean, mean.abs(), scale, context);
            assert_near(results.running_variance[channel], variance, variance, variance, context);
        }
        let (dgamma, dbeta) = reference::backward_parameters(x, dy, (mean, rstd));
        let size: f64 = dy.iter().map(|dy| dy.abs()).sum();
        let size_of_products: f64 =
            x.iter().zip(dy).map(|(x, dy)| (x.abs() + mean.abs()) * dy.abs() * rstd).sum();
        // Both gradients are added to what was there: β and γ, crosswise.
        assert_near(
            results.dgamma[channel],
            dgamma + beta,
            (dgamma + beta).abs(),
            size_of_products + 1.0,
            context,
        );
        assert_near(results.dbeta[channel], dbeta + gamma, (dbeta + gamma).abs(), size + 1.0, context);
        let mut dx = vec![0.0; x.len()];
        reference::backward_input(x, dy, (mean, rstd), gamma, &mut dx);
        for i in 0..x.len() {
            let y = reference::forward(x[i], (mean, rstd), (gamma, beta));
            let terms = ((x[i] - mean) * rstd * gamma).abs() + beta.abs();
            let sums = (x[i].abs() + scale) * rstd * (1.0 + scale * rstd) * gamma.abs();
            assert_near(T::from_f64(ys[channel][i]), y, tolerance::NORM * terms, sums, context);
            let slope = (x[i] - mean).abs() * dgamma.abs() * rstd / n;
            let terms = (dy[i].abs() + dbeta.abs() / n + slope) * rstd * gamma.abs();
            let sums = (size + size_of_products * (x[i].abs() + scale) * rstd) / n * rstd * gamma.abs();
            assert_near(
                T::from_f64(dxs[channel][i]),
                dx[i],
                tolerance::NORM_GRADIENT * terms,
                8.0 * sums,
                context,
            );
        }
    }
}

fn matches_reference<T: Element>() {
    for shape in batch_shapes() {
        let batch = Batch::<T>::new(shape);
        let norm = BatchNorm { eps: 1e-3, momentum: Momentum::Exponential(0.3) };
        let mut fma: Option<Results<T>> = None;
        each_level(|level| {
            let results = batch.run(norm, Epilogue::default(), false);
            check_channels(&batch, norm, &results, level.name());
            assert_same_bits(&results.dresidual, &batch.dy, || "without an activation it is dy".into());
            if level > Level::Portable {
                let first = fma.get_or_insert_with(|| results.clone());
                assert_same_results(first, &results, || format!("{shape:?} at {level}"));
            }
        });
    }
}

/// Fails where two results differ in any bit.
#[track_caller]
fn assert_same_results<T: Element>(a: &Results<T>, b: &Results<T>, context: impl Fn() -> String) {
    let of = |results: &Results<T>| {
        let Results { y, running_mean, running_variance, dx, dresidual, dgamma, dbeta, .. } = results.clone();
        [y, running_mean, running_variance, dx, dresidual, dgamma, dbeta]
    };
    for (part, (a, b)) in of(a).iter().zip(&of(b)).enumerate() {
        assert_same_bits(a, b, || format!("result {part}, {}", context()));
    }
    assert_same_bits(&a.mean, &b.mean, || format!("mean, {}", context()));
    assert_same_bits(&a.rstd, &b.rstd, || format!("rstd, {}", context()));
}

#[test]
fn batch_norm_matches_reference() {
    matches_reference::<f32>();
    matches_reference::<f64>();
}

#[test]
#[should_panic(expected = "is not near")]
fn batch_norm_wrong_answer_is_noticed() {
    let (batch, norm) = (Batch::<f32>::new(shape(5, 3, 7)), BatchNorm::default());
    let mut results = batch.run(norm, Epilogue::default(), false);
    results.dx[40] *= 1.0 + 1e-5;
    check_channels(&batch, norm, &results, "");
}

/// Inference and backward by frozen statistics, for the affine parts that there are.
fn frozen_matches_reference<T: Element>() {
    let norm = BatchNorm::default();
    for shape in channel_shapes() {
        let batch = Batch::<T>::new(shape);
        let (mean, variance): (Vec<T>, Vec<T>) =
            (batch.beta.clone(), batch.gamma.iter().map(|gamma| *gamma * *gamma + T::epsilon()).collect());
        let statistics = FrozenStatistics { mean: &mean, variance: &variance };
        for (gamma, beta) in [(true, true), (true, false), (false, true), (false, false)] {
            let affine =
                Affine { gamma: gamma.then_some(&batch.gamma[..]), beta: beta.then_some(&batch.beta[..]) };
            each_level(|level| {
                let mut y = Guarded::new(batch.x.len(), 1);
                norm.infer(shape, &batch.x, affine, Epilogue::default(), statistics, y.slice()).unwrap();
                let (mut dx, mut dgamma) = (Guarded::new(batch.x.len(), 2), vec![T::zero(); shape.channels]);
                let inputs = BackwardInputs { affine, ..batch.inputs() };
                let gradients =
                    Gradients { input: Some(dx.slice()), gamma: Some(&mut dgamma), ..Gradients::default() };
                norm.backward_frozen(shape, inputs, statistics, gradients).unwrap();
                let at = |i: usize| (i / shape.inner) % shape.channels;
                let (mut expected_dgamma, mut size) = (vec![0.0; shape.channels], vec![0.0; shape.channels]);
                for i in 0..batch.x.len() {
                    let (channel, context) = (at(i), || format!("element {i} of {shape:?} at {level}"));
                    let (x, dy) = (batch.x[i].to_f64(), batch.dy[i].to_f64());
                    let (mean, rstd) =
                        (mean[channel].to_f64(), (variance[channel].to_f64() + norm.eps).sqrt().recip());
                    let gamma = affine.gamma.map_or(1.0, |gamma| gamma[channel].to_f64());
                    let beta = affine.beta.map_or(0.0, |beta| beta[channel].to_f64());
                    let expected = reference::forward(x, (mean, rstd), (gamma, beta));
                    let terms = ((x - mean) * rstd * gamma).abs() + beta.abs();
                    assert_near(y.checked()[i], expected, tolerance::NORM * terms, terms, context);
                    let expected = reference::backward_input_frozen(dy, rstd, gamma);
                    assert_near(dx.checked()[i], expected, 2.0 * expected.abs(), expected.abs(), context);
                    let part = reference::backward_parameters(&[x], &[dy], (mean, rstd)).0;
                    expected_dgamma[channel] += part;
                    size[channel] += part.abs();
                }
                for channel in 0..shape.channels {
                    let expected = expected_dgamma[channel];
                    let context = || format!("channel {channel} of {shape:?} at {level}");
                    assert_near(dgamma[channel], expected, expected.abs(), size[channel], context);
                }
            });
        }
    }
}

#[test]
fn batch_norm_frozen_matches_reference() {
    frozen_matches_reference::<f32>();
    frozen_matches_reference::<f64>();
}

#[test]
fn batch_norm_reference_backward_matches_finite_differences() {
    let (x, w): (Vec<f64>, Vec<f64>) = (numbers(1, 7, 2.0), numbers(2, 7, 1.0));
    let (gamma, beta, eps, step) = (0.7, -0.2, 1e-2, 1e-6);
    let loss = |x: &[f64], gamma: f64, beta: f64| -> f64 {
        let statistics = reference::statistics(x, eps);
        x.iter().zip(&w).map(|(&x, w)| w * reference::forward(x, statistics, (gamma, beta))).sum()
    };
    let statistics = reference::statistics(&x, eps);
    let mut dx = vec![0.0; 7];
    reference::backward_input(&x, &w, statistics, gamma, &mut dx);
    for i in 0..7 {
        let (mut up, mut down) = (x.clone(), x.clone());
        (up[i], down[i]) = (x[i] + step, x[i] - step);
        let slope = (loss(&up, gamma, beta) - loss(&down, gamma, beta)) / (2.0 * step);
        assert!((slope - dx[i]).abs() < 1e-8, "dx[{i}] is {}, the slope {slope}", dx[i]);
    }
    let (dgamma, dbeta) = reference::backward_parameters(&x, &w, statistics);
    let slope = (loss(&x, gamma + step, beta) - loss(&x, gamma - step, beta)) / (2.0 * step);
    assert!((slope - dgamma).abs() < 1e-8, "dgamma is {dgamma}, the slope {slope}");
    let slope = (loss(&x, gamma, beta + step) - loss(&x, gamma, beta - step)) / (2.0 * step);
    assert!((slope - dbeta).abs() < 1e-8, "dbeta is {dbeta}, the slope {slope}");
    let frozen = reference::backward_input_frozen(w[0], statistics.1, gamma);
    let of_x = |x: f64| w[0] * reference::forward(x, statistics, (gamma, beta));
    assert!(((of_x(x[0] + step) - of_x(x[0] - step)) / (2.0 * step) - frozen).abs() < 1e-8);
}

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

fn norm_run<T: Element>(batch: &Batch<T>, norm: BatchNorm, epilogue: Epilogue<'_, T>) -> Results<T> {
    batch.run(norm, epilogue, false)
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
    one_step(
        BatchNorm { momentum: Momentum::Exponential(1.0), ..BatchNorm::default() },
        &batches[0],
        &mut running,
    );
    assert_eq!(running.0, moments[0].iter().map(|moments| moments.mean).collect::<Vec<f64>>());
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

const ACTIVATIONS: [Activation; 8] = [
    Activation::Identity,
    Activation::Relu,
    Activation::LeakyRelu { slope: 0.1 },
    Activation::Elu { alpha: 1.0 },
    Activation::Tanh,
    Activation::HardSigmoid,
    Activation::Gelu,
    Activation::Silu,
];

/// The norm alone, then the addition, then the activation; and back. The judge of the fused form, since each part has
/// its own reference.
fn composed<T: Element>(
    batch: &Batch<T>,
    residual: Option<&[T]>,
    activation: Activation,
    from_output: bool,
) -> Results<T> {
    let norm = BatchNorm::default();
    let mut before = batch.run(norm, Epilogue::default(), false).y;
    if let Some(residual) = residual {
        before.iter_mut().zip(residual).for_each(|(before, &residual)| *before = *before + residual);
    }
    let (mut y, mut gradient) = (vec![T::nan(); before.len()], vec![T::nan(); before.len()]);
    activation.forward(&before, &mut y).unwrap();
    if from_output {
        activation.backward_from_output(&y, &batch.dy, &mut gradient).unwrap();
    } else {
        activation.backward(&before, &batch.dy, &mut gradient).unwrap();
    }
    let plain = Batch { dy: gradient, ..batch.clone() }.run(norm, Epilogue::default(), false);
    Results { y, ..plain }
}

/// Fused equals composed: to the bit, but for the sums of a run that is longer than a tile, which the fused form adds
/// up tile by tile.
fn fused_is_composed<T: Element>(shape: ChannelShape, activation: Activation) {
    let batch = Batch::<T>::new(shape);
    for residual in [None, Some(&batch.residual[..])] {
        for from_output in [false, true] {
            let undone = activation.backward_from_output::<T>(&[], &[], &mut []);
            if from_output && undone.is_err() {
                continue;
            }
            each_level(|level| {
                let context = || format!("{activation:?}, {shape:?}, from output {from_output}, {level}");
                let epilogue = Epilogue { residual, activation: Some(activation) };
                let fused = batch.run(BatchNorm::default(), epilogue, from_output);
                let expected = composed(&batch, residual, activation, from_output);
                if shape.inner <= 2048 {
                    return assert_same_results(&fused, &expected, context);
                }
                assert_same_bits(&fused.y, &expected.y, context);
                assert_same_bits(&fused.dresidual, &expected.dresidual, context);
                let pairs =
                    fused.dx.iter().zip(&expected.dx).chain(fused.dgamma.iter().zip(&expected.dgamma));
                for (&fused, &expected) in pairs {
                    let size = expected.to_f64().abs();
                    assert_near(fused, expected.to_f64(), 4.0 * (size + 1.0), size + 1.0, context);
                }
            });
        }
    }
}

#[test]
fn batch_norm_fused_is_composed() {
    let shapes = [
        (2, 1, 1),
        (5, 3, 1),
        (33, 16, 1),
        (70, 127, 1),
        (40, 300, 1),
        (600, 130, 1),
        (3, 5, 2),
        (4, 20, 49),
        (2, 3, 2049),
        (3, 2, 5000),
        (40, 3, 900),
    ];
    for (outer, channels, inner) in shapes {
        for activation in ACTIVATIONS {
            fused_is_composed::<f32>(shape(outer, channels, inner), activation);
        }
        fused_is_composed::<f64>(shape(outer, channels, inner), Activation::Tanh);
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn batch_norm_split_form_is_the_whole(
        outer in 2_usize..30, channels in 1_usize..20, inner in 1_usize..30,
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
        let mut running_mean = vec![0.0; channels];
        for (shape, range) in &parts {
            let epilogue = Epilogue { residual: Some(&whole.residual[range.clone()]), ..epilogue };
            let (mut variance, mut batches) = (vec![1.0; channels], 0);
            running_mean.fill(0.0);
            let running = RunningStatistics { mean: &mut running_mean, variance: &mut variance, batches: &mut batches };
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

fn folds<T: Element>() {
    let norm = BatchNorm::default();
    for (batch, inputs, outputs) in [(1, 1, 1), (3, 17, 5), (7, 40, 133), (2, 5000, 3)] {
        let layer = Dense { inputs, outputs };
        let (x, weights): (Vec<T>, Vec<T>) =
            (numbers(1, batch * inputs, 1.0), numbers(2, outputs * inputs, 1.0));
        let of_outputs = |seed| numbers::<T>(seed, outputs, 1.0);
        let (bias, gamma, beta, mean) = (of_outputs(3), of_outputs(4), of_outputs(5), of_outputs(6));
        let variance: Vec<T> = of_outputs(7).iter().map(|v| *v * *v + T::one()).collect();
        let statistics = FrozenStatistics { mean: &mean, variance: &variance };
        let affine = Affine { gamma: Some(&gamma), beta: Some(&beta) };
        for bias in [Some(&bias[..]), None] {
            each_level(|level| {
                let parameters = DenseWeights { weights: &weights, bias };
                let mut folded = (Guarded::new(weights.len(), 1), Guarded::new(outputs, 0));
                norm.fold(layer, parameters, affine, statistics, (folded.0.slice(), folded.1.slice()))
                    .unwrap();
                let mut scratch = vec![T::zero(); layer.forward_scratch_len::<T>(batch)];
                let (mut dense, mut y) = (vec![T::nan(); batch * outputs], vec![T::nan(); batch * outputs]);
                layer.forward(batch, &x, parameters, Epilogue::default(), &mut scratch, &mut dense).unwrap();
                let of_norm = shape(batch, outputs, 1);
                norm.infer(of_norm, &dense, affine, Epilogue::default(), statistics, &mut y).unwrap();
                let parameters = DenseWeights { weights: folded.0.checked(), bias: Some(folded.1.checked()) };
                layer.forward(batch, &x, parameters, Epilogue::default(), &mut scratch, &mut dense).unwrap();
                for (at, (&folded, &y)) in dense.iter().zip(&y).enumerate() {
                    // Two chains of fused multiply-adds, each with the classic bound: (k + 3)·ε·Σ|terms|.
                    let (row, output) = (at / outputs, at % outputs);
                    let scale = gamma[output].to_f64() / (variance[output].to_f64() + norm.eps).sqrt();
                    let products: f64 = (0..inputs)
                        .map(|k| (x[row * inputs + k] * weights[output * inputs + k]).to_f64().abs())
                        .sum();
                    let before = bias.map_or(0.0, |bias| bias[output].to_f64().abs());
                    let terms = (products + before + mean[output].to_f64().abs()) * scale.abs()
                        + beta[output].to_f64().abs();
                    let rounding = 2.0 * (inputs as f64 + 3.0) * terms;
                    assert_near(folded, y.to_f64(), rounding, 0.0, || format!("{layer:?} at {level}"));
                }
            });
        }
        let parameters = DenseWeights { weights: &weights, bias: None };
        let (mut large, mut small) = (Guarded::<T>::new(weights.len(), 0), Guarded::<T>::new(outputs + 1, 0));
        let refused = norm.fold(layer, parameters, affine, statistics, (large.slice(), small.slice()));
        assert_eq!(
            refused,
            Err(Error::Length { argument: "folded.1", expected: outputs, actual: outputs + 1 })
        );
        assert!(large.is_untouched() && small.is_untouched());
    }
}

#[test]
fn batch_norm_fold_is_dense_and_inference() {
    folds::<f32>();
    folds::<f64>();
}
