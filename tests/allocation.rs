//! No forward, backward, clip or step allocates: a counting allocator looks on, inside a pool of one thread.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use steadygrad::clip::{AutoClip, ClipAdaptive, ClipNorm, ClipPerSample, ClipValue, NormHistory};
use steadygrad::diagnostics::{Change, GradientFlow, LayerFlow, PowerIteration, Thresholds};
use steadygrad::linear::{Dense, DenseGradients, DenseWeights};
use steadygrad::loss::{
    BinaryCrossEntropyWithLogits, CrossEntropy, NegativeLogLikelihood, PointwiseLoss, Reduction, Softmax,
    Targets,
};
use steadygrad::norm::batch_norm::{
    self, BackwardInputs, BatchStatistics, EpilogueBackward, SavedStatistics,
};
use steadygrad::norm::{
    Affine, GroupNorm, LayerNorm, NormGradients, RmsNorm, SavedRows, SavedSpectral, SpectralNorm,
    SpectralState, WeightGradients, WeightNorm, WeightStandardization,
};
use steadygrad::optim::{
    Adadelta, Adagrad, Adam, Clipped, Gradients, Lamb, Lars, Lion, Momentum, NAdam, Optimizer, RAdam,
    RmsProp, Sgd, Spread,
};
use steadygrad::pretrain::{
    Autoencoder, AutoencoderTensors, AutoencoderWeights, ContrastiveDivergence, Corruption, Rbm, RbmState,
    RbmTensors, VisibleUnits,
};
use steadygrad::recurrent::{
    Directions, Gru, Layer, Lengths, Lstm, LstmState, RecurrentGradients, RecurrentWeights, SequenceBatch,
    SequenceShape, SequenceValues, Stack, StackGradients, VariationalDropout,
};
use steadygrad::regularize::{
    AlphaDropout, Dropout, ElasticNet, GroupLasso, MaskShape, MaxNorm, Orthogonality,
};
use steadygrad::residual::{Add, Highway, HighwayGradients, HighwayInputs, Scaled, StochasticDepth};
use steadygrad::stats::Moments;
use steadygrad::{
    Activation, BatchNorm, ChannelShape, Element, Epilogue, PRelu, Philox, RowShape, WeightShape,
};

/// The system's allocator, which counts the calls of each thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

fn count() {
    // A thread that is being torn down has no counter left.
    let _ = ALLOCATIONS.try_with(|allocations| allocations.set(allocations.get() + 1));
}

#[expect(unsafe_code, reason = "an allocator is an unsafe trait")]
// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `System`, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: `pointer` came from `System`, with this layout.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of this thread during `body`.
fn allocations(body: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.get();
    body();
    ALLOCATIONS.get() - before
}

/// Fails where `body` allocates, inside a pool of one thread, after a first call that may set things up.
#[track_caller]
fn assert_none(what: &str, mut body: impl FnMut() + Send) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a pool");
    let counted = pool.install(|| {
        body();
        allocations(&mut body)
    });
    assert_eq!(counted, 0, "{what} allocates");
}

/// Enough for several blocks of any kernel.
const LEN: usize = 300_000;

fn ramp<T: Element>(len: usize) -> Vec<T> {
    (0..len).map(|i| T::from_f64((i % 1000) as f64 / 250.0 - 2.0)).collect()
}

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

