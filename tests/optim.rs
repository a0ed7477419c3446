//! Optimizers against their formulas and PyTorch's results.

mod common;

use common::{Guarded, assert_same_bits, each_level, each_pool};
use proptest::prelude::*;
use steadygrad::clip::{ClipNorm, NonFinite};
use steadygrad::optim::{Gradients, Momentum, Sgd, WeightDecay};
use steadygrad::reference::sgd::{self as reference, State};
use steadygrad::{Element, Error, Level};

const CLASSICAL: Momentum = Momentum::Classical { momentum: 0.9, dampening: 0.0 };
const DAMPENED: Momentum = Momentum::Classical { momentum: 0.75, dampening: 0.3 };
const NESTEROV: Momentum = Momentum::Nesterov { momentum: 0.9 };

/// Lengths of a list that reach tails, block edges and the cuts between tasks.
const LIST: [usize; 9] = [0, 64, 150_001, 1, 70_000, 16_384, 0, 5, 200_003];

fn rules() -> Vec<Sgd> {
    let decays = [WeightDecay::NONE, WeightDecay::Coupled(0.25), WeightDecay::Decoupled(0.25)];
    let momenta = [Momentum::None, CLASSICAL, DAMPENED, NESTEROV];
    let rule = |momentum| decays.map(|weight_decay| Sgd { lr: 0.125, momentum, weight_decay });
    momenta.into_iter().flat_map(rule).collect()
}

/// One parameter after a step of number `step`, by the formulas.
fn expected(op: Sgd, step: u64, state: State<f64>, grad: f64, scale: f64) -> State<f64> {
    let g = if scale == 0.0 { 0.0 } else { grad * scale };
    let (p, g) = match op.weight_decay {
        WeightDecay::Coupled(decay) => (state.p, reference::coupled_decay(state.p, g, decay)),
        WeightDecay::Decoupled(decay) => (reference::decoupled_decay(state.p, op.lr, decay), g),
    };
    let state = State { p, ..state };
    match op.momentum {
        Momentum::None => State { p: reference::plain(p, g, op.lr), b: state.b },
        Momentum::Classical { momentum, dampening } => {
            reference::classical(state, g, op.lr, momentum, dampening, step)
        }
        Momentum::Nesterov { momentum } => reference::nesterov(state, g, op.lr, momentum, step),
    }
}

#[track_caller]
fn check<T: Element>(op: Sgd, step: u64, len: usize, scale: f64) {
    let offset = len % 5;
    let (params, grads): (Vec<T>, Vec<T>) = (common::numbers(1, len, 2.0), common::numbers(2, len, 2.0));
    let buffers: Vec<T> = common::numbers(3, len, 2.0);
    each_level(|level| {
        let mut param = Guarded::of(&params, offset);
        // On the first step it may hold anything.
        let mut buffer = if step == 1 { Guarded::new(len, offset) } else { Guarded::of(&buffers, offset) };
        let gradients = Gradients { tensors: &[&grads], scale };
        op.step(step, &mut [param.slice()], gradients, &mut [buffer.slice()]).unwrap();
        let (param, buffer) = (param.checked(), buffer.checked());
        for i in 0..len {
            let before = State { p: params[i].to_f64(), b: buffers[i].to_f64() };
            let after = expected(op, step, before, grads[i].to_f64(), scale);
            // A few roundings of terms no larger than these.
            let largest = before.p.abs() + before.b.abs() + grads[i].to_f64().abs();
            let allowed = 4.0 * T::epsilon().to_f64() * largest;
            let distance = (param[i].to_f64() - after.p).abs();
            assert!(distance <= allowed, "{:?} is not {}: {op:?} step {step} at {level}", param[i], after.p);
            if op.momentum == Momentum::None {
                assert!(step == 1 || buffer[i] == buffers[i], "a buffer that is not used was written");
            } else {
                let distance = (buffer[i].to_f64() - after.b).abs();
                assert!(distance <= allowed, "{:?} is not {}: {op:?} at {level}", buffer[i], after.b);
            }
        }
    });
}

#[test]
fn sgd_step_matches_reference() {
    for op in rules() {
        for step in [1, 2] {
            for len in common::lengths() {
                check::<f32>(op, step, len, 1.0);
                check::<f64>(op, step, len, 0.25);
            }
        }
    }
}

