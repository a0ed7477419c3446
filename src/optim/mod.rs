//! Optimizers: from gradients to the next parameters, in one pass over each tensor.
//!
//! An optimizer is a small `Copy` struct of hyper-parameters; what it keeps between steps lies in slices of the caller:
//! see [`Optimizer::step`]. [`Clipped`] clips the gradients on the way, and [`schedule`] has learning rates.

pub mod adadelta;
pub mod adagrad;
pub mod adam;
mod clipped;
mod driver;
pub mod lamb;
pub mod lars;
pub mod lion;
pub mod nadam;
pub mod radam;
pub mod reference;
pub mod rms_prop;
pub mod schedule;
pub mod sgd;

pub use adadelta::Adadelta;
pub use adagrad::Adagrad;
pub use adam::Adam;
pub use clipped::Clipped;
pub use lamb::Lamb;
pub use lars::Lars;
pub use lion::Lion;
pub use nadam::NAdam;
pub use radam::RAdam;
pub use rms_prop::{RmsProp, Spread};
pub use sgd::{Momentum, Sgd};

use crate::diagnostics::Change;
use crate::{Element, Error};
use driver::Step;

/// What steps a list of tensors along their gradients.
///
/// The elements of all tensors are shared among threads in equal parts, whatever their number and sizes; where each tensor has a
/// norm or a measurement of its own, whole tensors are.
pub trait Optimizer<T: Element> {
    /// What is kept between steps: a name for each list of `state`.
    fn state_names(&self) -> &'static [&'static str];

    /// Whether every field is in its range.
    #[doc(hidden)]
    fn check(&self) -> Result<(), Error>;

    /// Takes a step that was checked.
    #[doc(hidden)]
    fn apply(&self, step: Step<'_, '_, '_, '_, T>);

    /// One step of all parameters.
    ///
    /// | argument | elements                                         | access                                   |
    /// |----------|--------------------------------------------------|------------------------------------------|
    /// | `step`   | –                                                | number of this step, from 1              |
    /// | `params` | any number of tensors of any length              | read and overwritten                     |
    /// | `grads`  | as `params`                                      | read once, by [`Lars`] twice             |
    /// | `state`  | a list for each of `state_names`, each as `params` | read and overwritten; 0 before step 1 |
    ///
    /// # Errors
    /// [`Error::Length`] names `grads`, `state`, or a list of it by its state name: where their number differs it counts tensors (of
    /// `state` lists), else elements of the first tensor that differs. [`Error::OutOfRange`] names a field of the optimizer,
    /// `step` or the scale. Then nothing was written.
    ///
    /// # Examples
    /// ```
    /// use steadygrad::optim::{Adam, Gradients, Optimizer};
    ///
    /// let adam = Adam { lr: 0.5, eps: 0.0, ..Adam::default() };
    /// let (mut weights, mut bias) = ([1.0_f64, 2.0], [0.0]);
    /// let (mut weights_first, mut bias_first, mut weights_second, mut bias_second) = ([0.0; 2], [0.0], [0.0; 2], [0.0]);
    /// adam.step(
    ///     1,
    ///     &mut [&mut weights, &mut bias],
    ///     Gradients::new(&[&[3.0, -1.0], &[4.0]]),
    ///     &mut [&mut [&mut weights_first, &mut bias_first], &mut [&mut weights_second, &mut bias_second]],
    /// )?;
    /// // The first step is as long as the learning rate.
    /// assert!((weights[0] - 0.5).abs() < 1e-15 && (weights[1] - 2.5).abs() < 1e-15 && (bias[0] + 0.5).abs() < 1e-15);
    /// # Ok::<(), steadygrad::Error>(())
    /// ```
    fn step(
        &self,
        step: u64,
        params: &mut [&mut [T]],
        grads: Gradients<'_, T>,
        state: &mut [&mut [&mut [T]]],
    ) -> Result<(), Error> {
        self.check()?;
        self.apply(Step::checked(step, params, grads, state, self.state_names())?);
        Ok(())
    }

    /// [`step`](Self::step), which also measures each parameter, its gradient, and what the step adds, while they are in L1. The same
    /// parameters and state, to the bit.
    ///
    /// | argument   | elements                | access      |
    /// |------------|-------------------------|-------------|
    /// | `changes`  | as many as `params` has | overwritten |
    /// | the others |                         | as [`step`](Self::step) |
    ///
    /// # Errors
    /// As [`step`](Self::step), and [`Error::Length`] for `changes`.
    ///
    /// # Examples
    /// ```
    /// use steadygrad::diagnostics::Change;
    /// use steadygrad::optim::{Gradients, Optimizer, Sgd};
    ///
    /// let (sgd, mut weights) = (Sgd { lr: 0.5, ..Sgd::default() }, [3.0_f32, 4.0]);
    /// let mut changes = [Change::default()];
    /// sgd.step_observed(1, &mut [&mut weights], Gradients::new(&[&[0.6, 0.8]]), &mut [], &mut changes)?;
    /// assert_eq!(changes[0].before.norm, 5.0);
    /// assert!((changes[0].ratio() - 0.1).abs() < 1e-7);
    /// # Ok::<(), steadygrad::Error>(())
    /// ```
    fn step_observed(
        &self,
        step: u64,
        params: &mut [&mut [T]],
        grads: Gradients<'_, T>,
        state: &mut [&mut [&mut [T]]],
        changes: &mut [Change],
    ) -> Result<(), Error> {
        self.check()?;
        let step = Step::checked(step, params, grads, state, self.state_names())?;
        self.apply(step.observed(changes)?);
        Ok(())
    }
}

/// A borrowed optimizer, also of a type known at run time.
impl<T: Element, O: Optimizer<T> + ?Sized> Optimizer<T> for &O {
    fn state_names(&self) -> &'static [&'static str] {
        (**self).state_names()
    }
    fn check(&self) -> Result<(), Error> {
        (**self).check()
    }
    fn apply(&self, step: Step<'_, '_, '_, '_, T>) {
        (**self).apply(step);
    }
}

/// How parameters are drawn to 0: λ at least 0 and finite, else [`Error::OutOfRange`].
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

    pub(crate) fn check<T: Element>(self) -> Result<(), Error> {
        let (Self::Coupled(decay) | Self::Decoupled(decay)) = self;
        driver::check_coefficient::<T>("weight_decay", decay)
    }
}

/// The gradients of a step, and what they are multiplied by while they are read.
#[derive(Clone, Copy, Debug)]
pub struct Gradients<'a, T> {
    /// One for each tensor of parameters.
    pub tensors: &'a [&'a [T]],
    /// Factor of all elements, at least 0 and finite: [`ClipReport::scale`](crate::clip::ClipReport::scale), one over
    /// the factor of a scaled loss, their product, or 1. With 0 every gradient counts as 0, NaN and infinities too.
    pub scale: f64,
}

impl<'a, T> Gradients<'a, T> {
    /// Gradients as they are: a scale of 1.
    #[must_use]
    pub fn new(tensors: &'a [&'a [T]]) -> Self {
        Self { tensors, scale: 1.0 }
    }
}
