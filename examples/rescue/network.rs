//! A deep network out of the crate's public operations, and the one loop that trains every row.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use steadygrad::clip::{ClipNorm, NonFinite};
use steadygrad::linear::{Dense, DenseGradients, DenseWeights};
use steadygrad::loss::{CrossEntropy, PointwiseLoss, Reduction, Targets};
use steadygrad::optim::{Gradients, Momentum, Optimizer, Sgd};
use steadygrad::{Epilogue, Error, RowShape};

use crate::digits::{CLASSES, Digits, PIXELS, Samples};
use crate::remedies::{Clip, Objective, Remedy};

/// Images of a step.
const BATCH: usize = 32;
/// Learning rate of the first epoch; it falls along a cosine to 0 after the last.
pub(crate) const LEARNING_RATE: f64 = 0.02;
/// What a step keeps of those before it.
pub(crate) const MOMENTUM: f64 = 0.9;

/// Sizes and seed that all rows share.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) depth: usize,
    pub(crate) width: usize,
    pub(crate) epochs: usize,
    pub(crate) seed: u64,
}

/// What was measured in one epoch.
pub(crate) struct Epoch {
    /// Mean loss of the epoch's steps.
    pub(crate) loss: f64,
    /// Share of the test images that are recognised, after the epoch.
    pub(crate) accuracy: f64,
    /// Norm of the loss's gradient at each layer's output before its activation, in the epoch's first step.
    pub(crate) norms: Vec<f64>,
}

impl Epoch {
    /// First layer's gradient norm over the last layer's.
    pub(crate) fn ratio(&self) -> f64 {
        self.norms[0] / self.norms[self.norms.len() - 1]
    }
}

/// How the training of a row went.
pub(crate) struct History {
    pub(crate) epochs: Vec<Epoch>,
    /// The first step whose loss or gradients were not finite; training ended there.
    pub(crate) diverged_at: Option<u64>,
}

/// One layer's values for a batch.
struct Layer {
    dense: Dense,
    /// x·Wᵀ + b.
    z: Vec<f32>,
    /// f(z).
    activation: Vec<f32>,
    /// Gradient of z.
    dz: Vec<f32>,
}

struct Network {
    remedy: Remedy,
    layers: Vec<Layer>,
    /// Weights and bias of each layer, one after the other; so are the two below.
    parameters: Vec<Vec<f32>>,
    gradients: Vec<Vec<f32>>,
    momentum: Vec<Vec<f32>>,
    scratch: Vec<f32>,
}

/// Trains one row; `progress` is called after each epoch.
pub(crate) fn train(
    remedy: Remedy,
    plan: Plan,
    digits: &Digits,
    progress: impl Fn(),
) -> Result<History, Error> {
    let mut network = Network::new(remedy, plan)?;
    let mut order: Vec<usize> = (0..digits.train.len()).collect();
    let mut shuffle = ChaCha8Rng::seed_from_u64(plan.seed);
    shuffle.set_stream(1);
    let mut history = History { epochs: Vec::new(), diverged_at: None };
    let mut step = 0;
    for epoch in 0..plan.epochs {
        order.shuffle(&mut shuffle);
        let fall = (std::f64::consts::PI * epoch as f64 / plan.epochs as f64).cos();
        let sgd = Sgd {
            lr: LEARNING_RATE * 0.5 * (1.0 + fall),
            momentum: Momentum::Classical { momentum: MOMENTUM, dampening: 0.0 },
            ..Sgd::default()
        };
        let (mut losses, mut norms) = (0.0, Vec::new());
        for batch in order.chunks(BATCH) {
            let batch = digits.train.pick(batch);
            step += 1;
            let loss = network.gradients(&batch)?;
            losses += loss * batch.len() as f64;
            if norms.is_empty() {
                norms = network.norms()?;
            }
            if !loss.is_finite() || !network.step(sgd, step)? {
                history.diverged_at = Some(step);
                break;
            }
        }
        let accuracy = network.accuracy(&digits.test)?;
        history.epochs.push(Epoch { loss: losses / digits.train.len() as f64, accuracy, norms });
        progress();
        if history.diverged_at.is_some() {
            break;
        }
    }
    Ok(history)
}

impl Network {
    fn new(remedy: Remedy, plan: Plan) -> Result<Self, Error> {
        let mut rng = ChaCha8Rng::seed_from_u64(plan.seed);
        rng.set_stream(2);
        let mut sizes = vec![PIXELS];
        sizes.extend(std::iter::repeat_n(plan.width, plan.depth));
        sizes.push(CLASSES);
        let (mut layers, mut parameters) = (Vec::new(), Vec::new());
        for size in sizes.windows(2) {
            let dense = Dense { inputs: size[0], outputs: size[1] };
            let values = || vec![0.0; BATCH * dense.outputs];
            layers.push(Layer { dense, z: values(), activation: values(), dz: values() });
            let mut weights = vec![0.0; dense.outputs * dense.inputs];
            let shape = RowShape { rows: dense.outputs, cols: dense.inputs };
            remedy.init.fill(shape, &mut rng, &mut weights)?;
            parameters.extend([weights, vec![0.0; dense.outputs]]);
        }
        let (gradients, momentum) = (parameters.clone(), parameters.clone());
        Ok(Self { remedy, layers, parameters, gradients, momentum, scratch: Vec::new() })
    }

