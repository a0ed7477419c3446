//! A rate that falls where a metric no longer improves.

use super::check_factor;
use crate::Error;
use crate::shape::check_range;

/// Which metric is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// The lower, such as a loss.
    Lowest,
    /// The higher, such as an accuracy.
    Highest,
}

/// By how much a metric must be better than the best to count as an improvement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Threshold {
    /// By this share of the best.
    Relative(f64),
    /// By this.
    Absolute(f64),
}

/// What [`ReduceOnPlateau`] remembers; begin with [`PlateauState::new`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlateauState {
    /// The learning rate.
    pub lr: f64,
    /// The best metric so far; `None` before the first.
    pub best: Option<f64>,
    /// Metrics since the best one, those during the rest after a reduction left out.
    pub bad: u64,
    /// Metrics left of the rest after a reduction.
    pub resting: u64,
}

impl PlateauState {
    /// A learning rate, and no metric yet.
    #[must_use]
    pub fn new(lr: f64) -> Self {
        Self { lr, best: None, bad: 0, resting: 0 }
    }
}

/// Multiplies the learning rate by a factor where a metric has not improved for some time; PyTorch's
/// `ReduceLROnPlateau`.
///
/// ```text
/// better:  metric < best·(1 − threshold)  (lowest, relative)     or  metric < best − threshold  (absolute)
///          metric > best·(1 + threshold)  (highest, relative)    or  metric > best + threshold
/// where more than `patience` metrics in a row are not: lr = max(lr·factor, min_lr), if that is more than `eps` less
/// ```
///
/// A NaN is not better than anything.
///
/// ```
/// use steadygrad::optim::schedule::{PlateauState, ReduceOnPlateau};
///
/// let plateau = ReduceOnPlateau { factor: 0.5, patience: 1, ..ReduceOnPlateau::default() };
/// let mut state = PlateauState::new(1.0);
/// for loss in [3.0, 2.0, 2.0, 2.0, 1.0] {
///     plateau.step(loss, &mut state)?;
/// }
/// assert_eq!((state.lr, state.best), (0.5, Some(1.0))); // two in a row were no better than 2
/// # Ok::<(), steadygrad::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReduceOnPlateau {
    /// Which metric is better; [`Goal::Lowest`] by default.
    pub goal: Goal,
    /// What a reduction multiplies the rate by, in [0, 1); 0.1 by default.
    pub factor: f64,
    /// How many metrics in a row may be no better; 10 by default.
    pub patience: u64,
    /// What counts as better, at least 0 and finite; 1e-4 of the best by default.
    pub threshold: Threshold,
    /// Metrics after a reduction that count as neither; 0 by default.
    pub cooldown: u64,
    /// The smallest rate, at least 0 and finite; 0 by default.
    pub min_lr: f64,
    /// A change that is no larger than this is left out, at least 0 and finite; 1e-8 by default.
    pub eps: f64,
}

impl Default for ReduceOnPlateau {
    fn default() -> Self {
        Self {
            goal: Goal::Lowest,
            factor: 0.1,
            patience: 10,
            threshold: Threshold::Relative(1e-4),
            cooldown: 0,
            min_lr: 0.0,
            eps: 1e-8,
        }
    }
}

impl ReduceOnPlateau {
    /// Takes a metric, usually once an epoch: the state then has the learning rate for what follows.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] where a field or the state's `lr` is; then the state is unchanged.
    pub fn step(&self, metric: f64, state: &mut PlateauState) -> Result<(), Error> {
        let (Threshold::Relative(threshold) | Threshold::Absolute(threshold)) = self.threshold;
        check_range("factor", "in [0, 1)", (0.0..1.0).contains(&self.factor))?;
        check_factor("threshold", threshold)?;
        check_factor("min_lr", self.min_lr)?;
        check_factor("eps", self.eps)?;
        check_factor("lr", state.lr)?;

        if self.is_better(metric, state.best) {
            (state.best, state.bad) = (Some(metric), 0);
        } else {
            state.bad = state.bad.saturating_add(1);
        }
        if state.resting > 0 {
            (state.resting, state.bad) = (state.resting - 1, 0);
        }
        if state.bad > self.patience {
            (state.resting, state.bad) = (self.cooldown, 0);
            let reduced = (state.lr * self.factor).max(self.min_lr);
            if state.lr - reduced > self.eps {
                state.lr = reduced;
            }
        }
        Ok(())
    }

    fn is_better(&self, metric: f64, best: Option<f64>) -> bool {
        let Some(best) = best else {
            return match self.goal {
                Goal::Lowest => metric < f64::INFINITY,
                Goal::Highest => metric > f64::NEG_INFINITY,
            };
        };
        match (self.goal, self.threshold) {
            (Goal::Lowest, Threshold::Relative(share)) => metric < best * (1.0 - share),
            (Goal::Lowest, Threshold::Absolute(least)) => metric < best - least,
            (Goal::Highest, Threshold::Relative(share)) => metric > best * (1.0 + share),
            (Goal::Highest, Threshold::Absolute(least)) => metric > best + least,
        }
    }
}
