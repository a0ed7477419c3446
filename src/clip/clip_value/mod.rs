//! Clipping by value: every element is limited to an interval.

pub(crate) mod kernel;
pub mod reference;

use crate::element::compiled_once;
use crate::parallel;
use crate::shape::check_range;
use crate::simd::{self, Active};
use crate::tensors::{ListMut, TASK};
use crate::{Element, Error};

/// Limits every element to `[min, max]`; with ±c it is PyTorch's `clip_grad_value_`.
///
/// ```text
/// g = min(max(g, min), max)
/// ```
///
/// NaN stays NaN, infinities become limits, and −0 stays −0 where 0 is a limit. The limits are rounded to the element
/// type.
///
/// # Examples
/// ```
/// use steadygrad::clip::ClipValue;
///
/// let (mut weights, mut bias) = ([3.0_f32, -0.25], [-7.0_f32]);
/// ClipValue { min: -1.0, max: 2.0 }.clip(&mut [&mut weights, &mut bias])?;
/// assert_eq!((weights, bias), ([2.0, -0.25], [-1.0]));
/// # Ok::<(), steadygrad::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClipValue {
    /// Lower limit; −∞ for none. −1 by default.
    pub min: f64,
    /// Upper limit, at least `min`; +∞ for none. 1 by default.
    pub max: f64,
}

impl Default for ClipValue {
    fn default() -> Self {
        Self { min: -1.0, max: 1.0 }
    }
}

impl ClipValue {
    /// Limits the elements of every tensor of a list.
    ///
    /// | argument | elements           | access               |
    /// |----------|--------------------|----------------------|
    /// | `grads`  | any of each tensor | read and overwritten |
    ///
    /// # Errors
    /// [`Error::OutOfRange`] where `min` or `max` is NaN or `max < min`; then nothing was written.
    pub fn clip<T: Element>(&self, grads: &mut [&mut [T]]) -> Result<(), Error> {
        check_range("min", "a number", !self.min.is_nan())?;
        check_range("max", "at least `min`", self.max >= self.min)?;
        <T as Compiled>::clip(*self, grads);
        Ok(())
    }

    /// [`clip`](Self::clip) of one tensor.
    ///
    /// # Errors
    /// As [`clip`](Self::clip).
    pub fn clip_one<T: Element>(&self, grad: &mut [T]) -> Result<(), Error> {
        self.clip(&mut [grad])
    }
}

compiled_once! {
    fn clip(op: ClipValue, grads: &mut [&mut [Self]]) = clip_all;
}

fn clip_all<T: Element>(op: ClipValue, grads: &mut [&mut [T]]) {
    let active = Active::current();
    let (min, max) = (T::from_f64(op.min), T::from_f64(op.max));
    parallel::for_each(ListMut::new(grads), TASK, |list| {
        for data in list.pieces() {
            simd::dispatch(active, kernel::Clamp { min, max, data });
        }
    });
}
