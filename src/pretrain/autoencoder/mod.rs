//! Autoencoder: a layer that can be undone, learnt without labels.
//!
//! Denoising, Vincent et al., "Stacked denoising autoencoders", 2010: what was corrupted is to be restored. Contractive,
//! Rifai et al., "Contractive auto-encoders", 2011: what the hidden units change by is penalised. Noise is drawn from a
//! counter-based generator and never stored.

mod kernel;
pub mod reference;
mod schedule;

use crate::element::compiled_once;
use crate::random::Philox;
use crate::shape::{check_at_least, check_len, check_range};
use crate::simd::InOut;
use crate::{Activation, Dense, Element, Error, RowShape};
use schedule::Call;

/// What is done to the input before it is encoded; the error is that against the input as it was.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Corruption {
    /// Nothing.
    #[default]
    None,
    /// An element is 0 with a probability.
    Masking {
        /// The probability, in [0, 1]; usually 0.1 to 0.5. Word i of the stream decides for element i.
        p: f64,
    },
    /// A normal number is added.
    Gaussian {
        /// Its deviation, at least 0 and finite. That of element i is
        /// [`normal`](crate::reference::philox::normal) of word i.
        std: f64,
    },
}

/// How a reconstruction is held against the input.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Reconstruction {
    /// −Σ x ln r + (1 − x) ln(1 − r), r = σ(y), for inputs in [0, 1].
    #[default]
    CrossEntropy,
    /// Σ (r − x)², r = g(y).
    SquaredError {
        /// g.
        activation: Activation,
    },
}

/// An autoencoder of one hidden layer.
///
/// ```text
/// x̃ = x with noise
/// h = f(W·x̃ + b)
/// r = g(D·h + c),  D = Wᵀ where the weights are tied
/// loss = mean over the rows of error(r, x) + λ‖∂h/∂x̃‖²,  ‖∂h/∂x̃‖² = Σⱼ (hⱼ(1 − hⱼ))²‖Wⱼ‖² for a sigmoid f
/// ```
///
/// W and b start a [`Dense`] layer as they are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Autoencoder {
    /// Elements of a row of x, at least 1.
    pub inputs: usize,
    /// Hidden units, at least 1.
    pub hidden: usize,
    /// f; the sigmoid by default.
    pub activation: Activation,
    /// The error; cross-entropy by default.
    pub reconstruction: Reconstruction,
    /// The noise; none by default.
    pub corruption: Corruption,
    /// λ, at least 0 and finite; 0 by default, and 0 unless f is the sigmoid.
    pub contraction: f64,
}

/// Parameters of an [`Autoencoder`].
#[derive(Clone, Copy, Debug)]
pub struct AutoencoderWeights<'a, T> {
    /// W: `hidden` rows of `inputs` elements.
    pub weights: &'a [T],
    /// D: `inputs` rows of `hidden` elements, or none where it is Wᵀ.
    pub decoder: Option<&'a [T]>,
    /// b: `hidden` elements.
    pub hidden_bias: &'a [T],
    /// c: `inputs` elements.
    pub output_bias: &'a [T],
}

/// Gradients of the parameters of an [`Autoencoder`].
#[derive(Debug)]
pub struct AutoencoderTensors<'a, T> {
    /// dW: `hidden` rows of `inputs` elements.
    pub weights: &'a mut [T],
    /// dD: `inputs` rows of `hidden` elements; none where the weights are tied.
    pub decoder: Option<&'a mut [T]>,
    /// db: `hidden` elements.
    pub hidden_bias: &'a mut [T],
    /// dc: `inputs` elements.
    pub output_bias: &'a mut [T],
}

impl Autoencoder {
    /// Sigmoid hidden units, cross-entropy, no noise, no penalty.
    #[must_use]
    pub const fn new(inputs: usize, hidden: usize) -> Self {
        Self {
            inputs,
            hidden,
            activation: Activation::Sigmoid,
            reconstruction: Reconstruction::CrossEntropy,
            corruption: Corruption::None,
            contraction: 0.0,
        }
    }

    /// The layer that W and b start.
    #[must_use]
    pub fn dense(&self) -> Dense {
        Dense { inputs: self.inputs, outputs: self.hidden }
    }

    /// Elements that `scratch` of the functions below needs at least, for `batch` rows.
    #[must_use]
    pub fn scratch_len<T: Element>(&self, batch: usize) -> usize {
        let units = self.inputs.saturating_add(self.hidden).saturating_mul(3).saturating_mul(batch);
        units.saturating_add(self.hidden.saturating_mul(2)).saturating_add(self.products_len::<T>(batch))
    }

