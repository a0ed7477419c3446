//! Lion: steps of one length, in the direction of the sign of a mean of the gradients.
//!
//! Chen et al., "Symbolic discovery of optimization algorithms", 2023, algorithm 2.

mod kernel;
pub mod reference;

use super::driver::{self, Intake, Step, check_coefficient, check_kept};
use super::{Optimizer, WeightDecay};
use crate::element::compiled_once;
use crate::{Element, Error};

/// Lion, with the memory of one mean.
///
/// ```text
/// g = scale·grad + λ·p  (coupled)    or    p = (1 − lr·λ)·p  (decoupled, as in the paper)
/// p = p − lr·sign(β₁·m + (1 − β₁)·g)
/// m = β₂·m + (1 − β₂)·g
/// ```
///
/// State: `mean` is m, 0 before the first step. The sign of 0 is 0 and that of NaN is NaN.
///
/// Each result is within 8 epsilons of the sum of the magnitudes of parameter, gradient, state and step.
///
/// # Examples
/// ```
/// use steadygrad::optim::{Gradients, Lion, Optimizer};
///
/// let lion = Lion { lr: 0.5, beta2: 0.5, ..Lion::default() };
/// let (mut weights, mut mean) = ([1.0_f32, 2.0, 3.0], [0.0; 3]);
/// lion.step(1, &mut [&mut weights], Gradients::new(&[&[1e-6, -8.0, 0.0]]), &mut [&mut [&mut mean]])?;
/// assert_eq!(weights, [0.5, 2.5, 3.0]);
/// assert_eq!(mean, [5e-7, -4.0, 0.0]);
/// # Ok::<(), steadygrad::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lion {
    /// Learning rate, at least 0, and a third to a tenth of Adam's; 1e-4 by default.
    pub lr: f64,
    /// β₁, in [0, 1): the mean's part in the direction; 0.9 by default.
    pub beta1: f64,
    /// β₂, in [0, 1): what the mean keeps in a step; 0.99 by default.
    pub beta2: f64,
    /// λ, how parameters are drawn to 0; [`WeightDecay::NONE`] by default.
    pub weight_decay: WeightDecay,
}

impl Default for Lion {
    fn default() -> Self {
        Self { lr: 1e-4, beta1: 0.9, beta2: 0.99, weight_decay: WeightDecay::NONE }
    }
}

impl<T: Element> Optimizer<T> for Lion {
    fn state_names(&self) -> &'static [&'static str] {
        &["mean"]
    }

    fn check(&self) -> Result<(), Error> {
        check_coefficient::<T>("lr", self.lr)?;
        check_kept::<T>("beta1", self.beta1)?;
        check_kept::<T>("beta2", self.beta2)?;
        self.weight_decay.check::<T>()
    }

    fn apply(&self, step: Step<'_, '_, '_, '_, T>) {
        <T as Compiled>::step(*self, step);
    }
}

compiled_once! {
    fn step(op: Lion, step: Step<'_, '_, '_, '_, Self>) = step_all;
}

fn step_all<T: Element>(op: Lion, step: Step<'_, '_, '_, '_, T>) {
    let intake = Intake::new(step.scale, op.weight_decay, op.lr);
    driver::run(step, intake, kernel::Signed::new(op));
}