#[test]
fn sgd_step_equals_pytorch() {
    // torch.optim.SGD of PyTorch 2.15 in f64, lr 0.1, after ten steps from [1, -2, 0.5].
    let rule = |momentum, decay| Sgd { lr: 0.1, momentum, weight_decay: WeightDecay::Coupled(decay) };
    let classical = |momentum, dampening| Momentum::Classical { momentum, dampening };
    let results = [
        (rule(classical(0.9, 0.0), 0.0), [-7.878523175950001, -0.9654735097750001, -1.0539595029396827]),
        (rule(classical(0.9, 0.3), 0.01), [-5.318000763514846, -1.170538421237208, -0.786643275140646]),
        (
            rule(Momentum::Nesterov { momentum: 0.9 }, 0.01),
            [-9.701161933275504, -0.7400873336171757, -1.185199095793446],
        ),
        (rule(Momentum::None, 0.1), [-1.7647450543494183, -1.5697193375396203, 0.17795383058566988]),
    ];
    for (op, result) in results {
        let (mut param, mut buffer) = ([1.0_f64, -2.0, 0.5], [f64::NAN; 3]);
        for step in 1..=10 {
            let t = step as f64;
            let grad = [0.5 * t, -0.25, 1.0 / t];
            op.step(step, &mut [&mut param], Gradients::new(&[&grad]), &mut [&mut buffer]).unwrap();
        }
        for (actual, expected) in param.iter().zip(result) {
            assert!((actual - expected).abs() < 1e-14, "{actual} is not {expected}: {op:?}");
        }
    }
}

#[test]
fn sgd_step_a_scale_of_zero_leaves_the_gradient_out() {
    for len in 1..=70 {
        let mut grad = vec![0.5_f32; len];
        grad[len / 2] = f32::NAN;
        let clip = ClipNorm { non_finite: NonFinite::Skip, ..ClipNorm::default() };
        let scale = clip.measure(&[&grad]).unwrap().scale;
        for op in rules() {
            let (mut param, mut buffer) = (vec![2.0_f32; len], vec![1.0_f32; len]);
            let gradients = Gradients { tensors: &[&grad], scale };
            op.step(2, &mut [&mut param], gradients, &mut [&mut buffer]).unwrap();
            assert!(param.iter().chain(&buffer).all(|v| v.is_finite()), "{op:?}");
        }
    }
}

#[test]
fn sgd_step_with_the_clip_scale_is_clip_then_step() {
    let op = Sgd { lr: 0.5, momentum: CLASSICAL, ..Sgd::default() };
    let grads: Vec<Vec<f32>> = LIST.iter().map(|&len| common::numbers(len as u64, len, 1.0)).collect();
    let slices: Vec<&[f32]> = grads.iter().map(Vec::as_slice).collect();
    let run = |gradients: Gradients<'_, f32>| {
        let mut params: Vec<Vec<f32>> = LIST.iter().map(|&len| vec![1.0; len]).collect();
        let mut buffers: Vec<Vec<f32>> = LIST.iter().map(|&len| vec![0.5; len]).collect();
        let mut param_list: Vec<&mut [f32]> = params.iter_mut().map(Vec::as_mut_slice).collect();
        let mut buffer_list: Vec<&mut [f32]> = buffers.iter_mut().map(Vec::as_mut_slice).collect();
        op.step(2, &mut param_list, gradients, &mut buffer_list).unwrap();
        params.concat()
    };
    let clip = ClipNorm { max_norm: 0.25, ..ClipNorm::default() };
    let fused = run(Gradients { tensors: &slices, scale: clip.measure(&slices).unwrap().scale });
    let mut clipped = grads.clone();
    clip.clip(&mut clipped.iter_mut().map(Vec::as_mut_slice).collect::<Vec<_>>()).unwrap();
    let separate = run(Gradients::new(&clipped.iter().map(Vec::as_slice).collect::<Vec<_>>()));
    assert_same_bits(&fused, &separate, || "fused".into());
}

#[test]
fn sgd_step_same_bits_in_any_pool_and_on_avx2_and_avx512() {
    let grads: Vec<Vec<f32>> = LIST.iter().map(|&len| common::numbers(len as u64, len, 1.0)).collect();
    let slices: Vec<&[f32]> = grads.iter().map(Vec::as_slice).collect();
    for op in rules() {
        let run = || {
            let (mut params, mut buffers) = (grads.clone(), grads.clone());
            let mut param_list: Vec<&mut [f32]> = params.iter_mut().map(Vec::as_mut_slice).collect();
            let mut buffer_list: Vec<&mut [f32]> = buffers.iter_mut().map(Vec::as_mut_slice).collect();
            op.step(2, &mut param_list, Gradients::new(&slices), &mut buffer_list).unwrap();
            (params.concat(), buffers.concat())
        };
        let expected = run();
        each_pool(|threads| {
            let actual = run();
            assert_same_bits(&actual.0, &expected.0, || format!("{op:?} on {threads} threads"));
            assert_same_bits(&actual.1, &expected.1, || format!("buffers of {op:?} on {threads} threads"));
        });
        let fused: Vec<Level> = Level::available().filter(|&level| level != Level::Portable).collect();
        for pair in fused.windows(2) {
            let [first, second] = [pair[0], pair[1]].map(|level| Level::scoped(level, run).unwrap());
            assert_same_bits(&first.0, &second.0, || format!("{op:?} at {pair:?}"));
            assert_same_bits(&first.1, &second.1, || format!("buffers of {op:?} at {pair:?}"));
        }
    }
}

