//! Batch norm against its formulas in `f64`, channel by channel.

use steadygrad::norm::Affine;
use steadygrad::norm::batch_norm::{BackwardInputs, FrozenStatistics, Gradients, Momentum};
use steadygrad::reference::batch_norm as reference;
use steadygrad::{BatchNorm, ChannelShape, Element, Epilogue, Level};

use super::subject::{Batch, Results, assert_near, assert_same_results, shape};
use crate::common::{Guarded, assert_same_bits, channel_shapes, channels_of, each_level, numbers, tolerance};

/// Shapes with a variance.
fn batch_shapes() -> impl Iterator<Item = ChannelShape> {
    channel_shapes().into_iter().filter(|shape| shape.outer * shape.inner > 1)
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
