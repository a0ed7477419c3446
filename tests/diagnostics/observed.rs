//! Passes that measure on the way: the same results to the bit, and the norms of what they read and wrote.

use steadygrad::diagnostics::{Change, LayerFlow, Magnitude};
use steadygrad::linear::{Dense, DenseGradients};
use steadygrad::optim::{
    Adadelta, Adagrad, Adam, Clipped, Gradients, Lamb, Lars, Lion, Momentum, NAdam, Optimizer, RAdam,
    RmsProp, Sgd,
};
use steadygrad::{Element, Error};

use crate::common::{assert_same_bits, each_level, numbers};
use crate::{assert_equal_everywhere, assert_norm, reference, wide};

/// Layers of which the gradient of the weights is one block, several, and rows longer than a block.
const LAYERS: [(usize, Dense); 7] = [
    (5, Dense { inputs: 7, outputs: 33 }),
    (1, Dense { inputs: 1, outputs: 1 }),
    (33, Dense { inputs: 300, outputs: 513 }),
    (3, Dense { inputs: 70_000, outputs: 3 }),
    (0, Dense { inputs: 4, outputs: 3 }),
    (4, Dense { inputs: 0, outputs: 3 }),
    (4, Dense { inputs: 3, outputs: 0 }),
];

struct Backward<T> {
    dx: Vec<T>,
    dw: Vec<T>,
    db: Vec<T>,
    flow: LayerFlow,
}

impl<T: Element> Backward<T> {
    fn run(batch: usize, layer: Dense, with_bias: bool, observed: bool) -> Self {
        let (x, dy, w): (Vec<T>, Vec<T>, Vec<T>) = Self::inputs(batch, layer);
        let (mut dx, mut dw, mut db) = (
            vec![T::nan(); batch * layer.inputs],
            numbers::<T>(4, layer.inputs * layer.outputs, 0.1),
            numbers::<T>(5, layer.outputs, 0.1),
        );
        let (mut scratch, mut flow) =
            (vec![T::nan(); layer.backward_scratch_len::<T>(batch)], LayerFlow::default());
        let gradients = DenseGradients {
            input: Some(&mut dx),
            weights: Some(&mut dw),
            bias: with_bias.then_some(&mut db),
            ..DenseGradients::default()
        };
        if observed {
            layer.backward_observed(batch, &x, &dy, &w, &mut scratch, gradients, &mut flow).unwrap();
        } else {
            layer.backward(batch, &x, &dy, &w, &mut scratch, gradients).unwrap();
        }
        Self { dx, dw, db, flow }
    }

    fn inputs(batch: usize, layer: Dense) -> (Vec<T>, Vec<T>, Vec<T>) {
        let x = numbers(1, batch * layer.inputs, 1.0);
        (x, numbers(2, batch * layer.outputs, 1.0), numbers(3, layer.inputs * layer.outputs, 1.0))
    }
}

fn backward<T: Element>() {
    for (batch, layer) in LAYERS {
        each_level(|level| {
            for with_bias in [true, false] {
                let plain = Backward::<T>::run(batch, layer, with_bias, false);
                let observed = Backward::<T>::run(batch, layer, with_bias, true);
                assert_same_bits(&plain.dx, &observed.dx, || format!("dx of {layer:?} at {level}"));
                assert_same_bits(&plain.dw, &observed.dw, || format!("dW of {layer:?} at {level}"));
                assert_same_bits(&plain.db, &observed.db, || format!("db of {layer:?} at {level}"));
                assert_eq!(plain.flow, LayerFlow::default());
                let (_, dy, _) = Backward::<T>::inputs(batch, layer);
                let gradient = observed.flow.gradient.unwrap();
                assert_norm(gradient.norm, reference::norm(&wide(&dy)));
                assert_eq!((gradient.elements, gradient.non_finite), (dy.len() as u64, 0));
                assert_eq!(LayerFlow { gradient: None, ..observed.flow }, LayerFlow::default());
            }
        });
    }
}

#[test]
fn backward_observed_is_the_backward_and_measures_it() {
    backward::<f32>();
    backward::<f64>();
}

#[test]
fn backward_observed_is_the_same_everywhere() {
    for (batch, layer) in
        [(33, Dense { inputs: 300, outputs: 513 }), (700, Dense { inputs: 40, outputs: 900 })]
    {
        assert_equal_everywhere(|| {
            vec![Backward::<f32>::run(batch, layer, true, true).flow.gradient.unwrap().norm]
        });
    }
}

