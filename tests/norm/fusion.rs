//! Fused with what follows, and folded into the layer before it: equal to the parts one by one.

use steadygrad::linear::{Dense, DenseWeights};
use steadygrad::norm::Affine;
use steadygrad::norm::batch_norm::FrozenStatistics;
use steadygrad::{Activation, BatchNorm, ChannelShape, Element, Epilogue, Error};

use super::subject::{ACTIVATIONS, Batch, Results, assert_near, assert_same_results, shape};
use crate::common::{Guarded, assert_same_bits, each_level, numbers};

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