#[test]
fn sgd_step_of_nothing() {
    Sgd::default().step::<f32>(1, &mut [], Gradients::new(&[]), &mut []).unwrap();
    let op = Sgd { momentum: CLASSICAL, ..Sgd::default() };
    op.step::<f64>(1, &mut [&mut []], Gradients::new(&[&[]]), &mut [&mut []]).unwrap();
}

#[test]
fn sgd_names_the_bad_argument() {
    let good = Sgd { momentum: CLASSICAL, ..Sgd::default() };
    let grads: [&[f32]; 2] = [&[1.0, 2.0], &[3.0]];
    let refused = |op: Sgd, step: u64, grads: Gradients<'_, f32>, buffers: [usize; 2]| {
        let (mut first, mut second) = (Guarded::<f32>::new(2, 0), Guarded::<f32>::new(1, 0));
        let mut buffers = buffers.map(|len| Guarded::<f32>::new(len, 0));
        let [a, b] = &mut buffers;
        let mut buffer_list = [a.slice(), b.slice()];
        let error = op.step(step, &mut [first.slice(), second.slice()], grads, &mut buffer_list).unwrap_err();
        assert!(first.is_untouched() && second.is_untouched() && buffers.iter().all(Guarded::is_untouched));
        match error {
            Error::Length { argument, .. } | Error::OutOfRange { argument, .. } => argument,
            other => panic!("{other:?}"),
        }
    };
    let list = Gradients::new(&grads);
    for lr in [-1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(refused(Sgd { lr, ..good }, 1, list, [2, 1]), "lr");
    }
    for momentum in [0.0, -0.1, f64::NAN] {
        let classical = Momentum::Classical { momentum, dampening: 0.0 };
        assert_eq!(refused(Sgd { momentum: classical, ..good }, 1, list, [2, 1]), "momentum");
        let nesterov = Momentum::Nesterov { momentum };
        assert_eq!(refused(Sgd { momentum: nesterov, ..good }, 1, list, [2, 1]), "momentum");
    }
    let dampening = Momentum::Classical { momentum: 0.9, dampening: f64::NAN };
    assert_eq!(refused(Sgd { momentum: dampening, ..good }, 1, list, [2, 1]), "dampening");
    for decay in [WeightDecay::Coupled(-1.0), WeightDecay::Decoupled(f64::NAN)] {
        assert_eq!(refused(Sgd { weight_decay: decay, ..good }, 1, list, [2, 1]), "weight_decay");
    }
    for scale in [-1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(refused(good, 1, Gradients { scale, ..list }, [2, 1]), "scale");
    }
    assert_eq!(refused(good, 0, list, [2, 1]), "step");
    assert_eq!(refused(good, 1, Gradients::new(&grads[..1]), [2, 1]), "grads");
    assert_eq!(refused(good, 1, Gradients::new(&[grads[0], grads[0]]), [2, 1]), "grads");
    assert_eq!(refused(good, 1, list, [2, 3]), "buffers");
}

#[test]
#[should_panic(expected = "is not")]
fn sgd_comparison_can_fail() {
    let state = expected(Sgd { lr: 0.5, ..Sgd::default() }, 1, State { p: 1.0, b: 0.0 }, 1.0, 1.0);
    assert!((state.p - 0.5).abs() < 1e-12);
    assert!((state.p - 0.25).abs() < 1e-12, "{} is not 0.25", state.p);
}

proptest! {
    #[test]
    fn sgd_step_matches_reference_for_any_rule(
        which in 0..12_usize,
        step in 1..4_u64,
        len in 0..400_usize,
        scale in 0.0..2.0_f64,
    ) {
        check::<f32>(rules()[which], step, len, scale);
        check::<f64>(rules()[which], step, len, scale);
    }
}
