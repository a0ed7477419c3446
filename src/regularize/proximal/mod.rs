//! The elastic net by its proximal step: a gradient step of the loss first, then this.
//!
//! Parikh & Boyd, "Proximal algorithms", 2014, section 6.5.2. Unlike a gradient of |w| it makes weights exactly 0.

mod kernel;
pub mod reference;

use super::ElasticNet;
use crate::element::compiled_once;
use crate::parallel;
use crate::shape::check_range;
use crate::simd::{self, Active};
use crate::tensors::{GRAIN, ListMut, TASK};
use crate::{Element, Error};

impl ElasticNet {
    /// `w = sign(w)·max(|w| − step·λ₁, 0) / (1 + step·λ₂)`: the minimiser u of `½(u − w)² + step·(λ₁|u| + ½λ₂u²)`.
    ///
    /// | argument  | elements           | access               |
    /// |-----------|--------------------|----------------------|
    /// | `step`    | –                  | the learning rate    |
    /// | `weights` | any of each tensor | read and overwritten |
    ///
    /// With λ₂ = 0 it is the soft threshold. What becomes 0 keeps its sign; NaN stays.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] where a coefficient is, or `step` is negative or its product with one not finite in the
    /// element type; then nothing was written.
    ///
    /// # Examples
    /// ```
    /// use steadygrad::regularize::ElasticNet;
    ///
    /// let mut weights = [3.0_f32, -0.5, -2.0];
    /// ElasticNet { l1: 1.0, l2: 1.0 }.proximal(1.0, &mut [&mut weights])?;
    /// assert_eq!(weights, [1.0, 0.0, -0.5]); // (3 − 1)/2, below the threshold, −(2 − 1)/2
    /// # Ok::<(), steadygrad::Error>(())
    /// ```
    pub fn proximal<T: Element>(&self, step: f64, weights: &mut [&mut [T]]) -> Result<(), Error> {
        self.check::<T>()?;
        let (threshold, divisor) = (T::from_f64(step * self.l1), T::from_f64(1.0 + step * self.l2));
        let holds = step >= 0.0 && step.is_finite() && threshold.is_finite() && divisor.is_finite();
        check_range("step", "at least 0, and finite as its products with the coefficients", holds)?;
        <T as Compiled>::proximal(threshold, divisor, weights);
        Ok(())
    }
}

compiled_once! {
    fn proximal(threshold: Self, divisor: Self, weights: &mut [&mut [Self]]) = proximal_all;
}

fn proximal_all<T: Element>(threshold: T, divisor: T, weights: &mut [&mut [T]]) {
    let active = Active::current();
    parallel::for_each(ListMut::new(weights), TASK, |list| {
        for weights in list.pieces().flat_map(|tensor| tensor.chunks_mut(GRAIN)) {
            simd::dispatch(active, kernel::Proximal { threshold, divisor, weights });
        }
    });
}
