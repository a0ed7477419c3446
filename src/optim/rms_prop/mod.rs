//! RMSProp: steps along the gradient, by the root of the mean of its squares.
//!
//! Tieleman & Hinton, "Lecture 6.5", 2012; centred by Graves, "Generating sequences with recurrent neural networks",
//! 2013, both as PyTorch writes them.

mod kernel;
pub mod reference;

use super::driver::{self, Intake, Step, check_coefficient, check_kept};
use super::{Optimizer, WeightDecay};
use crate::element::compiled_once;
use crate::{Element, Error};

/// By the root of what a step is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// The mean square.
    Square,
    /// The variance: the mean square less the square of the mean.
    Variance,
}

/// RMSProp; semantics are those of PyTorch's `RMSprop`.
///
/// ```text
/// g = scale·grad + λ·p  (coupled)    or    p = (1 − lr·λ)·p  (decoupled)
/// v = α·v + (1 − α)·g²
/// a = α·a + (1 − α)·g
/// d = g / (√(v − a²) + eps)          (or √v)
/// b = μ·b + d                        (or d)
/// p = p − lr·b
/// ```
///
/// State: `square` is v, with [`Spread::Variance`] `mean` is a, and with momentum `buffer` is b, in this order and 0
/// before the first step. Where rounding makes `v − a²` negative it counts as 0 (PyTorch: NaN).
///
/// Each result is within 8 epsilons of the sum of the magnitudes of parameter, gradient, state and step, unless
/// `v − a²` cancels.
///
/// # Examples
/// ```
/// use steadygrad::optim::{Gradients, Optimizer, RmsProp};
///
/// let rms_prop = RmsProp { lr: 0.5, alpha: 0.75, eps: 0.0, ..RmsProp::default() };
/// let (mut weights, mut square) = ([1.0_f32, 2.0], [0.0; 2]);
/// rms_prop.step(1, &mut [&mut weights], Gradients::new(&[&[4.0, -8.0]]), &mut [&mut [&mut square]])?;
/// assert_eq!(square, [4.0, 16.0]);
/// assert_eq!(weights, [0.0, 3.0]); // w − 0.5·g/√square
/// # Ok::<(), steadygrad::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RmsProp {
    /// Learning rate, at least 0; 1e-2 by default.
    pub lr: f64,
    /// α, in [0, 1): what the means keep in a step; 0.99 by default.
    pub alpha: f64,
    /// Added to the root, at least 0; 1e-8 by default.
    pub eps: f64,
    /// By the root of what a step is divided; [`Spread::Square`] by default.
    pub spread: Spread,
    /// μ, at least 0; 0, the default, is without momentum and its buffer.
    pub momentum: f64,
    /// λ, how parameters are drawn to 0; [`WeightDecay::NONE`] by default.
    pub weight_decay: WeightDecay,
}

impl Default for RmsProp {
    fn default() -> Self {
        Self {
            lr: 1e-2,
            alpha: 0.99,
            eps: 1e-8,
            spread: Spread::Square,
            momentum: 0.0,
            weight_decay: WeightDecay::NONE,
        }
    }
}

impl<T: Element> Optimizer<T> for RmsProp {
    fn state_names(&self) -> &'static [&'static str] {
        match (self.spread, self.momentum == 0.0) {
            (Spread::Square, true) => &["square"],
            (Spread::Square, false) => &["square", "buffer"],
            (Spread::Variance, true) => &["square", "mean"],
            (Spread::Variance, false) => &["square", "mean", "buffer"],
        }
    }

    fn check(&self) -> Result<(), Error> {
        check_coefficient::<T>("lr", self.lr)?;
        check_kept::<T>("alpha", self.alpha)?;
        check_coefficient::<T>("eps", self.eps)?;
        check_coefficient::<T>("momentum", self.momentum)?;
        self.weight_decay.check::<T>()
    }

    fn apply(&self, step: Step<'_, '_, '_, '_, T>) {
        <T as Compiled>::step(*self, step);
    }
}

compiled_once! {
    fn step(op: RmsProp, step: Step<'_, '_, '_, '_, Self>) = step_all;
}

fn step_all<T: Element>(op: RmsProp, step: Step<'_, '_, '_, '_, T>) {
    let intake = Intake::new(step.scale, op.weight_decay, op.lr);
    let root = kernel::Root::new(op);
    match (op.spread, op.momentum == 0.0) {
        (Spread::Square, true) => driver::run(step, intake, kernel::Square(root)),
        (Spread::Square, false) => driver::run(step, intake, kernel::SquareMomentum(root)),
        (Spread::Variance, true) => driver::run(step, intake, kernel::Variance(root)),
        (Spread::Variance, false) => driver::run(step, intake, kernel::VarianceMomentum(root)),
    }
}
