//! `step/mlp20_bn` and `step/resmlp20`: a training step of a deep network on 128 images of 784 pixels; `flow/mlp20_bn`, the
//! first of them, plain and with its diagnosis.
//!
//! ```text
//! zₗ = Wₗ·yₗ₋₁ + bₗ (+ zₗ₋₂ at the end of a residual block)        yₗ = relu(bn(zₗ))
//! ```

use std::hint::black_box;

use steadygrad::diagnostics::{Change, GradientFlow, Thresholds};
use steadygrad::linear::{Dense, DenseGradients, DenseWeights};
use steadygrad::loss::{CrossEntropy, Targets};
use steadygrad::norm::Affine;
use steadygrad::norm::batch_norm::{
    BackwardInputs, BatchStatistics, EpilogueBackward, Gradients, RunningStatistics, SavedStatistics,
};
use steadygrad::optim::{self, Clipped, Momentum, Sgd};
use steadygrad::residual::Add;
use steadygrad::{Activation, BatchNorm, ChannelShape, Epilogue, GradientMode, RowShape};

use crate::timing::{Bench, Work, normal};

const BATCH: usize = 128;
const PIXELS: usize = 784;
const WIDTH: usize = 256;
const CLASSES: usize = 10;
/// Weights, bias, γ and β, the last two empty at the last layer.
const TENSORS: usize = 4;
const RELU: Epilogue<'_, f32> = Epilogue { residual: None, activation: Some(Activation::Relu) };

pub(crate) fn run(bench: &Bench, parts: &[&str]) -> Option<()> {
    let (hidden, blocks) = match *parts {
        ["step", "mlp20_bn"] => (19, false),
        ["step", "resmlp20"] => (41, true),
        _ => return None,
    };
    let mut network = Network::new(hidden, blocks);
    bench.measure(&parts.join("/"), "step", "f32", work(hidden), || {
        _ = black_box(steadygrad::keep_awake(|| network.step()))
    });
    Some(())
}

fn work(hidden: usize) -> Work {
    let layers = 2 * PIXELS * WIDTH + 3 * (hidden - 1) * WIDTH * WIDTH + 3 * WIDTH * CLASSES;
    Work { bytes: 0, flops: 2 * BATCH * layers }
}

pub(crate) fn flow_names() -> Vec<String> {
    vec!["flow/mlp20_bn".into()]
}

/// The step without and with all that a diagnosis measures, and the diagnosis.
pub(crate) fn run_flow(bench: &Bench, parts: &[&str]) -> Option<()> {
    let (["flow", "mlp20_bn"], hidden) = (parts, 19) else { return None };
    let (mut plain, mut observed) = (Network::new(hidden, false), Network::new(hidden, false));
    observed.flow = Some(Flow::new(hidden));
    bench.measure("flow/mlp20_bn", "plain", "f32", work(hidden), || _ = black_box(plain.step()));
    bench.measure("flow/mlp20_bn", "observed", "f32", work(hidden), || {
        _ = black_box(observed.step_observed())
    });
    Some(())
}

/// What is measured.
struct Flow {
    layers: GradientFlow,
    changes: Vec<Change>,
}

impl Flow {
    fn new(hidden: usize) -> Self {
        Self {
            layers: GradientFlow::new(hidden + 1),
            changes: vec![Change::default(); (hidden + 1) * TENSORS],
        }
    }
}

/// A layer's values for a batch, and what its norm keeps.
struct Layer {
    dense: Dense,
    z: Vec<f32>,
    y: Vec<f32>,
    dz: Vec<f32>,
    mean: Vec<f64>,
    rstd: Vec<f64>,
    running_mean: Vec<f32>,
    running_variance: Vec<f32>,
    batches: u64,
    /// Whether the sums of two layers before are added to this one's.
    ends_block: bool,
}

struct Network {
    images: Vec<f32>,
    classes: Vec<i64>,
    layers: Vec<Layer>,
    /// [`TENSORS`] of each layer, one after the other; so are the two below.
    parameters: Vec<Vec<f32>>,
    gradients: Vec<Vec<f32>>,
    momentum: Vec<Vec<f32>>,
    dy: Vec<f32>,
    scratch: Vec<f32>,
    optimizer: Clipped<Sgd>,
    steps: u64,
    flow: Option<Flow>,
}