/// A NaN anywhere in dy is counted; large numbers of f64 have a finite norm.
#[test]
fn backward_observed_special_values() {
    let (batch, layer) = (5, Dense { inputs: 40, outputs: 70 });
    let (x, w) = (numbers::<f64>(1, 200, 1.0), numbers::<f64>(2, 2800, 1.0));
    each_level(|_| {
        for place in [0, 31, 32, 69, 349] {
            for (value, with_bias) in
                [(f64::NAN, true), (f64::INFINITY, false), (1e250, true), (1e250, false)]
            {
                let mut dy = vec![1e-3; 350];
                dy[place] = value;
                let (mut dw, mut db) = (vec![0.0; 2800], vec![0.0; 70]);
                let mut scratch = vec![0.0; layer.backward_scratch_len::<f64>(batch)];
                let gradients = DenseGradients {
                    weights: Some(&mut dw),
                    bias: with_bias.then_some(&mut db[..]),
                    ..DenseGradients::default()
                };
                let mut flow = LayerFlow::default();
                layer.backward_observed(batch, &x, &dy, &w, &mut scratch, gradients, &mut flow).unwrap();
                let gradient = flow.gradient.unwrap();
                assert_norm(gradient.norm, value);
                assert_eq!(gradient.non_finite, u64::from(!value.is_finite()));
                assert_eq!(flow.non_finite(), gradient.non_finite);
            }
        }
    });
}

#[test]
fn backward_observed_names_the_bad_argument() {
    let (layer, mut flow) = (Dense { inputs: 3, outputs: 2 }, LayerFlow::default());
    flow.observe_gradient(&[1.0_f32]);
    let before = flow;
    let mut scratch = vec![0.0; layer.backward_scratch_len::<f32>(2)];
    let mut dw = [f32::NAN; 5];
    let gradients = DenseGradients { weights: Some(&mut dw), ..DenseGradients::default() };
    let refused =
        layer.backward_observed(2, &[0.0; 6], &[0.0; 4], &[0.0; 6], &mut scratch, gradients, &mut flow);
    assert_eq!(refused, Err(Error::Length { argument: "gradients.weights", expected: 6, actual: 5 }));
    let refused = layer.backward_observed(
        2,
        &[0.0_f32; 6],
        &[0.0; 3],
        &[0.0; 6],
        &mut scratch,
        DenseGradients::default(),
        &mut flow,
    );
    assert_eq!(refused, Err(Error::Length { argument: "dy", expected: 4, actual: 3 }));
    assert_eq!(flow, before);
    assert!(dw.iter().all(|dw| dw.is_nan()));
}

/// Tensors that are empty, small, a window and more, and more than a task.
const LENS: [usize; 6] = [0, 5, 1024, 1025, 3, 70_003];

fn tensors<T: Element>(seed: u64, deviation: f64) -> Vec<Vec<T>> {
    LENS.iter().enumerate().map(|(number, &len)| numbers(seed + number as u64, len, deviation)).collect()
}

/// What steps leave behind.
struct Stepped<T> {
    params: Vec<Vec<T>>,
    state: Vec<Vec<Vec<T>>>,
    changes: Vec<Change>,
}

/// So many steps, the last of which was observed where that is asked for.
fn stepped<T: Element>(optimizer: &dyn Optimizer<T>, steps: u64, observed: bool) -> Stepped<T> {
    let (mut params, grads) = (tensors::<T>(1, 1.0), tensors::<T>(100, 0.3));
    let zeros = || LENS.map(|len| vec![T::zero(); len]).to_vec();
    let mut state: Vec<Vec<Vec<T>>> = optimizer.state_names().iter().map(|_| zeros()).collect();
    let mut changes = vec![Change::default(); LENS.len()];
    for step in 1..=steps {
        let mut params: Vec<&mut [T]> = params.iter_mut().map(Vec::as_mut_slice).collect();
        let grads: Vec<&[T]> = grads.iter().map(Vec::as_slice).collect();
        let mut lists: Vec<Vec<&mut [T]>> =
            state.iter_mut().map(|list| list.iter_mut().map(Vec::as_mut_slice).collect()).collect();
        let mut lists: Vec<&mut [&mut [T]]> = lists.iter_mut().map(Vec::as_mut_slice).collect();
        let grads = Gradients { tensors: &grads, scale: 0.5 };
        if observed && step == steps {
            optimizer.step_observed(step, &mut params, grads, &mut lists, &mut changes).unwrap();
        } else {
            optimizer.step(step, &mut params, grads, &mut lists).unwrap();
        }
    }
    Stepped { params, state, changes }
}

fn optimizers<T: Element>() -> Vec<Box<dyn Optimizer<T> + Sync>> {
    vec![
        Box::new(Sgd::default()),
        Box::new(Sgd { momentum: Momentum::Nesterov { momentum: 0.9 }, ..Sgd::default() }),
        Box::new(Adam { amsgrad: true, ..Adam::adamw() }),
        Box::new(Adadelta::default()),
        Box::new(Adagrad::default()),
        Box::new(Lamb { weight_decay: 0.1, ..Lamb::default() }),
        Box::new(Lars { weight_decay: 0.1, ..Lars::default() }),
        Box::new(Lion::default()),
        Box::new(NAdam::default()),
        Box::new(RAdam::default()),
        Box::new(RmsProp::default()),
    ]
}

