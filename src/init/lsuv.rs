//! Layer-sequential unit variance: weights scaled on real activations.

use alloc::vec;
use alloc::vec::Vec;

use rand_core::Rng;

use super::Init;
use crate::linear::{Dense, DenseWeights};
use crate::shape::{WeightShape, check_len, check_range};
use crate::stats::Moments;
use crate::{Activation, Element, Epilogue, Error};

/// Orthonormal weights, then each layer scaled until its sums have variance 1 on a batch of real data; Mishkin & Matas,
/// "All you need is a good init", 2016.
///
/// ```text
/// W orthonormal; up to `iterations` times while |var − 1| ≥ tolerance: W = W / √var,  var = Var(W·x + b) over the batch
/// ```
///
/// Unlike the rules of [`Init`], it knows nothing of the activation and needs to know nothing: it measures.
///
/// # Examples
/// ```
/// use rand::SeedableRng;
/// use steadygrad::init::Lsuv;
/// use steadygrad::linear::Dense;
/// use steadygrad::{Activation, Init, RowShape};
///
/// let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
/// let (mut x, normal) = (vec![0.0_f32; 256 * 32], Init::Normal { mean: 0.0, std: 3.0 });
/// normal.fill(RowShape { rows: 256, cols: 32 }, &mut rng, &mut x)?;
/// let layers = [Dense { inputs: 32, outputs: 64 }, Dense { inputs: 64, outputs: 10 }];
/// let (mut first, mut second) = (vec![0.0; 32 * 64], vec![0.0; 64 * 10]);
/// let reports =
///     Lsuv::default().fill_stack(&layers, Activation::Gelu, &x, &mut rng, &mut [&mut first, &mut second])?;
/// assert!(reports.iter().all(|report| (report.variance - 1.0).abs() < 0.1));
/// # Ok::<(), steadygrad::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lsuv {
    /// How far from 1 the variance may stay, positive; 0.1 by default, as the paper's.
    pub tolerance: f64,
    /// Times a layer is scaled at most; 10 by default. Once is enough where the sums are linear in the weights, up to the
    /// rounding of the element type.
    pub iterations: usize,
}

impl Default for Lsuv {
    fn default() -> Self {
        Self { tolerance: 0.1, iterations: 10 }
    }
}

/// How a layer came out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LsuvReport {
    /// Variance of the layer's outputs at the end.
    pub variance: f64,
    /// Times it was scaled.
    pub iterations: usize,
}

impl Lsuv {
    /// Fills the weights of one layer of any kind.
    ///
    /// | argument   | elements                   | access                                                             |
    /// |------------|----------------------------|--------------------------------------------------------------------|
    /// | `shape`    |                            | a [`RowShape`](crate::RowShape) or a [`WeightShape`]               |
    /// | `rng`      |                            | as of [`Init::Orthogonal`]                                         |
    /// | `variance` |                            | called with weights to try: the variance of the layer's outputs    |
    /// | `weights`  | `outputs · inputs · field` | overwritten                                                        |
    ///
    /// # Errors
    /// As [`Init::fill`] of [`Init::Orthogonal`]; [`Error::OutOfRange`] for `tolerance`, and for `variance` where it is 0 or
    /// not finite, as for a batch of equal samples. An error of `variance` is handed on. Then nothing was written.
    ///
    /// # Examples
    /// ```
    /// use rand::SeedableRng;
    /// use steadygrad::{RowShape, init::Lsuv};
    ///
    /// // Outputs of a layer of one weight on inputs of variance 4.
    /// let (mut rng, mut weights) = (rand_chacha::ChaCha8Rng::seed_from_u64(1), [0.0_f64]);
    /// let variance = |w: &[f64]| Ok(4.0 * w[0] * w[0]);
    /// let report = Lsuv::default().fill(RowShape { rows: 1, cols: 1 }, &mut rng, variance, &mut weights)?;
    /// assert_eq!((weights[0].abs(), report.variance, report.iterations), (0.5, 1.0, 1));
    /// # Ok::<(), steadygrad::Error>(())
    /// ```
    pub fn fill<T: Element>(
        &self,
        shape: impl Into<WeightShape>,
        rng: &mut impl Rng,
        mut variance: impl FnMut(&[T]) -> Result<f64, Error>,
        weights: &mut [T],
    ) -> Result<LsuvReport, Error> {
        check_range("tolerance", "positive", self.tolerance > 0.0)?;
        let mut trial = vec![T::zero(); weights.len()];
        Init::Orthogonal { gain: 1.0 }.fill(shape, rng, &mut trial)?;
        let mut iterations = 0;
        let report = loop {
            let variance = variance(&trial)?;
            check_range("variance", "positive and finite", variance > 0.0 && variance.is_finite())?;
            if num_traits::Float::abs(variance - 1.0) < self.tolerance || iterations == self.iterations {
                break LsuvReport { variance, iterations };
            }
            let factor = 1.0 / libm::sqrt(variance);
            trial.iter_mut().for_each(|w| *w = T::from_f64(w.to_f64() * factor));
            iterations += 1;
        };
        weights.copy_from_slice(&trial);
        Ok(report)
    }

