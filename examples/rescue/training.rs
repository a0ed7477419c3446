//! The one loop that trains every row.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use steadygrad::diagnostics::{Change, GradientFlow};
use steadygrad::optim::{Adam, Gradients, Momentum, Optimizer, Sgd};
use steadygrad::{Error, RowShape};

use crate::digits::{Digits, Samples};
use crate::network::{BATCH, Network, TENSORS, norm};
use crate::remedies::{Clip, Remedy, Stepping};

/// Learning rate of SGD in the first epoch; it falls along a cosine to 0 after the last.
pub(crate) const LEARNING_RATE: f64 = 0.02;
/// What a step of SGD keeps of those before it.
pub(crate) const MOMENTUM: f64 = 0.9;
/// Learning rate of AdamW where its warm-up ends.
pub(crate) const ADAM_LEARNING_RATE: f64 = 1e-3;
/// Epochs over which AdamW's learning rate rises.
const WARM_UP: f64 = 3.0;

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
    /// What the epoch's first step measured.
    pub(crate) flow: GradientFlow,
}

impl Epoch {
    /// Norm of the loss's gradient at each layer's sums.
    pub(crate) fn norms(&self) -> impl DoubleEndedIterator<Item = f64> {
        self.flow.layers.iter().filter_map(|layer| Some(layer.gradient?.norm))
    }

    /// First layer's gradient norm over the last layer's.
    pub(crate) fn ratio(&self) -> f64 {
        self.norms().next().unwrap_or(f64::NAN) / self.norms().next_back().unwrap_or(f64::NAN)
    }
}

/// How the training of a row went.
pub(crate) struct History {
    pub(crate) epochs: Vec<Epoch>,
    /// Norm of all gradients together in each step, before anything was clipped.
    pub(crate) steps: Vec<f64>,
    /// The first step whose loss or gradients were not finite; training ended there.
    pub(crate) diverged_at: Option<u64>,
    /// What a step after the last would have measured.
    pub(crate) after: GradientFlow,
}

/// Trains one row; `progress` is called after each epoch.
pub(crate) fn train(
    remedy: Remedy,
    plan: Plan,
    digits: &Digits,
    progress: impl Fn(),
) -> Result<History, Error> {
    train_from(&[], remedy, plan, digits, progress)
}

/// As [`train`], where the first tensors of the network start as `start`.
pub(crate) fn train_from(
    start: &[Vec<f32>],
    remedy: Remedy,
    plan: Plan,
    digits: &Digits,
    progress: impl Fn(),
) -> Result<History, Error> {
    let stream = |number| {
        let mut rng = ChaCha8Rng::seed_from_u64(plan.seed);
        rng.set_stream(number);
        rng
    };
    let mut network =
        Network::new(remedy, [plan.depth, plan.width], plan.seed, &mut stream(2), &digits.train.images)?;
    network.parameters[..start.len()].clone_from_slice(start);
    let mut stepper = Stepper::new(remedy, &network);
    let mut order: Vec<usize> = (0..digits.train.len()).collect();
    let mut shuffle = stream(1);
    let after = GradientFlow::new(network.layers.len());
    let mut history = History { epochs: Vec::new(), steps: Vec::new(), diverged_at: None, after };
    let mut step = 0;
    for epoch in 0..plan.epochs {
        order.shuffle(&mut shuffle);
        let (mut losses, mut flow) = (0.0, GradientFlow::new(network.layers.len()));
        for (number, batch) in order.chunks(BATCH).enumerate() {
            let batch = digits.train.pick(batch);
            step += 1;
            let mut observed = Some(&mut flow).filter(|_| number == 0);
            let loss = network.gradients(&batch, step, observed.as_deref_mut())?;
            losses += loss * batch.len() as f64;
            let tensors: Vec<&[f32]> = network.gradients.iter().map(Vec::as_slice).collect();
            history.steps.push(norm(&tensors)?);
            let steps = order.len().div_ceil(BATCH) as f64;
            let rates = Rates { epoch, epochs: plan.epochs, epochs_done: step as f64 / steps };
            if !loss.is_finite() || !stepper.step(&mut network, rates, step, observed)? {
                history.diverged_at = Some(step);
                break;
            }
        }
        let accuracy = network.accuracy(&digits.test)?;
        history.epochs.push(Epoch { loss: losses / digits.train.len() as f64, accuracy, flow });
        progress();
        if history.diverged_at.is_some() {
            break;
        }
    }
    let batch = digits.train.pick(&order[..BATCH.min(order.len())]);
    network.gradients(&batch, step + 1, Some(&mut history.after))?;
    Ok(history)
}

