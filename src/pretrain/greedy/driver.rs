//! The loop over layers, epochs and steps, on buffers that are allocated once.

use alloc::vec::Vec;
use core::ops::ControlFlow;

use super::{Decoder, EarlyStop, LayerPlan, LayerWeights, Learner, Progress, Size};
use crate::optim::{Gradients, Optimizer};
use crate::pretrain::rbm::{ContrastiveDivergence, RbmState, RbmTensors, RbmWeights};
use crate::pretrain::{Autoencoder, AutoencoderTensors, AutoencoderWeights};
use crate::random::Philox;
use crate::stats::norm_partial;
use crate::{Element, Error};

/// Rows that are encoded or evaluated at a time, so that scratch does not grow with the data.
const ROWS: usize = 512;

/// Lists that an optimizer keeps, at most.
const STATES: usize = 4;

/// Counters of a layer's draws begin at its number times this.
const LAYER: u64 = 1 << 48;

/// Counters of a layer's orders begin here, those of its steps at 0.
const ORDERS: u64 = 1 << 47;

/// A run of checked arguments.
#[derive(Debug)]
pub(super) struct Job<'a, 'w, T: Element> {
    pub(super) layers: &'a [LayerPlan<'a, T>],
    pub(super) seed: u64,
    pub(super) data: &'a [T],
    pub(super) weights: &'a mut [LayerWeights<'w, T>],
}

/// All that a run needs besides its arguments, as large as the largest layer wants it.
struct Workspace<T> {
    /// W, hidden bias, visible or output bias, and D: a layer's, one after the other.
    parameters: Vec<T>,
    /// As the parameters: a gradient or a velocity.
    changes: Vec<T>,
    /// As the parameters, each.
    states: [Vec<T>; STATES],
    chain: Vec<T>,
    activity: Vec<T>,
    scratch: Vec<T>,
    batch: Vec<T>,
    order: Vec<u32>,
    words: Vec<u32>,
}

/// Elements of a layer's parameters.
fn parameters_len<T: Element>(plan: &LayerPlan<'_, T>) -> usize {
    let Size { inputs, outputs } = plan.size();
    let matrices = match plan.learner {
        Learner::Autoencoder { decoder: Decoder::Untied, .. } => 2,
        _ => 1,
    };
    matrices * inputs * outputs + inputs + outputs
}

fn scratch_len<T: Element>(plan: &LayerPlan<'_, T>, rows: usize) -> usize {
    let (some, batch) = (rows.min(ROWS), rows.min(plan.batch));
    match plan.learner {
        Learner::Rbm { learning, particles } => {
            let particles = if particles == 0 { batch } else { particles };
            learning.rbm.scratch_len::<T>(some).max(learning.scratch_len::<T>(batch, particles))
        }
        Learner::Autoencoder { net, .. } => net.scratch_len::<T>(some.max(batch)),
    }
}

impl<T: Element> Workspace<T> {
    fn new(layers: &[LayerPlan<'_, T>], rows: usize) -> Self {
        let most = |len: &dyn Fn(&LayerPlan<'_, T>) -> usize| layers.iter().map(len).max().unwrap_or(0);
        let zeros = |len: usize| alloc::vec![T::zero(); len];
        let states = |plan: &LayerPlan<'_, T>| match plan.learner {
            Learner::Rbm { .. } => 0,
            Learner::Autoencoder { optimizer, .. } => optimizer.state_names().len(),
        };
        let state =
            |number: usize| most(&|plan| if states(plan) > number { parameters_len(plan) } else { 0 });
        let chain = |plan: &LayerPlan<'_, T>| match plan.learner {
            Learner::Rbm { learning, particles } => particles * learning.rbm.hidden,
            Learner::Autoencoder { .. } => 0,
        };
        Self {
            parameters: zeros(most(&parameters_len)),
            changes: zeros(most(&parameters_len)),
            states: core::array::from_fn(|number| zeros(state(number))),
            chain: zeros(most(&chain)),
            activity: zeros(most(&|plan| plan.size().outputs)),
            scratch: zeros(most(&|plan| scratch_len(plan, rows))),
            batch: zeros(most(&|plan| plan.batch.min(rows) * plan.size().inputs)),
            order: (0..rows as u32).collect(),
            words: alloc::vec![0; rows],
        }
    }

    /// Another order of the rows, by Fisher and Yates.
    fn shuffle(&mut self, stream: Philox) {
        stream.fill(0, &mut self.words);
        for last in (1..self.order.len()).rev() {
            let other = (u64::from(self.words[last]) * (last as u64 + 1)) >> 32;
            self.order.swap(last, other as usize);
        }
    }
}

