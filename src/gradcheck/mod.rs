//! Is a backward the derivative of its forward? Central differences in `f64`, and the name of the element that is wrong.
//!
//! ```text
//! ∂yⱼ/∂xᵢ ≈ (yⱼ(x + hᵢeᵢ) − yⱼ(x − hᵢeᵢ)) / 2hᵢ        hᵢ = step · max(1, |xᵢ|)
//! ```
//!
//! A small Jacobian is compared whole. Of a large one, random projections are: along a direction v, with output gradients
//! u, the backward's `dx·v` must be the slope of `u·y`; where it is not, halving the direction finds the element.
//!
//! `dx` is handed to the backward full of NaN, and output gradients are never exactly 1, so a backward that forgets an
//! element, adds to `dx`, or is not linear in `dy` fails as well.
//!
//! At a kink, such as `ReLU`'s at 0, the central difference is the mean of two slopes and no backward agrees with it.
//! Keep inputs further from kinks than `step · max(1, |x|)`; [`Worst::is_kink`] says whether the element that failed is
//! one.

mod check;
mod report;

pub use report::{Failure, Report, Worst};

use crate::Error;
use crate::shape::check_range;
use check::Check;

/// What to compare, and how closely.
///
/// ```
/// use steadygrad::gradcheck::{Failure, GradCheck};
/// use steadygrad::Activation;
///
/// let x = [-1.5, -0.2, 0.3, 2.0];
/// let forward = |x: &[f64], y: &mut [f64]| Activation::Tanh.forward(x, y).unwrap();
/// let backward = |x: &[f64], dy: &[f64], dx: &mut [f64]| Activation::Tanh.backward(x, dy, dx).unwrap();
/// let report = GradCheck::default().check(&x, 4, forward, backward)?;
/// assert_eq!(report.compared, 4 * 4 + 4); // the Jacobian, and one dense `dy`
///
/// // The same with one element off by a thousandth: it is named.
/// let wrong = |x: &[f64], dy: &[f64], dx: &mut [f64]| {
///     backward(x, dy, dx);
///     dx[2] *= 1.001;
/// };
/// let Err(Failure::Mismatch(report)) = GradCheck::default().check(&x, 4, forward, wrong) else { panic!() };
/// assert_eq!(report.worst.unwrap().input, 2);
/// # Ok::<(), Failure>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GradCheck {
    /// Step of the difference relative to max(1, |x|); default ∛ε = 6.06e-6, which balances the rounding of the
    /// difference, ε/h, against the cubic term it leaves out, h²/6.
    pub step: f64,
    /// Share of the larger of both gradients by which they may differ; default 1e-6: rounding is about 1e-10 of y, so
    /// gradients down to a ten-thousandth of y are still resolved.
    pub relative: f64,
    /// Difference that always passes; default 1e-8, a hundred times the rounding of a y of about 1.
    pub absolute: f64,
    /// Elements of the Jacobian (`inputs · outputs`) up to which all are compared; default 65,536.
    pub full: usize,
    /// Random projections of a larger one; default 8.
    pub projections: usize,
    /// Seed of the output gradients and directions; default 0.
    pub seed: u64,
}

impl Default for GradCheck {
    fn default() -> Self {
        Self {
            step: libm::cbrt(f64::EPSILON),
            relative: 1e-6,
            absolute: 1e-8,
            full: 1 << 16,
            projections: 8,
            seed: 0,
        }
    }
}

impl GradCheck {
    /// Compares `backward` with the central differences of `forward` at `x`.
    ///
    /// | argument   | meaning                                                                            |
    /// |------------|------------------------------------------------------------------------------------|
    /// | `x`        | where to check: all inputs in question, one after the other                        |
    /// | `outputs`  | elements of `y`                                                                    |
    /// | `forward`  | writes `y(x)`                                                                      |
    /// | `backward` | from `x` and `dy`, overwrites `dx`                                                 |
    ///
    /// For gradients of weights, let `x` be the weights, or inputs and weights side by side, and cut it up in the closures.
    /// A full check costs `2 · inputs` forwards and `outputs + 1` backwards.
    ///
    /// # Errors
    /// [`Failure::Mismatch`] where an element differs by more than `absolute + relative · max(|analytic|, |numeric|)` or is
    /// NaN; [`Failure::Argument`] where `step` or a tolerance is not positive and finite, or there is no projection.
    pub fn check(
        &self,
        x: &[f64],
        outputs: usize,
        forward: impl FnMut(&[f64], &mut [f64]),
        backward: impl FnMut(&[f64], &[f64], &mut [f64]),
    ) -> Result<Report, Failure> {
        self.check_fields()?;
        if x.is_empty() || outputs == 0 {
            return Ok(Report { compared: 0, projected: false, worst: None });
        }
        let mut check = Check::new(*self, x, outputs, forward, backward);
        let projected = x.len().checked_mul(outputs).is_none_or(|elements| elements > self.full);
        if projected {
            check.project()
        } else {
            check.jacobian()
        }
        check.report(projected)
    }

    fn check_fields(&self) -> Result<(), Error> {
        let positive = |argument, value: f64| {
            check_range(argument, "positive and finite", value > 0.0 && value.is_finite())
        };
        positive("step", self.step)?;
        positive("relative", self.relative)?;
        positive("absolute", self.absolute)?;
        check_range("projections", "at least 1", self.projections > 0)
    }
}
