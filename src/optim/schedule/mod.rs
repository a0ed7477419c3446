//! Learning rates by the number of the step; semantics are those of `torch.optim.lr_scheduler`.
//!
//! A schedule is a small `Copy` struct and keeps nothing: the same step has the same learning rate, so that training
//! resumes anywhere. Steps are numbered from 1, as in [`Optimizer::step`](super::Optimizer::step): step `n` has the rate
//! that PyTorch has after `n − 1` calls of `scheduler.step()`. What watches a metric instead is [`ReduceOnPlateau`].
//!
//! ```
//! use steadygrad::optim::schedule::{Cosine, Linear, Schedule, Sequential};
//! use steadygrad::optim::{Adam, Gradients, Optimizer};
//!
//! let warm_up = Linear { lr: 0.5, start_factor: 0.5, end_factor: 1.0, steps: 2 };
//! let schedule = Sequential { first: warm_up, steps: 2, then: Cosine { lr: 0.5, floor: 0.0, steps: 8 } };
//! let (mut weights, mut first, mut second) = ([1.0_f32], [0.0], [0.0]);
//! for step in 1..=10 {
//!     let adam = Adam { lr: schedule.lr(step)?, ..Adam::default() };
//!     let grads = Gradients::new(&[&[1.0]]);
//!     adam.step(step, &mut [&mut weights], grads, &mut [&mut [&mut first], &mut [&mut second]])?;
//! }
//! assert_eq!([1, 2, 3].map(|step| schedule.lr(step)), [Ok(0.25), Ok(0.375), Ok(0.5)]);
//! # Ok::<(), steadygrad::Error>(())
//! ```

mod one_cycle;
mod plateau;

pub use one_cycle::{Anneal, OneCycle, Phases};
pub use plateau::{Goal, PlateauState, ReduceOnPlateau, Threshold};

use crate::Error;
use crate::shape::check_range;

/// A learning rate for each step.
pub trait Schedule {
    /// The learning rate of step `step`, numbered from 1.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] where `step` is 0 or past the schedule's end, or a field is out of its range.
    fn lr(&self, step: u64) -> Result<f64, Error>;
}

/// A borrowed schedule, also of a type known at run time.
impl<S: Schedule + ?Sized> Schedule for &S {
    fn lr(&self, step: u64) -> Result<f64, Error> {
        (**self).lr(step)
    }
}

/// Steps before this one.
fn before(step: u64) -> Result<u64, Error> {
    step.checked_sub(1).ok_or(Error::OutOfRange { argument: "step", requirement: "at least 1" })
}

/// `Ok` where `value` is at least 0 and finite.
fn check_factor(argument: &'static str, value: f64) -> Result<(), Error> {
    check_range(argument, "at least 0 and finite", value >= 0.0 && value.is_finite())
}

fn check_steps(argument: &'static str, steps: u64) -> Result<(), Error> {
    check_range(argument, "at least 1", steps >= 1)
}

/// `from` at a share of 0, `to` at 1, half a cosine between: `to + (from − to)·(1 + cos(π·share))/2`.
fn along_cosine(from: f64, to: f64, share: f64) -> f64 {
    to + (from - to) * (1.0 + libm::cos(core::f64::consts::PI * share)) / 2.0
}

/// The same rate for all steps.
///
/// ```
/// use steadygrad::optim::schedule::{Constant, Schedule};
///
/// assert_eq!(Constant { lr: 0.1 }.lr(1000)?, 0.1);
/// # Ok::<(), steadygrad::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Constant {
    /// The rate, at least 0 and finite.
    pub lr: f64,
}

impl Schedule for Constant {
    fn lr(&self, step: u64) -> Result<f64, Error> {
        check_factor("lr", self.lr)?;
        before(step).map(|_| self.lr)
    }
}

/// A straight line, and constant after it: warm-up from a small factor to 1, or decay from 1 to a small one; PyTorch's
/// `LinearLR`.
///
/// ```text
/// lr·(start + (end − start)·min(t, steps)/steps),  t = step − 1
/// ```
///
/// ```
/// use steadygrad::optim::schedule::{Linear, Schedule};
///
/// let warm_up = Linear { lr: 1.0, start_factor: 0.25, end_factor: 1.0, steps: 3 };
/// assert_eq!([1, 2, 3, 4, 5].map(|step| warm_up.lr(step).unwrap()), [0.25, 0.5, 0.75, 1.0, 1.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Linear {
    /// What the factors multiply, at least 0 and finite.
    pub lr: f64,
    /// Factor of the first step, at least 0 and finite.
    pub start_factor: f64,
    /// Factor from step `steps + 1` on, at least 0 and finite.
    pub end_factor: f64,
    /// Length of the line, at least 1.
    pub steps: u64,
}

