//! Stochastic gradient descent with momentum.
//!
//! Polyak 1964; Nesterov's form by Sutskever et al., "On the importance of initialization and momentum in deep
//! learning", 2013, as PyTorch writes it.

mod kernel;
pub mod reference;

use super::driver::{self, Intake, Step, check_coefficient};
use super::{Optimizer, WeightDecay};
use crate::element::compiled_once;
use crate::shape::check_range;
use crate::{Element, Error};

/// What a step does with the steps before it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Momentum {
    /// Forgets them; no buffer.
    None,
    /// `b = μ·b + (1 − dampening)·g`, and the step is along `b`.
    Classical {
        /// μ, positive and finite; usually 0.9.
        momentum: f64,
        /// How much less of each new gradient is taken, finite; usually 0.
        dampening: f64,
    },
    /// `b = μ·b + g`, and the step is along `g + μ·b`.
    Nesterov {
        /// μ, positive and finite; usually 0.9.
        momentum: f64,
    },
}

/// Stochastic gradient descent; semantics are those of PyTorch's `SGD`.
///
/// ```text
/// g = scale·grad + λ·p                      (coupled decay)
/// b = first step ? g : μ·b + (1 − dampening)·g
/// p = p − lr·b                              (Nesterov: p − lr·(g + μ·b))
/// ```
///
/// State: `buffer`, which the first step fills, and nothing with [`Momentum::None`]. Each parameter is within 3 ULP of
/// the largest term of its formula.
///
/// # Examples
/// ```
/// use steadygrad::optim::{Gradients, Momentum, Optimizer, Sgd};
///
/// let sgd = Sgd { lr: 0.5, momentum: Momentum::Classical { momentum: 0.5, dampening: 0.0 }, ..Sgd::default() };
/// let (mut weights, mut buffer) = ([1.0_f32, 2.0], [0.0; 2]);
/// for step in 1..=2 {
///     let grads = Gradients::new(&[&[1.0, -2.0]]);
///     sgd.step(step, &mut [&mut weights], grads, &mut [&mut [&mut buffer]])?;
/// }
/// assert_eq!(buffer, [1.5, -3.0]); // 0.5 · g + g
/// assert_eq!(weights, [-0.25, 4.5]); // w − 0.5·g − 0.5·1.5·g
/// # Ok::<(), steadygrad::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// Learning rate, at least 0 and finite; 1e-3 by default.
    pub lr: f64,
    /// What is kept of the steps before; [`Momentum::None`] by default.
    pub momentum: Momentum,
    /// λ, how parameters are drawn to 0; [`WeightDecay::NONE`] by default.
    pub weight_decay: WeightDecay,
}

impl Default for Sgd {
    fn default() -> Self {
        Self { lr: 1e-3, momentum: Momentum::None, weight_decay: WeightDecay::NONE }
    }
}

impl<T: Element> Optimizer<T> for Sgd {
    fn state_names(&self) -> &'static [&'static str] {
        match self.momentum {
            Momentum::None => &[],
            Momentum::Classical { .. } | Momentum::Nesterov { .. } => &["buffer"],
        }
    }

    fn check(&self) -> Result<(), Error> {
        check_coefficient::<T>("lr", self.lr)?;
        let finite = |value: f64| T::from_f64(value).is_finite();
        match self.momentum {
            Momentum::None => {}
            Momentum::Classical { momentum, dampening } => {
                check_range("momentum", MOMENTUM, momentum > 0.0 && finite(momentum))?;
                check_range("dampening", "finite in the element type", finite(1.0 - dampening))?;
            }
            Momentum::Nesterov { momentum } => {
                check_range("momentum", MOMENTUM, momentum > 0.0 && finite(momentum))?;
            }
        }
        self.weight_decay.check::<T>()
    }

    fn apply(&self, step: Step<'_, '_, '_, '_, T>) {
        <T as Compiled>::step(*self, step);
    }
}

/// What a momentum must be.
const MOMENTUM: &str = "positive and finite in the element type";

compiled_once! {
    fn step(op: Sgd, step: Step<'_, '_, '_, '_, Self>) = step_all;
}

fn step_all<T: Element>(op: Sgd, step: Step<'_, '_, '_, '_, T>) {
    let intake = Intake::new(step.scale, op.weight_decay, op.lr);
    if op.momentum == Momentum::None {
        driver::run(step, intake, kernel::Plain { lr: T::from_f64(op.lr) });
    } else {
        let rule = kernel::WithMomentum::new(op, step.number);
        driver::run(step, intake, rule);
    }
}