fn clip_and_step<T: Element>() {
    let (mut params, mut grads, mut buffer) = (ramp::<T>(LEN), ramp::<T>(LEN), ramp::<T>(LEN));
    let (mut second, mut third) = (ramp::<T>(LEN), ramp::<T>(LEN));
    let norm = ClipNorm { max_norm: 0.5, ..ClipNorm::default() };
    assert_none("ClipNorm", || {
        norm.clip(&mut [&mut grads]).unwrap();
    });
    assert_none("ClipNorm of another exponent", || {
        ClipNorm { p: 3.0, ..norm }.clip(&mut [&mut grads]).unwrap();
    });
    assert_none("ClipNorm::measure", || {
        norm.measure(&[&grads]).unwrap();
    });
    assert_none("ClipNorm::clip_each", || {
        norm.clip_each(&mut [&mut grads]).unwrap();
    });
    let (mut remembered, mut norms, mut sum) = ([0.0; 20], [0.0; 300], ramp::<T>(1000));
    let mut history = NormHistory { buffer: &mut remembered, seen: 0 };
    assert_none("AutoClip", || {
        AutoClip::default().clip(&mut history, &mut [&mut grads]).unwrap();
    });
    let shape = RowShape { rows: 300, cols: 1000 };
    assert_none("ClipAdaptive", || {
        ClipAdaptive::default().clip(shape, &params, &mut grads).unwrap();
    });
    assert_none("ClipPerSample", || {
        ClipPerSample::add_norms(shape, &grads, &mut norms).unwrap();
        ClipPerSample::default().factors(&mut norms).unwrap();
        ClipPerSample::add_clipped(shape, &grads, &norms, &mut sum).unwrap();
        ClipPerSample::scale(shape, &norms, &mut grads).unwrap();
    });
    assert_none("ClipValue", || ClipValue { min: -0.1, max: 0.1 }.clip(&mut [&mut grads]).unwrap());
    let mut changes = [Change::default()];
    let optimizers: &[&(dyn Optimizer<T> + Send + Sync)] = &[
        &Sgd::default(),
        &Sgd { momentum: Momentum::Nesterov { momentum: 0.9 }, ..Sgd::default() },
        &Adam { amsgrad: true, ..Adam::adamw() },
        &Adadelta::default(),
        &Adagrad::default(),
        &Lamb { weight_decay: 0.1, ..Lamb::default() },
        &Lars { weight_decay: 0.1, ..Lars::default() },
        &Lion::default(),
        &NAdam::default(),
        &RAdam::default(),
        &RmsProp { spread: Spread::Variance, momentum: 0.9, ..RmsProp::default() },
    ];
    for optimizer in optimizers {
        let names = optimizer.state_names();
        let [mut a, mut b, mut c] = [&mut buffer, &mut second, &mut third].map(|list| [list.as_mut_slice()]);
        let state = &mut [&mut a[..], &mut b[..], &mut c[..]][..names.len()];
        assert_none(&format!("{names:?}"), || {
            optimizer.step(2, &mut [&mut params], Gradients::new(&[&grads]), state).unwrap();
            let clipped = Clipped::new(*optimizer, 0.25);
            clipped.step(2, &mut [&mut params], Gradients::new(&[&grads]), state).unwrap();
            let grads: [&[T]; 1] = [&grads];
            let grads = Gradients::new(&grads);
            optimizer.step_observed(2, &mut [&mut params], grads, state, &mut changes).unwrap();
            clipped.step_observed(2, &mut [&mut params], grads, state, &mut changes).unwrap();
        });
    }
}

#[test]
fn allocation_none_in_clip_and_optim() {
    clip_and_step::<f32>();
    clip_and_step::<f64>();
}

fn loss<T: Element>() {
    let shape = RowShape { rows: 300, cols: 1000 };
    let (x, targets, mut dx) = (ramp::<T>(LEN), vec![T::from_f64(1e-3); LEN], ramp::<T>(LEN));
    let (classes, reduction) = (vec![7_i64; shape.rows], Reduction::Mean);
    let entropy = CrossEntropy { label_smoothing: 0.1, ..CrossEntropy::default() };
    for targets in [Targets::Classes(&classes), Targets::Probabilities(&targets)] {
        assert_none("CrossEntropy", || {
            entropy.forward_backward(shape, &x, targets, None, &mut dx).unwrap();
        });
    }
    assert_none("NegativeLogLikelihood", || {
        let loss = NegativeLogLikelihood::default();
        loss.forward_backward(shape, &x, &classes, None, &mut dx).unwrap();
    });
    assert_none("BinaryCrossEntropyWithLogits", || {
        let loss = BinaryCrossEntropyWithLogits { reduction };
        loss.forward_backward(shape, &x, &targets, None, &mut dx).unwrap();
    });
    assert_none("PointwiseLoss", || {
        PointwiseLoss::Squared.forward_backward(reduction, &x, &targets, &mut dx).unwrap();
    });
    assert_none("Softmax forward", || Softmax::Logarithms.forward(shape, &x, &mut dx).unwrap());
    assert_none("Softmax backward", || Softmax::Logarithms.backward(shape, &x, &targets, &mut dx).unwrap());
}