    /// Writes the output of every layer, the last of which are the logits.
    fn forward(&mut self, images: &[f32]) -> Result<(), Error> {
        let batch = images.len() / PIXELS;
        let mut x = images;
        for (layer, parameters) in self.layers.iter_mut().zip(self.parameters.chunks_exact(2)) {
            let Layer { dense, z, activation, .. } = layer;
            let weights = DenseWeights { weights: &parameters[0], bias: Some(&parameters[1]) };
            let scratch = grown(&mut self.scratch, dense.forward_scratch_len::<f32>(batch));
            let (z, y) = (&mut z[..batch * dense.outputs], &mut activation[..batch * dense.outputs]);
            dense.forward(batch, x, weights, Epilogue::default(), scratch, z)?;
            self.remedy.activation.forward(z, y)?;
            x = y;
        }
        Ok(())
    }

    /// The loss of a batch; writes its gradients for every layer and every parameter.
    fn gradients(&mut self, samples: &Samples) -> Result<f64, Error> {
        self.forward(&samples.images)?;
        let batch = samples.len();
        let output = self.layers.last_mut().expect("a last layer");
        let (logits, dlogits) = (&output.z[..batch * CLASSES], &mut output.dz[..batch * CLASSES]);
        let loss = match self.remedy.objective {
            Objective::CrossEntropy => {
                let (shape, targets) =
                    (RowShape { rows: batch, cols: CLASSES }, Targets::Classes(&samples.classes));
                CrossEntropy::default().forward_backward(shape, logits, targets, None, dlogits)?
            }
            Objective::SquaredError => {
                let mut targets = vec![0.0; batch * CLASSES];
                for (row, &class) in targets.chunks_exact_mut(CLASSES).zip(&samples.classes) {
                    row[class as usize] = 1.0;
                }
                let mean = Reduction::SumOver(batch as f64);
                PointwiseLoss::SigmoidSquared.forward_backward(mean, logits, &targets, dlogits)?
            }
        };
        for index in (0..self.layers.len()).rev() {
            let (before, layer) = self.layers.split_at_mut(index);
            let Layer { dense, dz, .. } = &layer[0];
            let dz = &dz[..batch * dense.outputs];
            let [dweights, dbias] = &mut self.gradients[2 * index..][..2] else {
                unreachable!("two tensors a layer")
            };
            dweights.fill(0.0);
            dbias.fill(0.0);
            let scratch = grown(&mut self.scratch, dense.backward_scratch_len::<f32>(batch));
            let weights = &self.parameters[2 * index];
            let mut gradients =
                DenseGradients { input: None, weights: Some(&mut dweights[..]), bias: Some(&mut dbias[..]) };
            if let Some(previous) = before.last_mut() {
                let elements = batch * dense.inputs;
                gradients.input = Some(&mut previous.dz[..elements]);
                dense.backward(batch, &previous.activation[..elements], dz, weights, scratch, gradients)?;
                self.remedy
                    .activation
                    .backward_in_place(&previous.z[..elements], &mut previous.dz[..elements])?;
            } else {
                dense.backward(batch, &samples.images, dz, weights, scratch, gradients)?;
            }
        }
        Ok(loss)
    }

    /// Norm of the gradient at each layer.
    fn norms(&self) -> Result<Vec<f64>, Error> {
        let measure =
            ClipNorm { max_norm: f64::INFINITY, non_finite: NonFinite::Propagate, ..ClipNorm::default() };
        self.layers.iter().map(|layer| Ok(measure.measure(&[layer.dz.as_slice()])?.norm)).collect()
    }

    /// Clips as the remedy says and steps; `false` where clipping met gradients that are not finite.
    fn step(&mut self, sgd: Sgd, step: u64) -> Result<bool, Error> {
        match self.remedy.clip {
            Clip::None => {}
            Clip::Value(clip) => clip.clip(&mut slices(&mut self.gradients))?,
            Clip::Norm(clip) => match clip.clip(&mut slices(&mut self.gradients)) {
                Err(Error::NonFinite { .. }) => return Ok(false),
                report => _ = report?,
            },
        }
        let gradients: Vec<&[f32]> = self.gradients.iter().map(Vec::as_slice).collect();
        let (parameters, momentum) = (&mut slices(&mut self.parameters), &mut slices(&mut self.momentum));
        sgd.step(step, parameters, Gradients::new(&gradients), &mut [momentum])?;
        Ok(true)
    }

    /// Share of the images whose largest logit is at their class; logits that are not finite are no answer.
    fn accuracy(&mut self, samples: &Samples) -> Result<f64, Error> {
        let mut right = 0;
        let batches = samples.images.chunks(BATCH * PIXELS).zip(samples.classes.chunks(BATCH));
        for (images, classes) in batches {
            self.forward(images)?;
            let logits = &self.layers.last().expect("a last layer").z;
            for (row, &class) in logits.chunks_exact(CLASSES).zip(classes) {
                let best = (0..CLASSES).max_by(|&a, &b| row[a].total_cmp(&row[b]));
                right += usize::from(row.iter().all(|x| x.is_finite()) && best == Some(class as usize));
            }
        }
        Ok(right as f64 / samples.len() as f64)
    }
}

impl Samples {
    /// The samples at these places.
    fn pick(&self, places: &[usize]) -> Self {
        let images = places.iter().flat_map(|&i| &self.images[i * PIXELS..][..PIXELS]).copied().collect();
        Self { images, classes: places.iter().map(|&i| self.classes[i]).collect() }
    }
}

/// The first `len` elements of a buffer that grows where it is too short.
fn grown(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    &mut buffer[..len]
}

fn slices(tensors: &mut [Vec<f32>]) -> Vec<&mut [f32]> {
    tensors.iter_mut().map(Vec::as_mut_slice).collect()
}
