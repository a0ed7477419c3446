//! Restricted Boltzmann machine: hidden units that explain visible ones, learnt without labels.
//!
//! Smolensky 1986; trained by contrastive divergence, Hinton, "Training products of experts by minimizing contrastive
//! divergence", 2002, or by a chain that persists, Tieleman, "Training restricted Boltzmann machines using approximations
//! to the likelihood gradient", 2008. Practice is that of Hinton, "A practical guide to training restricted Boltzmann
//! machines", 2012. Gibbs samples are drawn from a counter-based generator, so that a result ignores the thread count.

mod kernel;
pub mod reference;
mod schedule;
mod train;

pub use train::{ContrastiveDivergence, Negative, RbmState, Sparsity};

use crate::element::compiled_once;
use crate::loss::{PointwiseLoss, Reduction};
use crate::random::Philox;
use crate::shape::{check_at_least, check_len};
use crate::{Activation, Dense, Element, Error, RowShape};
use schedule::{Evaluation, Training};

/// What the visible units are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum VisibleUnits {
    /// 0 or 1, and data in [0, 1] as their probabilities.
    #[default]
    Bernoulli,
    /// Real numbers of variance 1 about their mean: scale each feature of the data to mean 0 and variance 1.
    Gaussian,
}

/// A restricted Boltzmann machine with hidden units that are 0 or 1.
///
/// ```text
/// E(v, h) = −b·v − c·h − hᵀWv                                Bernoulli
/// E(v, h) = ½‖v − b‖² − c·h − hᵀWv                           Gaussian
/// P(hⱼ = 1 | v) = σ(Wⱼ·v + cⱼ)
/// P(vᵢ = 1 | h) = σ(hᵀW·ᵢ + bᵢ), or vᵢ | h ~ N(hᵀW·ᵢ + bᵢ, 1)
/// ```
///
/// W and c start a [`Dense`] layer as they are: [`hidden_means`](Self::hidden_means) is its forward with a sigmoid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rbm {
    /// Visible units: elements of a row of data, at least 1.
    pub visible: usize,
    /// Hidden units, at least 1.
    pub hidden: usize,
    /// What the visible units are.
    pub units: VisibleUnits,
}

/// Parameters of an [`Rbm`].
#[derive(Clone, Copy, Debug)]
pub struct RbmWeights<'a, T> {
    /// W: `hidden` rows of `visible` elements.
    pub weights: &'a [T],
    /// b: `visible` elements.
    pub visible_bias: &'a [T],
    /// c: `hidden` elements.
    pub hidden_bias: &'a [T],
}

/// Parameters of an [`Rbm`] to be changed, or tensors as long: their gradient or velocity.
#[derive(Debug)]
pub struct RbmTensors<'a, T> {
    /// W: `hidden` rows of `visible` elements.
    pub weights: &'a mut [T],
    /// b: `visible` elements.
    pub visible_bias: &'a mut [T],
    /// c: `hidden` elements.
    pub hidden_bias: &'a mut [T],
}

impl<T> RbmTensors<'_, T> {
    /// The same to be read.
    #[must_use]
    pub fn as_weights(&self) -> RbmWeights<'_, T> {
        let Self { weights, visible_bias, hidden_bias } = self;
        RbmWeights { weights, visible_bias, hidden_bias }
    }

    /// The same for a shorter time.
    #[must_use]
    pub fn reborrow(&mut self) -> RbmTensors<'_, T> {
        let Self { weights, visible_bias, hidden_bias } = self;
        RbmTensors { weights, visible_bias, hidden_bias }
    }
}

impl Rbm {
    /// The layer that W and c start.
    #[must_use]
    pub fn dense(&self) -> Dense {
        Dense { inputs: self.visible, outputs: self.hidden }
    }

    /// Elements that `scratch` of the functions below needs at least, for `batch` rows.
    #[must_use]
    pub fn scratch_len<T: Element>(&self, batch: usize) -> usize {
        let weights = self.visible.saturating_mul(self.hidden);
        let hidden = batch.saturating_mul(self.hidden).saturating_mul(2);
        let visible = batch.saturating_mul(self.visible);
        [weights, hidden, visible].into_iter().fold(self.products_len::<T>(batch), usize::saturating_add)
    }