impl Schedule for Linear {
    fn lr(&self, step: u64) -> Result<f64, Error> {
        let Self { lr, start_factor, end_factor, steps } = *self;
        check_factor("lr", lr)?;
        check_factor("start_factor", start_factor)?;
        check_factor("end_factor", end_factor)?;
        check_steps("steps", steps)?;
        let share = before(step)?.min(steps) as f64 / steps as f64;
        Ok(lr * (start_factor + (end_factor - start_factor) * share))
    }
}

/// Half a cosine from `lr` down to `floor`; PyTorch's `CosineAnnealingLR`.
///
/// ```text
/// floor + (lr − floor)·(1 + cos(π·t/steps))/2,  t = step − 1
/// ```
///
/// Past `steps + 1` it climbs again, as PyTorch's does; [`Sequential`] with [`Constant`] stays down.
///
/// Loshchilov & Hutter, "SGDR: stochastic gradient descent with warm restarts", 2017.
///
/// ```
/// use steadygrad::optim::schedule::{Cosine, Schedule};
///
/// let cosine = Cosine { lr: 1.0, floor: 0.5, steps: 10 };
/// assert_eq!((cosine.lr(1)?, cosine.lr(6)?, cosine.lr(11)?), (1.0, 0.75, 0.5));
/// # Ok::<(), steadygrad::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cosine {
    /// Rate of the first step, at least 0 and finite.
    pub lr: f64,
    /// Rate of step `steps + 1`, at least 0 and finite.
    pub floor: f64,
    /// Length of the descent, at least 1.
    pub steps: u64,
}

impl Schedule for Cosine {
    fn lr(&self, step: u64) -> Result<f64, Error> {
        check_factor("lr", self.lr)?;
        check_factor("floor", self.floor)?;
        check_steps("steps", self.steps)?;
        Ok(along_cosine(self.lr, self.floor, before(step)? as f64 / self.steps as f64))
    }
}

/// A constant factor each step: `lr·γᵗ` with `t = step − 1`; PyTorch's `ExponentialLR`.
///
/// ```
/// use steadygrad::optim::schedule::{Exponential, Schedule};
///
/// let halved = Exponential { lr: 1.0, gamma: 0.5 };
/// assert_eq!([1, 2, 3].map(|step| halved.lr(step).unwrap()), [1.0, 0.5, 0.25]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exponential {
    /// Rate of the first step, at least 0 and finite.
    pub lr: f64,
    /// γ, at least 0 and finite.
    pub gamma: f64,
}

impl Schedule for Exponential {
    fn lr(&self, step: u64) -> Result<f64, Error> {
        StepDecay { lr: self.lr, gamma: self.gamma, every: 1 }.lr(step)
    }
}

/// A constant factor every so many steps: `lr·γ^⌊t/every⌋` with `t = step − 1`; PyTorch's `StepLR`.
///
/// ```
/// use steadygrad::optim::schedule::{Schedule, StepDecay};
///
/// let decay = StepDecay { lr: 1.0, gamma: 0.5, every: 2 };
/// assert_eq!([1, 2, 3, 4, 5].map(|step| decay.lr(step).unwrap()), [1.0, 1.0, 0.5, 0.5, 0.25]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepDecay {
    /// Rate of the first steps, at least 0 and finite.
    pub lr: f64,
    /// γ, at least 0 and finite.
    pub gamma: f64,
    /// Steps with one rate, at least 1.
    pub every: u64,
}

impl Schedule for StepDecay {
    fn lr(&self, step: u64) -> Result<f64, Error> {
        check_factor("lr", self.lr)?;
        check_factor("gamma", self.gamma)?;
        check_steps("every", self.every)?;
        Ok(self.lr * libm::pow(self.gamma, (before(step)? / self.every) as f64))
    }
}

/// One schedule for the first steps, then another from its beginning; PyTorch's `SequentialLR`.
///
/// ```
/// use steadygrad::optim::schedule::{Constant, Exponential, Schedule, Sequential};
///
/// let then = Exponential { lr: 1.0, gamma: 0.5 };
/// let schedule = Sequential { first: Constant { lr: 0.125 }, steps: 2, then };
/// assert_eq!([1, 2, 3, 4].map(|step| schedule.lr(step).unwrap()), [0.125, 0.125, 1.0, 0.5]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sequential<A, B> {
    /// Of the steps `1..=steps`.
    pub first: A,
    /// How many steps that are.
    pub steps: u64,
    /// Of the others: step `steps + 1` is its first.
    pub then: B,
}

impl<A: Schedule, B: Schedule> Schedule for Sequential<A, B> {
    fn lr(&self, step: u64) -> Result<f64, Error> {
        match step.checked_sub(self.steps) {
            None | Some(0) => self.first.lr(step),
            Some(step) => self.then.lr(step),
        }
    }
}
