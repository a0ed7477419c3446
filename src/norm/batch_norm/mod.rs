//! Batch normalisation, with the addition and the activation that follow it, forward and backward.
//!
//! Ioffe & Szegedy 2015, "Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate Shift".
//! Statistics are [`Moments`] in `f64`; a strip of channels is normalised while it is in cache. The residual and a ReLU or
//! leaky ReLU are taken along in registers, both ways; other activations follow on each tile while that is in cache.

mod backward;
mod fold;
mod forward;
mod gradient_strip;
mod kernel;
mod parts;
pub mod reference;
mod schedule;

use backward::{Backward, Statistics};
use forward::{Forward, Source};
pub use parts::{
    BackwardInputs, BatchStatistics, EpilogueBackward, FrozenStatistics, GradientSums, Gradients,
    RunningStatistics, SavedStatistics,
};

use super::Affine;
use crate::element::compiled_once;
use crate::shape::{check_len, check_range};
use crate::stats::Moments;
use crate::{ChannelShape, Element, Epilogue, Error};

/// How running statistics follow those of the batches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Momentum {
    /// `running = m·batch + (1 − m)·running`, with m in [0, 1]: `PyTorch`'s; Keras and ONNX call 1 − m the momentum.
    Exponential(f64),
    /// The mean over all batches: m = 1 / (batches seen, with this one).
    Cumulative,
}

/// Batch normalisation, `PyTorch`'s `BatchNorm1d`, `2d` and `3d`.
///
/// ```text
/// y = f((x − mean)/√(variance + eps) · γ + β + residual)
/// ```
///
/// N×C, N×C×L and NCHW have the channels amid, as [`ChannelShape`] says; NHWC is `inner = 1`. Mean and rstd are kept as
/// `f64`: an `f32` could not hold a mean of 10⁶ beside a deviation of 0.1.
///
/// A NaN or infinity stays in its channel, of which a batch with one is NaN throughout.
///
/// # Examples
/// ```
/// use steadygrad::norm::{Affine, batch_norm::{BackwardInputs, BatchStatistics, Gradients, SavedStatistics}};
/// use steadygrad::{BatchNorm, ChannelShape, Epilogue};
///
/// let shape = ChannelShape { outer: 2, channels: 2, inner: 1 };
/// let norm = BatchNorm { eps: 1e-12, ..BatchNorm::default() };
/// let x = [1.0_f64, 10.0, 3.0, 20.0];
/// let affine = Affine { gamma: Some(&[1.0, 2.0]), beta: Some(&[0.0, 0.5]) };
/// let (mut mean, mut rstd, mut y) = ([0.0; 2], [0.0; 2], [0.0; 4]);
/// let statistics = BatchStatistics { merged: None, mean: &mut mean, rstd: &mut rstd, running: None };
/// norm.forward(shape, &x, affine, Epilogue::default(), statistics, &mut y)?;
/// assert_eq!(mean, [2.0, 15.0]);
/// assert!([-1.0, -1.5, 1.0, 2.5].iter().zip(y).all(|(expected, y)| (y - expected).abs() < 1e-9));
///
/// let inputs = BackwardInputs { x: &x, dy: &[1.0, 0.0, 0.0, 1.0], affine, epilogue: Default::default() };
/// let (mut dgamma, mut dbeta) = ([0.0; 2], [0.0; 2]);
/// let gradients = Gradients { gamma: Some(&mut dgamma), beta: Some(&mut dbeta), ..Gradients::default() };
/// norm.backward(shape, inputs, SavedStatistics { mean: &mean, rstd: &rstd }, gradients)?;
/// assert_eq!(dbeta, [1.0, 1.0]);
/// assert!((dgamma[0] + 1.0).abs() < 1e-9 && (dgamma[1] - 1.0).abs() < 1e-9);
/// # Ok::<(), steadygrad::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNorm {
    /// Added to the variance; positive, default 1e-5 (Keras 1e-3).
    pub eps: f64,
    /// Of the running statistics; default `Exponential(0.1)`.
    pub momentum: Momentum,
}

impl Default for BatchNorm {
    fn default() -> Self {
        Self { eps: 1e-5, momentum: Momentum::Exponential(0.1) }
    }
}

