//! [`WeightStandardization`]: weight normalisation that takes the mean off too.

use super::{Measure, WeightGradients};
use crate::norm::layer_norm::check_eps;
use crate::{Element, Error, WeightShape};

/// Weights with mean 0 and variance 1 a unit, times a gain where one is learned.
///
/// ```text
/// w = g · (v − mean) / √(variance + eps)          variance: Σ(v − mean)² / fan_in, over the weights of one output
/// ```
///
/// With `g = γ / √fan_in` it is the scaled form of Brock, De & Smith 2021, which keeps the variance of what goes through.
/// Code after Qiao et al. divides by the unbiased deviation plus eps instead. A unit of one weight gives 0; a NaN or an
/// infinity stays in its unit, which is NaN.
///
/// # Examples
/// ```
/// use steadygrad::WeightShape;
/// use steadygrad::norm::WeightStandardization;
///
/// let shape = WeightShape { outputs: 1, inputs: 4, field: 1 };
/// let mut w = [0.0_f32; 4];
/// let op = WeightStandardization { eps: 0.0 };
/// op.forward(shape, &[1.0, 1.0, 5.0, 5.0], Some(&[10.0]), &mut w)?;
/// assert_eq!(w, [-10.0, -10.0, 10.0, 10.0]); // mean 3, deviation 2
/// # Ok::<(), steadygrad::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WeightStandardization {
    /// Added to the variance, at least 0 and finite; default 1e-5. With 0, a unit whose weights are all the same gives NaN.
    pub eps: f64,
}

impl Default for WeightStandardization {
    fn default() -> Self {
        Self { eps: 1e-5 }
    }
}

impl WeightStandardization {
    /// The weights of each unit.
    ///
    /// | argument | elements           | access                         |
    /// |----------|--------------------|--------------------------------|
    /// | `v`      | `outputs · fan_in` | read                           |
    /// | `gain`   | `outputs`          | read: g; none as if all were 1 |
    /// | `w`      | `outputs · fan_in` | overwritten                    |
    ///
    /// Within 4 ULP, where the mean is exact to 2⁻⁵³ of the largest weight.
    ///
    /// # Errors
    /// As [`WeightNorm::forward`](super::WeightNorm::forward), and [`Error::OutOfRange`] for `eps`.
    pub fn forward<T: Element>(
        &self,
        shape: WeightShape,
        v: &[T],
        gain: Option<&[T]>,
        w: &mut [T],
    ) -> Result<(), Error> {
        check_eps(self.eps)?;
        super::forward(Measure::Deviation { eps: self.eps }, shape, v, gain, w)
    }

    /// The gradients of v and g.
    ///
    /// ```text
    /// v̂ = (v − mean) · rstd          dg += Σ dw·v̂
    /// dv += g·rstd · (dw − mean(dw) − v̂ · mean(dw·v̂))
    /// ```
    ///
    /// | argument            | elements           | access                      |
    /// |---------------------|--------------------|-----------------------------|
    /// | `dw`                | `outputs · fan_in` | read                        |
    /// | `v`, `gain`         | as in the forward  | read                        |
    /// | `gradients.weights` | `outputs · fan_in` | accumulated                 |
    /// | `gradients.gain`    | `outputs`          | accumulated, sums in `f64`  |
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn backward<T: Element>(
        &self,
        shape: WeightShape,
        dw: &[T],
        v: &[T],
        gain: Option<&[T]>,
        gradients: WeightGradients<'_, T>,
    ) -> Result<(), Error> {
        check_eps(self.eps)?;
        super::backward(Measure::Deviation { eps: self.eps }, shape, (v, dw), gain, gradients)
    }
}