    /// `h = f(W·x + b)`, without noise: what the next layer is given.
    ///
    /// | argument  | elements                   | access      |
    /// |-----------|----------------------------|-------------|
    /// | `x`       | `batch · inputs`           | read        |
    /// | `weights` | see [`AutoencoderWeights`] | read        |
    /// | `scratch` | at least [`scratch_len`](Self::scratch_len) | overwritten |
    /// | `h`       | `batch · hidden`           | overwritten |
    ///
    /// # Errors
    /// [`Error::Empty`] without inputs or hidden units, [`Error::OutOfRange`] where a field is, [`Error::Length`] for the
    /// first argument whose length differs from the table, [`Error::Overflow`] for a product that does not fit in
    /// `usize`; then nothing was written.
    pub fn encode<T: Element>(
        &self,
        batch: usize,
        x: &[T],
        weights: AutoencoderWeights<'_, T>,
        scratch: &mut [T],
        h: &mut [T],
    ) -> Result<(), Error> {
        self.check(batch, ("x", x.len(), self.inputs), weights, scratch)?;
        check_len("h", h.len(), elements(batch, self.hidden)?)?;
        schedule::encode(*self, x, weights, Some(self.activation), scratch, h);
        Ok(())
    }

    /// `r = g(D·h + c)`; the sigmoid is g where the error is the cross-entropy.
    ///
    /// | argument  | elements                   | access      |
    /// |-----------|----------------------------|-------------|
    /// | `h`       | `batch · hidden`           | read        |
    /// | `weights` | see [`AutoencoderWeights`] | read        |
    /// | `scratch` | at least [`scratch_len`](Self::scratch_len) | overwritten |
    /// | `r`       | `batch · inputs`           | overwritten |
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn decode<T: Element>(
        &self,
        batch: usize,
        h: &[T],
        weights: AutoencoderWeights<'_, T>,
        scratch: &mut [T],
        r: &mut [T],
    ) -> Result<(), Error> {
        self.check(batch, ("h", h.len(), self.hidden), weights, scratch)?;
        check_len("r", r.len(), elements(batch, self.inputs)?)?;
        schedule::decode(*self, h, weights, scratch, r);
        Ok(())
    }

