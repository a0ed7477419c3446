//! A deep network out of the crate's public operations: forward and backward.
//!
//! ```text
//! zₗ = Wₗ · yₗ₋₁ + bₗ (+ zₗ₋₁ with residuals)        yₗ = f(norm(zₗ))
//! ```
//!
//! With residuals these are the pre-activation blocks of He et al. 2016, "Identity mappings in deep residual networks":
//! nothing stands in the way from the first sums to the last.

use rand_chacha::ChaCha8Rng;
use steadygrad::clip::{ClipNorm, NonFinite};
use steadygrad::diagnostics::GradientFlow;
use steadygrad::init::Lsuv;
use steadygrad::linear::{Dense, DenseGradients, DenseWeights};
use steadygrad::loss::{CrossEntropy, PointwiseLoss, Reduction, Targets};
use steadygrad::regularize::{Dropout, MaskShape};
use steadygrad::residual::Add;
use steadygrad::{Epilogue, Error, GradientMode, Philox, RowShape};

use crate::digits::{CLASSES, PIXELS, Samples};
use crate::norms::{Mode, State};
use crate::remedies::{Connection, Objective, Remedy, Weights};

/// Images of a step.
pub(crate) const BATCH: usize = 32;
/// Images that weights are scaled on.
const LSUV_IMAGES: usize = 256;
/// Tensors of a layer: weights, bias, γ and β, the last two empty without a norm.
pub(crate) const TENSORS: usize = 4;

/// One layer's values for a batch.
pub(crate) struct Layer {
    pub(crate) dense: Dense,
    norm: State,
    /// Whether the sums of the layer before are added to `z`.
    residual: bool,
    z: Vec<f32>,
    y: Vec<f32>,
    /// Gradients of both.
    dz: Vec<f32>,
    dy: Vec<f32>,
}

pub(crate) struct Network {
    remedy: Remedy,
    pub(crate) layers: Vec<Layer>,
    /// [`TENSORS`] of each layer, one after the other; so are the gradients.
    pub(crate) parameters: Vec<Vec<f32>>,
    pub(crate) gradients: Vec<Vec<f32>>,
    scratch: Vec<f32>,
    seed: u64,
}

impl Network {
    /// `depth` hidden layers of `width` neurons; `images` are what weights may be scaled on.
    pub(crate) fn new(
        remedy: Remedy,
        [depth, width]: [usize; 2],
        seed: u64,
        rng: &mut ChaCha8Rng,
        images: &[f32],
    ) -> Result<Self, Error> {
        let mut sizes = vec![PIXELS];
        sizes.extend(std::iter::repeat_n(width, depth));
        sizes.push(CLASSES);
        let (mut layers, mut parameters): (Vec<Layer>, Vec<Vec<f32>>) = Default::default();
        for (index, size) in sizes.windows(2).enumerate() {
            let dense = Dense { inputs: size[0], outputs: size[1] };
            let norm = State::new(remedy.norm, remedy.activation, BATCH, dense.outputs);
            let mut weights = vec![0.0; dense.outputs * dense.inputs];
            let shape = RowShape { rows: dense.outputs, cols: dense.inputs };
            if let Weights::Drawn(init) = remedy.init {
                init.fill(shape, rng, &mut weights)?;
            }
            let [gamma, beta] = if index < depth { norm.parameters() } else { Default::default() };
            parameters.extend([weights, vec![0.0; dense.outputs], gamma, beta]);
            let residual = remedy.connection == Connection::Residual && (1..depth).contains(&index);
            let values = || vec![0.0; BATCH * dense.outputs];
            layers.push(Layer {
                dense,
                norm,
                residual,
                z: values(),
                y: values(),
                dz: values(),
                dy: values(),
            });
        }
        if let Weights::Lsuv = remedy.init {
            let dense: Vec<Dense> = layers.iter().map(|layer| layer.dense).collect();
            let mut weights: Vec<&mut [f32]> =
                parameters.iter_mut().step_by(TENSORS).map(Vec::as_mut_slice).collect();
            let images = &images[..images.len().min(LSUV_IMAGES * PIXELS)];
            Lsuv::default().fill_stack(&dense, remedy.activation, images, rng, &mut weights)?;
        }
        let gradients = parameters.clone();
        Ok(Self { remedy, layers, parameters, gradients, scratch: Vec::new(), seed })
    }

