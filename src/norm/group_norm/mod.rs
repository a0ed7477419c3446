//! Group normalisation: the channels of a sample in groups, each to mean 0 and variance 1, then a gain and a shift a
//! channel. [`InstanceNorm`] has a group for each channel.
//!
//! Wu & He 2018. A group of a sample is a contiguous row: the passes are layer norm's.

mod instance_norm;
mod kernel;
pub mod reference;

pub use instance_norm::InstanceNorm;

use super::layer_norm::{Deviation, check_eps};
use super::rows::{self, Layout, Weights};
use super::{Affine, NormGradients, SavedRows, affine};
use crate::element::compiled_once;
use crate::shape::{check_at_least, check_len, check_range};
use crate::simd::{self, Active, InOut};
use crate::{ChannelShape, Element, Error};
use kernel::Backward;

/// Group normalisation of each sample; semantics are PyTorch's.
///
/// ```text
/// rstd = 1 / √(variance + eps)                  variance: Σ(x − mean)² over the group / its elements
/// y    = (x − mean) · rstd · γ꜀ + β꜀            c: the channel
/// ```
///
/// A sample is `channels · inner` elements: N×C, N×C×L and NCHW with `outer` = N. One group is layer normalisation with
/// parameters a channel. Where channels come last, the elements of a group are not side by side: bring them to NCHW.
///
/// A group of one value gives β. NaN or infinity in a group makes that group NaN, and no other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupNorm {
    /// Groups of adjacent channels, a divisor of their number; default 32, as in the paper.
    pub groups: usize,
    /// Added to the variance, at least 0 and finite; default 1e-5. With 0, a group whose values are all the same gives NaN.
    pub eps: f64,
}

impl Default for GroupNorm {
    fn default() -> Self {
        Self { groups: 32, eps: 1e-5 }
    }
}

impl GroupNorm {
    /// `y` for each sample, and what the backward needs.
    ///
    /// | argument | elements                         | access                                             |
    /// |----------|----------------------------------|----------------------------------------------------|
    /// | `x`      | `outer · channels · inner`       | read                                               |
    /// | `affine` | `channels` of γ, `channels` of β | read                                               |
    /// | `mean`   | `outer · groups`                 | overwritten with the mean of each sample's groups  |
    /// | `rstd`   | `outer · groups`                 | overwritten with 1/√(variance + eps)               |
    /// | `y`      | as `x`                           | overwritten                                        |
    ///
    /// As accurate as [`LayerNorm`](super::LayerNorm).
    ///
    /// # Errors
    /// [`Error::Length`] names the first argument whose length differs from the table, [`Error::OutOfRange`] `eps`, or
    /// `groups` that do not divide the channels, [`Error::Empty`] `channels` or `inner` where there are samples without
    /// elements, [`Error::Overflow`] `shape` where its product does; then nothing was written.
    ///
    /// # Examples
    /// ```
    /// use steadygrad::norm::{Affine, GroupNorm};
    /// use steadygrad::ChannelShape;
    ///
    /// let (norm, shape) = (GroupNorm { groups: 1, eps: 0.0 }, ChannelShape { outer: 1, channels: 2, inner: 2 });
    /// let affine = Affine { gamma: Some(&[1.0, 10.0]), beta: Some(&[0.5, 0.0]) };
    /// let (mut mean, mut rstd, mut y) = ([0.0; 1], [0.0; 1], [0.0_f32; 4]);
    /// norm.forward(shape, &[1.0, 1.0, 5.0, 5.0], affine, &mut mean, &mut rstd, &mut y)?;
    /// assert_eq!((mean, rstd), ([3.0], [0.5])); // deviation 2
    /// assert_eq!(y, [-0.5, -0.5, 10.0, 10.0]);
    /// # Ok::<(), steadygrad::Error>(())
    /// ```
    pub fn forward<T: Element>(
        &self,
        shape: ChannelShape,
        x: &[T],
        affine: Affine<'_, T>,
        mean: &mut [f64],
        rstd: &mut [f64],
        y: &mut [T],
    ) -> Result<(), Error> {
        let layout = self.check(shape, affine, &[("x", x.len()), ("y", y.len())])?;
        check_len("mean", mean.len(), layout.rows)?;
        check_len("rstd", rstd.len(), layout.rows)?;
        <T as Compiled>::forward(layout, self.eps, affine, InOut::new(x, y), [Some(mean), Some(rstd)]);
        Ok(())
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
        let layout = self.check(shape, affine, &[("x", x.len()), ("y", y.len())])?;
        <T as Compiled>::forward(layout, self.eps, affine, InOut::new(x, y), [None, None]);
        Ok(())
    }

    /// Numbers that `scratch` of [`backward`](Self::backward) needs at least; 0 of a shape that it refuses.
    #[must_use]
    pub fn backward_scratch_len(&self, shape: ChannelShape) -> usize {
        self.layout(shape).map_or(0, Layout::scratch_len)
    }