    /// `P(hⱼ = 1 | v)`: what the next layer is given.
    ///
    /// | argument  | elements           | access      |
    /// |-----------|--------------------|-------------|
    /// | `v`       | `batch · visible`  | read        |
    /// | `weights` | see [`RbmWeights`] | read        |
    /// | `scratch` | at least [`scratch_len`](Self::scratch_len) | overwritten |
    /// | `means`   | `batch · hidden`   | overwritten |
    ///
    /// # Errors
    /// [`Error::Empty`] for a machine without visible or hidden units, [`Error::Length`] for the first argument whose
    /// length differs from the table, [`Error::Overflow`] for a product that does not fit in `usize`; then nothing was
    /// written.
    ///
    /// # Examples
    /// ```
    /// use steadygrad::pretrain::{Rbm, RbmWeights, VisibleUnits};
    ///
    /// let rbm = Rbm { visible: 2, hidden: 1, units: VisibleUnits::Bernoulli };
    /// let weights = RbmWeights { weights: &[1.0, 2.0], visible_bias: &[0.0, 0.0], hidden_bias: &[-3.0] };
    /// let mut scratch = vec![0.0; rbm.scratch_len::<f64>(1)];
    /// let mut means = [f64::NAN];
    /// rbm.hidden_means(1, &[1.0, 1.0], weights, &mut scratch, &mut means)?;
    /// assert_eq!(means, [0.5]); // σ(1 + 2 − 3)
    /// # Ok::<(), steadygrad::Error>(())
    /// ```
    pub fn hidden_means<T: Element>(
        &self,
        batch: usize,
        v: &[T],
        weights: RbmWeights<'_, T>,
        scratch: &mut [T],
        means: &mut [T],
    ) -> Result<(), Error> {
        self.check(batch, ("v", v.len(), self.visible), weights, scratch)?;
        check_len("means", means.len(), rows(batch, self.hidden)?)?;
        schedule::hidden_input(*self, v, weights, Some(Activation::Sigmoid), scratch, means);
        Ok(())
    }

    /// The mean of v given h: σ(hᵀW + b), or hᵀW + b where the visible units are Gaussian.
    ///
    /// | argument  | elements           | access      |
    /// |-----------|--------------------|-------------|
    /// | `h`       | `batch · hidden`   | read        |
    /// | `weights` | see [`RbmWeights`] | read        |
    /// | `scratch` | at least [`scratch_len`](Self::scratch_len) | overwritten |
    /// | `means`   | `batch · visible`  | overwritten |
    ///
    /// # Errors
    /// As [`hidden_means`](Self::hidden_means).
    pub fn visible_means<T: Element>(
        &self,
        batch: usize,
        h: &[T],
        weights: RbmWeights<'_, T>,
        scratch: &mut [T],
        means: &mut [T],
    ) -> Result<(), Error> {
        self.check(batch, ("h", h.len(), self.hidden), weights, scratch)?;
        check_len("means", means.len(), rows(batch, self.visible)?)?;
        schedule::visible_input(*self, h, weights, self.visible_activation(), scratch, means);
        Ok(())
    }

    /// Means of the hidden units and samples of them, in one pass after the product.
    ///
    /// Unit j of row i is 1 where word `i · hidden + j` of the stream, as a
    /// [uniform number](crate::reference::philox::uniform), is below its mean; a NaN mean makes it NaN.
    ///
    /// | argument  | elements           | access      |
    /// |-----------|--------------------|-------------|
    /// | `v`       | `batch · visible`  | read        |
    /// | `weights` | see [`RbmWeights`] | read        |
    /// | `scratch` | at least [`scratch_len`](Self::scratch_len) | overwritten |
    /// | `means`   | `batch · hidden`   | overwritten: first of the pair  |
    /// | `samples` | `batch · hidden`   | overwritten: second of the pair |
    ///
    /// # Errors
    /// As [`hidden_means`](Self::hidden_means).
    pub fn sample_hidden<T: Element>(
        &self,
        batch: usize,
        v: &[T],
        weights: RbmWeights<'_, T>,
        stream: Philox,
        scratch: &mut [T],
        (means, samples): (&mut [T], &mut [T]),
    ) -> Result<(), Error> {
        self.check(batch, ("v", v.len(), self.visible), weights, scratch)?;
        check_len("means", means.len(), rows(batch, self.hidden)?)?;
        check_len("samples", samples.len(), means.len())?;
        schedule::hidden_input(*self, v, weights, None, scratch, means);
        <T as Compiled>::means_and_samples(stream, 0, T::one(), means, samples);
        Ok(())
    }