    /// Fills the weights of dense layers one after the other, each on what those before it give; biases are 0.
    ///
    /// | argument     | elements                      | access                                            |
    /// |--------------|-------------------------------|---------------------------------------------------|
    /// | `layers`     |                               | in order                                          |
    /// | `activation` |                               | after every layer but the last                    |
    /// | `x`          | a multiple of the first inputs | read: a batch of data, of a few hundred samples  |
    /// | `rng`        |                               | as of [`fill`](Self::fill)                        |
    /// | `weights`    | of each `outputs · inputs`    | overwritten                                       |
    ///
    /// # Errors
    /// [`Error::Length`] for `weights`, one of them, or `x`; [`Error::LayerSize`] where a layer does not take what the one
    /// before it gives; else as [`fill`](Self::fill). Then nothing was written.
    pub fn fill_stack<T: Element>(
        &self,
        layers: &[Dense],
        activation: Activation,
        x: &[T],
        rng: &mut impl Rng,
        weights: &mut [&mut [T]],
    ) -> Result<Vec<LsuvReport>, Error> {
        activation.check::<T>()?;
        check_len("weights", weights.len(), layers.len())?;
        let Some(first) = layers.first() else { return Ok(Vec::new()) };
        for (layer, pair) in layers.windows(2).enumerate() {
            let (expected, actual) = (pair[0].outputs, pair[1].inputs);
            if expected != actual {
                return Err(Error::LayerSize { layer: layer + 1, expected, actual });
            }
        }
        for (dense, weights) in layers.iter().zip(&*weights) {
            let elements =
                dense.outputs.checked_mul(dense.inputs).ok_or(Error::Overflow { argument: "weights" })?;
            check_len("weights", weights.len(), elements)?;
        }
        if first.inputs == 0 {
            return Err(Error::Empty { dimension: "inputs" });
        }
        let batch = x.len() / first.inputs;
        check_len("x", x.len(), batch * first.inputs)?;
        let (mut given, mut reports, mut filled) = (x.to_vec(), Vec::new(), Vec::new());
        for dense in layers {
            let mut sums = vec![T::zero(); batch * dense.outputs];
            let mut scratch = vec![T::zero(); dense.forward_scratch_len::<T>(batch)];
            let mut trial = vec![T::zero(); dense.outputs * dense.inputs];
            let shape = WeightShape { outputs: dense.outputs, inputs: dense.inputs, field: 1 };
            let variance = |weights: &[T]| {
                let parameters = DenseWeights { weights, bias: None };
                dense.forward(batch, &given, parameters, Epilogue::default(), &mut scratch, &mut sums)?;
                Ok(Moments::of(&sums).variance())
            };
            reports.push(self.fill(shape, rng, variance, &mut trial)?);
            activation.forward_in_place(&mut sums)?;
            given = sums;
            filled.push(trial);
        }
        for (weights, filled) in weights.iter_mut().zip(filled) {
            weights.copy_from_slice(&filled);
        }
        Ok(reports)
    }
}