fn step<T: Element>() {
    for (number, optimizer) in optimizers::<T>().iter().enumerate() {
        let before = stepped(optimizer.as_ref(), 2, false).params;
        let Stepped { params, state, .. } = stepped(optimizer.as_ref(), 3, false);
        let Stepped { params: observed, state: observed_state, changes } =
            stepped(optimizer.as_ref(), 3, true);
        for (a, b) in params.iter().zip(&observed) {
            assert_same_bits(a, b, || format!("parameters of optimizer {number}"));
        }
        for (a, b) in state.iter().flatten().zip(observed_state.iter().flatten()) {
            assert_same_bits(a, b, || format!("state of optimizer {number}"));
        }
        let grads = tensors::<T>(100, 0.3);
        for (((before, after), grad), change) in before.iter().zip(&params).zip(&grads).zip(&changes) {
            let [norm, update] = reference::change(&wide(before), &wide(after));
            assert_norm(change.before.norm, norm);
            assert_norm(change.update.norm, update);
            assert_eq!(change.update.elements, after.len() as u64);
            assert_norm(change.gradient.unwrap().norm, reference::norm(&wide(grad)));
        }
    }
}

#[test]
fn step_observed_is_the_step_and_measures_it() {
    each_level(|_| step::<f32>());
    step::<f64>();
}

#[test]
fn step_observed_is_the_same_everywhere() {
    for optimizer in optimizers::<f32>() {
        assert_equal_everywhere(|| {
            let changes = stepped(optimizer.as_ref(), 3, true).changes;
            let norms =
                |change: &Change| [change.before, change.update, change.gradient.unwrap()].map(|x| x.norm);
            changes.iter().flat_map(norms).collect()
        });
    }
}

#[test]
fn step_observed_of_clipped_measures_the_clipped_step() {
    let clipped = Clipped::new(Sgd { lr: 1.0, ..Sgd::default() }, 2.5);
    let (mut w, mut changes) = ([1.0_f32, 1.0], [Change::default()]);
    let report = clipped
        .step_observed(1, &mut [&mut w], Gradients::new(&[&[3.0, 4.0]]), &mut [], &mut changes)
        .unwrap();
    assert_eq!((report.norm, report.scale, w), (5.0, 0.5, [-0.5, -1.0]));
    assert_eq!(changes[0].update.norm, 2.5);
    assert_eq!(changes[0].gradient.unwrap().norm, 5.0); // as it was given
    assert_norm(changes[0].before.norm, 2.0_f64.sqrt());
    // An error writes nothing.
    let kept = changes;
    let refused =
        clipped.step_observed(2, &mut [&mut w], Gradients::new(&[&[f32::NAN, 4.0]]), &mut [], &mut changes);
    assert_eq!(refused.err(), Some(Error::NonFinite { argument: "grads", index: 0 }));
    assert_eq!((changes, w), (kept, [-0.5, -1.0]));
}

#[test]
fn step_observed_names_the_bad_argument() {
    let (mut w, mut changes) = ([1.0_f32], [Change::default(); 2]);
    let error = Error::Length { argument: "changes", expected: 1, actual: 2 };
    let refused =
        Sgd::default().step_observed(1, &mut [&mut w], Gradients::new(&[&[1.0]]), &mut [], &mut changes);
    assert_eq!(refused, Err(error));
    let clipped = Clipped::new(Sgd::default(), 1.0);
    let refused = clipped.step_observed(1, &mut [&mut w], Gradients::new(&[&[1.0]]), &mut [], &mut changes);
    assert_eq!(refused.err(), Some(error));
    assert_eq!(w, [1.0]);
}

#[test]
fn layer_flow_takes_slices_of_any_origin() {
    let mut flow = LayerFlow::default();
    assert_eq!(flow.update_to_weight(), None);
    flow.observe_weights(&[3.0_f32, 4.0]);
    flow.observe_weight_gradient(&[1.0_f32, f32::NAN]);
    flow.observe_gradient(&[2.0_f64]);
    assert_eq!(flow.non_finite(), 1);
    assert_eq!(flow.weights, Some(Magnitude { norm: 5.0, elements: 2, non_finite: 0 }));
    flow.observe_step(&[3.0_f32, 4.0], &[3.0, 4.5]).unwrap();
    assert_eq!(flow.update_to_weight(), Some(0.1));
    let kept = flow;
    assert!(flow.observe_step(&[3.0_f32], &[3.0, 4.5]).is_err());
    assert_eq!(flow.gradient, kept.gradient);
    assert_eq!(flow.update, kept.update);
}