pub(super) fn train<T: Element>(
    job: Job<'_, '_, T>,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<usize, Error> {
    let Job { layers, seed, data, weights } = job;
    let Some(first) = layers.first() else { return Ok(0) };
    let rows = data.len() / first.size().inputs;
    let mut workspace = Workspace::new(layers, rows);
    // What a layer is given and what it gives; the last one's outputs are not needed.
    let inner = layers.len() - 1;
    let widest = layers[..inner].iter().map(|plan| plan.size().outputs).max().unwrap_or(0);
    let [mut given, mut gives] = [(); 2].map(|()| alloc::vec![T::zero(); rows * widest]);
    for (layer, (plan, weights)) in layers.iter().zip(weights).enumerate() {
        let Size { inputs, outputs } = plan.size();
        let x = if layer == 0 { data } else { &given[..rows * inputs] };
        let run = Layer { plan, layer, seed, rows, x };
        if run.train(&mut workspace, weights, progress)?.is_break() {
            return Ok(layer);
        }
        if layer < inner {
            run.encode(&mut workspace, &mut gives[..rows * outputs])?;
            core::mem::swap(&mut given, &mut gives);
        }
    }
    Ok(layers.len())
}

/// A layer and what it is given.
struct Layer<'a, T: Element> {
    plan: &'a LayerPlan<'a, T>,
    layer: usize,
    seed: u64,
    rows: usize,
    x: &'a [T],
}

/// W, hidden bias, visible or output bias, and D, out of a layer's buffer.
fn parts<T>(buffer: &mut [T], Size { inputs, outputs }: Size) -> (RbmTensors<'_, T>, Option<&mut [T]>) {
    let (weights, rest) = buffer.split_at_mut(inputs * outputs);
    let (hidden_bias, rest) = rest.split_at_mut(outputs);
    let (visible_bias, decoder) = rest.split_at_mut(inputs);
    let decoder = (!decoder.is_empty()).then_some(decoder);
    (RbmTensors { weights, visible_bias, hidden_bias }, decoder)
}

/// The parameters of an autoencoder in a layer's buffer.
fn autoencoder_weights<T>(buffer: &[T], Size { inputs, outputs }: Size) -> AutoencoderWeights<'_, T> {
    let (weights, rest) = buffer.split_at(inputs * outputs);
    let (hidden_bias, rest) = rest.split_at(outputs);
    let (output_bias, decoder) = rest.split_at(inputs);
    let decoder = (!decoder.is_empty()).then_some(decoder);
    AutoencoderWeights { weights, decoder, hidden_bias, output_bias }
}

