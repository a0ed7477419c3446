//! Clip and step in one call.

use super::driver::{Scale, Step};
use super::{Gradients, Optimizer};
use crate::clip::{ClipNorm, ClipReport, ClipRule, NonFinite};
use crate::diagnostics::Change;
use crate::{Element, Error};

/// An optimizer that clips the gradients by their common norm: each is read once for the norm and once for the step,
/// and written never.
///
/// ```text
/// norm  = ‖scale·g‖_p over all tensors
/// step with g = min(1, max_norm / norm) · scale · g
/// ```
///
/// # Examples
/// ```
/// use steadygrad::optim::{Clipped, Gradients, Sgd};
///
/// let optimizer = Clipped::new(Sgd { lr: 1.0, ..Sgd::default() }, 2.5);
/// let (mut weights, mut bias) = ([1.0_f32, 1.0], [1.0_f32]);
/// let grads = Gradients::new(&[&[3.0, 0.0], &[4.0]]);
/// let report = optimizer.step(1, &mut [&mut weights, &mut bias], grads, &mut [])?;
/// assert_eq!((report.norm, report.scale), (5.0, 0.5));
/// assert_eq!((weights, bias), ([-0.5, 1.0], [-1.0])); // p − 0.5·g
/// # Ok::<(), steadygrad::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clipped<O> {
    /// What steps.
    pub optimizer: O,
    /// The limit, its norm and rule, and what to do with NaN and infinities.
    pub clip: ClipNorm,
}

impl<O> Clipped<O> {
    /// `optimizer` with gradients whose 2-norm is at most `max_norm`.
    #[must_use]
    pub fn new(optimizer: O, max_norm: f64) -> Self {
        Self { optimizer, clip: ClipNorm { max_norm, ..ClipNorm::default() } }
    }

    /// One step of all parameters; arguments as of [`Optimizer::step`].
    ///
    /// The norm and the limit are those of the gradients times their `scale`: with a loss that was multiplied by 1024,
    /// `scale` is 1/1024, and the report's `norm` that of the true gradients.
    ///
    /// What happens with gradients that are NaN or infinite, by [`ClipNorm::non_finite`]: [`NonFinite::Error`] is an
    /// error, [`NonFinite::Skip`] leaves parameters and state as they are and reports a scale of 0, and
    /// [`NonFinite::Propagate`] steps with what PyTorch's clipping makes of them.
    ///
    /// # Errors
    /// As [`Optimizer::step`], and [`Error::NonFinite`] under that policy; then nothing was written.
    pub fn step<T: Element>(
        &self,
        step: u64,
        params: &mut [&mut [T]],
        grads: Gradients<'_, T>,
        state: &mut [&mut [&mut [T]]],
    ) -> Result<ClipReport, Error>
    where
        O: Optimizer<T>,
    {
        self.optimizer.check()?;
        self.take(Step::checked(step, params, grads, state, self.optimizer.state_names())?, grads)
    }

    /// [`step`](Self::step), which also measures each parameter and what the step adds to it: see
    /// [`Optimizer::step_observed`]. Under [`NonFinite::Skip`] nothing is added, and `changes` are left as they are.
    ///
    /// # Errors
    /// As [`step`](Self::step), and [`Error::Length`] for `changes`.
    pub fn step_observed<T: Element>(
        &self,
        step: u64,
        params: &mut [&mut [T]],
        grads: Gradients<'_, T>,
        state: &mut [&mut [&mut [T]]],
        changes: &mut [Change],
    ) -> Result<ClipReport, Error>
    where
        O: Optimizer<T>,
    {
        self.optimizer.check()?;
        let step = Step::checked(step, params, grads, state, self.optimizer.state_names())?;
        self.take(step.observed(changes)?, grads)
    }

    /// Takes a step that was checked.
    fn take<T: Element>(
        &self,
        mut step: Step<'_, '_, '_, '_, T>,
        grads: Gradients<'_, T>,
    ) -> Result<ClipReport, Error>
    where
        O: Optimizer<T>,
    {
        let report = self.measure(grads)?;
        if report.non_finite.is_some() && self.clip.non_finite == NonFinite::Skip {
            return Ok(report);
        }
        if let Scale::Times(scale) = step.scale {
            step.scale = Scale::Times(scale * report.scale);
        }
        self.optimizer.apply(step);
        Ok(report)
    }

    /// The report of the gradients times their scale: that of the gradients at the limit divided by the scale.
    fn measure<T: Element>(&self, grads: Gradients<'_, T>) -> Result<ClipReport, Error> {
        // Of no gradient: whether the limit is in its range, as it was given.
        let nothing = self.clip.measure::<T>(&[])?;
        if grads.scale == 0.0 {
            return Ok(nothing);
        }
        let unscaled = |value: f64| value / grads.scale;
        let rule = match self.clip.rule {
            ClipRule::Exact => ClipRule::Exact,
            ClipRule::Torch { eps } => ClipRule::Torch { eps: unscaled(eps).min(f64::MAX) },
        };
        let clip = ClipNorm { max_norm: unscaled(self.clip.max_norm), rule, ..self.clip };
        let report = clip.measure(grads.tensors)?;
        Ok(ClipReport { norm: report.norm * grads.scale, ..report })
    }
}
