//! Group lasso: a penalty under which whole units vanish.
//!
//! Yuan & Lin, "Model selection and estimation in regression with grouped variables", 2006; units of a network as groups,
//! Scardapane et al. 2017.

mod kernel;
pub mod reference;

use super::check_coefficient;
use crate::element::compiled_once;
use crate::parallel::{self, PARALLEL_BLOCK, Rows};
use crate::shape::{check_len, check_range};
use crate::simd::{self, Active};
use crate::{Element, Error, WeightShape};

/// `λ·Σ‖w_u‖₂` over the units u of a weight tensor: all weights into one output, a row.
///
/// Yuan & Lin scale each group by the root of its size; all units of a tensor have the same, so multiply λ by √`fan_in`.
/// Norms are taken in `f64` and do not overflow.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GroupLasso {
    /// λ, at least 0 and finite in the element type; 0 by default.
    pub lambda: f64,
}

impl GroupLasso {
    /// `λ·Σ‖w_u‖`.
    ///
    /// | argument  | elements             | access |
    /// |-----------|----------------------|--------|
    /// | `weights` | `outputs · fan_in`   | read   |
    ///
    /// # Errors
    /// [`Error::OutOfRange`] where λ is, [`Error::Length`] where `weights` does not fit `shape`, [`Error::Overflow`] where
    /// its product does.
    ///
    /// # Examples
    /// ```
    /// use steadygrad::{WeightShape, regularize::GroupLasso};
    ///
    /// let shape = WeightShape { outputs: 2, inputs: 2, field: 1 };
    /// let value = GroupLasso { lambda: 0.5 }.value(shape, &[3.0_f32, 4.0, 0.0, -1.0])?;
    /// assert_eq!(value, 3.0); // ½·(5 + 1)
    /// # Ok::<(), steadygrad::Error>(())
    /// ```
    pub fn value<T: Element>(&self, shape: WeightShape, weights: &[T]) -> Result<f64, Error> {
        let width = self.check(shape, weights)?;
        Ok(if self.lambda == 0.0 { 0.0 } else { self.lambda * <T as Compiled>::value(width, weights) })
    }

    /// `grad += λ·w/‖w_u‖`, and the value. A unit that is 0 adds 0, one of the penalty's subgradients.
    ///
    /// | argument  | elements             | access      |
    /// |-----------|----------------------|-------------|
    /// | `weights` | `outputs · fan_in`   | read        |
    /// | `grad`    | `outputs · fan_in`   | accumulated |
    ///
    /// # Errors
    /// As [`value`](Self::value), for `grad` too; then nothing was written.
    pub fn add_gradient<T: Element>(
        &self,
        shape: WeightShape,
        weights: &[T],
        grad: &mut [T],
    ) -> Result<f64, Error> {
        let width = self.check(shape, weights)?;
        check_len("grad", grad.len(), weights.len())?;
        if self.lambda == 0.0 {
            return Ok(0.0);
        }
        Ok(self.lambda * <T as Compiled>::add_gradient(width, self.lambda, weights, grad))
    }

    /// `w = w·max(1 − step·λ/‖w_u‖, 0)`: the minimiser of `½‖u − w‖² + step·λ·‖u‖` for each unit.
    ///
    /// | argument  | elements             | access               |
    /// |-----------|----------------------|----------------------|
    /// | `step`    | –                    | the learning rate    |
    /// | `weights` | `outputs · fan_in`   | read and overwritten |
    ///
    /// A NaN makes its unit NaN.
    ///
    /// # Errors
    /// As [`value`](Self::value), and [`Error::OutOfRange`] where `step` is negative or not finite; then nothing was
    /// written.
    pub fn proximal<T: Element>(
        &self,
        shape: WeightShape,
        step: f64,
        weights: &mut [T],
    ) -> Result<(), Error> {
        let width = self.check(shape, weights)?;
        check_range("step", "at least 0 and finite", step >= 0.0 && step.is_finite())?;
        if step * self.lambda != 0.0 {
            <T as Compiled>::proximal(width, step * self.lambda, weights);
        }
        Ok(())
    }

    /// Weights of a unit, of checked arguments.
    fn check<T: Element>(&self, shape: WeightShape, weights: &[T]) -> Result<usize, Error> {
        check_coefficient::<T>("lambda", self.lambda)?;
        check_len("weights", weights.len(), shape.elements()?)?;
        shape.fan_in()
    }
}

compiled_once! {
    fn value(width: usize, weights: &[Self]) -> f64 = value_all;
    fn add_gradient(width: usize, lambda: f64, weights: &[Self], grad: &mut [Self]) -> f64 = add_gradient_all;
    fn proximal(width: usize, threshold: f64, weights: &mut [Self]) = proximal_all;
}

fn value_all<T: Element>(width: usize, weights: &[T]) -> f64 {
    if weights.is_empty() {
        return 0.0;
    }
    let active = Active::current();
    let value = |rows: Rows<&[T]>| simd::dispatch(active, kernel::Value { width, weights: rows.data });
    parallel::reduce(Rows { data: weights, width }, PARALLEL_BLOCK.div_ceil(width), value, |a, b| a + b)
}

fn add_gradient_all<T: Element>(width: usize, lambda: f64, weights: &[T], grad: &mut [T]) -> f64 {
    if weights.is_empty() {
        return 0.0;
    }
    let active = Active::current();
    let step = |rows: Rows<(&[T], &mut [T])>| {
        let (weights, grad) = rows.data;
        simd::dispatch(active, kernel::AddGradient { width, lambda, weights, grad })
    };
    let rows = Rows { data: (weights, grad), width };
    parallel::reduce(rows, PARALLEL_BLOCK.div_ceil(width), step, |a, b| a + b)
}

fn proximal_all<T: Element>(width: usize, threshold: f64, weights: &mut [T]) {
    if weights.is_empty() {
        return;
    }
    let active = Active::current();
    parallel::for_each(Rows { data: weights, width }, PARALLEL_BLOCK.div_ceil(width), |rows| {
        simd::dispatch(active, kernel::Proximal { width, threshold, weights: rows.data });
    });
}
