//! LAMB: Adam's step, scaled to the length of each tensor's weights.
//!
//! You et al., "Large batch optimization for deep learning: training BERT in 76 minutes", 2020, arXiv 1904.00962,
//! algorithm 2.

mod kernel;
pub mod reference;

use super::Optimizer;
use super::driver::{self, Intake, Step, Tensor, check_coefficient, check_kept};
use crate::element::compiled_once;
use crate::shape::check_range;
use crate::stats::scale_by_power;
use crate::{Element, Error};

/// LAMB, layer-wise adaptive moments: for Adam with large batches.
///
/// ```text
/// g     = scale·grad
/// m     = β₁·m + (1 − β₁)·g
/// v     = β₂·v + (1 − β₂)·g²
/// u     = m/(1 − β₁ᵗ) / (√(v/(1 − β₂ᵗ)) + eps) + λ·w
/// ratio = φ(‖w‖) and ‖u‖ above 0 ? φ(‖w‖) / ‖u‖ : 1     of each tensor, φ(z) = min(max(z, lower), upper)
/// w     = w − lr·ratio·u
/// ```
///
/// State: `first` is m, `second` is v, both 0 before the first step.
///
/// Biases and the parameters of norms are usually left out of decay and ratio: step them in a call of their own, with
/// [`Adam`](super::Adam).
///
/// The norms are exact to about 2⁻⁴⁴ whatever the magnitudes; parameters and state are read once more for them. Each result
/// is within 8 epsilons of the sum of the magnitudes of parameter, gradient, state and step. A NaN makes all parameters of
/// its tensor NaN.
///
/// # Examples
/// ```
/// use steadygrad::optim::{Gradients, Lamb, Optimizer};
///
/// let lamb = Lamb { lr: 0.5, eps: 0.0, ..Lamb::default() };
/// let (mut weights, mut first, mut second) = ([6.0_f64, 8.0, 0.0, 0.0], [0.0; 4], [0.0; 4]);
/// let grads = Gradients::new(&[&[1.0, -2.0, 3.0, 4.0]]);
/// lamb.step(1, &mut [&mut weights], grads, &mut [&mut [&mut first], &mut [&mut second]])?;
/// // The first update is the gradients' signs, 2 long; the weights are 10 long: 0.5 · 10/2 of it.
/// for (weight, expected) in weights.iter().zip([3.5, 10.5, -2.5, -2.5]) {
///     assert!((weight - expected).abs() < 1e-14);
/// }
/// # Ok::<(), steadygrad::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lamb {
    /// Learning rate, at least 0; 1e-3 by default.
    pub lr: f64,
    /// β₁, in [0, 1): what the mean of the gradients keeps in a step; 0.9 by default.
    pub beta1: f64,
    /// β₂, in [0, 1): what the mean of their squares keeps in a step; 0.999 by default.
    pub beta2: f64,
    /// Added to the root, at least 0; 1e-6 by default, as in the paper.
    pub eps: f64,
    /// λ, at least 0; 0 by default. The update takes it up, and so its norm, but the averages do not.
    pub weight_decay: f64,
    /// What the norm of a tensor's weights counts at least; at least 0 and finite, 0 by default.
    pub lower: f64,
    /// What the norm of a tensor's weights counts at most, from `lower` on; infinite by default.
    pub upper: f64,
}

impl Default for Lamb {
    fn default() -> Self {
        Self {
            lr: 1e-3,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-6,
            weight_decay: 0.0,
            lower: 0.0,
            upper: f64::INFINITY,
        }
    }
}

impl Lamb {
    /// The learning rate of a tensor with weights and an update of these 2-norms, each `(m, e)`: `m · 2^e`.
    fn rate(self, weights: (f64, i32), update: (f64, i32)) -> f64 {
        let norm = scale_by_power(weights.0, weights.1);
        let trusted = if norm < self.lower {
            (self.lower, 0)
        } else if norm > self.upper {
            (self.upper, 0)
        } else {
            weights
        };
        if trusted.0 == 0.0 || update.0 == 0.0 {
            return self.lr;
        }
        let rate = self.lr * scale_by_power(trusted.0 / update.0, trusted.1 - update.1);
        // The quotient of norms is past the numbers there are; a NaN stays.
        if rate > f64::MAX { f64::MAX } else { rate }
    }
}

impl<T: Element> Optimizer<T> for Lamb {
    fn state_names(&self) -> &'static [&'static str] {
        &["first", "second"]
    }

    fn check(&self) -> Result<(), Error> {
        check_coefficient::<T>("lr", self.lr)?;
        check_kept::<T>("beta1", self.beta1)?;
        check_kept::<T>("beta2", self.beta2)?;
        check_coefficient::<T>("eps", self.eps)?;
        check_coefficient::<T>("weight_decay", self.weight_decay)?;
        check_range("lower", "at least 0 and finite", self.lower >= 0.0 && self.lower.is_finite())?;
        check_range("upper", "at least `lower`", self.upper >= self.lower)
    }

    fn apply(&self, step: Step<'_, '_, '_, '_, T>) {
        <T as Compiled>::step(*self, step);
    }
}

compiled_once! {
    fn step(op: Lamb, step: Step<'_, '_, '_, '_, Self>) = step_all;
}

fn step_all<T: Element>(op: Lamb, step: Step<'_, '_, '_, '_, T>) {
    let intake = Intake::new(step.scale, super::WeightDecay::NONE, op.lr);
    let update = kernel::Update::new(op, step.number);
    driver::for_each_tensor(step, |tensor: Tensor<'_, T, 2>| {
        let Tensor { active, param, grad, state: [first, second], change } = tensor;
        let norms = kernel::average(active, (intake, update), (&*param, grad), [&mut *first, &mut *second]);
        let rate = op.rate(norms.weights, norms.update);
        kernel::step(active, (update, rate), [first, second], (param, grad), change);
    });
}