impl Network {
    fn new(hidden: usize, blocks: bool) -> Self {
        let (mut layers, mut parameters, mut scratch) = (Vec::new(), Vec::new(), 0);
        for index in 0..=hidden {
            let dense = Dense {
                inputs: if index == 0 { PIXELS } else { WIDTH },
                outputs: if index == hidden { CLASSES } else { WIDTH },
            };
            let deviation = (1.0 / (3.0 * dense.inputs as f32)).sqrt();
            let weights: Vec<f32> =
                normal::<f32>(dense.outputs * dense.inputs).iter().map(|w| w * deviation).collect();
            let channels = if index == hidden { 0 } else { WIDTH };
            let values = || vec![0.0; BATCH * dense.outputs];
            layers.push(Layer {
                dense,
                z: values(),
                y: values(),
                dz: values(),
                mean: vec![0.0; channels],
                rstd: vec![0.0; channels],
                running_mean: vec![0.0; channels],
                running_variance: vec![1.0; channels],
                batches: 0,
                ends_block: blocks && index > 0 && index < hidden && index % 2 == 0,
            });
            parameters.extend([weights, vec![0.0; dense.outputs], vec![1.0; channels], vec![0.0; channels]]);
            scratch = scratch.max(dense.forward_scratch_len::<f32>(BATCH));
            scratch = scratch.max(dense.backward_scratch_len::<f32>(BATCH));
        }
        let sgd = Sgd {
            lr: 0.01,
            momentum: Momentum::Classical { momentum: 0.9, dampening: 0.0 },
            ..Sgd::default()
        };
        Self {
            images: normal(BATCH * PIXELS),
            classes: (0..BATCH as i64).map(|sample| sample % CLASSES as i64).collect(),
            layers,
            gradients: parameters.clone(),
            momentum: parameters.clone(),
            parameters,
            dy: vec![0.0; BATCH * WIDTH],
            scratch: vec![0.0; scratch],
            optimizer: Clipped::new(sgd, 1.0),
            steps: 0,
            flow: None,
        }
    }

    /// [`step`](Self::step) and its diagnosis.
    #[inline(never)]
    fn step_observed(&mut self) -> f64 {
        let loss = self.step();
        let flow = self.flow.as_mut().expect("measurements");
        for (layer, changes) in flow.layers.layers.iter_mut().zip(flow.changes.chunks(TENSORS)) {
            layer.record(&changes[0]);
        }
        black_box(
            Thresholds::default().diagnose(&flow.layers.layers).expect("thresholds in their range").verdict,
        );
        loss
    }

    #[inline(never)]
    fn step(&mut self) -> f64 {
        self.steps += 1;
        self.forward();
        let output = self.layers.last_mut().expect("a last layer");
        let shape = RowShape { rows: BATCH, cols: CLASSES };
        let targets = Targets::Classes(&self.classes);
        let loss = CrossEntropy::default()
            .forward_backward(shape, &output.z, targets, None, &mut output.dz)
            .expect("the shapes agree");
        self.backward();
        let gradients: Vec<&[f32]> = self.gradients.iter().map(Vec::as_slice).collect();
        let mut parameters: Vec<&mut [f32]> = self.parameters.iter_mut().map(Vec::as_mut_slice).collect();
        let mut momentum: Vec<&mut [f32]> = self.momentum.iter_mut().map(Vec::as_mut_slice).collect();
        let gradients = optim::Gradients::new(&gradients);
        let (steps, state): (_, &mut [&mut [&mut [f32]]]) = (self.steps, &mut [&mut momentum]);
        match &mut self.flow {
            Some(Flow { changes, .. }) => {
                self.optimizer.step_observed(steps, &mut parameters, gradients, state, changes)
            }
            None => self.optimizer.step(steps, &mut parameters, gradients, state),
        }
        .expect("finite gradients");
        loss
    }

