//! What batch norm takes and gives beside its input and output, as borrowed structs.

use crate::norm::{Affine, affine::check_optional};
use crate::shape::check_len;
use crate::{Activation, ChannelShape, Element, Epilogue, Error};

/// The statistics that a training forward leaves behind.
#[derive(Debug)]
pub struct BatchStatistics<'a, T> {
    /// Moments of the whole batch where `x` is only this machine's part of it, `channels` elements: what
    /// [`Moments::of_channels`](crate::stats::Moments::of_channels) of every part merge to. None takes those of `x`.
    pub merged: Option<&'a [crate::stats::Moments]>,
    /// Mean of the batch, `channels` elements, overwritten; kept for the backward.
    pub mean: &'a mut [f64],
    /// 1/√(variance + eps), `channels` elements, overwritten; kept for the backward.
    pub rstd: &'a mut [f64],
    /// Updated by [`momentum`](super::BatchNorm::momentum); none keeps no running statistics.
    pub running: Option<RunningStatistics<'a, T>>,
}

/// Running statistics as they are learned.
#[derive(Debug)]
pub struct RunningStatistics<'a, T> {
    /// Mean, `channels` elements, at first 0.
    pub mean: &'a mut [T],
    /// Unbiased variance, `channels` elements, at first 1.
    pub variance: &'a mut [T],
    /// Batches seen, one more after each; at first 0.
    pub batches: &'a mut u64,
}

impl<T: Element> BatchStatistics<'_, T> {
    pub(super) fn check(&self, channels: usize) -> Result<(), Error> {
        if let Some(merged) = self.merged {
            check_len("statistics.merged", merged.len(), channels)?;
        }
        check_len("statistics.mean", self.mean.len(), channels)?;
        check_len("statistics.rstd", self.rstd.len(), channels)?;
        if let Some(running) = &self.running {
            check_len("statistics.running.mean", running.mean.len(), channels)?;
            check_len("statistics.running.variance", running.variance.len(), channels)?;
        }
        Ok(())
    }
}

/// Running statistics as they are used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FrozenStatistics<'a, T> {
    /// Mean, `channels` elements.
    pub mean: &'a [T],
    /// Variance, `channels` elements.
    pub variance: &'a [T],
}

impl<T: Element> FrozenStatistics<'_, T> {
    pub(super) fn check(&self, channels: usize) -> Result<(), Error> {
        check_len("statistics.mean", self.mean.len(), channels)?;
        check_len("statistics.variance", self.variance.len(), channels)
    }
}

/// What a training forward saved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SavedStatistics<'a> {
    /// [`BatchStatistics::mean`] after the forward.
    pub mean: &'a [f64],
    /// [`BatchStatistics::rstd`] after the forward.
    pub rstd: &'a [f64],
}

impl SavedStatistics<'_> {
    pub(super) fn check(&self, channels: usize) -> Result<(), Error> {
        check_len("statistics.mean", self.mean.len(), channels)?;
        check_len("statistics.rstd", self.rstd.len(), channels)
    }
}

/// What a backward reads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BackwardInputs<'a, T> {
    /// The input of the forward: `outer · channels · inner` elements.
    pub x: &'a [T],
    /// The gradient of the forward's `y`, as many elements.
    pub dy: &'a [T],
    /// γ and β of the forward. β is only read where a pre-activation is computed anew.
    pub affine: Affine<'a, T>,
    /// How the forward's epilogue is undone.
    pub epilogue: EpilogueBackward<'a, T>,
}

/// How a backward finds the derivative of the forward's activation. No pre-activation is ever stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum EpilogueBackward<'a, T> {
    /// The epilogue of the forward: its pre-activation is computed anew, from `x` and the residual, which is bit for bit
    /// the forward's. For every activation; without a residual it reads nothing but `x` and `dy`.
    FromInput(Epilogue<'a, T>),
    /// From the output, so that the residual need not be kept: for the activations whose derivative is a function of
    /// their value, which are those of [`Activation::backward_from_output`] (all but `Gelu`, `GeluTanh`, `Silu`, `Mish`,
    /// `HardSwish` and `TanhShrink`).
    FromOutput {
        /// The activation of the forward's epilogue.
        activation: Activation,
        /// The forward's output, as many elements as `x`.
        y: &'a [T],
    },
}

impl<T> Default for EpilogueBackward<'_, T> {
    fn default() -> Self {
        Self::FromInput(Epilogue::default())
    }
}

impl<T: Element> BackwardInputs<'_, T> {
    pub(super) fn check(&self, shape: ChannelShape) -> Result<(), Error> {
        let elements = shape.elements()?;
        check_len("inputs.x", self.x.len(), elements)?;
        check_len("inputs.dy", self.dy.len(), elements)?;
        self.affine.check(shape.channels)?;
        match self.epilogue {
            EpilogueBackward::FromInput(epilogue) => epilogue.check(elements),
            EpilogueBackward::FromOutput { activation, y } => {
                activation.check::<T>()?;
                activation.check_from_output()?;
                check_len("inputs.epilogue.y", y.len(), elements)
            }
        }
    }
}

/// The gradients that a backward shall compute; what is `None` costs nothing.
#[derive(Debug)]
pub struct Gradients<'a, T> {
    /// dx: as many elements as `x`, overwritten.
    pub input: Option<&'a mut [T]>,
    /// Gradient of the residual, and of the norm's own output: as many elements as `x`, overwritten.
    pub residual: Option<&'a mut [T]>,
    /// dγ: `channels` elements, accumulated in `f64` and rounded once.
    pub gamma: Option<&'a mut [T]>,
    /// dβ: `channels` elements, accumulated in `f64` and rounded once.
    pub beta: Option<&'a mut [T]>,
}

impl<T> Default for Gradients<'_, T> {
    fn default() -> Self {
        Self { input: None, residual: None, gamma: None, beta: None }
    }
}

impl<T: Element> Gradients<'_, T> {
    pub(super) fn check(&self, shape: ChannelShape) -> Result<(), Error> {
        let elements = shape.elements()?;
        check_optional("gradients.input", self.input.as_deref(), elements)?;
        check_optional("gradients.residual", self.residual.as_deref(), elements)?;
        check_optional("gradients.gamma", self.gamma.as_deref(), shape.channels)?;
        check_optional("gradients.beta", self.beta.as_deref(), shape.channels)
    }
}

/// A channel's two sums over the batch, on which dx depends; sums of parts add up to those of the whole.
///
/// Plain numbers, which any all-reduce can carry.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GradientSums {
    /// Number of values.
    pub count: u64,
    /// Σdy.
    pub dy: f64,
    /// Σdy·(x − mean).
    pub dy_deviation: f64,
}

impl GradientSums {
    /// Adds those of another part of the batch.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.dy += other.dy;
        self.dy_deviation += other.dy_deviation;
    }
}
