//! [`ContrastiveDivergence`]: a step of learning.

use super::schedule::{Target, Training};
use super::{Compiled, PARAMETERS, Rbm, RbmTensors, RbmWeights, rows};
use crate::random::Philox;
use crate::shape::{check_at_least, check_len, check_range};
use crate::{Element, Error};

/// How the visible units of the negative phase are made from hidden samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Negative {
    /// Drawn, so that what is learnt is the model's distribution.
    #[default]
    Sampled,
    /// Their means: less noise, and common where only features are wanted (Hinton 2012, section 3.3).
    Mean,
}

/// How rarely hidden units shall be on: Lee, Ekanadham & Ng 2008, as in Hinton 2012, section 11.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sparsity {
    /// Share of the data for which a unit is on, in (0, 1); usually 0.01 to 0.1.
    pub target: f64,
    /// Strength, at least 0 and finite.
    pub cost: f64,
    /// What the running mean of a unit's activity keeps at each step, in [0, 1); usually 0.9 to 0.99.
    pub decay: f64,
}

/// A step of contrastive divergence, or of its persistent form where the state has a chain.
///
/// ```text
/// h⁺ = P(h | v)                                    the data
/// h⁻ = P(h | v⁻)                                   v⁻ after k Gibbs steps from the data, or from the chain
/// q  = decay·q + (1 − decay)·mean h⁺,  h⁺ −= cost·(q − target)          with sparsity
/// g  = mean h⁺vᵀ − mean h⁻v⁻ᵀ                     for W; for b and c: mean v − mean v⁻, mean h⁺ − mean h⁻
/// u  = μ·u + g − λ·W                               no λ for b and c
/// W  = W + lr·u
/// ```
///
/// With k → ∞, or a chain that mixes faster than the weights move, g is the gradient of the data's log-likelihood.
///
/// # Examples
/// ```
/// use steadygrad::Philox;
/// use steadygrad::pretrain::{ContrastiveDivergence, Rbm, RbmState, RbmTensors, VisibleUnits};
///
/// // Two pixels that are always equal.
/// let data = [0.0_f32, 0.0, 1.0, 1.0];
/// let rbm = Rbm { visible: 2, hidden: 1, units: VisibleUnits::Bernoulli };
/// let learning = ContrastiveDivergence { lr: 0.5, ..ContrastiveDivergence::new(rbm) };
/// let (mut weights, mut visible_bias, mut hidden_bias) = ([0.1, 0.1], [0.0; 2], [0.0]);
/// let mut scratch = vec![0.0; learning.scratch_len::<f32>(2, 2)];
/// for step in 0..500 {
///     let parameters =
///         RbmTensors { weights: &mut weights, visible_bias: &mut visible_bias, hidden_bias: &mut hidden_bias };
///     let stream = Philox { key: 1, counter: step };
///     learning.step(2, &data, stream, parameters, RbmState::default(), &mut scratch)?;
/// }
/// // The hidden unit has found what they share.
/// assert!(weights[0] * weights[1] > 1.0);
/// # Ok::<(), steadygrad::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ContrastiveDivergence {
    /// The machine.
    pub rbm: Rbm,
    /// k: Gibbs steps, at least 1, usually 1.
    pub steps: usize,
    /// Learning rate, at least 0 and finite; 0.1 by default, 0.001 for Gaussian visible units (Hinton 2012, section 13).
    pub lr: f64,
    /// μ, in [0, 1); 0 by default, usually 0.5 and later 0.9. Above 0 the state needs a velocity.
    pub momentum: f64,
    /// λ of W, at least 0 and finite; 0 by default, usually 0.0001.
    pub weight_decay: f64,
    /// Sparse hidden units; none by default. With it the state needs an activity.
    pub sparsity: Option<Sparsity>,
    /// How the visible units of the negative phase are made; sampled by default.
    pub negative: Negative,
}

/// What a step keeps for the next one; what is `None` costs nothing.
#[derive(Debug)]
pub struct RbmState<'a, T> {
    /// u: of each parameter, 0 before the first step.
    pub velocity: Option<RbmTensors<'a, T>>,
    /// Hidden samples: any number of rows of `hidden` elements, 0 or anything before the first step. With it the negative
    /// phase goes on from here: persistent contrastive divergence.
    pub chain: Option<&'a mut [T]>,
    /// q: `hidden` elements, the target before the first step; for sparsity.
    pub activity: Option<&'a mut [T]>,
}

impl<T> Default for RbmState<'_, T> {
    fn default() -> Self {
        Self { velocity: None, chain: None, activity: None }
    }
}

impl ContrastiveDivergence {
    /// One Gibbs step, and the default of every other field.
    #[must_use]
    pub fn new(rbm: Rbm) -> Self {
        Self {
            rbm,
            steps: 1,
            lr: 0.1,
            momentum: 0.0,
            weight_decay: 0.0,
            sparsity: None,
            negative: Negative::Sampled,
        }
    }

    /// Elements that `scratch` of [`step`](Self::step) and [`gradient`](Self::gradient) needs at least; `particles` are
    /// the rows of the chain, or `batch` without one.
    #[must_use]
    pub fn scratch_len<T: Element>(&self, batch: usize, particles: usize) -> usize {
        let Rbm { visible, hidden, .. } = self.rbm;
        let rows = batch.saturating_add(particles);
        let both = visible.saturating_add(hidden);
        let units = rows.saturating_add(1).saturating_mul(both);
        let samples = particles.saturating_mul(hidden);
        units.saturating_add(samples).saturating_add(self.rbm.products_len::<T>(rows))
    }