impl<T: Element> Layer<'_, T> {
    fn counter(&self) -> u64 {
        (self.layer as u64).wrapping_mul(LAYER)
    }

    /// All epochs; `weights` follow as long as they are finite.
    fn train(
        &self,
        workspace: &mut Workspace<T>,
        weights: &mut LayerWeights<'_, T>,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Error> {
        let Self { plan, layer, .. } = *self;
        let (size, len) = (plan.size(), parameters_len(plan));
        self.begin(workspace, weights);
        let (mut best, mut without) = (f64::INFINITY, 0);
        let mut step = 0;
        for epoch in 0..plan.epochs {
            let order = self.counter().wrapping_add(ORDERS).wrapping_add(epoch as u64);
            workspace.shuffle(Philox { key: self.seed, counter: order });
            let error = self.epoch(workspace, &mut step)?;
            let buffer = &mut workspace.parameters[..len];
            if !error.is_finite() || <T as norm_partial::Compiled>::has_non_finite(buffer) {
                return Err(Error::Diverged { layer, epoch });
            }
            let (learnt, _) = parts(buffer, size);
            weights.weights.copy_from_slice(learnt.weights);
            weights.bias.copy_from_slice(learnt.hidden_bias);
            if progress(Progress { layer, epoch, error }).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            let Some(EarlyStop { patience, improvement }) = plan.early_stop else { continue };
            without = if error < best * (1.0 - improvement) { 0 } else { without + 1 };
            best = best.min(error);
            if without >= patience {
                break;
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The layer's weights as they come, zeros for all that is kept between steps.
    fn begin(&self, workspace: &mut Workspace<T>, weights: &LayerWeights<'_, T>) {
        let (size, len) = (self.plan.size(), parameters_len(self.plan));
        let states = workspace.states.iter_mut();
        for buffer in states.chain([&mut workspace.changes, &mut workspace.chain]) {
            buffer.fill(T::zero());
        }
        let (tensors, decoder) = parts(&mut workspace.parameters[..len], size);
        tensors.weights.copy_from_slice(weights.weights);
        tensors.hidden_bias.copy_from_slice(weights.bias);
        tensors.visible_bias.fill(T::zero());
        if let Some(decoder) = decoder {
            for (j, row) in weights.weights.chunks_exact(size.inputs).enumerate() {
                for (i, &w) in row.iter().enumerate() {
                    decoder[i * size.outputs + j] = w;
                }
            }
        }
        if let Learner::Rbm { learning, .. } = self.plan.learner {
            let target = learning.sparsity.map_or(0.0, |sparsity| sparsity.target);
            workspace.activity.fill(T::from_f64(target));
        }
    }

    /// One pass over the rows, in their order; the error.
    fn epoch(&self, workspace: &mut Workspace<T>, step: &mut u64) -> Result<f64, Error> {
        let inputs = self.plan.size().inputs;
        let mut losses = 0.0;
        let order = core::mem::take(&mut workspace.order);
        for rows in order.chunks(self.plan.batch) {
            let mut batch = core::mem::take(&mut workspace.batch);
            for (row, &from) in batch.chunks_exact_mut(inputs).zip(rows) {
                row.copy_from_slice(&self.x[from as usize * inputs..][..inputs]);
            }
            let stream = Philox { key: self.seed, counter: self.counter().wrapping_add(*step) };
            *step += 1;
            let v = &batch[..rows.len() * inputs];
            let loss = match self.plan.learner {
                Learner::Rbm { learning, particles } => {
                    rbm_step(learning, particles, rows.len(), v, stream, workspace).map(|()| 0.0)
                }
                Learner::Autoencoder { net, optimizer, .. } => {
                    let len = parameters_len(self.plan);
                    autoencoder_step((net, optimizer), (*step, len), rows.len(), v, stream, workspace)
                }
            };
            workspace.batch = batch;
            losses += loss? * rows.len() as f64;
        }
        workspace.order = order;
        match self.plan.learner {
            Learner::Rbm { .. } => self.reconstruction_error(workspace),
            Learner::Autoencoder { .. } => Ok(losses / self.rows as f64),
        }
    }

    /// A machine's reconstruction error over all rows.
    fn reconstruction_error(&self, workspace: &mut Workspace<T>) -> Result<f64, Error> {
        let Learner::Rbm { learning, .. } = self.plan.learner else { return Ok(0.0) };
        let Workspace { parameters, scratch, .. } = workspace;
        let (tensors, _) = parts(&mut parameters[..parameters_len(self.plan)], self.plan.size());
        let mut sum = 0.0;
        for v in self.x.chunks(ROWS * learning.rbm.visible) {
            let rows = v.len() / learning.rbm.visible;
            sum += learning.rbm.reconstruction_error(rows, v, tensors.as_weights(), scratch)? * rows as f64;
        }
        Ok(sum / self.rows as f64)
    }

    /// What the layer gives for every row.
    fn encode(&self, workspace: &mut Workspace<T>, out: &mut [T]) -> Result<(), Error> {
        let (size, len) = (self.plan.size(), parameters_len(self.plan));
        let Workspace { parameters, scratch, .. } = workspace;
        let weights = autoencoder_weights(&parameters[..len], size);
        let blocks = self.x.chunks(ROWS * size.inputs).zip(out.chunks_mut(ROWS * size.outputs));
        for (x, out) in blocks {
            let rows = x.len() / size.inputs;
            match self.plan.learner {
                Learner::Rbm { learning, .. } => {
                    let AutoencoderWeights { weights, hidden_bias, output_bias, .. } = weights;
                    let weights = RbmWeights { weights, visible_bias: output_bias, hidden_bias };
                    learning.rbm.hidden_means(rows, x, weights, scratch, out)?;
                }
                Learner::Autoencoder { net, .. } => net.encode(rows, x, weights, scratch, out)?,
            }
        }
        Ok(())
    }
}

fn rbm_step<T: Element>(
    learning: ContrastiveDivergence,
    particles: usize,
    rows: usize,
    v: &[T],
    stream: Philox,
    workspace: &mut Workspace<T>,
) -> Result<(), Error> {
    let rbm = learning.rbm;
    let size = Size { inputs: rbm.visible, outputs: rbm.hidden };
    let len = size.inputs * size.outputs + size.inputs + size.outputs;
    let Workspace { parameters, changes, chain, activity, scratch, .. } = workspace;
    let state = RbmState {
        velocity: (learning.momentum != 0.0).then(|| parts(&mut changes[..len], size).0),
        chain: (particles > 0).then(|| &mut chain[..particles * rbm.hidden]),
        activity: learning.sparsity.map(|_| &mut activity[..rbm.hidden]),
    };
    learning.step(rows, v, stream, parts(&mut parameters[..len], size).0, state, scratch)
}

fn autoencoder_step<T: Element>(
    (net, optimizer): (Autoencoder, &dyn Optimizer<T>),
    (step, len): (u64, usize),
    rows: usize,
    x: &[T],
    stream: Philox,
    workspace: &mut Workspace<T>,
) -> Result<f64, Error> {
    let size = Size { inputs: net.inputs, outputs: net.hidden };
    let Workspace { parameters, changes, states, scratch, .. } = workspace;
    let (parameters, changes) = (&mut parameters[..len], &mut changes[..len]);
    changes.fill(T::zero());
    let (RbmTensors { weights, visible_bias: output_bias, hidden_bias }, decoder) = parts(changes, size);
    let gradient = AutoencoderTensors { weights, decoder, hidden_bias, output_bias };
    let pair = (autoencoder_weights(parameters, size), gradient);
    let loss = net.forward_backward(rows, x, stream, pair, scratch)?;
    let count = optimizer.state_names().len();
    let mut tensors = states.each_mut().map(|state| [&mut state[..]]);
    for [tensor] in &mut tensors[..count] {
        let whole = core::mem::take(tensor);
        *tensor = &mut whole[..len];
    }
    let mut lists = tensors.each_mut().map(|list| &mut list[..]);
    optimizer.step(step, &mut [parameters], Gradients::new(&[&*changes]), &mut lists[..count])?;
    Ok(loss)
}
