//! Norms: any shape and epilogue, lengths that fit or do not, every level against the reference.

use steadygrad::norm::Affine;
use steadygrad::norm::batch_norm::{
    BackwardInputs, BatchStatistics, EpilogueBackward, Gradients, SavedStatistics,
};
use steadygrad::reference::{activation as activations, batch_norm as reference};
use steadygrad::{Activation, BatchNorm, ChannelShape, Epilogue, Level};

use super::reader::{Bits, Reader, Tolerance, assert_close, assert_refused};

/// Decodes and checks one case.
pub(crate) fn run(data: &[u8]) {
    let mut reader = Reader::new(data);
    if reader.byte().is_multiple_of(2) {
        batch_norm::<f32>(&mut reader);
    } else {
        batch_norm::<f64>(&mut reader);
    }
}

fn batch_norm<T: Bits>(reader: &mut Reader<'_>) {
    let inner = if reader.byte().is_multiple_of(2) { 1 } else { reader.up_to(70) };
    let shape = ChannelShape { outer: reader.up_to(9), channels: reader.up_to(40), inner };
    let (elements, excess) = (shape.outer * shape.channels * shape.inner, reader.up_to(3));
    let norm = BatchNorm { eps: 1e-2, ..BatchNorm::default() };
    let activation = reader.pick(&[None, Some(Activation::Tanh), Some(Activation::Silu)]);
    let has_residual = reader.byte().is_multiple_of(2);
    let (x, dy): (Vec<T>, Vec<T>) = (reader.ordinaries(elements), reader.ordinaries(elements));
    let residual: Vec<T> = reader.ordinaries(elements);
    let (gamma, beta): (Vec<T>, Vec<T>) =
        (reader.ordinaries(shape.channels), reader.ordinaries(shape.channels));
    let affine = Affine { gamma: Some(&gamma[..]), beta: Some(&beta[..]) };
    let epilogue = Epilogue { residual: has_residual.then_some(&residual[..]), activation };
    for level in Level::available() {
        let (mut mean, mut rstd) = (vec![f64::NAN; shape.channels], vec![f64::NAN; shape.channels]);
        let mut y = vec![T::nan(); elements + excess];
        let statistics = BatchStatistics { merged: None, mean: &mut mean, rstd: &mut rstd, running: None };
        let result = Level::scoped(level, || norm.forward(shape, &x, affine, epilogue, statistics, &mut y));
        let result = result.expect("an available level");
        if excess > 0 || shape.channels > 0 && shape.outer * shape.inner < 2 {
            assert_refused(result, &y);
            continue;
        }
        result.expect("the lengths of the shape");
        let mut dx = vec![T::nan(); elements];
        let inputs =
            BackwardInputs { x: &x, dy: &dy, affine, epilogue: EpilogueBackward::FromInput(epilogue) };
        let gradients = Gradients { input: Some(&mut dx), ..Gradients::default() };
        let saved = SavedStatistics { mean: &mean, rstd: &rstd };
        let result = Level::scoped(level, || norm.backward(shape, inputs, saved, gradients));
        result.expect("an available level").expect("the lengths of the shape");
        for channel in 0..shape.channels {
            let places: Vec<usize> =
                (0..elements).filter(|at| at / shape.inner % shape.channels == channel).collect();
            let wide = |data: &[T]| places.iter().map(|&at| data[at].to_f64()).collect::<Vec<f64>>();
            let (x, dy, residual) = (wide(&x), wide(&dy), wide(&residual));
            let (gamma, beta) = (gamma[channel].to_f64(), beta[channel].to_f64());
            let statistics = reference::statistics(&x, norm.eps);
            let before: Vec<f64> = x
                .iter()
                .zip(&residual)
                .map(|(&x, r)| {
                    reference::forward(x, statistics, (gamma, beta)) + if has_residual { *r } else { 0.0 }
                })
                .collect();
            let activation = activation.unwrap_or(Activation::Identity);
            let gradient: Vec<f64> =
                before.iter().zip(&dy).map(|(&x, &dy)| activations::backward(activation, x, dy)).collect();
            let mut expected = vec![0.0; x.len()];
            reference::backward_input(&x, &gradient, statistics, gamma, &mut expected);
            // Numbers up to 16, deviations down to √eps, a gradient of three terms.
            let size = 1.0 + 16.0 * statistics.1 * (1.0 + gamma.abs());
            let tolerance = Tolerance { relative: 64.0, absolute: 1e3 * size * size * size };
            for (i, &at) in places.iter().enumerate() {
                assert_close(
                    (shape, activation, level),
                    activations::forward(activation, before[i]),
                    y[at],
                    tolerance,
                );
                assert_close((shape, activation, level), expected[i], dx[at], tolerance);
            }
        }
    }
}