    fn forward(&mut self) {
        for index in 0..self.layers.len() {
            let (before, layer) = self.layers.split_at_mut(index);
            let Layer { dense, z, y, dz: _, mean, rstd, running_mean, running_variance, batches, ends_block } =
                &mut layer[0];
            let parameters = &self.parameters[index * TENSORS..][..TENSORS];
            let x = before.last().map_or(&self.images, |below| &below.y);
            let residual = ends_block.then(|| &before[index - 2].z[..]);
            let epilogue = Epilogue { residual, ..Epilogue::default() };
            // Not packed before: weights of one step would be written to memory and read again.
            let weights = DenseWeights { weights: &parameters[0], bias: Some(&parameters[1]) };
            dense.forward(BATCH, x, weights, epilogue, &mut self.scratch, z).expect("the shapes agree");
            if mean.is_empty() {
                continue;
            }
            let affine = Affine { gamma: Some(&parameters[2]), beta: Some(&parameters[3]) };
            let running = RunningStatistics { mean: running_mean, variance: running_variance, batches };
            let statistics = BatchStatistics { merged: None, mean, rstd, running: Some(running) };
            BatchNorm::default().forward(SHAPE, z, affine, RELU, statistics, y).expect("the shapes agree");
            if let Some(flow) = &mut self.flow {
                let shape = RowShape { rows: BATCH, cols: dense.outputs };
                let layer = &mut flow.layers.layers[index];
                layer.observe_activations(shape, Activation::Relu, y).expect("the shapes agree");
            }
        }
    }

    fn backward(&mut self) {
        for [_, _, dgamma, dbeta] in self.gradients.as_chunks_mut::<TENSORS>().0 {
            dgamma.fill(0.0);
            dbeta.fill(0.0);
        }
        for index in (0..self.layers.len()).rev() {
            let (before, layers) = self.layers.split_at_mut(index);
            let Layer { dense, dz, .. } = &layers[0];
            let [dweights, dbias, ..] = &mut self.gradients[index * TENSORS..][..TENSORS] else {
                unreachable!("as many as were asked for")
            };
            let weights = &self.parameters[index * TENSORS];
            let input = (index > 0).then_some(&mut self.dy[..]);
            let mode = GradientMode::Overwrite;
            let gradients = DenseGradients { input, weights: Some(dweights), bias: Some(dbias), mode };
            let x = before.last().map_or(&self.images, |below| &below.y);
            let scratch = &mut self.scratch;
            match &mut self.flow {
                Some(Flow { layers, .. }) => {
                    let layer = &mut layers.layers[index];
                    dense.backward_observed(BATCH, x, dz, weights, scratch, gradients, layer)
                }
                None => dense.backward(BATCH, x, dz, weights, scratch, gradients),
            }
            .expect("the shapes agree");
            let Some(below) = before.last_mut() else { break };
            let parameters = &self.parameters[(index - 1) * TENSORS..][..TENSORS];
            let [_, _, dgamma, dbeta] = &mut self.gradients[(index - 1) * TENSORS..][..TENSORS] else {
                unreachable!("as many as were asked for")
            };
            let inputs = BackwardInputs {
                x: &below.z,
                dy: &self.dy,
                affine: Affine { gamma: Some(&parameters[2]), beta: Some(&parameters[3]) },
                epilogue: EpilogueBackward::FromInput(RELU),
            };
            let gradients = Gradients {
                input: Some(&mut below.dz),
                gamma: Some(dgamma),
                beta: Some(dbeta),
                ..Gradients::default()
            };
            let saved = SavedStatistics { mean: &below.mean, rstd: &below.rstd };
            BatchNorm::default().backward(SHAPE, inputs, saved, gradients).expect("the shapes agree");
            // What went around the block that begins after the layer below.
            if let Some(end) = layers.get(1).filter(|end| end.ends_block) {
                Add::default().forward_in_place(&mut below.dz, &end.dz).expect("the shapes agree");
            }
        }
    }
}

const SHAPE: ChannelShape = ChannelShape { outer: BATCH, channels: WIDTH, inner: 1 };