    /// The gradients of input, γ and β.
    ///
    /// ```text
    /// x̂ = (x − mean) · rstd        g = γ · dy        means: over the group
    /// dx = rstd · (g − mean(g) − x̂ · mean(g · x̂))        dγ꜀ += Σ dy · x̂        dβ꜀ += Σ dy
    /// ```
    ///
    /// | argument          | elements                   | access                                                    |
    /// |-------------------|----------------------------|-----------------------------------------------------------|
    /// | `dy`              | `outer · channels · inner` | read                                                      |
    /// | `gamma`           | `channels`                 | read: as in the forward                                   |
    /// | `saved`           | as `dy` of `x`, `outer · groups` of the others | read: of the forward                  |
    /// | `scratch`         | at least [`backward_scratch_len`](Self::backward_scratch_len) | overwritten; not looked at where no parameter's gradient is asked for |
    /// | `gradients.input` | as `dy`                    | overwritten                                               |
    /// | `gradients.gamma` | `channels`                 | accumulated, in `f64`                                     |
    /// | `gradients.beta`  | `channels`                 | accumulated, in `f64`                                     |
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    ///
    /// # Examples
    /// ```
    /// use steadygrad::norm::{GroupNorm, NormGradients, SavedRows};
    /// use steadygrad::ChannelShape;
    ///
    /// let (norm, shape) = (GroupNorm { groups: 1, eps: 0.0 }, ChannelShape { outer: 1, channels: 2, inner: 2 });
    /// let saved = SavedRows { x: &[1.0_f64, 1.0, 5.0, 5.0], mean: &[3.0], rstd: &[0.5] };
    /// let mut scratch = vec![0.0; norm.backward_scratch_len(shape)];
    /// let (mut dx, mut dgamma) = ([0.0; 4], [100.0; 2]);
    /// let gradients = NormGradients { input: &mut dx, gamma: Some(&mut dgamma), beta: None };
    /// norm.backward(shape, &[4.0, 0.0, 0.0, 0.0], None, saved, &mut scratch, gradients)?;
    /// assert_eq!(dx, [1.0, -1.0, 0.0, 0.0]); // ½ · (4 − 1 − 1), ½ · (−1 − 1), ½ · (−1 + 1), …
    /// assert_eq!(dgamma, [96.0, 100.0]); // 100 + 4 · (−1) + 0 · (−1)
    /// # Ok::<(), steadygrad::Error>(())
    /// ```
    pub fn backward<T: Element>(
        &self,
        shape: ChannelShape,
        dy: &[T],
        gamma: Option<&[T]>,
        saved: SavedRows<'_, T>,
        scratch: &mut [f64],
        gradients: NormGradients<'_, T>,
    ) -> Result<(), Error> {
        let layout = self.check::<T>(shape, Affine::default(), &[("dy", dy.len())])?;
        affine::check_optional("gamma", gamma, shape.channels)?;
        saved.check(dy.len(), layout.rows)?;
        if gradients.has_parameters() {
            check_at_least("scratch", scratch.len(), layout.scratch_len())?;
        }
        gradients.check(dy.len(), shape.channels)?;
        <T as Compiled>::backward(layout, dy, gamma, saved, scratch, gradients);
        Ok(())
    }

    fn check<T>(
        &self,
        shape: ChannelShape,
        affine: Affine<'_, T>,
        slices: &[(&'static str, usize)],
    ) -> Result<Layout, Error> {
        check_eps(self.eps)?;
        let layout = self.layout(shape)?;
        slices.iter().try_for_each(|&(argument, len)| check_len(argument, len, layout.rows * layout.cols))?;
        affine.check(shape.channels)?;
        Ok(layout)
    }

    /// A row for each group of each sample.
    fn layout(&self, shape: ChannelShape) -> Result<Layout, Error> {
        let ChannelShape { outer, channels, inner } = shape;
        shape.elements()?;
        let divides = channels.checked_rem(self.groups) == Some(0);
        check_range("groups", "a divisor of the channels", divides)?;
        if outer > 0 && (channels == 0 || inner == 0) {
            return Err(Error::Empty { dimension: if channels == 0 { "channels" } else { "inner" } });
        }
        let groups = self.groups;
        Ok(Layout { rows: outer * groups, cols: channels / groups * inner, groups, inner: inner.max(1) })
    }
}

compiled_once! {
    fn forward(layout: Layout, eps: f64, affine: Affine<'_, Self>, data: InOut<'_, Self>, saved: [Option<&mut [f64]>; 2])
        = forward_all;
    fn backward(
        layout: Layout, dy: &[Self], gamma: Option<&[Self]>, saved: SavedRows<'_, Self>, scratch: &mut [f64],
        gradients: NormGradients<'_, Self>,
    ) = backward_all;
}

fn forward_all<T: Element>(
    Layout { cols, groups, inner, .. }: Layout,
    eps: f64,
    affine: Affine<'_, T>,
    data: InOut<'_, T>,
    saved: [Option<&mut [f64]>; 2],
) {
    rows::forward::<T, Deviation>(eps, cols, Weights { affine, groups, inner }, data, saved);
}

fn backward_all<T: Element>(
    layout: Layout,
    dy: &[T],
    gamma: Option<&[T]>,
    saved: SavedRows<'_, T>,
    scratch: &mut [f64],
    gradients: NormGradients<'_, T>,
) {
    let Layout { groups, inner, .. } = layout;
    let (inputs, measured) = ((saved.x, dy), (Some(saved.mean), saved.rstd));
    if inner == 1 {
        return rows::backward::<T, Deviation>(layout, gamma, inputs, measured, scratch, gradients);
    }
    let weights = Weights { affine: Affine { gamma, beta: None }, groups, inner };
    let active = Active::current();
    rows::reduce(layout, inputs, measured, scratch, gradients, |rows, sums| {
        simd::dispatch(active, Backward { weights, rows, sums });
    });
}