    /// Samples of the visible units.
    ///
    /// Word `i · visible + j` of the stream decides as in [`sample_hidden`](Self::sample_hidden), or is the
    /// [normal number](crate::reference::philox::normal) that is added to the mean.
    ///
    /// | argument  | elements           | access      |
    /// |-----------|--------------------|-------------|
    /// | `h`       | `batch · hidden`   | read        |
    /// | `weights` | see [`RbmWeights`] | read        |
    /// | `scratch` | at least [`scratch_len`](Self::scratch_len) | overwritten |
    /// | `samples` | `batch · visible`  | overwritten |
    ///
    /// # Errors
    /// As [`hidden_means`](Self::hidden_means).
    pub fn sample_visible<T: Element>(
        &self,
        batch: usize,
        h: &[T],
        weights: RbmWeights<'_, T>,
        stream: Philox,
        scratch: &mut [T],
        samples: &mut [T],
    ) -> Result<(), Error> {
        self.check(batch, ("h", h.len(), self.hidden), weights, scratch)?;
        check_len("samples", samples.len(), rows(batch, self.visible)?)?;
        schedule::visible_input(*self, h, weights, None, scratch, samples);
        <T as Compiled>::samples(self.units, stream, 0, samples);
        Ok(())
    }

    /// The free energy of each row: `P(v) = e^(−F(v)) / Z`.
    ///
    /// ```text
    /// F(v) = −b·v − Σⱼ ln(1 + e^(Wⱼ·v + cⱼ))                     Bernoulli
    /// F(v) = ½‖v − b‖² − Σⱼ ln(1 + e^(Wⱼ·v + cⱼ))                Gaussian
    /// ```
    ///
    /// | argument   | elements           | access      |
    /// |------------|--------------------|-------------|
    /// | `v`        | `batch · visible`  | read        |
    /// | `weights`  | see [`RbmWeights`] | read        |
    /// | `scratch`  | at least [`scratch_len`](Self::scratch_len) | overwritten |
    /// | `energies` | `batch`            | overwritten |
    ///
    /// Terms are rounded to `T` and summed in `f64`.
    ///
    /// # Errors
    /// As [`hidden_means`](Self::hidden_means).
    pub fn free_energy<T: Element>(
        &self,
        batch: usize,
        v: &[T],
        weights: RbmWeights<'_, T>,
        scratch: &mut [T],
        energies: &mut [f64],
    ) -> Result<(), Error> {
        self.check(batch, ("v", v.len(), self.visible), weights, scratch)?;
        check_len("energies", energies.len(), batch)?;
        <T as Compiled>::free_energy(Evaluation { rbm: *self, v, weights, scratch }, energies);
        Ok(())
    }

    /// The mean over the rows of the logarithm of the pseudo-likelihood: how likely each visible unit is given the others.
    ///
    /// ```text
    /// Σᵢ ln P(vᵢ | the others) = Σᵢ ln σ(F(v with vᵢ flipped) − F(v))
    /// ```
    ///
    /// scikit-learn estimates this sum by one random term; here all are taken. A `vᵢ` between 0 and 1 is flipped to
    /// 1 − `vᵢ`, as there. Without rows it is NaN.
    ///
    /// | argument  | elements           | access      |
    /// |-----------|--------------------|-------------|
    /// | `v`       | `batch · visible`  | read        |
    /// | `weights` | see [`RbmWeights`] | read        |
    /// | `scratch` | at least [`scratch_len`](Self::scratch_len) | overwritten |
    ///
    /// # Errors
    /// [`Error::Unsupported`] where the visible units are Gaussian, whose conditional densities have no closed form;
    /// else as [`hidden_means`](Self::hidden_means).
    pub fn pseudo_likelihood<T: Element>(
        &self,
        batch: usize,
        v: &[T],
        weights: RbmWeights<'_, T>,
        scratch: &mut [T],
    ) -> Result<f64, Error> {
        if self.units == VisibleUnits::Gaussian {
            return Err(Error::Unsupported { operation: "the pseudo-likelihood of Gaussian visible units" });
        }
        self.check(batch, ("v", v.len(), self.visible), weights, scratch)?;
        Ok(<T as Compiled>::pseudo_likelihood(Evaluation { rbm: *self, v, weights, scratch }) / batch as f64)
    }

