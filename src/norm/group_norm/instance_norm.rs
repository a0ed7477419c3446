//! [`InstanceNorm`]: group normalisation with a group for each channel.

use super::GroupNorm;
use crate::norm::{Affine, NormGradients, SavedRows};
use crate::shape::check_range;
use crate::{ChannelShape, Element, Error};

/// Instance normalisation: each channel of each sample to mean 0 and variance 1; semantics are PyTorch's without running
/// statistics, which is its default.
///
/// ```text
/// rstd = 1 / √(variance + eps)                  variance: Σ(x − mean)² / inner
/// y    = (x − mean) · rstd · γ꜀ + β꜀            c: the channel
/// ```
///
/// Ulyanov, Vedaldi & Lempitsky 2016. It is [`GroupNorm`] with a group for each channel, and all that is said there holds.
///
/// # Examples
/// ```
/// use steadygrad::norm::{Affine, InstanceNorm};
/// use steadygrad::ChannelShape;
///
/// let (norm, shape) = (InstanceNorm { eps: 0.0 }, ChannelShape { outer: 1, channels: 2, inner: 2 });
/// let mut y = [0.0_f32; 4];
/// norm.infer(shape, &[1.0, 5.0, 30.0, 10.0], Affine::default(), &mut y)?;
/// assert_eq!(y, [-1.0, 1.0, 1.0, -1.0]);
/// # Ok::<(), steadygrad::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InstanceNorm {
    /// Added to the variance, at least 0 and finite; default 1e-5. With 0, a channel whose values are all the same gives
    /// NaN.
    pub eps: f64,
}

impl Default for InstanceNorm {
    fn default() -> Self {
        Self { eps: GroupNorm::default().eps }
    }
}

impl InstanceNorm {
    /// `y` for each sample, and what the backward needs.
    ///
    /// | argument       | elements                         | access                                              |
    /// |----------------|----------------------------------|-----------------------------------------------------|
    /// | `x`            | `outer · channels · inner`       | read                                                |
    /// | `affine`       | `channels` of γ, `channels` of β | read                                                |
    /// | `mean`, `rstd` | `outer · channels`               | overwritten with the mean and 1/√(variance + eps)   |
    /// | `y`            | as `x`                           | overwritten                                         |
    ///
    /// # Errors
    /// As [`GroupNorm::forward`], and [`Error::OutOfRange`] for a `shape` with a single value a channel, of which nothing
    /// would be left.
    pub fn forward<T: Element>(
        &self,
        shape: ChannelShape,
        x: &[T],
        affine: Affine<'_, T>,
        mean: &mut [f64],
        rstd: &mut [f64],
        y: &mut [T],
    ) -> Result<(), Error> {
        self.of_groups(shape)?.forward(shape, x, affine, mean, rstd, y)
    }

    /// [`forward`](Self::forward) that leaves nothing for a backward. The same bits.
    ///
    /// | argument | elements                         | access      |
    /// |----------|----------------------------------|-------------|
    /// | `x`      | `outer · channels · inner`       | read        |
    /// | `affine` | `channels` of γ, `channels` of β | read        |
    /// | `y`      | as `x`                           | overwritten |
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn infer<T: Element>(
        &self,
        shape: ChannelShape,
        x: &[T],
        affine: Affine<'_, T>,
        y: &mut [T],
    ) -> Result<(), Error> {
        self.of_groups(shape)?.infer(shape, x, affine, y)
    }

    /// Numbers that `scratch` of [`backward`](Self::backward) needs at least; 0 of a shape that it refuses.
    #[must_use]
    pub fn backward_scratch_len(&self, shape: ChannelShape) -> usize {
        self.of_groups(shape).map_or(0, |norm| norm.backward_scratch_len(shape))
    }

    /// The gradients of input, γ and β: the arguments of [`GroupNorm::backward`], with `groups` the channels.
    ///
    /// | argument          | elements                   | access                                                   |
    /// |-------------------|----------------------------|----------------------------------------------------------|
    /// | `dy`              | `outer · channels · inner` | read                                                     |
    /// | `gamma`           | `channels`                 | read: as in the forward                                  |
    /// | `saved`           | as `dy` of `x`, `outer · channels` of the others | read: of the forward               |
    /// | `scratch`         | at least [`backward_scratch_len`](Self::backward_scratch_len) | overwritten           |
    /// | `gradients.input` | as `dy`                    | overwritten                                              |
    /// | `gradients.gamma`, `.beta` | `channels`        | accumulated, in `f64`                                    |
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn backward<T: Element>(
        &self,
        shape: ChannelShape,
        dy: &[T],
        gamma: Option<&[T]>,
        saved: SavedRows<'_, T>,
        scratch: &mut [f64],
        gradients: NormGradients<'_, T>,
    ) -> Result<(), Error> {
        self.of_groups(shape)?.backward(shape, dy, gamma, saved, scratch, gradients)
    }

    fn of_groups(&self, shape: ChannelShape) -> Result<GroupNorm, Error> {
        let single = shape.inner == 1 && shape.outer > 0 && shape.channels > 0;
        check_range("shape", "of at least two values a channel of a sample", !single)?;
        Ok(GroupNorm { groups: shape.channels.max(1), eps: self.eps })
    }
}