impl BatchNorm {
    /// Normalises a batch by its own statistics: training.
    ///
    /// ```text
    /// rstd = 1/√(m2/n + eps)          y = f((x − mean)·rstd·γ + β + residual)
    /// running.mean     = m·mean       + (1 − m)·running.mean
    /// running.variance = m·m2/(n − 1) + (1 − m)·running.variance
    /// ```
    ///
    /// | argument            | elements                   | access                                           |
    /// |---------------------|----------------------------|--------------------------------------------------|
    /// | `x`                 | `outer · channels · inner` | read                                             |
    /// | `affine.gamma`       | `channels`                 | read                                             |
    /// | `affine.beta`       | `channels`                 | read                                             |
    /// | `epilogue.residual` | as `x`                     | read                                             |
    /// | `statistics.merged` | `channels`                 | read: moments of the batch that `x` is a part of |
    /// | `statistics.mean`   | `channels`                 | overwritten, for the backward                    |
    /// | `statistics.rstd`   | `channels`                 | overwritten, for the backward                    |
    /// | `statistics.running.mean`, `.variance` | `channels` | updated                                       |
    /// | `statistics.running.batches` | 1                 | one more                                         |
    /// | `y`                 | as `x`                     | overwritten                                      |
    ///
    /// A normalised value is within 4 ULP of the larger of its two terms, (x − mean)·rstd·γ and β, also where the mean
    /// is far larger than the deviation; then come the rounding of the residual's addition and the error of f.
    ///
    /// # Synchronised statistics
    /// Where a batch is spread over machines, each takes [`Moments::of_channels`] of its part, all of them are merged,
    /// and each calls this with what they merge to. In the backward, [`gradient_sums`](Self::gradient_sums) are what is
    /// merged.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] for `eps` or `momentum` out of range, for a parameter of the activation, for `shape` with a single
    /// value a channel, which has no variance, and for `statistics.merged` with fewer than two; [`Error::Empty`] where a channel
    /// of `shape` has none and nothing was merged; [`Error::Length`] names the first argument whose length differs from the
    /// table, [`Error::Overflow`] the shape whose product does. Then nothing was written, running statistics included.
    pub fn forward<T: Element>(
        &self,
        shape: ChannelShape,
        x: &[T],
        affine: Affine<'_, T>,
        epilogue: Epilogue<'_, T>,
        statistics: BatchStatistics<'_, T>,
        y: &mut [T],
    ) -> Result<(), Error> {
        self.check_forward(shape, x, affine, epilogue, y)?;
        statistics.check(shape.channels)?;
        check_batch(shape, statistics.merged)?;
        let BatchStatistics { merged, mean, rstd, running } = statistics;
        if shape.channels == 0 {
            return Ok(());
        }
        let (momentum, running) = match running {
            Some(running) => {
                *running.batches = running.batches.saturating_add(1);
                let momentum = match self.momentum {
                    Momentum::Exponential(momentum) => momentum,
                    Momentum::Cumulative => 1.0 / *running.batches as f64,
                };
                (momentum, Some((running.mean, running.variance)))
            }
            None => (0.0, None),
        };
        <T as Compiled>::forward(Forward {
            shape,
            eps: self.eps,
            x,
            affine,
            epilogue,
            source: merged.map_or(Source::Batch, Source::Merged),
            y,
            saved: Some((mean, rstd)),
            running,
            momentum,
        });
        Ok(())
    }

    /// Normalises by running statistics: inference, or training with frozen statistics.
    ///
    /// ```text
    /// y = f((x − mean)/√(variance + eps) · γ + β + residual)
    /// ```
    ///
    /// | argument              | elements                   | access      |
    /// |-----------------------|----------------------------|-------------|
    /// | `x`                   | `outer · channels · inner` | read        |
    /// | `affine.gamma`, `.beta` | `channels`                | read        |
    /// | `epilogue.residual`   | as `x`                     | read        |
    /// | `statistics.mean`     | `channels`                 | read        |
    /// | `statistics.variance` | `channels`                 | read        |
    /// | `y`                   | as `x`                     | overwritten |
    ///
    /// As accurate as [`forward`](Self::forward). A variance below −eps gives NaN.
    ///
    /// # Errors
    /// As [`forward`](Self::forward), but any number of values will do.
    ///
    /// # Examples
    /// ```
    /// use steadygrad::norm::{Affine, batch_norm::FrozenStatistics};
    /// use steadygrad::{Activation, BatchNorm, ChannelShape, Epilogue};
    ///
    /// let shape = ChannelShape { outer: 1, channels: 1, inner: 2 };
    /// let norm = BatchNorm { eps: 1.0, ..BatchNorm::default() };
    /// let statistics = FrozenStatistics { mean: &[1.0_f32], variance: &[3.0] };
    /// let relu = Epilogue { activation: Some(Activation::Relu), ..Epilogue::default() };
    /// let mut y = [0.0; 2];
    /// norm.infer(shape, &[5.0, -5.0], Affine::default(), relu, statistics, &mut y)?;
    /// assert_eq!(y, [2.0, 0.0]); // (5 − 1)/√(3 + 1); max(−3, 0)
    /// # Ok::<(), steadygrad::Error>(())
    /// ```
    pub fn infer<T: Element>(
        &self,
        shape: ChannelShape,
        x: &[T],
        affine: Affine<'_, T>,
        epilogue: Epilogue<'_, T>,
        statistics: FrozenStatistics<'_, T>,
        y: &mut [T],
    ) -> Result<(), Error> {
        self.check_forward(shape, x, affine, epilogue, y)?;
        statistics.check(shape.channels)?;
        let source = Source::Frozen(statistics);
        let (eps, saved, running) = (self.eps, None, None);
        <T as Compiled>::forward(Forward {
            shape,
            eps,
            x,
            affine,
            epilogue,
            source,
            y,
            saved,
            running,
            momentum: 0.0,
        });
        Ok(())
    }