    /// The mean over the rows of ‖v − r‖², where r are the visible means given the hidden means given v.
    ///
    /// Cheap, and a good sign of progress within a run; it is not what contrastive divergence minimises. Without rows it
    /// is NaN.
    ///
    /// | argument  | elements           | access      |
    /// |-----------|--------------------|-------------|
    /// | `v`       | `batch · visible`  | read        |
    /// | `weights` | see [`RbmWeights`] | read        |
    /// | `scratch` | at least [`scratch_len`](Self::scratch_len) | overwritten |
    ///
    /// # Errors
    /// As [`hidden_means`](Self::hidden_means).
    pub fn reconstruction_error<T: Element>(
        &self,
        batch: usize,
        v: &[T],
        weights: RbmWeights<'_, T>,
        scratch: &mut [T],
    ) -> Result<f64, Error> {
        self.check(batch, ("v", v.len(), self.visible), weights, scratch)?;
        let (h, scratch) = scratch.split_at_mut(batch * self.hidden);
        let (r, scratch) = scratch.split_at_mut(batch * self.visible);
        schedule::hidden_input(*self, v, weights, Some(Activation::Sigmoid), scratch, h);
        schedule::visible_input(*self, h, weights, self.visible_activation(), scratch, r);
        Ok(PointwiseLoss::Squared.forward(Reduction::Sum, r, v)? / batch as f64)
    }

    /// Whether every element is one that the visible units may have: a number in [0, 1], or any finite one where they are
    /// Gaussian. Training does not look: scan a data set once.
    ///
    /// # Errors
    /// [`Error::NonFinite`] with the index of the first NaN or infinity, else [`Error::OutOfRange`] where a value is
    /// outside [0, 1].
    pub fn check_data<T: Element>(&self, data: &[T]) -> Result<(), Error> {
        crate::pretrain::check_data(data, self.units == VisibleUnits::Bernoulli)
    }

    /// What makes means of what the visible units are given.
    fn visible_activation(&self) -> Option<Activation> {
        match self.units {
            VisibleUnits::Bernoulli => Some(Activation::Sigmoid),
            VisibleUnits::Gaussian => None,
        }
    }

    /// Whether there are units.
    pub(super) fn check_units(&self) -> Result<(), Error> {
        let is_empty = |(_, units): &(&str, usize)| *units == 0;
        match [("visible", self.visible), ("hidden", self.hidden)].into_iter().find(is_empty) {
            Some((dimension, _)) => Err(Error::Empty { dimension }),
            None => Ok(()),
        }
    }

    /// Whether there are units, and `weights` fit them.
    fn check_weights<T>(&self, weights: RbmWeights<'_, T>, names: [&'static str; 3]) -> Result<(), Error> {
        self.check_units()?;
        check_len(names[0], weights.weights.len(), rows(self.hidden, self.visible)?)?;
        check_len(names[1], weights.visible_bias.len(), self.visible)?;
        check_len(names[2], weights.hidden_bias.len(), self.hidden)
    }

    /// Whether the arguments of an evaluation fit each other; `x` is named, and has rows of so many units.
    fn check<T: Element>(
        &self,
        batch: usize,
        (argument, len, units): (&'static str, usize, usize),
        weights: RbmWeights<'_, T>,
        scratch: &[T],
    ) -> Result<(), Error> {
        self.check_weights(weights, PARAMETERS)?;
        check_len(argument, len, rows(batch, units)?)?;
        check_at_least("scratch", scratch.len(), self.scratch_len::<T>(batch))
    }

    /// Elements of scratch that every product of so many rows has room in.
    fn products_len<T: Element>(&self, rows: usize) -> usize {
        let shapes = [self.hidden_shape(rows), self.visible_shape(rows), self.statistics_shape(rows)];
        shapes.into_iter().map(|shape| shape.scratch_len::<T>()).max().unwrap_or(0)
    }
}

/// Names of the parameters in errors.
const PARAMETERS: [&str; 3] = ["weights.weights", "weights.visible_bias", "weights.hidden_bias"];

/// Elements of `rows` rows.
fn rows(rows: usize, cols: usize) -> Result<usize, Error> {
    RowShape { rows, cols }.elements()
}

compiled_once! {
    fn means_and_samples(
        stream: Philox, first: u64, share: Self, z: &mut [Self], samples: &mut [Self],
    ) = schedule::means_and_samples;
    fn samples(units: VisibleUnits, stream: Philox, first: u64, z: &mut [Self]) = schedule::samples;
    fn train(call: Training<'_, Self>) = schedule::train;
    fn free_energy(call: Evaluation<'_, Self>, energies: &mut [f64]) = schedule::free_energy;
    fn pseudo_likelihood(call: Evaluation<'_, Self>) -> f64 = schedule::pseudo_likelihood;
}
