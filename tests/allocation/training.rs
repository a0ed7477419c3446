//! Losses, penalties, clips and steps, and layers trained before the others.

use steadygrad::clip::{AutoClip, ClipAdaptive, ClipNorm, ClipPerSample, ClipValue, NormHistory};
use steadygrad::diagnostics::Change;
use steadygrad::loss::{
    BinaryCrossEntropyWithLogits, CrossEntropy, NegativeLogLikelihood, PointwiseLoss, Reduction, Softmax,
    Targets,
};
use steadygrad::optim::{
    Adadelta, Adagrad, Adam, Clipped, Gradients, Lamb, Lars, Lion, Momentum, NAdam, Optimizer, RAdam,
    RmsProp, Sgd, Spread,
};
use steadygrad::pretrain::{
    Autoencoder, AutoencoderTensors, AutoencoderWeights, ContrastiveDivergence, Corruption, Rbm, RbmState,
    RbmTensors, VisibleUnits,
};
use steadygrad::regularize::{
    AlphaDropout, Dropout, ElasticNet, GroupLasso, MaskShape, MaxNorm, Orthogonality,
};
use steadygrad::{Element, Philox, RowShape, WeightShape};

use crate::{LEN, assert_none, ramp};

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
