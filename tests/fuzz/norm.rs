//! Batch norm: any shape and numbers, with any of its parts left out, every level against the reference.

use steadygrad::norm::batch_norm::{
    Affine, BackwardInputs, BatchStatistics, EpilogueBackward, Gradients, SavedStatistics,
};
use steadygrad::reference::batch_norm as reference;
use steadygrad::{BatchNorm, ChannelShape, Epilogue, Level};

use super::reader::{Bits, Reader, Tolerance, assert_close, assert_refused};

/// Decodes and checks one case.
pub(crate) fn run(data: &[u8]) {
    let mut reader = Reader::new(data);
    match reader.byte() % 2 {
        0 => batch_norm::<f32>(&mut reader),
        _ => batch_norm::<f64>(&mut reader),
    }
}

fn batch_norm<T: Bits>(reader: &mut Reader<'_>) {
    let shape = ChannelShape { outer: reader.up_to(5), channels: reader.up_to(40), inner: reader.up_to(20) };
    let norm = BatchNorm { eps: reader.float(), ..BatchNorm::default() };
    let elements = shape.outer * shape.channels * shape.inner;
    let (x, dy): (Vec<T>, Vec<T>) = (reader.ordinaries(elements), reader.ordinaries(elements));
    let (gain, bias): (Vec<T>, Vec<T>) =
        (reader.ordinaries(shape.channels), reader.ordinaries(shape.channels));
    let parts = reader.byte();
    let affine =
        Affine { gain: (parts & 1 == 0).then_some(&gain[..]), bias: (parts & 2 == 0).then_some(&bias[..]) };
    // A channel of one value has no variance.
    let values = shape.outer * shape.inner;
    let accepted = norm.eps > 0.0 && norm.eps.is_finite() && (values > 1 || elements == 0);
    for level in Level::available() {
        let (mut y, mut dx) = (vec![T::nan(); elements], vec![T::nan(); elements]);
        let (mut mean, mut rstd) = (vec![f64::NAN; shape.channels], vec![f64::NAN; shape.channels]);
        let result = Level::scoped(level, || {
            let statistics =
                BatchStatistics { merged: None, mean: &mut mean, rstd: &mut rstd, running: None };
            norm.forward(shape, &x, affine, Epilogue::default(), statistics, &mut y)?;
            let inputs = BackwardInputs { x: &x, dy: &dy, affine, epilogue: EpilogueBackward::default() };
            let statistics = SavedStatistics { mean: &mean, rstd: &rstd };
            let gradients = Gradients { input: Some(&mut dx), ..Gradients::default() };
            norm.backward(shape, inputs, statistics, gradients)
        })
        .expect("an available level");
        if !accepted {
            if elements > 0 {
                assert_refused(result, &y);
            }
            continue;
        }
        result.expect("a batch with a variance");
        // An eps that is far below what `T` holds makes numbers of any size.
        if elements == 0 || norm.eps < 1e-12 {
            continue;
        }
        for channel in 0..shape.channels {
            let of = |values: &[T]| -> Vec<f64> {
                let places = (0..elements).filter(|i| i / shape.inner % shape.channels == channel);
                places.map(|i| values[i].to_f64()).collect()
            };
            let (xs, dys, ys, dxs) = (of(&x), of(&dy), of(&y), of(&dx));
            let statistics = reference::statistics(&xs, norm.eps);
            let gain = affine.gain.map_or(1.0, |gain| gain[channel].to_f64());
            let bias = affine.bias.map_or(0.0, |bias| bias[channel].to_f64());
            let largest = xs.iter().fold(1.0_f64, |largest, x| largest.max(x.abs()));
            let scale = gain.abs() * statistics.1 * largest;
            let mut exact = vec![0.0; xs.len()];
            reference::backward_input(&xs, &dys, statistics, gain, &mut exact);
            let steep = 1.0 + (statistics.1 * largest).powi(2);
            for (i, &x) in xs.iter().enumerate() {
                let case = (level, shape, channel, norm.eps);
                let expected = reference::forward(x, statistics, (gain, bias));
                let tolerance = Tolerance { relative: 64.0, absolute: 64.0 * (scale + bias.abs()) };
                assert_close(case, expected, T::from_f64(ys[i]), tolerance);
                let absolute = 64.0 * gain.abs() * statistics.1 * 16.0 * steep;
                assert_close(case, exact[i], T::from_f64(dxs[i]), Tolerance { relative: 64.0, absolute });
            }
        }
    }
}