    /// The gradients of [`forward`](Self::forward).
    ///
    /// ```text
    /// g = dy·f′(…), the gradient of the residual
    /// k = Σ(x − mean)·g · rstd²/n
    /// dx = (g − mean(g) − (x − mean)·k)·rstd·γ
    /// dγ = Σ(x − mean)·g · rstd          dβ = Σg
    /// ```
    ///
    /// | argument                | elements                   | access                                |
    /// |-------------------------|----------------------------|---------------------------------------|
    /// | `inputs.x`, `.dy`       | `outer · channels · inner` | read                                  |
    /// | `inputs.affine.gamma`, `.beta` | `channels`           | read                                  |
    /// | `inputs.epilogue`       | as `x`                     | read: the residual, or `y`            |
    /// | `statistics.mean`, `.rstd` | `channels`              | read: as the forward left them        |
    /// | `gradients.input`       | as `x`                     | overwritten                           |
    /// | `gradients.residual`    | as `x`                     | overwritten                           |
    /// | `gradients.gamma`, `.beta` | `channels`               | accumulated                           |
    ///
    /// Both sums are taken in `f64`. dx is within 8 ULP of the largest of its three terms, beside what f′ is off by.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] for `eps`, `momentum` or a parameter of the activation, [`Error::Unsupported`] for an activation that
    /// cannot be undone from its output, [`Error::Length`] and [`Error::Overflow`] as [`forward`](Self::forward); then
    /// nothing was written.
    pub fn backward<T: Element>(
        &self,
        shape: ChannelShape,
        inputs: BackwardInputs<'_, T>,
        statistics: SavedStatistics<'_>,
        gradients: Gradients<'_, T>,
    ) -> Result<(), Error> {
        statistics.check(shape.channels)?;
        self.run_backward(shape, inputs, Statistics::Saved(statistics), gradients, None)
    }

    /// The gradients of [`infer`](Self::infer): mean and variance do not depend on x.
    ///
    /// ```text
    /// dx = g·γ/√(variance + eps), the others as in `backward`
    /// ```
    ///
    /// | argument                       | elements   | access                             |
    /// |--------------------------------|------------|------------------------------------|
    /// | `statistics.mean`, `.variance` | `channels` | read                               |
    /// | the others                     |            | as [`backward`](Self::backward)    |
    ///
    /// # Errors
    /// As [`backward`](Self::backward).
    pub fn backward_frozen<T: Element>(
        &self,
        shape: ChannelShape,
        inputs: BackwardInputs<'_, T>,
        statistics: FrozenStatistics<'_, T>,
        gradients: Gradients<'_, T>,
    ) -> Result<(), Error> {
        statistics.check(shape.channels)?;
        self.run_backward(shape, inputs, Statistics::Frozen(statistics), gradients, None)
    }

