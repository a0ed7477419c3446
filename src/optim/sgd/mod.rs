//! Stochastic gradient descent with momentum.
//!
//! Polyak 1964; Nesterov's form by Sutskever et al., "On the importance of initialization and momentum in deep
//! learning", 2013, as PyTorch writes it.

pub(crate) mod kernel;
pub mod reference;

use super::{Gradients, WeightDecay, check_same_lengths};
use crate::element::compiled_once;
use crate::parallel;
use crate::shape::check_range;
use crate::simd::{self, Active};
use crate::tensors::{List, ListMut, TASK};
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
/// # Examples
/// ```
/// use steadygrad::optim::{Gradients, Momentum, Sgd};
///
/// let sgd = Sgd { lr: 0.5, momentum: Momentum::Classical { momentum: 0.5, dampening: 0.0 }, ..Sgd::default() };
/// let (mut weights, mut buffer) = ([1.0_f32, 2.0], [0.0; 2]);
/// for step in 1..=2 {
///     let grads = Gradients::new(&[&[1.0, -2.0]]);
///     sgd.step(step, &mut [&mut weights], grads, &mut [&mut buffer])?;
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

impl Sgd {
    /// One step of all parameters.
    ///
    /// | argument   | elements                    | access                                             |
    /// |------------|-----------------------------|----------------------------------------------------|
    /// | `step`     | –                           | number of this step, from 1: the first fills `buffers` |
    /// | `params`   | any of each tensor          | read and overwritten                               |
    /// | `grads`    | of each tensor as `params`  | read                                               |
    /// | `buffers`  | of each tensor as `params`  | read unless `step` is 1, and overwritten; not looked at with [`Momentum::None`] |
    ///
    /// Each parameter is within 3 ULP of the largest term of its formula.
    ///
    /// # Errors
    /// [`Error::Length`] for a list or the first tensor of it that does not fit `params`, and [`Error::OutOfRange`] where a
    /// field, `step` or the scale is; then nothing was written.
    pub fn step<T: Element>(
        &self,
        step: u64,
        params: &mut [&mut [T]],
        grads: Gradients<'_, T>,
        buffers: &mut [&mut [T]],
    ) -> Result<(), Error> {
        self.check()?;
        check_range("step", "at least 1", step >= 1)?;
        grads.check(params)?;
        if self.momentum == Momentum::None {
            <T as Compiled>::step_without_buffer(*self, params, grads);
        } else {
            check_same_lengths("buffers", buffers, params)?;
            <T as Compiled>::step(*self, step, params, grads, buffers);
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Error> {
        check_range("lr", "at least 0 and finite", self.lr >= 0.0 && self.lr.is_finite())?;
        match self.momentum {
            Momentum::None => {}
            Momentum::Classical { momentum, dampening } => {
                check_range("momentum", "positive and finite", momentum > 0.0 && momentum.is_finite())?;
                check_range("dampening", "finite", dampening.is_finite())?;
            }
            Momentum::Nesterov { momentum } => {
                check_range("momentum", "positive and finite", momentum > 0.0 && momentum.is_finite())?;
            }
        }
        self.weight_decay.check()
    }
}

compiled_once! {
    fn step(op: Sgd, step: u64, params: &mut [&mut [Self]], grads: Gradients<'_, Self>, buffers: &mut [&mut [Self]])
        = step_all;
    fn step_without_buffer(op: Sgd, params: &mut [&mut [Self]], grads: Gradients<'_, Self>)
        = step_all_without_buffer;
}

fn step_all<T: Element>(
    op: Sgd,
    step: u64,
    params: &mut [&mut [T]],
    grads: Gradients<'_, T>,
    buffers: &mut [&mut [T]],
) {
    let active = Active::current();
    let rule = kernel::Rule::new(op, grads.scale);
    let history = if step == 1 { kernel::History::Empty } else { kernel::History::Kept };
    let lists = (ListMut::new(params), List::new(grads.tensors), ListMut::new(buffers));
    parallel::for_each(lists, TASK, |(params, grads, buffers)| {
        for ((param, grad), buffer) in params.pieces().zip(grads.pieces()).zip(buffers.pieces()) {
            simd::dispatch(active, kernel::Step { rule, history, param, grad, buffer });
        }
    });
}

fn step_all_without_buffer<T: Element>(op: Sgd, params: &mut [&mut [T]], grads: Gradients<'_, T>) {
    let active = Active::current();
    let rule = kernel::Rule::new(op, grads.scale);
    let lists = (ListMut::new(params), List::new(grads.tensors));
    parallel::for_each(lists, TASK, |(params, grads)| {
        for (param, grad) in params.pieces().zip(grads.pieces()) {
            simd::dispatch(active, kernel::StepWithoutBuffer { rule, param, grad });
        }
    });
}
