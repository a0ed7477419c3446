//! Activations, dense layers and residual connections.

use steadygrad::diagnostics::LayerFlow;
use steadygrad::linear::{Dense, DenseGradients, DenseWeights};
use steadygrad::residual::{Add, Highway, HighwayGradients, HighwayInputs, Scaled, StochasticDepth};
use steadygrad::{Activation, ChannelShape, Element, Epilogue, PRelu, Philox, RowShape};

use crate::{LEN, assert_none, ramp};

fn activation<T: Element>() {
    let (x, dy, mut out) = (ramp::<T>(LEN), ramp::<T>(LEN), ramp::<T>(LEN));
    for activation in [Activation::Relu, Activation::Elu { alpha: 1.0 }, Activation::Gelu, Activation::Mish] {
        assert_none("forward", || activation.forward(&x, &mut out).unwrap());
        assert_none("forward_in_place", || activation.forward_in_place(&mut out).unwrap());
        assert_none("backward", || activation.backward(&x, &dy, &mut out).unwrap());
    }
    assert_none("from output", || Activation::Tanh.backward_from_output(&x, &dy, &mut out).unwrap());
    let shape = ChannelShape { outer: 3, channels: 100, inner: 1000 };
    let (slope, mut dslope) = (ramp::<T>(100), ramp::<T>(100));
    assert_none("PReLU forward", || PRelu.forward(shape, &x, &slope, &mut out).unwrap());
    assert_none("PReLU backward", || {
        PRelu.backward(shape, &x, &slope, &dy, &mut out, &mut dslope).unwrap();
    });
}

#[test]
fn allocation_none_in_activation() {
    activation::<f32>();
    activation::<f64>();
}

fn dense<T: Element>() {
    let (batch, op) = (33, Dense { inputs: 200, outputs: 300 });
    let (x, weights, bias) = (ramp::<T>(batch * 200), ramp::<T>(200 * 300), ramp::<T>(300));
    let (mut y, mut dx, mut dw, mut db) =
        (ramp::<T>(batch * 300), ramp::<T>(batch * 200), ramp::<T>(200 * 300), ramp::<T>(300));
    let dy = y.clone();
    let len = op.forward_scratch_len::<T>(batch).max(op.backward_scratch_len::<T>(batch));
    let mut scratch = ramp::<T>(len);
    let packed = op.pack(&weights).unwrap();
    assert_none("Dense::forward", || {
        let parameters = DenseWeights { weights: &weights, bias: Some(&bias) };
        op.forward(batch, &x, parameters, Epilogue::default(), &mut scratch, &mut y).unwrap();
    });
    assert_none("Dense::forward_packed", || {
        op.forward_packed(batch, &x, (&packed, Some(&bias)), Epilogue::default(), &mut scratch, &mut y)
            .unwrap();
    });
    let mut flow = LayerFlow::default();
    assert_none("Dense::backward_observed", || {
        let gradients = DenseGradients {
            input: Some(&mut dx),
            weights: Some(&mut dw),
            bias: Some(&mut db),
            ..DenseGradients::default()
        };
        op.backward_observed(batch, &x, &dy, &weights, &mut scratch, gradients, &mut flow).unwrap();
    });
    assert_none("Dense::backward", || {
        let gradients = DenseGradients {
            input: Some(&mut dx),
            weights: Some(&mut dw),
            bias: Some(&mut db),
            ..DenseGradients::default()
        };
        op.backward(batch, &x, &dy, &weights, &mut scratch, gradients).unwrap();
    });
}

#[test]
fn allocation_none_in_dense() {
    dense::<f32>();
    dense::<f64>();
}

fn residual<T: Element>() {
    let (x, f, z) = (ramp::<T>(LEN), ramp::<T>(LEN), ramp::<T>(LEN));
    let (mut a, mut b, mut c) = (ramp::<T>(LEN), ramp::<T>(LEN), ramp::<T>(LEN));
    let add = Add { activation: Activation::Tanh };
    assert_none("Add forward", || add.forward(&x, &f, &mut a).unwrap());
    assert_none("Add backward", || add.backward(&x, &f, &z, &mut a).unwrap());
    for channels in [1, 100] {
        let shape = ChannelShape { outer: 3, channels, inner: LEN / 3 / channels };
        let (scale, mut dscale) = (ramp::<T>(channels), ramp::<T>(channels));
        assert_none("Scaled forward", || Scaled.forward(shape, &x, &f, &scale, &mut a).unwrap());
        assert_none("Scaled backward", || {
            Scaled.backward(shape, &f, &scale, &x, &mut a, &mut dscale).unwrap();
        });
    }
    let (rows, stream) = (RowShape { rows: 300, cols: 1000 }, Philox::default());
    let depth = StochasticDepth { p: 0.3 };
    assert_none("StochasticDepth forward", || depth.forward(rows, stream, &x, &f, &mut a).unwrap());
    assert_none("StochasticDepth backward", || depth.backward(rows, stream, &x, &mut a).unwrap());
    let inputs = HighwayInputs { x: &x, h: &f, z: &z };
    assert_none("Highway forward", || Highway.forward(inputs, &mut a).unwrap());
    assert_none("Highway backward", || {
        let gradients = HighwayGradients { x: &mut a, h: &mut b, z: &mut c };
        Highway.backward(inputs, &x, gradients).unwrap();
    });
}

#[test]
fn allocation_none_in_residual() {
    residual::<f32>();
    residual::<f64>();
}