    /// First half of [`backward`](Self::backward) for a part of a batch: all but dx, and the sums that dx depends on.
    ///
    /// | argument               | elements   | access                                              |
    /// |------------------------|------------|-----------------------------------------------------|
    /// | `gradients.input`      |            | must be `None`: it depends on all parts             |
    /// | `gradients.gamma`, `.beta` | `channels` | accumulated, of this part                        |
    /// | `sums`                 | `channels` | overwritten, of this part                           |
    /// | the others             |            | as [`backward`](Self::backward)                     |
    ///
    /// # Errors
    /// As [`backward`](Self::backward), and [`Error::Unsupported`] where `gradients.input` is asked for.
    pub fn gradient_sums<T: Element>(
        &self,
        shape: ChannelShape,
        inputs: BackwardInputs<'_, T>,
        statistics: SavedStatistics<'_>,
        gradients: Gradients<'_, T>,
        sums: &mut [GradientSums],
    ) -> Result<(), Error> {
        statistics.check(shape.channels)?;
        check_len("sums", sums.len(), shape.channels)?;
        if gradients.input.is_some() {
            return Err(Error::Unsupported { operation: "an input gradient from the sums of one part" });
        }
        self.run_backward(shape, inputs, Statistics::Saved(statistics), gradients, Some(sums))
    }

    /// Second half of [`backward`](Self::backward) for a part of a batch: dx from the sums over all parts.
    ///
    /// | argument   | elements   | access                                                                       |
    /// |------------|------------|------------------------------------------------------------------------------|
    /// | `sums`     | `channels` | read: what those of [`gradient_sums`](Self::gradient_sums) of all parts merge to |
    /// | `dx`       | as `x`     | overwritten                                                                  |
    /// | the others |            | as [`backward`](Self::backward)                                              |
    ///
    /// Where the first half wrote the gradient of the residual, that may be the `dy` here, with no epilogue: then the
    /// activation is not undone twice.
    ///
    /// # Errors
    /// As [`backward`](Self::backward), and [`Error::OutOfRange`] where `sums` are of no values.
    pub fn backward_from_sums<T: Element>(
        &self,
        shape: ChannelShape,
        inputs: BackwardInputs<'_, T>,
        statistics: SavedStatistics<'_>,
        sums: &[GradientSums],
        dx: &mut [T],
    ) -> Result<(), Error> {
        statistics.check(shape.channels)?;
        check_len("sums", sums.len(), shape.channels)?;
        check_range("sums", "of at least one value", sums.iter().all(|sums| sums.count > 0))?;
        check_len("dx", dx.len(), shape.elements()?)?;
        let gradients = Gradients { input: Some(dx), ..Gradients::default() };
        self.run_backward(shape, inputs, Statistics::Merged(statistics, sums), gradients, None)
    }

    fn run_backward<T: Element>(
        &self,
        shape: ChannelShape,
        inputs: BackwardInputs<'_, T>,
        statistics: Statistics<'_, T>,
        gradients: Gradients<'_, T>,
        sums: Option<&mut [GradientSums]>,
    ) -> Result<(), Error> {
        self.check()?;
        inputs.check(shape)?;
        gradients.check(shape)?;
        <T as Compiled>::backward(Backward { shape, eps: self.eps, inputs, statistics, gradients, sums });
        Ok(())
    }

    fn check(&self) -> Result<(), Error> {
        check_range("eps", "positive and finite", self.eps > 0.0 && self.eps.is_finite())?;
        match self.momentum {
            Momentum::Exponential(momentum) => {
                check_range("momentum", "between 0 and 1", (0.0..=1.0).contains(&momentum))
            }
            Momentum::Cumulative => Ok(()),
        }
    }

    fn check_forward<T: Element>(
        &self,
        shape: ChannelShape,
        x: &[T],
        affine: Affine<'_, T>,
        epilogue: Epilogue<'_, T>,
        y: &[T],
    ) -> Result<(), Error> {
        self.check()?;
        let elements = shape.elements()?;
        check_len("x", x.len(), elements)?;
        affine.check(shape.channels)?;
        epilogue.check(elements)?;
        check_len("y", y.len(), elements)
    }
}

/// Whether there are as many values a channel as a variance needs.
fn check_batch(shape: ChannelShape, merged: Option<&[Moments]>) -> Result<(), Error> {
    const TWO: &str = "of at least two values a channel in training";
    if let Some(merged) = merged {
        return check_range("statistics.merged", TWO, merged.iter().all(|moments| moments.count > 1));
    }
    if shape.channels == 0 {
        return Ok(());
    }
    if shape.outer == 0 || shape.inner == 0 {
        return Err(Error::Empty { dimension: if shape.outer == 0 { "outer" } else { "inner" } });
    }
    check_range("shape", TWO, shape.outer > 1 || shape.inner > 1)
}

compiled_once! {
    fn forward(job: Forward<'_, Self>) = forward::forward;
    fn backward(job: Backward<'_, Self>) = backward::backward;
}