    /// What layer `index` drops in step `step`.
    fn drops(&self, index: usize, step: u64) -> (Dropout, Philox) {
        let stream = Philox { key: self.seed, counter: step << 32 | (index as u64) << 20 };
        (Dropout { p: self.remedy.dropout }, stream)
    }

    /// Writes the sums of every layer, the last of which are the logits; `step` is that of a pass to learn from.
    fn forward(
        &mut self,
        images: &[f32],
        step: Option<u64>,
        mut flow: Option<&mut GradientFlow>,
    ) -> Result<(), Error> {
        let (batch, last) = (images.len() / PIXELS, self.layers.len() - 1);
        let mode = if step.is_some() { Mode::Training } else { Mode::Testing };
        for index in 0..=last {
            let (dropout, stream) = self.drops(index, step.unwrap_or(0));
            let (before, layer) = self.layers.split_at_mut(index);
            let Layer { dense, norm, residual, z, y, .. } = &mut layer[0];
            let [weights, bias, gamma, beta] = tensors(&self.parameters, index);
            let elements = batch * dense.outputs;
            let (z, y) = (&mut z[..elements], &mut y[..elements]);
            let x = before.last().map_or(images, |previous| &previous.y[..batch * dense.inputs]);
            let added = before.last().filter(|_| *residual).map(|previous| &previous.z[..elements]);
            let epilogue = Epilogue { residual: added, ..Epilogue::default() };
            let scratch = grown(&mut self.scratch, dense.forward_scratch_len::<f32>(batch));
            let weights = DenseWeights { weights, bias: Some(bias) };
            dense.forward(batch, x, weights, epilogue, scratch, z)?;
            if index < last {
                norm.forward(mode, [gamma, beta], z, y)?;
                if let Some(flow) = &mut flow {
                    let shape = RowShape { rows: batch, cols: dense.outputs };
                    flow.layers[index].observe_activations(shape, self.remedy.activation, y)?;
                }
                if step.is_some() {
                    dropout.forward_in_place(MaskShape::elements(elements), stream, y)?;
                }
            }
        }
        Ok(())
    }

    /// The loss of a batch; writes its gradients for every layer and every parameter, and measures them where that is asked
    /// for.
    pub(crate) fn gradients(
        &mut self,
        samples: &Samples,
        step: u64,
        mut flow: Option<&mut GradientFlow>,
    ) -> Result<f64, Error> {
        self.forward(&samples.images, Some(step), flow.as_deref_mut())?;
        let loss = self.loss(samples)?;
        let batch = samples.len();
        // Those of weights and biases are overwritten.
        for [_, _, gamma, beta] in self.gradients.as_chunks_mut::<TENSORS>().0 {
            gamma.fill(0.0);
            beta.fill(0.0);
        }
        for index in (0..self.layers.len()).rev() {
            let drops = index.checked_sub(1).map(|below| self.drops(below, step));
            let (before, layer) = self.layers.split_at_mut(index);
            let Layer { dense, dz, residual, .. } = &layer[0];
            let dz = &dz[..batch * dense.outputs];
            let scratch = grown(&mut self.scratch, dense.backward_scratch_len::<f32>(batch));
            let weights = &self.parameters[index * TENSORS];
            let [dweights, dbias, ..] = tensors_mut(&mut self.gradients, index);
            let (weights_of, bias, mode) =
                (Some(&mut dweights[..]), Some(&mut dbias[..]), GradientMode::Overwrite);
            let mut gradients = DenseGradients { input: None, weights: weights_of, bias, mode };
            let mut backward = |x: &[f32], gradients| match &mut flow {
                Some(flow) => {
                    let layer = &mut flow.layers[index];
                    dense.backward_observed(batch, x, dz, weights, scratch, gradients, layer)
                }
                None => dense.backward(batch, x, dz, weights, scratch, gradients),
            };
            let Some(below) = before.last_mut() else {
                backward(&samples.images, gradients)?;
                break;
            };
            let elements = batch * dense.inputs;
            let dy = &mut below.dy[..elements];
            gradients.input = Some(&mut *dy);
            backward(&below.y[..elements], gradients)?;
            if let Some((dropout, stream)) = drops {
                dropout.backward_in_place(MaskShape::elements(elements), stream, dy)?;
            }
            let [_, _, gamma, beta] = tensors(&self.parameters, index - 1);
            let [_, _, dgamma, dbeta] = tensors_mut(&mut self.gradients, index - 1);
            let below_dz = &mut below.dz[..elements];
            below.norm.backward([gamma, beta], [dgamma, dbeta], [&below.z[..elements], dy], below_dz)?;
            if *residual {
                Add::default().forward_in_place(below_dz, dz)?;
            }
        }
        Ok(loss)
    }

