//! Greedy layer-wise pre-training: each layer learns on what the one before it gives, and hands its weights to a deep
//! network.
//!
//! Hinton, Osindero & Teh, "A fast learning algorithm for deep belief nets", 2006; Bengio et al. 2007; Vincent et al. 2010.
//! Fine-tuning by [`LayerRate`]: learning rates that fall towards the input and layers that thaw one by one, Howard &
//! Ruder, "Universal language model fine-tuning for text classification", 2018.

mod driver;
mod fine_tuning;

pub use fine_tuning::LayerRate;

use core::fmt;
use core::ops::ControlFlow;

use super::rbm::ContrastiveDivergence;
use super::{Autoencoder, Reconstruction, VisibleUnits};
use crate::optim::Optimizer;
use crate::shape::{check_len, check_range};
use crate::{Activation, Element, Error, RowShape};
use driver::Job;

/// Whether an autoencoder's decoder has weights of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Decoder {
    /// The encoder's, transposed.
    #[default]
    Tied,
    /// Its own, which begin as the encoder's, transposed.
    Untied,
}

/// What teaches a layer.
#[derive(Clone, Copy)]
pub enum Learner<'a, T: Element> {
    /// A restricted Boltzmann machine.
    Rbm {
        /// The machine and its learning.
        learning: ContrastiveDivergence,
        /// Rows of the chain of persistent contrastive divergence, or 0 for none.
        particles: usize,
    },
    /// An autoencoder.
    Autoencoder {
        /// The net.
        net: Autoencoder,
        /// Whether its decoder has weights of its own.
        decoder: Decoder,
        /// What steps its parameters.
        optimizer: &'a dyn Optimizer<T>,
    },
}

impl<T: Element> fmt::Debug for Learner<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rbm { learning, particles } => {
                f.debug_struct("Rbm").field("learning", learning).field("particles", particles).finish()
            }
            Self::Autoencoder { net, decoder, .. } => {
                let mut fields = f.debug_struct("Autoencoder");
                fields.field("net", net).field("decoder", decoder).finish_non_exhaustive()
            }
        }
    }
}

/// When a layer has learnt enough.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EarlyStop {
    /// Epochs in a row without improvement after which the layer is done, at least 1.
    pub patience: usize,
    /// Share of the best error so far by which an epoch must be below it to count as an improvement, in [0, 1).
    pub improvement: f64,
}

/// How a layer learns.
#[derive(Clone, Copy, Debug)]
pub struct LayerPlan<'a, T: Element> {
    /// What teaches it.
    pub learner: Learner<'a, T>,
    /// Passes over the data, at most.
    pub epochs: usize,
    /// Rows of a step, at least 1; the last step of an epoch has what is left.
    pub batch: usize,
    /// When to stop before that; `None` for never.
    pub early_stop: Option<EarlyStop>,
}

/// A dense layer's parameters, to be filled.
#[derive(Debug)]
pub struct LayerWeights<'a, T> {
    /// W: `outputs` rows of `inputs` elements.
    pub weights: &'a mut [T],
    /// b: `outputs` elements.
    pub bias: &'a mut [T],
}

/// What an epoch came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// The layer, from 0.
    pub layer: usize,
    /// The epoch of that layer, from 0.
    pub epoch: usize,
    /// A machine's [`reconstruction_error`](crate::Rbm::reconstruction_error) after the epoch, or the mean of an
    /// autoencoder's losses in its steps.
    pub error: f64,
}

/// Layer-wise pre-training of a stack of layers.
#[derive(Clone, Copy, Debug)]
pub struct Greedy<'a, T: Element> {
    /// A plan a layer, from the input on.
    pub layers: &'a [LayerPlan<'a, T>],
    /// Seed of the samples, the noise and the order of the rows.
    pub seed: u64,
}