    /// `corrupted` = x with the noise that [`loss`](Self::loss) draws from the same stream.
    ///
    /// | argument    | elements                   | access      |
    /// |-------------|----------------------------|-------------|
    /// | `x`         | any                        | read        |
    /// | `corrupted` | as `x`                     | overwritten |
    ///
    /// A masked element is 0 whatever it was, NaN included.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn corrupt<T: Element>(&self, stream: Philox, x: &[T], corrupted: &mut [T]) -> Result<(), Error> {
        self.check_fields::<T>()?;
        check_len("corrupted", corrupted.len(), x.len())?;
        <T as Compiled>::corrupt(self.corruption, stream, InOut::new(x, corrupted));
        Ok(())
    }

    /// The loss. Without rows it is NaN.
    ///
    /// | argument  | elements                   | access                                    |
    /// |-----------|----------------------------|-------------------------------------------|
    /// | `x`       | `batch · inputs`           | read                                      |
    /// | `stream`  | –                          | the noise: another counter for every step |
    /// | `weights` | see [`AutoencoderWeights`] | read                                      |
    /// | `scratch` | at least [`scratch_len`](Self::scratch_len) | overwritten              |
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn loss<T: Element>(
        &self,
        batch: usize,
        x: &[T],
        stream: Philox,
        weights: AutoencoderWeights<'_, T>,
        scratch: &mut [T],
    ) -> Result<f64, Error> {
        self.check(batch, ("x", x.len(), self.inputs), weights, scratch)?;
        if batch == 0 {
            return Ok(f64::NAN);
        }
        <T as Compiled>::run(Call { net: *self, batch, x, stream, weights, scratch, gradient: None })
    }

    /// The loss, and its gradient.
    ///
    /// | argument   | elements                   | access                                    |
    /// |------------|----------------------------|-------------------------------------------|
    /// | `x`        | `batch · inputs`           | read                                      |
    /// | `stream`   | –                          | the noise: another counter for every step |
    /// | `weights`  | see [`AutoencoderWeights`] | read: first of the pair                   |
    /// | `gradient` | see [`AutoencoderTensors`] | accumulated: second of the pair           |
    /// | `scratch`  | at least [`scratch_len`](Self::scratch_len) | overwritten              |
    ///
    /// The loss has the bits of [`loss`](Self::loss).
    ///
    /// # Errors
    /// As [`encode`](Self::encode); [`Error::OutOfRange`] where only one of weights and gradient has a decoder.
    ///
    /// # Examples
    /// ```
    /// use steadygrad::pretrain::{Autoencoder, AutoencoderTensors, AutoencoderWeights, Reconstruction};
    /// use steadygrad::{Activation, Philox};
    ///
    /// let linear = Activation::Identity;
    /// let net = Autoencoder {
    ///     activation: linear,
    ///     reconstruction: Reconstruction::SquaredError { activation: linear },
    ///     ..Autoencoder::new(1, 1)
    /// };
    /// // r = w·w·x, tied.
    /// let weights =
    ///     AutoencoderWeights { weights: &[2.0_f64], decoder: None, hidden_bias: &[0.0], output_bias: &[0.0] };
    /// let (mut dw, mut db, mut dc) = ([0.0], [0.0], [0.0]);
    /// let gradient =
    ///     AutoencoderTensors { weights: &mut dw, decoder: None, hidden_bias: &mut db, output_bias: &mut dc };
    /// let mut scratch = vec![0.0; net.scratch_len::<f64>(1)];
    /// let loss = net.forward_backward(1, &[1.0], Philox::default(), (weights, gradient), &mut scratch)?;
    /// assert_eq!((loss, dw, db, dc), (9.0, [24.0], [12.0], [6.0])); // (4 − 1)², 2·3·(2 + 2), 2·3·2, 2·3
    /// # Ok::<(), steadygrad::Error>(())
    /// ```
    pub fn forward_backward<T: Element>(
        &self,
        batch: usize,
        x: &[T],
        stream: Philox,
        (weights, gradient): (AutoencoderWeights<'_, T>, AutoencoderTensors<'_, T>),
        scratch: &mut [T],
    ) -> Result<f64, Error> {
        self.check(batch, ("x", x.len(), self.inputs), weights, scratch)?;
        let AutoencoderTensors { weights: dw, decoder: dd, hidden_bias: db, output_bias: dc } = &gradient;
        let lens = [dw.len(), dd.as_ref().map_or(0, |dd| dd.len()), db.len(), dc.len()];
        let names = ["gradient.weights", "gradient.decoder", "gradient.hidden_bias", "gradient.output_bias"];
        self.check_tensors(lens, dd.is_some(), names)?;
        check_range(
            "gradient.decoder",
            "present where the weights have one",
            weights.decoder.is_some() == dd.is_some(),
        )?;
        if batch == 0 {
            return Ok(f64::NAN);
        }
        let gradient = Some(gradient);
        <T as Compiled>::run(Call { net: *self, batch, x, stream, weights, scratch, gradient })
    }

    /// Whether every field is in its range.
    pub(crate) fn check_fields<T: Element>(&self) -> Result<(), Error> {
        for (dimension, units) in [("inputs", self.inputs), ("hidden", self.hidden)] {
            if units == 0 {
                return Err(Error::Empty { dimension });
            }
        }
        let coefficient = |value: f64| value >= 0.0 && T::from_f64(value).is_finite();
        let requirement = "at least 0 and finite in the element type";
        self.activation.check::<T>()?;
        if let Reconstruction::SquaredError { activation } = self.reconstruction {
            activation.check::<T>()?;
        }
        match self.corruption {
            Corruption::None => {}
            Corruption::Masking { p } => check_range("p", "in [0, 1]", (0.0..=1.0).contains(&p))?,
            Corruption::Gaussian { std } => check_range("std", requirement, coefficient(std))?,
        }
        check_range("contraction", requirement, coefficient(self.contraction))?;
        let has_slopes = self.contraction == 0.0 || self.activation == Activation::Sigmoid;
        check_range("contraction", "0 unless the hidden units are sigmoids", has_slopes)
    }

    /// Whether tensors of these lengths are as the parameters.
    fn check_tensors(&self, lens: [usize; 4], decodes: bool, names: [&'static str; 4]) -> Result<(), Error> {
        let weights = elements(self.hidden, self.inputs)?;
        let expected = [weights, if decodes { weights } else { 0 }, self.hidden, self.inputs];
        let mut tensors = names.into_iter().zip(lens).zip(expected);
        tensors.try_for_each(|((name, len), expected)| check_len(name, len, expected))
    }

    /// Whether fields and arguments fit each other; `x` is named, and has rows of so many elements.
    fn check<T: Element>(
        &self,
        batch: usize,
        (argument, len, cols): (&'static str, usize, usize),
        weights: AutoencoderWeights<'_, T>,
        scratch: &[T],
    ) -> Result<(), Error> {
        self.check_fields::<T>()?;
        let AutoencoderWeights { weights, decoder, hidden_bias, output_bias } = weights;
        let lens = [weights.len(), decoder.map_or(0, <[T]>::len), hidden_bias.len(), output_bias.len()];
        let names = ["weights.weights", "weights.decoder", "weights.hidden_bias", "weights.output_bias"];
        self.check_tensors(lens, decoder.is_some(), names)?;
        check_len(argument, len, elements(batch, cols)?)?;
        check_at_least("scratch", scratch.len(), self.scratch_len::<T>(batch))
    }
}

/// Elements of `rows` rows.
fn elements(rows: usize, cols: usize) -> Result<usize, Error> {
    RowShape { rows, cols }.elements()
}

compiled_once! {
    fn corrupt(corruption: Corruption, stream: Philox, data: InOut<'_, Self>) = schedule::corrupt;
    fn run(call: Call<'_, Self>) -> Result<f64, Error> = schedule::run;
}