/// Where in its training a step is.
#[derive(Clone, Copy)]
struct Rates {
    epoch: usize,
    epochs: usize,
    /// With this step, in fractions of an epoch.
    epochs_done: f64,
}

impl Rates {
    /// From 1 in the first epoch along a cosine to 0 after the last.
    fn cosine(self) -> f64 {
        0.5 * (1.0 + (std::f64::consts::PI * self.epoch as f64 / self.epochs as f64).cos())
    }
}

/// Penalty, clipping and optimizer of a row, with the optimizer's state.
struct Stepper {
    remedy: Remedy,
    first: Vec<Vec<f32>>,
    second: Vec<Vec<f32>>,
}

impl Stepper {
    fn new(remedy: Remedy, network: &Network) -> Self {
        let zeros = || network.parameters.iter().map(|tensor| vec![0.0; tensor.len()]).collect();
        Self { remedy, first: zeros(), second: zeros() }
    }

    /// Adds the penalty's gradient, clips and steps, and measures the step where that is asked for; `false` where clipping met
    /// gradients that are not finite.
    fn step(
        &mut self,
        network: &mut Network,
        rates: Rates,
        step: u64,
        flow: Option<&mut GradientFlow>,
    ) -> Result<bool, Error> {
        for (parameters, gradients) in
            network.parameters.chunks(TENSORS).zip(network.gradients.chunks_mut(TENSORS))
        {
            self.remedy.penalty.add_gradient(&[&parameters[0]], &mut [&mut gradients[0]])?;
        }
        match clip(self.remedy.clip, network) {
            Err(Error::NonFinite { .. }) => return Ok(false),
            clipped => clipped?,
        }
        let gradients: Vec<&[f32]> = network.gradients.iter().map(Vec::as_slice).collect();
        let gradients = Gradients::new(&gradients);
        let parameters = &mut slices(&mut network.parameters);
        let (first, second) = (&mut slices(&mut self.first), &mut slices(&mut self.second));
        let mut changes = vec![Change::default(); parameters.len()];
        match self.remedy.stepping {
            Stepping::Sgd => {
                let momentum = Momentum::Classical { momentum: MOMENTUM, dampening: 0.0 };
                let sgd = Sgd { lr: LEARNING_RATE * rates.cosine(), momentum, ..Sgd::default() };
                sgd.step_observed(step, parameters, gradients, &mut [first], &mut changes)?;
            }
            Stepping::AdamWithWarmUp => {
                let warm = (rates.epochs_done / WARM_UP).min(1.0);
                let adam = Adam { lr: ADAM_LEARNING_RATE * warm * rates.cosine(), ..Adam::adamw() };
                adam.step_observed(step, parameters, gradients, &mut [first, second], &mut changes)?;
            }
        }
        for (layer, changes) in
            flow.into_iter().flat_map(|flow| &mut flow.layers).zip(changes.chunks(TENSORS))
        {
            layer.record(&changes[0]);
        }
        Ok(true)
    }
}

fn clip(clip: Clip, network: &mut Network) -> Result<(), Error> {
    match clip {
        Clip::None => Ok(()),
        Clip::Value(clip) => clip.clip(&mut slices(&mut network.gradients)),
        Clip::Norm(clip) => clip.clip(&mut slices(&mut network.gradients)).map(drop),
        // All but the last layer, as its authors do.
        Clip::Adaptive(clip) => {
            let hidden = network.layers.len() - 1;
            for (index, layer) in network.layers[..hidden].iter().enumerate() {
                let shape = RowShape { rows: layer.dense.outputs, cols: layer.dense.inputs };
                let weights = index * TENSORS;
                clip.clip(shape, &network.parameters[weights], &mut network.gradients[weights])?;
                let shape = RowShape { cols: 1, ..shape };
                clip.clip(shape, &network.parameters[weights + 1], &mut network.gradients[weights + 1])?;
            }
            Ok(())
        }
    }
}

impl Samples {
    /// The samples at these places.
    fn pick(&self, places: &[usize]) -> Self {
        let size = self.images.len() / self.len();
        let images = places.iter().flat_map(|&i| &self.images[i * size..][..size]).copied().collect();
        Self { images, classes: places.iter().map(|&i| self.classes[i]).collect() }
    }
}

fn slices(tensors: &mut [Vec<f32>]) -> Vec<&mut [f32]> {
    tensors.iter_mut().map(Vec::as_mut_slice).collect()
}
