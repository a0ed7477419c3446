//! Adam, AdamW and AMSGrad: steps along the mean of the gradients, by the root of the mean of their squares.
//!
//! Kingma & Ba, "Adam: a method for stochastic optimization", 2015; decoupled decay (AdamW) by Loshchilov & Hutter,
//! "Decoupled weight decay regularization", 2019; AMSGrad by Reddi, Kale & Kumar, "On the convergence of Adam and
//! beyond", 2018.

mod kernel;
pub mod reference;

use super::driver::{self, Intake, Step, check_coefficient, check_kept};
use super::{Optimizer, WeightDecay};
use crate::element::compiled_once;
use crate::{Element, Error};

/// Adam; semantics are those of PyTorch's `Adam` and, with [`WeightDecay::Decoupled`], `AdamW`.
///
/// ```text
/// g = scale·grad + λ·p  (coupled)    or    p = (1 − lr·λ)·p  (decoupled)
/// m = β₁·m + (1 − β₁)·g
/// v = β₂·v + (1 − β₂)·g²             (AMSGrad: u = max(u, v), and u below for v)
/// p = p − lr/(1 − β₁ᵗ) · m / (√v/√(1 − β₂ᵗ) + eps)
/// ```
///
/// State: `first` is m, `second` is v, and with `amsgrad` `max_second` is u; all are 0 before the first step. With an
/// `eps` of 0, a parameter whose gradients were all 0 becomes NaN.
///
/// The betas are rounded to the element type first, and 1 − β and the bias corrections follow from what that gives.
/// Each result is within 8 epsilons of the sum of the magnitudes of parameter, gradient, state and step.
///
/// # Examples
/// ```
/// use steadygrad::optim::{Adam, Gradients, Optimizer};
///
/// let adam = Adam { lr: 0.5, eps: 0.0, ..Adam::adamw() };
/// let (mut weights, mut first, mut second) = ([1.0_f64, 2.0], [0.0; 2], [0.0; 2]);
/// adam.step(1, &mut [&mut weights], Gradients::new(&[&[4.0, -8.0]]), &mut [&mut [&mut first], &mut [&mut second]])?;
/// // p·(1 − lr·λ) − lr·sign(g)
/// assert!((weights[0] - 0.495).abs() < 1e-15 && (weights[1] - 2.49).abs() < 1e-15);
/// # Ok::<(), steadygrad::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// Learning rate, at least 0; 1e-3 by default.
    pub lr: f64,
    /// β₁, in [0, 1): what the mean of the gradients keeps in a step; 0.9 by default.
    pub beta1: f64,
    /// β₂, in [0, 1): what the mean of their squares keeps in a step; 0.999 by default.
    pub beta2: f64,
    /// Added to the root, at least 0; 1e-8 by default.
    pub eps: f64,
    /// λ, how parameters are drawn to 0; [`WeightDecay::NONE`] by default, see [`Adam::adamw`].
    pub weight_decay: WeightDecay,
    /// Whether steps are by the largest mean square so far; false by default.
    pub amsgrad: bool,
}

impl Default for Adam {
    fn default() -> Self {
        Self {
            lr: 1e-3,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: WeightDecay::NONE,
            amsgrad: false,
        }
    }
}

impl Adam {
    /// AdamW with PyTorch's defaults: a decoupled decay of 0.01.
    #[must_use]
    pub fn adamw() -> Self {
        Self { weight_decay: WeightDecay::Decoupled(0.01), ..Self::default() }
    }
}

impl<T: Element> Optimizer<T> for Adam {
    fn state_names(&self) -> &'static [&'static str] {
        if self.amsgrad { &["first", "second", "max_second"] } else { &["first", "second"] }
    }

    fn check(&self) -> Result<(), Error> {
        check_coefficient::<T>("lr", self.lr)?;
        check_kept::<T>("beta1", self.beta1)?;
        check_kept::<T>("beta2", self.beta2)?;
        check_coefficient::<T>("eps", self.eps)?;
        self.weight_decay.check::<T>()
    }

    fn apply(&self, step: Step<'_, '_, '_, '_, T>) {
        <T as Compiled>::step(*self, step);
    }
}

compiled_once! {
    fn step(op: Adam, step: Step<'_, '_, '_, '_, Self>) = step_all;
}

fn step_all<T: Element>(op: Adam, step: Step<'_, '_, '_, '_, T>) {
    let intake = Intake::new(step.scale, op.weight_decay, op.lr);
    let mean = kernel::Mean::new(op, step.number);
    if op.amsgrad {
        driver::run(step, intake, kernel::Largest(mean));
    } else {
        driver::run(step, intake, mean);
    }
}
