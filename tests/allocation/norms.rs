//! Norms of batches, rows, groups and weights.

use steadygrad::norm::batch_norm::{
    self, BackwardInputs, BatchStatistics, EpilogueBackward, SavedStatistics,
};
use steadygrad::norm::{
    Affine, GroupNorm, LayerNorm, NormGradients, RmsNorm, SavedRows, SavedSpectral, SpectralNorm,
    SpectralState, WeightGradients, WeightNorm, WeightStandardization,
};
use steadygrad::{Activation, BatchNorm, ChannelShape, Element, Epilogue, RowShape, WeightShape};

use crate::{LEN, assert_none, ramp};

fn row_norm<T: Element>() {
    let shape = RowShape { rows: 300, cols: 1000 };
    let (x, gamma, dy, mut out) = (ramp::<T>(LEN), ramp::<T>(1000), ramp::<T>(LEN), ramp::<T>(LEN));
    let (mut mean, mut rstd) = (ramp::<f64>(300), ramp::<f64>(300));
    let (mut dgamma, mut dbeta) = (ramp::<T>(1000), ramp::<T>(1000));
    let (layer_norm, rms_norm) = (LayerNorm::default(), RmsNorm::default());
    let mut scratch = ramp::<f64>(layer_norm.backward_scratch_len(shape));
    let affine = Affine { gamma: Some(&gamma), beta: Some(&gamma) };
    assert_none("LayerNorm::forward", || {
        layer_norm.forward(shape, &x, affine, &mut mean, &mut rstd, &mut out).unwrap();
    });
    assert_none("LayerNorm::backward", || {
        let gradients = NormGradients { input: &mut out, gamma: Some(&mut dgamma), beta: Some(&mut dbeta) };
        let saved = SavedRows { x: &x, mean: &mean, rstd: &rstd };
        layer_norm.backward(shape, &dy, Some(&gamma), saved, &mut scratch, gradients).unwrap();
    });
    assert_none("RmsNorm::forward", || rms_norm.forward(shape, &x, affine, &mut rstd, &mut out).unwrap());
    assert_none("RmsNorm::backward", || {
        let gradients = NormGradients { input: &mut out, gamma: Some(&mut dgamma), beta: None };
        rms_norm.backward(shape, &dy, Some(&gamma), (&x, &rstd), &mut scratch, gradients).unwrap();
    });
}

fn group_norm<T: Element>() {
    let (x, dy, gamma, mut out) = (ramp::<T>(LEN), ramp::<T>(LEN), ramp::<T>(100), ramp::<T>(LEN));
    let (mut dgamma, mut dbeta) = (ramp::<T>(100), ramp::<T>(100));
    let affine = Affine { gamma: Some(&gamma), beta: Some(&gamma) };
    for shape in [
        ChannelShape { outer: 3, channels: 100, inner: 1000 },
        ChannelShape { outer: 3000, channels: 100, inner: 1 },
    ] {
        let norm = GroupNorm { groups: 4, ..GroupNorm::default() };
        let (mut mean, mut rstd) = (ramp::<f64>(4 * shape.outer), ramp::<f64>(4 * shape.outer));
        let mut scratch = ramp::<f64>(norm.backward_scratch_len(shape));
        assert_none("GroupNorm::forward", || {
            norm.forward(shape, &x, affine, &mut mean, &mut rstd, &mut out).unwrap();
        });
        assert_none("GroupNorm::backward", || {
            let gradients =
                NormGradients { input: &mut out, gamma: Some(&mut dgamma), beta: Some(&mut dbeta) };
            let saved = SavedRows { x: &x, mean: &mean, rstd: &rstd };
            norm.backward(shape, &dy, Some(&gamma), saved, &mut scratch, gradients).unwrap();
        });
    }
}

fn weight_norm<T: Element>() {
    let shape = WeightShape { outputs: 300, inputs: 1000, field: 1 };
    let (v, dw, gain) = (ramp::<T>(LEN), ramp::<T>(LEN), ramp::<T>(300));
    let (mut w, mut dv, mut dgain) = (ramp::<T>(LEN), ramp::<T>(LEN), ramp::<T>(300));
    let standard = WeightStandardization::default();
    assert_none("WeightNorm", || {
        WeightNorm.forward(shape, &v, Some(&gain), &mut w).unwrap();
        let gradients = WeightGradients { weights: &mut dv, gain: Some(&mut dgain) };
        WeightNorm.backward(shape, &dw, &v, Some(&gain), gradients).unwrap();
    });
    assert_none("WeightStandardization", || {
        standard.forward(shape, &v, Some(&gain), &mut w).unwrap();
        let gradients = WeightGradients { weights: &mut dv, gain: Some(&mut dgain) };
        standard.backward(shape, &dw, &v, Some(&gain), gradients).unwrap();
    });
    let (op, mut left, mut right) = (SpectralNorm::default(), ramp::<T>(300), ramp::<T>(1000));
    let mut scratch = ramp::<f64>(op.scratch_len(shape));
    assert_none("SpectralNorm", || {
        let state = SpectralState { u: &mut left, v: &mut right };
        let sigma = op.forward(shape, &v, state, &mut scratch, &mut w).unwrap();
        let saved = SavedSpectral { normalised: &w, u: &left, v: &right, sigma };
        op.backward(shape, &dw, saved, &mut dv).unwrap();
    });
}

#[test]
fn allocation_none_in_weight_norm() {
    weight_norm::<f32>();
    weight_norm::<f64>();
}

#[test]
fn allocation_none_in_row_norm() {
    row_norm::<f32>();
    row_norm::<f64>();
    group_norm::<f32>();
    group_norm::<f64>();
}

fn batch_norm<T: Element>() {
    let (x, dy, gamma) = (ramp::<T>(LEN), ramp::<T>(LEN), ramp::<T>(100));
    let (mut y, mut dx, mut dresidual) = (ramp::<T>(LEN), ramp::<T>(LEN), ramp::<T>(LEN));
    let (mut mean, mut rstd, mut dgamma, mut dbeta) =
        ([0.0; 100], [0.0; 100], ramp::<T>(100), ramp::<T>(100));
    let affine = Affine { gamma: Some(&gamma), beta: Some(&gamma) };
    let norm = BatchNorm::default();
    for (outer, inner) in [(3, 1000), (3000, 1)] {
        let shape = ChannelShape { outer, channels: 100, inner };
        let fused = Epilogue { residual: Some(&dy[..]), activation: Some(Activation::Silu) };
        for epilogue in [Epilogue::default(), fused] {
            assert_none("BatchNorm::forward", || {
                let statistics =
                    BatchStatistics { merged: None, mean: &mut mean, rstd: &mut rstd, running: None };
                norm.forward(shape, &x, affine, epilogue, statistics, &mut y).unwrap();
            });
            assert_none("BatchNorm::backward", || {
                let epilogue = EpilogueBackward::FromInput(epilogue);
                let inputs = BackwardInputs { x: &x, dy: &dy, affine, epilogue };
                let gradients = batch_norm::Gradients {
                    input: Some(&mut dx),
                    residual: Some(&mut dresidual),
                    gamma: Some(&mut dgamma),
                    beta: Some(&mut dbeta),
                };
                norm.backward(shape, inputs, SavedStatistics { mean: &mean, rstd: &rstd }, gradients)
                    .unwrap();
            });
        }
    }
}

#[test]
fn allocation_none_in_norm() {
    batch_norm::<f32>();
    batch_norm::<f64>();
}
