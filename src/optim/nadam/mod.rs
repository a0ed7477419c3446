//! NAdam: Adam with Nesterov's momentum.
//!
//! Dozat, "Incorporating Nesterov momentum into Adam", 2016, as PyTorch writes it.

mod kernel;
pub mod reference;

use super::driver::{self, Intake, Step, check_coefficient, check_kept};
use super::{Optimizer, WeightDecay};
use crate::element::compiled_once;
use crate::{Element, Error};

/// NAdam; semantics are those of PyTorch's `NAdam`.
///
/// ```text
/// g  = scale·grad + λ·p  (coupled)    or    p = (1 − lr·λ)·p  (decoupled)
/// μₜ = β₁·(1 − ½·0.96^(t·momentum_decay)),  Πₜ = μ₁·…·μₜ
/// m  = β₁·m + (1 − β₁)·g
/// v  = β₂·v + (1 − β₂)·g²
/// p  = p − lr · ((1 − μₜ)/(1 − Πₜ)·g + μₜ₊₁/(1 − Πₜ₊₁)·m) / (√v/√(1 − β₂ᵗ) + eps)
/// ```
///
/// State: `first` is m and `second` is v, both 0 before the first step. Πₜ is computed from the step.
///
/// Each result is within 8 epsilons of the sum of the magnitudes of parameter, gradient, state and step.
///
/// # Examples
/// ```
/// use steadygrad::optim::{Gradients, NAdam, Optimizer};
///
/// let nadam = NAdam { lr: 0.5, beta1: 0.0, eps: 0.0, ..NAdam::default() };
/// let (mut weights, mut first, mut second) = ([1.0_f64, 2.0], [0.0; 2], [0.0; 2]);
/// let state: &mut [&mut [&mut [f64]]] = &mut [&mut [&mut first], &mut [&mut second]];
/// nadam.step(1, &mut [&mut weights], Gradients::new(&[&[4.0, -8.0]]), state)?;
/// // Without momentum: w − lr·sign(g)
/// assert!((weights[0] - 0.5).abs() < 1e-15 && (weights[1] - 2.5).abs() < 1e-15);
/// # Ok::<(), steadygrad::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NAdam {
    /// Learning rate, at least 0; 2e-3 by default.
    pub lr: f64,
    /// β₁, in [0, 1): what the mean of the gradients keeps in a step; 0.9 by default.
    pub beta1: f64,
    /// β₂, in [0, 1): what the mean of their squares keeps in a step; 0.999 by default.
    pub beta2: f64,
    /// Added to the root, at least 0; 1e-8 by default.
    pub eps: f64,
    /// How fast momentum grows from half of β₁ to all of it, at least 0; 4e-3 by default.
    pub momentum_decay: f64,
    /// λ, how parameters are drawn to 0; [`WeightDecay::NONE`] by default.
    pub weight_decay: WeightDecay,
}

impl Default for NAdam {
    fn default() -> Self {
        Self {
            lr: 2e-3,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            momentum_decay: 4e-3,
            weight_decay: WeightDecay::NONE,
        }
    }
}

impl<T: Element> Optimizer<T> for NAdam {
    fn state_names(&self) -> &'static [&'static str] {
        &["first", "second"]
    }

    fn check(&self) -> Result<(), Error> {
        check_coefficient::<T>("lr", self.lr)?;
        check_kept::<T>("beta1", self.beta1)?;
        check_kept::<T>("beta2", self.beta2)?;
        check_coefficient::<T>("eps", self.eps)?;
        check_coefficient::<T>("momentum_decay", self.momentum_decay)?;
        self.weight_decay.check::<T>()
    }

    fn apply(&self, step: Step<'_, '_, '_, '_, T>) {
        <T as Compiled>::step(*self, step);
    }
}

compiled_once! {
    fn step(op: NAdam, step: Step<'_, '_, '_, '_, Self>) = step_all;
}

fn step_all<T: Element>(op: NAdam, step: Step<'_, '_, '_, '_, T>) {
    let intake = Intake::new(step.scale, op.weight_decay, op.lr);
    let rule = kernel::Ahead::new(op, step.number);
    driver::run(step, intake, rule);
}
