//! Norms of tensors so large that their outputs bypass the caches.

use steadygrad::norm::batch_norm::{BackwardInputs, EpilogueBackward, FrozenStatistics, Gradients};
use steadygrad::norm::{Affine, NormGradients, SavedRows};
use steadygrad::{Activation, BatchNorm, ChannelShape, Element, Epilogue, LayerNorm, RowShape};

use super::subject::shape;
use crate::common::{Guarded, assert_same_bits, each_level};

/// Bytes from which the smallest pass, over three tensors, streams on every machine, and below which none does on any.
const STREAMED: usize = 48 << 20;
const CACHED: usize = 16 << 20;

/// `len` elements of a pattern whose length divides no row.
fn pattern<T: Element>(len: usize, seed: usize) -> Vec<T> {
    let values: Vec<T> =
        (0..10_007_usize).map(|i| T::from_f64(((i * (seed + 7919)) % 2003) as f64 / 500.0 - 2.0)).collect();
    values.iter().copied().cycle().take(len).collect()
}

/// Inference with residual and ReLU, and its backward, which work element by element: the whole has the bits of its rows, each
/// of which goes through the caches.
fn whole_is_its_rows<T: Element>(shape: ChannelShape) {
    let elements = shape.elements().unwrap();
    assert!(3 * elements * size_of::<T>() >= STREAMED, "{shape:?} is too small");
    let row = ChannelShape { outer: shape.outer.div_ceil(6), ..shape };
    let step = row.elements().unwrap();
    assert!(5 * step * size_of::<T>() < CACHED, "{row:?} is too large");

    let (x, residual, dy) = (pattern::<T>(elements, 1), pattern::<T>(elements, 2), pattern::<T>(elements, 3));
    let (mean, variance) = (pattern::<T>(shape.channels, 4), vec![T::from_f64(0.7); shape.channels]);
    let statistics = FrozenStatistics { mean: &mean, variance: &variance };
    let (norm, activation) = (BatchNorm::default(), Activation::Relu);
    let run = |shape: ChannelShape, from: usize, y: &mut [T], dx: &mut [T], dz: &mut [T]| {
        let part = from..from + y.len();
        let (x, dy, residual) = (&x[part.clone()], &dy[part.clone()], &residual[part]);
        let epilogue = Epilogue { residual: Some(residual), activation: Some(activation) };
        norm.infer(shape, x, Affine::default(), epilogue, statistics, y).unwrap();
        let epilogue = EpilogueBackward::FromOutput { activation, y };
        let inputs = BackwardInputs { x, dy, affine: Affine::default(), epilogue };
        let gradients = Gradients { input: Some(dx), residual: Some(dz), ..Gradients::default() };
        norm.backward_frozen(shape, inputs, statistics, gradients).unwrap();
    };
    each_level(|level| {
        let [mut y, mut dx, mut dz] = [(); 3].map(|()| vec![T::nan(); elements]);
        for from in (0..elements).step_by(step) {
            let to = elements.min(from + step);
            let part = ChannelShape { outer: (to - from) / (shape.channels * shape.inner), ..shape };
            run(part, from, &mut y[from..to], &mut dx[from..to], &mut dz[from..to]);
        }
        // All aligned, none alike, the gradients alike, all alike.
        for shifts in [[0, 0, 0], [5, 2, 0], [1, 3, 3], [4, 4, 4]] {
            let [mut whole_y, mut whole_dx, mut whole_dz] =
                shifts.map(|shift| Guarded::<T>::aligned(elements, shift));
            run(shape, 0, whole_y.slice(), whole_dx.slice(), whole_dz.slice());
            let context = || format!("{shape:?} at {level}, shifts {shifts:?}");
            assert_same_bits(whole_y.checked(), &y, context);
            assert_same_bits(whole_dx.checked(), &dx, context);
            assert_same_bits(whole_dz.checked(), &dz, context);
        }
    });
}

#[test]
fn batch_norm_streams_large_outputs_to_any_address() {
    // Runs that begin and end anywhere; rows of whole vectors without gaps, in one strip and in several; of parts of vectors.
    for shape in [shape(6, 7, 110_003), shape(90_000, 48, 1), shape(16_000, 272, 1), shape(90_001, 50, 1)] {
        whole_is_its_rows::<f32>(shape);
    }
    for shape in [shape(6, 7, 55_001), shape(90_000, 24, 1)] {
        whole_is_its_rows::<f64>(shape);
    }
}

/// The gradient of the input of a layer norm, which goes row by row: the whole has the bits of its parts.
fn rows_are_the_whole<T: Element>(cols: usize) {
    let rows = STREAMED.div_ceil(3 * cols * size_of::<T>());
    let (step, norm) = (rows.div_ceil(6), LayerNorm::default());
    assert!(3 * step * cols * size_of::<T>() < CACHED);
    let (x, dy, gamma) = (pattern::<T>(rows * cols, 1), pattern::<T>(rows * cols, 2), pattern::<T>(cols, 3));
    let affine = Affine { gamma: Some(&gamma), beta: None };
    let (mut y, mut mean, mut rstd) = (vec![T::nan(); rows * cols], vec![0.0; rows], vec![0.0; rows]);
    let whole = RowShape { rows, cols };
    norm.forward(whole, &x, affine, &mut mean, &mut rstd, &mut y).unwrap();
    let run = |from: usize, dx: &mut [T]| {
        let count = dx.len() / cols;
        let (rows, part) = (from..from + count, from * cols..(from + count) * cols);
        let shape = RowShape { rows: count, cols };
        let mut scratch = vec![f64::NAN; norm.backward_scratch_len(shape)];
        let (mut dgamma, mut dbeta) = (vec![T::zero(); cols], vec![T::zero(); cols]);
        let gradients = NormGradients { input: dx, gamma: Some(&mut dgamma), beta: Some(&mut dbeta) };
        let saved = SavedRows { x: &x[part.clone()], mean: &mean[rows.clone()], rstd: &rstd[rows] };
        norm.backward(shape, &dy[part], Some(&gamma), saved, &mut scratch, gradients).unwrap();
    };
    each_level(|level| {
        let mut parts = vec![T::nan(); rows * cols];
        for from in (0..rows).step_by(step) {
            let to = rows.min(from + step);
            run(from, &mut parts[from * cols..to * cols]);
        }
        for shift in [0, 3] {
            let mut dx = Guarded::<T>::aligned(rows * cols, shift);
            run(0, dx.slice());
            assert_same_bits(dx.checked(), &parts, || format!("{cols} columns at {level}, shift {shift}"));
        }
    });
}

#[test]
fn layer_norm_streams_large_gradients_to_any_address() {
    // Rows of whole lines, taken one by one and some together (of f32 256, of f64 1280), and of parts of lines.
    for cols in [256, 768, 1280, 770] {
        rows_are_the_whole::<f32>(cols);
        rows_are_the_whole::<f64>(cols);
    }
}
