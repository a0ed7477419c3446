//! LARS: momentum with a learning rate of each tensor, by the length of its weights beside that of its gradient.
//!
//! You, Gitman & Ginsburg, "Large batch training of convolutional networks", 2017, arXiv 1708.03888, algorithm 1.

mod kernel;
pub mod reference;

use super::driver::{self, Intake, Step, Tensor, check_coefficient};
use super::{Optimizer, WeightDecay};
use crate::element::compiled_once;
use crate::stats::{norm_partial, scale_by_power};
use crate::{Element, Error};

/// LARS, layer-wise adaptive rate scaling: for SGD with large batches.
///
/// ```text
/// g     = scale·grad
/// ratio = ‖w‖ and ‖g‖ above 0 ? η·‖w‖ / (‖g‖ + λ·‖w‖) : 1     of each tensor
/// v     = μ·v + lr·ratio·(g + λ·w)
/// w     = w − v
/// ```
///
/// State: `velocity` is v, 0 before the first step. It holds learning rates, as in the paper, so that what a step left in
/// it is not touched by a later change of `lr`.
///
/// Biases and the parameters of norms are usually left out of decay and ratio: step them in a call of their own, with
/// [`Sgd`](super::Sgd).
///
/// The norms are exact to about 2⁻⁴⁴ whatever the magnitudes; each tensor is read once more for them. Each result is within
/// 8 epsilons of the sum of the magnitudes of parameter, gradient, state and step. A NaN makes its whole tensor NaN.
///
/// # Examples
/// ```
/// use steadygrad::optim::{Gradients, Lars, Optimizer};
///
/// let lars = Lars { lr: 1.0, trust: 0.5, ..Lars::default() };
/// let (mut weights, mut velocity) = ([3.0_f32, 4.0], [0.0; 2]);
/// lars.step(1, &mut [&mut weights], Gradients::new(&[&[0.0, 10.0]]), &mut [&mut [&mut velocity]])?;
/// // 0.5 · 5/10 of the gradient: half as long as the weights, whatever the gradient's length.
/// assert_eq!(weights, [3.0, 1.5]);
/// # Ok::<(), steadygrad::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lars {
    /// Learning rate, at least 0; 1 by default, since the ratio is small.
    pub lr: f64,
    /// μ, in [0, 1): what the velocity keeps in a step; 0.9 by default.
    pub momentum: f64,
    /// η, how long a step may be beside the weights, at least 0; 1e-3 by default.
    pub trust: f64,
    /// λ, at least 0; 0 by default. The gradient takes it up, and the ratio reckons with it.
    pub weight_decay: f64,
}

impl Default for Lars {
    fn default() -> Self {
        Self { lr: 1.0, momentum: 0.9, trust: 1e-3, weight_decay: 0.0 }
    }
}

impl Lars {
    /// The learning rate of a tensor with weights and gradients of these 2-norms, each `(m, e)`: `m · 2^e`.
    fn rate(self, weights: (f64, i32), grad: (f64, i32)) -> f64 {
        if weights.0 == 0.0 || grad.0 == 0.0 {
            return self.lr;
        }
        let times_weights = scale_by_power(grad.0 / weights.0, grad.1 - weights.1);
        let rate = self.lr * self.trust / (times_weights + self.weight_decay);
        // The quotient of norms is past the numbers there are; a NaN stays.
        if rate > f64::MAX { f64::MAX } else { rate }
    }
}

impl<T: Element> Optimizer<T> for Lars {
    fn state_names(&self) -> &'static [&'static str] {
        &["velocity"]
    }

    fn check(&self) -> Result<(), Error> {
        check_coefficient::<T>("lr", self.lr)?;
        driver::check_kept::<T>("momentum", self.momentum)?;
        check_coefficient::<T>("trust", self.trust)?;
        check_coefficient::<T>("weight_decay", self.weight_decay)
    }

    fn apply(&self, step: Step<'_, '_, '_, '_, T>) {
        <T as Compiled>::step(*self, step);
    }
}

compiled_once! {
    fn step(op: Lars, step: Step<'_, '_, '_, '_, Self>) = step_all;
}

fn step_all<T: Element>(op: Lars, step: Step<'_, '_, '_, '_, T>) {
    let scale = step.scale;
    let intake = Intake::new(scale, WeightDecay::Coupled(op.weight_decay), op.lr);
    driver::for_each_tensor(step, |tensor: Tensor<'_, T, 1>| {
        let rate = op.rate(norm_partial::scaled_norm(tensor.param), scale.norm(tensor.grad));
        tensor.update(intake, kernel::Velocity::new(op, rate));
    });
}
