//! The elastic net as a penalty: its value, and its gradient added to that of the loss.

mod kernel;
pub mod reference;

use super::ElasticNet;
use crate::element::compiled_once;
use crate::parallel;
use crate::simd::{self, Active};
use crate::tensors::{List, ListMut, TASK, check_same_lengths};
use crate::{Element, Error};

impl ElasticNet {
    /// `λ₁·Σ|w| + ½λ₂·Σw²` over all tensors.
    ///
    /// | argument  | elements           | access |
    /// |-----------|--------------------|--------|
    /// | `weights` | any of each tensor | read   |
    ///
    /// Summed in `f64`; 0 for an empty list. NaN of NaN; a coefficient of 0 leaves its term out.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] where a coefficient is.
    ///
    /// # Examples
    /// ```
    /// use steadygrad::regularize::ElasticNet;
    ///
    /// let net = ElasticNet { l1: 0.5, l2: 2.0 };
    /// assert_eq!(net.value(&[&[1.0_f32, -2.0], &[0.0]])?, 6.5); // 0.5·3 + ½·2·5
    /// # Ok::<(), steadygrad::Error>(())
    /// ```
    pub fn value<T: Element>(&self, weights: &[&[T]]) -> Result<f64, Error> {
        self.check::<T>()?;
        Ok(<T as Compiled>::value(*self, weights))
    }

    /// `grad += λ₁·sign(w) + λ₂·w`, and the value, in one pass.
    ///
    /// | argument  | elements                      | access      |
    /// |-----------|-------------------------------|-------------|
    /// | `weights` | any of each tensor            | read        |
    /// | `grads`   | of each tensor as `weights`   | accumulated |
    ///
    /// sign(0) is 0. The gradient of NaN is NaN (PyTorch's of |NaN| is 0).
    ///
    /// # Errors
    /// [`Error::OutOfRange`] where a coefficient is, [`Error::Length`] where a list or a tensor of it does not fit
    /// `grads`; then nothing was written.
    ///
    /// # Examples
    /// ```
    /// use steadygrad::regularize::ElasticNet;
    ///
    /// let (weights, mut grad) = ([1.0_f64, -2.0, 0.0], [10.0; 3]);
    /// let value = ElasticNet { l1: 0.5, l2: 2.0 }.add_gradient(&[&weights], &mut [&mut grad])?;
    /// assert_eq!((value, grad), (6.5, [12.5, 5.5, 10.0]));
    /// # Ok::<(), steadygrad::Error>(())
    /// ```
    pub fn add_gradient<T: Element>(&self, weights: &[&[T]], grads: &mut [&mut [T]]) -> Result<f64, Error> {
        self.check::<T>()?;
        check_same_lengths("weights", weights, grads)?;
        Ok(<T as Compiled>::add_gradient(*self, weights, grads))
    }
}

compiled_once! {
    fn value(op: ElasticNet, weights: &[&[Self]]) -> f64 = value_all;
    fn add_gradient(op: ElasticNet, weights: &[&[Self]], grads: &mut [&mut [Self]]) -> f64 = add_gradient_all;
}

fn value_all<T: Element>(op: ElasticNet, weights: &[&[T]]) -> f64 {
    let (active, rule) = (Active::current(), kernel::Rule::new(op));
    let sum_of = |list: List<'_, T, &[T]>| {
        list.pieces().map(|weights| simd::dispatch(active, kernel::Value { rule, weights })).sum::<f64>()
    };
    parallel::reduce(List::new(weights), TASK, sum_of, |a, b| a + b)
}

fn add_gradient_all<T: Element>(op: ElasticNet, weights: &[&[T]], grads: &mut [&mut [T]]) -> f64 {
    let (active, rule) = (Active::current(), kernel::Rule::new(op));
    let lists = (List::new(weights), ListMut::new(grads));
    let step = |(weights, grads): (List<'_, T, &[T]>, ListMut<'_, '_, T>)| {
        let pairs = weights.pieces().zip(grads.pieces());
        let value = |(weights, grad)| simd::dispatch(active, kernel::AddGradient { rule, weights, grad });
        pairs.map(value).sum::<f64>()
    };
    parallel::reduce(lists, TASK, step, |a, b| a + b)
}
