//! Optimizers: from gradients to the next parameters, in one pass over each tensor.

pub mod sgd;

pub use sgd::{Momentum, Sgd};

use crate::Error;
use crate::shape::{check_len, check_range};

/// How parameters are drawn to 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum WeightDecay {
    /// `g += λ·p`: the gradient of ½λ‖p‖², so that momentum and adaptive steps act on it too (PyTorch's
    /// `weight_decay` of SGD and Adam).
    Coupled(f64),
    /// `p *= 1 − lr·λ` before the step (Loshchilov & Hutter 2019; PyTorch's of `AdamW`).
    Decoupled(f64),
}

impl Default for WeightDecay {
    fn default() -> Self {
        Self::NONE
    }
}

impl WeightDecay {
    /// No decay.
    pub const NONE: Self = Self::Coupled(0.0);

    pub(crate) fn check(self) -> Result<(), Error> {
        let (Self::Coupled(decay) | Self::Decoupled(decay)) = self;
        check_range("weight_decay", "at least 0 and finite", decay >= 0.0 && decay.is_finite())
    }
}

/// The gradients of a step, and what they are multiplied by while they are read.
#[derive(Clone, Copy, Debug)]
pub struct Gradients<'a, T> {
    /// One for each tensor of parameters.
    pub tensors: &'a [&'a [T]],
    /// Factor of all elements, at least 0 and finite: [`ClipReport::scale`](crate::clip::ClipReport::scale), or 1.
    /// With 0 every gradient counts as 0, NaN and infinities too.
    pub scale: f64,
}

impl<'a, T> Gradients<'a, T> {
    /// Gradients as they are: a scale of 1.
    #[must_use]
    pub fn new(tensors: &'a [&'a [T]]) -> Self {
        Self { tensors, scale: 1.0 }
    }

    /// Whether there is one for each tensor of parameters, as long as it, and the scale is in its range.
    pub(crate) fn check(&self, params: &[&mut [T]]) -> Result<(), Error> {
        check_range("scale", "at least 0 and finite", self.scale >= 0.0 && self.scale.is_finite())?;
        check_same_lengths("grads", self.tensors, params)
    }
}

/// `Ok` where `list` has as many tensors as `params`, each as long.
pub(crate) fn check_same_lengths<T, S: AsRef<[T]>>(
    argument: &'static str,
    list: &[S],
    params: &[&mut [T]],
) -> Result<(), Error> {
    check_len(argument, list.len(), params.len())?;
    list.iter()
        .zip(params)
        .try_for_each(|(tensor, param)| check_len(argument, tensor.as_ref().len(), param.len()))
}
