//! Adadelta: steps along the gradient, as long as steps were before, in units of the parameter.
//!
//! Zeiler, "ADADELTA: an adaptive learning rate method", 2012.

mod kernel;
pub mod reference;

use super::driver::{self, Intake, Step, check_coefficient, check_kept};
use super::{Optimizer, WeightDecay};
use crate::element::compiled_once;
use crate::{Element, Error};

/// Adadelta; semantics are those of PyTorch's `Adadelta`.
///
/// ```text
/// g = scale·grad + λ·p  (coupled)    or    p = (1 − lr·λ)·p  (decoupled)
/// v = ρ·v + (1 − ρ)·g²
/// d = √(u + eps)/√(v + eps) · g
/// u = ρ·u + (1 − ρ)·d²
/// p = p − lr·d
/// ```
///
/// State: `square` is v and `delta` is u, both 0 before the first step.
///
/// Each result is within 8 epsilons of the sum of the magnitudes of parameter, gradient, state and step.
///
/// # Examples
/// ```
/// use steadygrad::optim::{Adadelta, Gradients, Optimizer};
///
/// let adadelta = Adadelta { rho: 0.5, eps: 4.0, ..Adadelta::default() };
/// let (mut weights, mut square, mut delta) = ([1.0_f32], [10.0], [21.0]);
/// let state: &mut [&mut [&mut [f32]]] = &mut [&mut [&mut square], &mut [&mut delta]];
/// adadelta.step(1, &mut [&mut weights], Gradients::new(&[&[8.0]]), state)?;
/// // 0.5·10 + 0.5·64; d = √25/√41 · 8
/// assert_eq!(square, [37.0]);
/// assert!((weights[0] - (1.0 - 40.0 / 41.0_f32.sqrt())).abs() < 1e-6);
/// assert!((delta[0] - (10.5 + 800.0 / 41.0)).abs() < 1e-5);
/// # Ok::<(), steadygrad::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adadelta {
    /// Learning rate, at least 0; 1 by default.
    pub lr: f64,
    /// ρ, in [0, 1): what the means keep in a step; 0.9 by default.
    pub rho: f64,
    /// Added under the roots, at least 0; 1e-6 by default. With 0, and `delta` 0, no step has a length.
    pub eps: f64,
    /// λ, how parameters are drawn to 0; [`WeightDecay::NONE`] by default.
    pub weight_decay: WeightDecay,
}

impl Default for Adadelta {
    fn default() -> Self {
        Self { lr: 1.0, rho: 0.9, eps: 1e-6, weight_decay: WeightDecay::NONE }
    }
}

impl<T: Element> Optimizer<T> for Adadelta {
    fn state_names(&self) -> &'static [&'static str] {
        &["square", "delta"]
    }

    fn check(&self) -> Result<(), Error> {
        check_coefficient::<T>("lr", self.lr)?;
        check_kept::<T>("rho", self.rho)?;
        check_coefficient::<T>("eps", self.eps)?;
        self.weight_decay.check::<T>()
    }

    fn apply(&self, step: Step<'_, '_, '_, '_, T>) {
        <T as Compiled>::step(*self, step);
    }
}

compiled_once! {
    fn step(op: Adadelta, step: Step<'_, '_, '_, '_, Self>) = step_all;
}

fn step_all<T: Element>(op: Adadelta, step: Step<'_, '_, '_, '_, T>) {
    let intake = Intake::new(step.scale, op.weight_decay, op.lr);
    driver::run(step, intake, kernel::Delta::new(op));
}
