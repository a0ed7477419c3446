//! RAdam: Adam whose adaptive step waits until the variance of its divisor is bounded.
//!
//! Liu et al., "On the variance of the adaptive learning rate and beyond", 2020, as PyTorch writes it.

mod kernel;
pub mod reference;

use super::driver::{self, Intake, Step, check_coefficient, check_kept};
use super::{Optimizer, WeightDecay};
use crate::element::compiled_once;
use crate::{Element, Error};

/// RAdam; semantics are those of PyTorch's `RAdam`.
///
/// ```text
/// g  = scale·grad + λ·p  (coupled)    or    p = (1 − lr·λ)·p  (decoupled)
/// m  = β₁·m + (1 − β₁)·g
/// v  = β₂·v + (1 − β₂)·g²
/// ρ∞ = 2/(1 − β₂) − 1,  ρ = ρ∞ − 2t·β₂ᵗ/(1 − β₂ᵗ)
/// r  = √((ρ − 4)(ρ − 2)ρ∞ / ((ρ∞ − 4)(ρ∞ − 2)ρ))
/// p  = p − lr/(1 − β₁ᵗ) · m · (ρ > 5 ? r·√(1 − β₂ᵗ)/(√v + eps) : 1)
/// ```
///
/// State: `first` is m and `second` is v, both 0 before the first step.
///
/// Each result is within 8 epsilons of the sum of the magnitudes of parameter, gradient, state and step.
///
/// # Examples
/// ```
/// use steadygrad::optim::{Gradients, Optimizer, RAdam};
///
/// let radam = RAdam { lr: 0.5, ..RAdam::default() };
/// let (mut weights, mut first, mut second) = ([1.0_f64, 2.0], [0.0; 2], [0.0; 2]);
/// let state: &mut [&mut [&mut [f64]]] = &mut [&mut [&mut first], &mut [&mut second]];
/// radam.step(1, &mut [&mut weights], Gradients::new(&[&[4.0, -8.0]]), state)?;
/// // The first steps are not adaptive: w − lr·g
/// assert!((weights[0] + 1.0).abs() < 1e-14 && (weights[1] - 6.0).abs() < 1e-14);
/// # Ok::<(), steadygrad::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RAdam {
    /// Learning rate, at least 0; 1e-3 by default.
    pub lr: f64,
    /// β₁, in [0, 1): what the mean of the gradients keeps in a step; 0.9 by default.
    pub beta1: f64,
    /// β₂, in [0, 1): what the mean of their squares keeps in a step; 0.999 by default.
    pub beta2: f64,
    /// Added to the root, at least 0; 1e-8 by default.
    pub eps: f64,
    /// λ, how parameters are drawn to 0; [`WeightDecay::NONE`] by default.
    pub weight_decay: WeightDecay,
}

impl Default for RAdam {
    fn default() -> Self {
        Self { lr: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: WeightDecay::NONE }
    }
}

impl<T: Element> Optimizer<T> for RAdam {
    fn state_names(&self) -> &'static [&'static str] {
        &["first", "second"]
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
    fn step(op: RAdam, step: Step<'_, '_, '_, '_, Self>) = step_all;
}

fn step_all<T: Element>(op: RAdam, step: Step<'_, '_, '_, '_, T>) {
    let intake = Intake::new(step.scale, op.weight_decay, op.lr);
    let means = kernel::Means::new(op, step.number);
    match kernel::rectification(op.beta2, step.number) {
        Some(rectification) => driver::run(step, intake, kernel::Adaptive::new(means, rectification)),
        None => driver::run(step, intake, means),
    }
}
