//! A limit on the norm of each unit's weights, kept after every step.
//!
//! Srebro & Shraibman 2005; with dropout, Srivastava et al. 2014, section 5.1.

mod kernel;
pub mod reference;

use crate::element::compiled_once;
use crate::parallel::{self, PARALLEL_BLOCK, Rows};
use crate::shape::{check_len, check_range};
use crate::simd::{self, Active};
use crate::{Element, Error, WeightShape};

/// Scales the weights of each unit (all into one output, a row) so that their 2-norm is at most `max`.
///
/// ```text
/// w = ‖w_u‖ > max ? w · max/‖w_u‖ : w
/// ```
///
/// PyTorch's `renorm` of dimension 0 adds 1e-7 to the norm, this does not. Norms are taken in `f64` and do not overflow. A
/// unit with a NaN is left as it is; one with an infinity gets 0 and NaN, as infinity over itself is.
///
/// # Examples
/// ```
/// use steadygrad::{WeightShape, regularize::MaxNorm};
///
/// let shape = WeightShape { outputs: 2, inputs: 2, field: 1 };
/// let mut weights = [3.0_f32, 4.0, 1.0, 1.0];
/// let over = MaxNorm { max: 2.5 }.constrain(shape, &mut weights)?;
/// assert_eq!((over, weights), (1, [1.5, 2.0, 1.0, 1.0]));
/// # Ok::<(), steadygrad::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MaxNorm {
    /// The limit, at least 0; 3 by default, infinite for none.
    pub max: f64,
}

impl Default for MaxNorm {
    fn default() -> Self {
        Self { max: 3.0 }
    }
}

impl MaxNorm {
    /// Scales the units that are over the limit; returns how many there were.
    ///
    /// | argument  | elements             | access                                |
    /// |-----------|----------------------|---------------------------------------|
    /// | `weights` | `outputs · fan_in`   | read, and overwritten where over it   |
    ///
    /// Once is enough: a norm within two epsilons of the limit counts as at it.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] where `max` is negative or NaN, [`Error::Length`] where `weights` does not fit `shape`,
    /// [`Error::Overflow`] where its product does; then nothing was written.
    pub fn constrain<T: Element>(&self, shape: WeightShape, weights: &mut [T]) -> Result<usize, Error> {
        check_range("max", "at least 0", self.max >= 0.0)?;
        check_len("weights", weights.len(), shape.elements()?)?;
        Ok(<T as Compiled>::constrain(shape.fan_in()?, self.max, weights))
    }
}

compiled_once! {
    fn constrain(width: usize, max: f64, weights: &mut [Self]) -> usize = constrain_all;
}

fn constrain_all<T: Element>(width: usize, max: f64, weights: &mut [T]) -> usize {
    if weights.is_empty() {
        return 0;
    }
    let active = Active::current();
    let step =
        |rows: Rows<&mut [T]>| simd::dispatch(active, kernel::Constrain { width, max, weights: rows.data });
    parallel::reduce(Rows { data: weights, width }, PARALLEL_BLOCK.div_ceil(width), step, |a, b| a + b)
}
