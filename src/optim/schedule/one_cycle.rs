//! One rise to a large rate, and a long descent.

use super::{Schedule, along_cosine, before, check_steps};
use crate::Error;
use crate::shape::check_range;

/// How a rate goes from one value to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anneal {
    /// Along half a cosine.
    Cosine,
    /// Along a straight line.
    Linear,
}

/// What follows the rise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phases {
    /// One descent to the last rate.
    Two,
    /// A descent as long as the rise to the first rate, and another to the last (PyTorch's `three_phase`).
    Three,
}

/// A rate that rises once and descends below where it began; PyTorch's `OneCycleLR` without its cycle of the momentum.
///
/// ```text
/// t = step − 1, first = max_lr/div_factor, last = first/final_div_factor
/// first → max_lr   until t = rise·steps − 1
/// max_lr → last    until t = steps − 1        (three phases: max_lr → first until 2·rise·steps − 2, then → last)
/// ```
///
/// Smith & Topin, "Super-convergence: very fast training of neural networks using large learning rates", 2018.
///
/// ```
/// use steadygrad::optim::schedule::{Anneal, OneCycle, Schedule};
///
/// let one_cycle = OneCycle {
///     rise: 0.5,
///     div_factor: 4.0,
///     final_div_factor: 4.0,
///     anneal: Anneal::Linear,
///     ..OneCycle::new(1.0, 10)
/// };
/// let lr = |step| one_cycle.lr(step).unwrap();
/// assert_eq!((lr(1), lr(3), lr(5), lr(10)), (0.25, 0.625, 1.0, 0.0625));
/// assert!(one_cycle.lr(11).is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OneCycle {
    /// The largest rate, at least 0 and finite.
    pub max_lr: f64,
    /// Steps in all, at least 1; there is no rate for later ones.
    pub steps: u64,
    /// Share of the steps that rise, in [0, 1]; 0.3 by default.
    pub rise: f64,
    /// The largest rate over the first, above 0 and finite; 25 by default.
    pub div_factor: f64,
    /// The first rate over the last, above 0 and finite; 1e4 by default.
    pub final_div_factor: f64,
    /// The way between; [`Anneal::Cosine`] by default.
    pub anneal: Anneal,
    /// What follows the rise; [`Phases::Two`] by default.
    pub phases: Phases,
}

impl OneCycle {
    /// A cycle of `steps` steps, with PyTorch's defaults.
    #[must_use]
    pub fn new(max_lr: f64, steps: u64) -> Self {
        Self {
            max_lr,
            steps,
            rise: 0.3,
            div_factor: 25.0,
            final_div_factor: 1e4,
            anneal: Anneal::Cosine,
            phases: Phases::Two,
        }
    }
}

impl Schedule for OneCycle {
    fn lr(&self, step: u64) -> Result<f64, Error> {
        let is_divisor = |divisor: f64| divisor > 0.0 && divisor.is_finite();
        super::check_factor("max_lr", self.max_lr)?;
        check_steps("steps", self.steps)?;
        check_range("rise", "in [0, 1]", (0.0..=1.0).contains(&self.rise))?;
        check_range("div_factor", "above 0 and finite", is_divisor(self.div_factor))?;
        check_range("final_div_factor", "above 0 and finite", is_divisor(self.final_div_factor))?;
        let done = before(step)?;
        check_range("step", "at most `steps`", done < self.steps)?;

        let (done, steps, max) = (done as f64, self.steps as f64, self.max_lr);
        let first = max / self.div_factor;
        let last = first / self.final_div_factor;
        let top = self.rise * steps - 1.0;
        // What the rate comes from and goes to, and where.
        let (from, to, start, end) = if done <= top {
            (first, max, 0.0, top)
        } else {
            match self.phases {
                Phases::Two => (max, last, top, steps - 1.0),
                Phases::Three if done <= 2.0 * top => (max, first, top, 2.0 * top),
                Phases::Three => (first, last, 2.0 * top, steps - 1.0),
            }
        };
        let share = if end > start { (done - start) / (end - start) } else { 1.0 };
        Ok(match self.anneal {
            Anneal::Cosine => along_cosine(from, to, share),
            Anneal::Linear => from * (1.0 - share) + to * share,
        })
    }
}
