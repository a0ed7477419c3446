//! Weights as a direction and a length, or with mean 0 and variance 1: each unit's own, with a learned gain.
//!
//! Salimans & Kingma 2016 ([`WeightNorm`]); Qiao et al. 2019 ([`WeightStandardization`]). A unit is a contiguous row: it is
//! measured and scaled while it is in cache. Nothing is saved: the backward measures again.

mod kernel;
pub mod reference;
mod weight_standardization;

pub use weight_standardization::WeightStandardization;

use super::affine::check_optional;
use crate::element::compiled_once;
use crate::parallel::{self, Offset, Rows, row_block};
use crate::shape::check_len;
use crate::simd::{self, Active, InOut};
use crate::{Element, Error, WeightShape};
use kernel::{Backward, Forward};

/// Weights as a length g and a direction v a unit; semantics are PyTorch's `weight_norm` with `dim=0`.
///
/// ```text
/// w = g · v / ‖v‖          ‖v‖: over the weights of one output
/// ```
///
/// Norms are taken in `f64` and neither overflow nor underflow. A unit of zeros gives NaN, as PyTorch's does; a NaN or an
/// infinity stays in its unit.
///
/// # Examples
/// ```
/// use steadygrad::WeightShape;
/// use steadygrad::norm::{WeightGradients, WeightNorm};
///
/// let shape = WeightShape { outputs: 2, inputs: 2, field: 1 };
/// let (v, gain) = ([3.0_f32, 4.0, 3e25, 4e25], [10.0, 1.0]);
/// let mut w = [0.0; 4];
/// WeightNorm.forward(shape, &v, Some(&gain), &mut w)?;
/// for (w, expected) in w.iter().zip([6.0, 8.0, 0.6, 0.8]) {
///     assert!((w / expected - 1.0).abs() < 1e-6);
/// }
///
/// let (mut dv, mut dgain) = ([0.0; 4], [0.0; 2]);
/// let gradients = WeightGradients { weights: &mut dv, gain: Some(&mut dgain) };
/// WeightNorm.backward(shape, &[5.0, 0.0, 0.0, 0.0], &v, Some(&gain), gradients)?;
/// assert!((dgain[0] - 3.0).abs() < 1e-6); // 5 · 3/5
/// assert!((dv[0] - 6.4).abs() < 1e-5 && (dv[1] + 4.8).abs() < 1e-5); // 10/5 · (5 − 0.6 · 3), 10/5 · (0 − 0.8 · 3)
/// # Ok::<(), steadygrad::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WeightNorm;

/// Where the backward of normalised weights puts the gradients of what they are made of.
#[derive(Debug)]
pub struct WeightGradients<'a, T> {
    /// Of v: accumulated.
    pub weights: &'a mut [T],
    /// Of g: accumulated.
    pub gain: Option<&'a mut [T]>,
}

impl WeightNorm {
    /// The weights of each unit.
    ///
    /// | argument | elements           | access                         |
    /// |----------|--------------------|--------------------------------|
    /// | `v`      | `outputs · fan_in` | read                           |
    /// | `gain`   | `outputs`          | read: g; none as if all were 1 |
    /// | `w`      | `outputs · fan_in` | overwritten                    |
    ///
    /// Within 2 ULP.
    ///
    /// # Errors
    /// [`Error::Length`] names the first argument whose length differs from the table, [`Error::Empty`] `inputs` or
    /// `field` where there are units without weights, [`Error::Overflow`] `shape` where its product does; then nothing was
    /// written.
    pub fn forward<T: Element>(
        &self,
        shape: WeightShape,
        v: &[T],
        gain: Option<&[T]>,
        w: &mut [T],
    ) -> Result<(), Error> {
        forward(Measure::Length, shape, v, gain, w)
    }

    /// The gradients of v and g.
    ///
    /// ```text
    /// v̂ = v / ‖v‖          dg += Σ dw·v̂          dv += g/‖v‖ · (dw − v̂ · Σ dw·v̂)
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
        backward(Measure::Length, shape, (v, dw), gain, gradients)
    }
}

/// What a unit's weights are divided by, and whether their mean is taken off.
#[derive(Clone, Copy, Debug)]
pub enum Measure {
    /// Their 2-norm.
    Length,
    /// √(variance + eps) about their mean.
    Deviation {
        /// Added to the variance.
        eps: f64,
    },
}

/// Elements of all units, and of one; whether there are any.
pub(super) fn check_units(shape: WeightShape) -> Result<usize, Error> {
    let elements = shape.elements()?;
    if shape.outputs > 0 && elements == 0 {
        return Err(Error::Empty { dimension: if shape.inputs == 0 { "inputs" } else { "field" } });
    }
    Ok(elements)
}

fn forward<T: Element>(
    measure: Measure,
    shape: WeightShape,
    v: &[T],
    gain: Option<&[T]>,
    w: &mut [T],
) -> Result<(), Error> {
    let elements = check_units(shape)?;
    check_len("v", v.len(), elements)?;
    check_optional("gain", gain, shape.outputs)?;
    check_len("w", w.len(), elements)?;
    <T as Compiled>::forward(measure, shape.fan_in()?, gain, InOut::new(v, w));
    Ok(())
}

fn backward<T: Element>(
    measure: Measure,
    shape: WeightShape,
    (v, dw): (&[T], &[T]),
    gain: Option<&[T]>,
    gradients: WeightGradients<'_, T>,
) -> Result<(), Error> {
    let elements = check_units(shape)?;
    check_len("dw", dw.len(), elements)?;
    check_len("v", v.len(), elements)?;
    check_optional("gain", gain, shape.outputs)?;
    check_len("gradients.weights", gradients.weights.len(), elements)?;
    check_optional("gradients.gain", gradients.gain.as_deref(), shape.outputs)?;
    <T as Compiled>::backward(measure, shape.fan_in()?, (v, dw), gain, gradients);
    Ok(())
}

compiled_once! {
    fn forward(measure: Measure, width: usize, gain: Option<&[Self]>, data: InOut<'_, Self>) = forward_all;
    fn backward(
        measure: Measure, width: usize, inputs: (&[Self], &[Self]), gain: Option<&[Self]>,
        gradients: WeightGradients<'_, Self>,
    ) = backward_all;
}

fn forward_all<T: Element>(measure: Measure, width: usize, gain: Option<&[T]>, data: InOut<'_, T>) {
    if data.len() == 0 {
        return;
    }
    let active = Active::current();
    let units = Offset { first: 0, data: Rows { data, width } };
    parallel::for_each(units, row_block(width), |units| {
        simd::dispatch(active, Forward { measure, gain, units });
    });
}

fn backward_all<T: Element>(
    measure: Measure,
    width: usize,
    (v, dw): (&[T], &[T]),
    gain: Option<&[T]>,
    gradients: WeightGradients<'_, T>,
) {
    if v.is_empty() {
        return;
    }
    let active = Active::current();
    let WeightGradients { weights: dv, gain: dgain } = gradients;
    let units = Offset { first: 0, data: (Rows { data: (v, dw, dv), width }, dgain) };
    parallel::for_each(units, row_block(width), |units| {
        simd::dispatch(active, Backward { measure, gain, units });
    });
}
