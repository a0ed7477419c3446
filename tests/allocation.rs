//! No forward, backward, clip or step allocates: a counting allocator looks on, inside a pool of one thread.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use steadygrad::clip::{ClipNorm, ClipValue};
use steadygrad::linear::{Dense, DenseGradients, DenseWeights};
use steadygrad::loss::{
    BinaryCrossEntropyWithLogits, CrossEntropy, NegativeLogLikelihood, PointwiseLoss, Reduction, Softmax,
    Targets,
};
use steadygrad::norm::batch_norm::{
    Affine, BackwardInputs, BatchStatistics, EpilogueBackward, Gradients as NormGradients, SavedStatistics,
};
use steadygrad::optim::{Gradients, Momentum, Sgd};
use steadygrad::stats::Moments;
use steadygrad::{Activation, BatchNorm, ChannelShape, Element, Epilogue, PRelu, RowShape};

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
    let norm = ClipNorm { max_norm: 0.5, ..ClipNorm::default() };
    assert_none("ClipNorm", || {
        norm.clip(&mut [&mut grads]).unwrap();
    });
    assert_none("ClipNorm::measure", || {
        norm.measure(&[&grads]).unwrap();
    });
    assert_none("ClipValue", || ClipValue { min: -0.1, max: 0.1 }.clip(&mut [&mut grads]).unwrap());
    for momentum in [Momentum::None, Momentum::Nesterov { momentum: 0.9 }] {
        let sgd = Sgd { momentum, ..Sgd::default() };
        assert_none("Sgd", || {
            sgd.step(2, &mut [&mut params], Gradients::new(&[&grads]), &mut [&mut buffer]).unwrap();
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
    assert_none("Dense::backward", || {
        let gradients = DenseGradients { input: Some(&mut dx), weights: Some(&mut dw), bias: Some(&mut db) };
        op.backward(batch, &x, &dy, &weights, &mut scratch, gradients).unwrap();
    });
}

#[test]
fn allocation_none_in_dense() {
    dense::<f32>();
    dense::<f64>();
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

fn batch_norm<T: Element>() {
    let (x, dy, gain) = (ramp::<T>(LEN), ramp::<T>(LEN), ramp::<T>(100));
    let (mut y, mut dx, mut dresidual) = (ramp::<T>(LEN), ramp::<T>(LEN), ramp::<T>(LEN));
    let (mut mean, mut rstd, mut dgain, mut dbias) = ([0.0; 100], [0.0; 100], ramp::<T>(100), ramp::<T>(100));
    let affine = Affine { gain: Some(&gain), bias: Some(&gain) };
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
                let gradients = NormGradients {
                    input: Some(&mut dx),
                    residual: Some(&mut dresidual),
                    gain: Some(&mut dgain),
                    bias: Some(&mut dbias),
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

#[test]
fn allocation_is_seen() {
    assert_eq!(allocations(|| drop(std::hint::black_box(vec![1_u8; 100]))), 1);
}