#[test]
fn allocation_none_in_loss() {
    loss::<f32>();
    loss::<f64>();
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

fn moments<T: Element>() {
    let (x, mut moments) = (ramp::<T>(LEN), [Moments::default(); 100]);
    assert_none("Moments::of", || assert_eq!(Moments::of(&x).count, LEN as u64));
    for (outer, inner) in [(3, 1000), (3000, 1)] {
        let shape = ChannelShape { outer, channels: 100, inner };
        assert_none("Moments::of_channels", || Moments::of_channels(shape, &x, &mut moments).unwrap());
    }
}

#[test]
fn allocation_none_in_stats() {
    moments::<f32>();
    moments::<f64>();
}

fn regularize<T: Element>() {
    let (x, mut out, stream) = (ramp::<T>(LEN), ramp::<T>(LEN), Philox { key: 1, counter: 2 });
    for shape in [MaskShape::elements(LEN), MaskShape::time_major(3, 100, 1000)] {
        assert_none("Dropout", || Dropout::default().forward(shape, stream, &x, &mut out).unwrap());
        assert_none("AlphaDropout", || AlphaDropout::default().forward(shape, stream, &x, &mut out).unwrap());
    }
    let (net, shape) =
        (ElasticNet { l1: 0.1, l2: 0.1 }, WeightShape { outputs: 300, inputs: 1000, field: 1 });
    assert_none("penalty", || {
        net.add_gradient(&[&x], &mut [&mut out]).unwrap();
    });
    assert_none("proximal", || net.proximal(0.5, &mut [&mut out]).unwrap());
    assert_none("GroupLasso", || {
        GroupLasso { lambda: 0.1 }.add_gradient(shape, &x, &mut out).unwrap();
    });
    assert_none("GroupLasso::proximal", || {
        GroupLasso { lambda: 0.1 }.proximal(shape, 0.1, &mut out).unwrap();
    });
    assert_none("MaxNorm", || {
        MaxNorm { max: 0.5 }.constrain(shape, &mut out).unwrap();
    });
    let op = Orthogonality { lambda: 1e-9 };
    let mut scratch = ramp::<T>(op.scratch_len::<T>(shape).unwrap());
    assert_none("Orthogonality", || {
        op.add_gradient(shape, &x, &mut scratch, &mut out).unwrap();
    });
}

#[test]
fn allocation_none_in_regularize() {
    regularize::<f32>();
    regularize::<f64>();
    let mut words = vec![0; LEN];
    assert_none("Philox", || Philox::default().fill(3, &mut words));
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

fn recurrent<T: Element>() {
    let shape = SequenceShape { steps: 4, batch: 20 };
    let op = Lstm { inputs: 40, hidden: 50, ..Lstm::default() };
    let (x, dy, mut y, mut dx) = (ramp::<T>(3200), ramp::<T>(4000), ramp::<T>(4000), ramp::<T>(3200));
    let (mut input, mut recurrent) = (ramp::<T>(200 * 40), ramp::<T>(200 * 50));
    let (mut h, mut c) = (ramp::<T>(1000), ramp::<T>(1000));
    let mut packed = {
        let weights = RecurrentWeights {
            input: &input,
            recurrent: &recurrent,
            input_bias: None,
            recurrent_bias: None,
            ..RecurrentWeights::default()
        };
        op.pack(weights).unwrap()
    };
    let mut tape = ramp::<T>(op.tape_len(shape).unwrap());
    let mut scratch = ramp::<T>(op.scratch_len::<T>(shape));
    assert_none("Lstm", || {
        let state = LstmState { h: &mut h, c: &mut c };
        op.forward(shape, &x, &packed, state, &mut tape, &mut scratch, &mut y).unwrap();
        let values = SequenceValues { x: &x, y: &y, dy: &dy };
        let gradients = RecurrentGradients {
            x: Some(&mut dx),
            input: Some(&mut input),
            recurrent: Some(&mut recurrent),
            ..RecurrentGradients::default()
        };
        let dstate = LstmState { h: &mut h, c: &mut c };
        op.backward(shape, values, &packed, &mut tape, dstate, &mut scratch, gradients).unwrap();
        let weights = RecurrentWeights {
            input: &input,
            recurrent: &recurrent,
            input_bias: None,
            recurrent_bias: None,
            ..RecurrentWeights::default()
        };
        packed.repack(weights).unwrap();
    });
}

fn recurrent_stack<T: Element>() {
    let shape = SequenceShape { steps: 4, batch: 10 };
    let gru = Gru { inputs: 8, hidden: 20, ..Gru::default() };
    let (directions, variational) = (Directions::Both, VariationalDropout { input: 0.1, recurrent: 0.2 });
    let op = Stack { layers: 2, directions, dropout: 0.5, variational, ..Stack::new(gru) };
    let (all, mut lengths) = ([3, 1, 2, 4, 4, 4, 1, 2, 3, 3], Lengths::new(shape, &[4; 10]).unwrap());
    let (x, dy, mut y, mut dx) = (ramp::<T>(320), ramp::<T>(1600), ramp::<T>(1600), ramp::<T>(320));
    let (mut state, input, recurrent) = (ramp::<T>(800), ramp::<T>(60 * 40), ramp::<T>(60 * 20));
    let weights = [8, 8, 40, 40].map(|inputs| RecurrentWeights {
        input: &input[..60 * inputs],
        recurrent: &recurrent,
        ..RecurrentWeights::default()
    });
    let mut packed = op.pack(&weights).unwrap();
    let batch = SequenceBatch { lengths: Some(&lengths), ..shape.into() };
    let mut tape = ramp::<T>(op.tape_len(batch).unwrap());
    let mut scratch = ramp::<T>(op.scratch_len::<T>(batch));
    let mut gradients = [8, 8, 40, 40].map(|inputs| ramp::<T>(60 * inputs));
    assert_none("Stack", || {
        lengths.set(shape, &all).unwrap();
        let dropout = Some(Philox { key: 1, counter: 2 });
        let batch = SequenceBatch { lengths: Some(&lengths), dropout, ..shape.into() };
        op.forward(batch, &x, &packed, &mut state, &mut tape, &mut scratch, &mut y).unwrap();
        let mut layers = gradients.each_mut().map(|gradient| RecurrentGradients {
            input: Some(&mut gradient[..]),
            ..RecurrentGradients::default()
        });
        let gradients = StackGradients { x: Some(&mut dx), layers: &mut layers };
        op.backward(batch, (&x, &dy), &packed, &mut tape, &mut state, &mut scratch, gradients).unwrap();
        packed.repack(&weights).unwrap();
    });
}

#[test]
fn allocation_none_in_recurrent() {
    recurrent::<f32>();
    recurrent::<f64>();
    recurrent_stack::<f32>();
    recurrent_stack::<f64>();
}

fn diagnostics<T: Element>() {
    let (x, y, shape) = (ramp::<T>(LEN), ramp::<T>(LEN), RowShape { rows: 300, cols: 1000 });
    let mut flow = GradientFlow::new(3);
    assert_none("LayerFlow and Thresholds", || {
        for layer in &mut flow.layers {
            layer.observe_activations(shape, Activation::Relu, &y).unwrap();
            layer.observe_gradient(&x);
            layer.observe_step(&x, &y).unwrap();
        }
        std::hint::black_box(Thresholds::default().diagnose(&flow.layers).unwrap());
        flow.clear();
    });
    let (mut v, mut u) = (ramp::<T>(1000), ramp::<T>(1000));
    assert_none("PowerIteration", || {
        let product = |x: &[T], y: &mut [T]| Activation::Tanh.forward(x, y);
        PowerIteration::default().largest(&mut v, &mut u, product, product).unwrap();
    });
}

#[test]
fn allocation_none_in_diagnostics() {
    diagnostics::<f32>();
    diagnostics::<f64>();
}

#[test]
fn allocation_is_seen() {
    assert_eq!(allocations(|| drop(std::hint::black_box(vec![1_u8; 100]))), 1);
}

fn pretrain<T: Element>() {
    let rbm = Rbm { visible: 100, hidden: 200, units: VisibleUnits::Gaussian };
    let op = ContrastiveDivergence { lr: 1e-6, momentum: 0.5, ..ContrastiveDivergence::new(rbm) };
    let v = ramp::<T>(60 * 100);
    let mut scratch = vec![T::zero(); op.scratch_len::<T>(60, 50)];
    let [mut w, mut b, mut c] = [20_000, 100, 200].map(|len| vec![T::zero(); len]);
    let [mut uw, mut ub, mut uc, mut chain] = [20_000, 100, 200, 50 * 200].map(|len| vec![T::zero(); len]);
    assert_none("ContrastiveDivergence", || {
        let parameters = RbmTensors { weights: &mut w, visible_bias: &mut b, hidden_bias: &mut c };
        let velocity = RbmTensors { weights: &mut uw, visible_bias: &mut ub, hidden_bias: &mut uc };
        let state = RbmState { velocity: Some(velocity), chain: Some(&mut chain), ..RbmState::default() };
        op.step(60, &v, Philox { key: 1, counter: 1 }, parameters, state, &mut scratch).unwrap();
    });
    let net = Autoencoder {
        corruption: Corruption::Gaussian { std: 0.1 },
        contraction: 0.1,
        ..Autoencoder::new(100, 200)
    };
    let mut scratch = vec![T::zero(); net.scratch_len::<T>(60)];
    let d = w.clone();
    let mut dd = d.clone();
    assert_none("Autoencoder", || {
        let weights = AutoencoderWeights { weights: &w, decoder: Some(&d), hidden_bias: &c, output_bias: &b };
        let gradient = AutoencoderTensors {
            weights: &mut uw,
            decoder: Some(&mut dd),
            hidden_bias: &mut uc,
            output_bias: &mut ub,
        };
        net.forward_backward(60, &v, Philox::default(), (weights, gradient), &mut scratch).unwrap();
    });
}

#[test]
fn allocation_none_in_pretrain() {
    pretrain::<f32>();
    pretrain::<f64>();
}