impl<T: Element> Greedy<'_, T> {
    /// Trains layer after layer, each on the outputs of the one before, and leaves weights that start a stack of
    /// [`Dense`](crate::Dense) layers.
    ///
    /// | argument   | elements                         | access                                                       |
    /// |------------|----------------------------------|--------------------------------------------------------------|
    /// | `data`     | rows of the first layer's inputs | read, and looked at for NaN once                             |
    /// | `weights`  | one a layer                      | read: where the layer starts; overwritten after each epoch   |
    /// | `progress` | –                                | called after each epoch; `Break` ends the run                |
    ///
    /// Rows come in another order each epoch. The result is the same for any number of threads. What is needed besides is
    /// allocated at the start. Gives the number of layers that are done, which is all of them unless `progress` ended
    /// the run.
    ///
    /// # Errors
    /// Before anything is written: [`Error::Empty`] for no data, [`Error::NonFinite`] or [`Error::OutOfRange`] for `data`
    /// that the first layer cannot have, [`Error::LayerSize`] for a layer whose inputs are not the outputs of the one
    /// before, [`Error::OutOfRange`] for a field that is, or for a layer that needs values in [0, 1] after one that gives
    /// others, and [`Error::Length`] for what does not fit.
    ///
    /// While training: [`Error::Diverged`] where a layer's weights or its error are no longer finite; `weights` then hold
    /// what they were after the last epoch in which they were, and those of the layers before are done.
    ///
    /// # Examples
    /// ```
    /// use std::ops::ControlFlow;
    /// use steadygrad::pretrain::{
    ///     ContrastiveDivergence, Greedy, LayerPlan, LayerWeights, Learner, Rbm, VisibleUnits,
    /// };
    ///
    /// let rbm = Rbm { visible: 2, hidden: 1, units: VisibleUnits::Bernoulli };
    /// let learning = ContrastiveDivergence { lr: 0.5, ..ContrastiveDivergence::new(rbm) };
    /// let plan = LayerPlan {
    ///     learner: Learner::Rbm { learning, particles: 0 },
    ///     epochs: 1000,
    ///     batch: 2,
    ///     early_stop: None,
    /// };
    /// let (mut w, mut b) = ([0.1_f32, 0.1], [0.0]);
    /// let data = [0.0, 0.0, 1.0, 1.0]; // two pixels that are always equal
    /// let mut errors = Vec::new();
    /// let layers = Greedy { layers: &[plan], seed: 1 }.train(
    ///     &data,
    ///     &mut [LayerWeights { weights: &mut w, bias: &mut b }],
    ///     &mut |progress| {
    ///         errors.push(progress.error);
    ///         ControlFlow::Continue(())
    ///     },
    /// )?;
    /// assert_eq!((layers, errors.len()), (1, 1000));
    /// assert!(errors[999] < 0.1 * errors[0]);
    /// # Ok::<(), steadygrad::Error>(())
    /// ```
    pub fn train(
        &self,
        data: &[T],
        weights: &mut [LayerWeights<'_, T>],
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<usize, Error> {
        self.check(data, weights)?;
        driver::train(Job { layers: self.layers, seed: self.seed, data, weights }, progress)
    }

    fn check(&self, data: &[T], weights: &[LayerWeights<'_, T>]) -> Result<(), Error> {
        check_len("weights", weights.len(), self.layers.len())?;
        let mut before: Option<&LayerPlan<'_, T>> = None;
        for (layer, (plan, weights)) in self.layers.iter().zip(weights).enumerate() {
            plan.check()?;
            let Size { inputs, outputs } = plan.size();
            if let Some(before) = before {
                let expected = before.size().outputs;
                if inputs != expected {
                    return Err(Error::LayerSize { layer, expected, actual: inputs });
                }
                check_range(
                    "layers",
                    "such that one which needs values in [0, 1] follows sigmoids",
                    !plan.needs_probabilities() || before.gives_probabilities(),
                )?;
            }
            check_len(
                "weights",
                weights.weights.len(),
                RowShape { rows: outputs, cols: inputs }.elements()?,
            )?;
            check_len("bias", weights.bias.len(), outputs)?;
            before = Some(plan);
        }
        let Some(first) = self.layers.first() else { return Ok(()) };
        if data.is_empty() {
            return Err(Error::Empty { dimension: "data" });
        }
        let inputs = first.size().inputs;
        check_len("data", data.len(), data.len().div_ceil(inputs).saturating_mul(inputs))?;
        let rows = u32::try_from(data.len() / inputs).is_ok();
        check_range("data", "of fewer than 2³² rows", rows)?;
        let widest = self.layers.iter().map(|plan| plan.size().outputs).max().unwrap_or(0);
        let bytes = (data.len() / inputs).checked_mul(widest).and_then(|len| len.checked_mul(size_of::<T>()));
        if bytes.is_none_or(|bytes| isize::try_from(bytes).is_err()) {
            return Err(Error::Overflow { argument: "data" });
        }
        super::check_data(data, first.needs_probabilities())
    }
}

/// Elements of rows before and after a layer.
#[derive(Clone, Copy, Debug)]
struct Size {
    inputs: usize,
    outputs: usize,
}

impl<T: Element> LayerPlan<'_, T> {
    fn size(&self) -> Size {
        match self.learner {
            Learner::Rbm { learning, .. } => {
                Size { inputs: learning.rbm.visible, outputs: learning.rbm.hidden }
            }
            Learner::Autoencoder { net, .. } => Size { inputs: net.inputs, outputs: net.hidden },
        }
    }

    /// Whether its inputs must lie in [0, 1].
    fn needs_probabilities(&self) -> bool {
        match self.learner {
            Learner::Rbm { learning, .. } => learning.rbm.units == VisibleUnits::Bernoulli,
            Learner::Autoencoder { net, .. } => net.reconstruction == Reconstruction::CrossEntropy,
        }
    }

    /// Whether its outputs lie in [0, 1].
    fn gives_probabilities(&self) -> bool {
        match self.learner {
            Learner::Rbm { .. } => true,
            Learner::Autoencoder { net, .. } => {
                matches!(net.activation, Activation::Sigmoid | Activation::HardSigmoid)
            }
        }
    }

    fn check(&self) -> Result<(), Error> {
        check_range("batch", "at least 1", self.batch >= 1)?;
        if let Some(EarlyStop { patience, improvement }) = self.early_stop {
            check_range("patience", "at least 1", patience >= 1)?;
            check_range("improvement", "in [0, 1)", (0.0..1.0).contains(&improvement))?;
        }
        match self.learner {
            Learner::Rbm { learning, particles } => {
                learning.rbm.check_units()?;
                let units = learning.rbm.visible.saturating_add(learning.rbm.hidden).saturating_mul(2);
                let bytes = particles.checked_mul(units).and_then(|len| len.checked_mul(size_of::<T>()));
                if bytes.is_none_or(|bytes| isize::try_from(bytes).is_err()) {
                    return Err(Error::Overflow { argument: "particles" });
                }
                learning.check::<T>()
            }
            Learner::Autoencoder { net, optimizer, .. } => {
                net.check_fields::<T>()?;
                optimizer.check()
            }
        }
    }
}