    /// The loss of the logits that are there; writes their gradient.
    fn loss(&mut self, samples: &Samples) -> Result<f64, Error> {
        let batch = samples.len();
        let output = self.layers.last_mut().expect("a last layer");
        let (logits, dlogits) = (&output.z[..batch * CLASSES], &mut output.dz[..batch * CLASSES]);
        match self.remedy.objective {
            Objective::CrossEntropy => {
                let (shape, targets) =
                    (RowShape { rows: batch, cols: CLASSES }, Targets::Classes(&samples.classes));
                CrossEntropy::default().forward_backward(shape, logits, targets, None, dlogits)
            }
            Objective::SquaredError => {
                let mut targets = vec![0.0; batch * CLASSES];
                for (row, &class) in targets.chunks_exact_mut(CLASSES).zip(&samples.classes) {
                    row[class as usize] = 1.0;
                }
                let mean = Reduction::SumOver(batch as f64);
                PointwiseLoss::SigmoidSquared.forward_backward(mean, logits, &targets, dlogits)
            }
        }
    }

    /// Share of the images whose largest logit is at their class; logits that are not finite are no answer.
    pub(crate) fn accuracy(&mut self, samples: &Samples) -> Result<f64, Error> {
        let mut right = 0;
        let batches = samples.images.chunks(BATCH * PIXELS).zip(samples.classes.chunks(BATCH));
        for (images, classes) in batches {
            self.forward(images, None, None)?;
            let logits = &self.layers.last().expect("a last layer").z;
            for (row, &class) in logits.chunks_exact(CLASSES).zip(classes) {
                let best = (0..CLASSES).max_by(|&a, &b| row[a].total_cmp(&row[b]));
                right += usize::from(row.iter().all(|x| x.is_finite()) && best == Some(class as usize));
            }
        }
        Ok(right as f64 / samples.len() as f64)
    }
}

/// The common norm of tensors, whatever they hold.
pub(crate) fn norm(tensors: &[&[f32]]) -> Result<f64, Error> {
    let measure =
        ClipNorm { max_norm: f64::INFINITY, non_finite: NonFinite::Propagate, ..ClipNorm::default() };
    Ok(measure.measure(tensors)?.norm)
}

/// Those of a layer.
fn tensors(all: &[Vec<f32>], layer: usize) -> [&[f32]; TENSORS] {
    std::array::from_fn(|tensor| all[layer * TENSORS + tensor].as_slice())
}

fn tensors_mut(all: &mut [Vec<f32>], layer: usize) -> [&mut [f32]; TENSORS] {
    let of_layer: &mut [Vec<f32>; TENSORS] =
        (&mut all[layer * TENSORS..][..TENSORS]).try_into().expect("as many as were asked for");
    of_layer.each_mut().map(Vec::as_mut_slice)
}

/// The first `len` elements of a buffer that grows where it is too short.
fn grown(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    &mut buffer[..len]
}