    /// One step of all parameters.
    ///
    /// | argument         | elements                  | access                                              |
    /// |------------------|---------------------------|-----------------------------------------------------|
    /// | `v`              | `batch · visible`         | read; see [`Rbm::check_data`]                       |
    /// | `stream`         | –                         | what is drawn: another counter for every step       |
    /// | `parameters`     | see [`RbmTensors`]        | read and overwritten                                |
    /// | `state.velocity` | as `parameters`           | read and overwritten                                |
    /// | `state.chain`    | any rows of `hidden`      | read and overwritten                                |
    /// | `state.activity` | `hidden`                  | read and overwritten                                |
    /// | `scratch`        | at least [`scratch_len`](Self::scratch_len) | overwritten                       |
    ///
    /// Draws follow each other in the stream, each from a multiple of 64 on: hidden samples of the data where there is no
    /// chain, then for each Gibbs step the visible units where they are sampled, and the hidden ones where they are used.
    /// Without rows nothing is done.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] names the field that is, and `momentum` or `sparsity` where the state lacks what it needs;
    /// else as [`Rbm::hidden_means`]. Then nothing was written.
    pub fn step<T: Element>(
        &self,
        batch: usize,
        v: &[T],
        stream: Philox,
        parameters: RbmTensors<'_, T>,
        state: RbmState<'_, T>,
        scratch: &mut [T],
    ) -> Result<(), Error> {
        self.check::<T>()?;
        self.rbm.check_weights(parameters.as_weights(), PARAMETERS)?;
        let RbmState { velocity, chain, activity } = state;
        if let Some(velocity) = &velocity {
            let names = ["velocity.weights", "velocity.visible_bias", "velocity.hidden_bias"];
            self.rbm.check_weights(velocity.as_weights(), names)?;
        }
        let has_velocity = velocity.is_some() || self.momentum == 0.0;
        check_range("momentum", "0 where the state has no velocity", has_velocity)?;
        let target = Target::Move { parameters, velocity };
        self.run(batch, v, stream, target, (chain, activity), scratch)
    }

    /// The gradient of the negative log-likelihood as contrastive divergence estimates it, −g, for any optimizer: without
    /// learning rate, momentum or weight decay.
    ///
    /// | argument         | elements                  | access                                              |
    /// |------------------|---------------------------|-----------------------------------------------------|
    /// | `weights`        | see [`RbmWeights`]        | read: first of the pair                             |
    /// | `gradient`       | see [`RbmTensors`]        | accumulated: second of the pair                     |
    /// | `state.velocity` | –                         | left alone                                          |
    /// | the others       |                           | as [`step`](Self::step)                             |
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn gradient<T: Element>(
        &self,
        batch: usize,
        v: &[T],
        stream: Philox,
        (weights, gradient): (RbmWeights<'_, T>, RbmTensors<'_, T>),
        state: RbmState<'_, T>,
        scratch: &mut [T],
    ) -> Result<(), Error> {
        self.check::<T>()?;
        self.rbm.check_weights(weights, PARAMETERS)?;
        let names = ["gradient.weights", "gradient.visible_bias", "gradient.hidden_bias"];
        self.rbm.check_weights(gradient.as_weights(), names)?;
        let target = Target::Gradient { weights, gradient };
        self.run(batch, v, stream, target, (state.chain, state.activity), scratch)
    }

    fn run<T: Element>(
        &self,
        batch: usize,
        v: &[T],
        stream: Philox,
        target: Target<'_, T>,
        (chain, activity): (Option<&mut [T]>, Option<&mut [T]>),
        scratch: &mut [T],
    ) -> Result<(), Error> {
        let Rbm { visible, hidden, .. } = self.rbm;
        check_len("v", v.len(), rows(batch, visible)?)?;
        let particles = match &chain {
            Some(chain) => {
                let particles = chain.len() / hidden;
                check_len("chain", chain.len(), particles.max(1) * hidden)?;
                particles
            }
            None => batch,
        };
        if let Some(activity) = &activity {
            check_len("activity", activity.len(), hidden)?;
        }
        let has_activity = activity.is_some() || self.sparsity.is_none();
        check_range("sparsity", "none where the state has no activity", has_activity)?;
        check_at_least("scratch", scratch.len(), self.scratch_len::<T>(batch, particles))?;
        if batch > 0 {
            let op = *self;
            let call = Training { op, batch, particles, v, stream, target, chain, activity, scratch };
            <T as Compiled>::train(call);
        }
        Ok(())
    }

    /// Whether every field is in its range.
    pub(crate) fn check<T: Element>(&self) -> Result<(), Error> {
        let coefficient = |value: f64| value >= 0.0 && T::from_f64(value).is_finite();
        let share = |value: f64| value >= 0.0 && T::from_f64(value) < T::one();
        let requirement = "at least 0 and finite in the element type";
        check_range("steps", "at least 1", self.steps >= 1)?;
        check_range("lr", requirement, coefficient(self.lr))?;
        check_range("momentum", "at least 0 and below 1 in the element type", share(self.momentum))?;
        check_range("weight_decay", requirement, coefficient(self.weight_decay))?;
        if let Some(Sparsity { target, cost, decay }) = self.sparsity {
            check_range("sparsity.target", "in (0, 1)", target > 0.0 && target < 1.0)?;
            check_range("sparsity.cost", requirement, coefficient(cost))?;
            check_range("sparsity.decay", "at least 0 and below 1 in the element type", share(decay))?;
        }
        Ok(())
    }
}
