//! Adagrad: steps along the gradient, by the root of the sum of all its squares.
//!
//! Duchi, Hazan & Singer, "Adaptive subgradient methods for online learning and stochastic optimization", 2011.

mod kernel;
pub mod reference;

use super::driver::{self, Intake, Step, check_coefficient};
use super::{Optimizer, WeightDecay};
use crate::element::compiled_once;
use crate::{Element, Error};

/// Adagrad; semantics are those of PyTorch's `Adagrad`.
///
/// ```text
/// lrₜ = lr/(1 + (t − 1)·lr_decay)
/// g   = scale·grad + λ·p  (coupled)    or    p = (1 − lrₜ·λ)·p  (decoupled)
/// s   = s + g²
/// p   = p − lrₜ · g / (√s + eps)
/// ```
///
/// State: `sum` is s, before the first step 0 or what PyTorch calls `initial_accumulator_value`.
///
/// Each result is within 8 epsilons of the sum of the magnitudes of parameter, gradient, state and step.
///
/// # Examples
/// ```
/// use steadygrad::optim::{Adagrad, Gradients, Optimizer};
///
/// let adagrad = Adagrad { lr: 0.5, eps: 0.0, ..Adagrad::default() };
/// let (mut weights, mut sum) = ([1.0_f32, 2.0], [9.0, 0.0]);
/// adagrad.step(1, &mut [&mut weights], Gradients::new(&[&[4.0, -8.0]]), &mut [&mut [&mut sum]])?;
/// assert_eq!(sum, [25.0, 64.0]);
/// assert_eq!(weights, [0.6, 2.5]); // w − 0.5·g/√sum
/// # Ok::<(), steadygrad::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adagrad {
    /// Learning rate, at least 0; 1e-2 by default.
    pub lr: f64,
    /// How the learning rate falls with the steps, at least 0; 0 by default.
    pub lr_decay: f64,
    /// Added to the root, at least 0; 1e-10 by default.
    pub eps: f64,
    /// λ, how parameters are drawn to 0; [`WeightDecay::NONE`] by default.
    pub weight_decay: WeightDecay,
}

impl Default for Adagrad {
    fn default() -> Self {
        Self { lr: 1e-2, lr_decay: 0.0, eps: 1e-10, weight_decay: WeightDecay::NONE }
    }
}

impl<T: Element> Optimizer<T> for Adagrad {
    fn state_names(&self) -> &'static [&'static str] {
        &["sum"]
    }

    fn check(&self) -> Result<(), Error> {
        check_coefficient::<T>("lr", self.lr)?;
        check_coefficient::<T>("lr_decay", self.lr_decay)?;
        check_coefficient::<T>("eps", self.eps)?;
        self.weight_decay.check::<T>()
    }

    fn apply(&self, step: Step<'_, '_, '_, '_, T>) {
        <T as Compiled>::step(*self, step);
    }
}

compiled_once! {
    fn step(op: Adagrad, step: Step<'_, '_, '_, '_, Self>) = step_all;
}

fn step_all<T: Element>(op: Adagrad, step: Step<'_, '_, '_, '_, T>) {
    let lr = op.lr / (1.0 + (step.number - 1) as f64 * op.lr_decay);
    let intake = Intake::new(step.scale, op.weight_decay, lr);
    driver::run(step, intake, kernel::Sum { lr: T::from_f64(lr), eps: T::from_f64(op.eps) });
}
