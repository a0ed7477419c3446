//! How much a layer can stretch what goes through it.

use crate::shape::check_range;
use crate::stats::norm_partial::scaled_norm;
use crate::stats::scale_by_power;
use crate::{Element, Error};

/// The largest singular value of a Jacobian, by power iteration on Jᵀ·J, from products alone.
///
/// ```text
/// each iteration: u = J·v        σ = ‖u‖        v = Jᵀ·u / ‖Jᵀ·u‖
/// ```
///
/// A chain of layers keeps its gradients where each has a σ of about 1 (Saxe et al. 2014). Every layer of this crate gives
/// both products: Jᵀ·u is its backward; J·v is, of a dense layer, its forward without bias, and of an activation, its
/// backward with v for dy, as its Jacobian is diagonal. Finite differences would lose half the digits.
///
/// Each σ is at most the largest singular value and, but for rounding, at least the one before it; how far it is away shrinks
/// with each iteration by the fourth power of the second singular value over the largest.
///
/// # Examples
/// ```
/// use steadygrad::diagnostics::PowerIteration;
/// use steadygrad::linear::{Dense, DenseGradients, DenseWeights};
/// use steadygrad::{Activation, Epilogue};
///
/// // y = relu(W·x) at sums z of which the second is off: J = diag(1, 0)·W.
/// let (layer, weights, z) = (Dense { inputs: 2, outputs: 2 }, [3.0_f64, 4.0, 100.0, 0.0], [1.0, -1.0]);
/// let len = layer.forward_scratch_len::<f64>(1).max(layer.backward_scratch_len::<f64>(1));
/// let (mut one, mut other, mut forward, mut backward) = ([0.0; 2], [0.0; 2], vec![0.0; len], vec![0.0; len]);
/// let sigma = PowerIteration::default().largest(
///     &mut [1.0, 0.0],
///     &mut [0.0; 2],
///     |v, u| {
///         let parameters = DenseWeights { weights: &weights, bias: None };
///         layer.forward(1, v, parameters, Epilogue::default(), &mut forward, &mut one)?;
///         Activation::Relu.backward(&z, &one, u)
///     },
///     |u, v| {
///         Activation::Relu.backward(&z, u, &mut other)?;
///         let input = DenseGradients { input: Some(v), ..DenseGradients::default() };
///         layer.backward(1, &[0.0; 2], &other, &weights, &mut backward, input)
///     },
/// )?;
/// assert!((sigma - 5.0).abs() < 1e-12);
/// # Ok::<(), steadygrad::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PowerIteration {
    /// Iterations at most, at least 1; default 100.
    pub iterations: usize,
    /// Stops where σ grows by less than this share of itself; at least 0, default 1e-4.
    pub tolerance: f64,
}

impl Default for PowerIteration {
    fn default() -> Self {
        Self { iterations: 100, tolerance: 1e-4 }
    }
}

impl PowerIteration {
    /// σ, and its singular vectors.
    ///
    /// | argument   | elements | access                                                                   |
    /// |------------|----------|--------------------------------------------------------------------------|
    /// | `v`        | inputs   | read and overwritten: at first any vector, such as a random one; then the right singular vector |
    /// | `u`        | outputs  | overwritten: σ times the left singular vector                            |
    /// | `forward`  |          | writes J·v to its second argument                                        |
    /// | `backward` |          | writes Jᵀ·u to its second argument                                       |
    ///
    /// 0 where J·v is: then `v` is in the null space of J, or J is 0. NaN and infinities of the products come back in σ.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] for a field, and for `v` where it is 0 or not finite: then nothing was written. An error of a
    /// product is handed on.
    pub fn largest<T: Element>(
        &self,
        v: &mut [T],
        u: &mut [T],
        mut forward: impl FnMut(&[T], &mut [T]) -> Result<(), Error>,
        mut backward: impl FnMut(&[T], &mut [T]) -> Result<(), Error>,
    ) -> Result<f64, Error> {
        check_range("iterations", "at least 1", self.iterations >= 1)?;
        check_range("tolerance", "at least 0", self.tolerance >= 0.0)?;
        let (norm, _) = scaled_norm(v);
        check_range("v", "finite and not 0", norm > 0.0 && norm.is_finite())?;
        normalise(v);
        let mut sigma = 0.0;
        for _ in 0..self.iterations {
            forward(v, u)?;
            let (m, e) = scaled_norm(u);
            let before = core::mem::replace(&mut sigma, scale_by_power(m, e));
            if sigma == 0.0 || !sigma.is_finite() || sigma - before <= self.tolerance * sigma {
                break;
            }
            backward(u, v)?;
            let (norm, _) = scaled_norm(v);
            if norm == 0.0 || !norm.is_finite() {
                break;
            }
            normalise(v);
        }
        Ok(sigma)
    }
}

/// Divides by the norm, which is neither 0 nor infinite.
fn normalise<T: Element>(v: &mut [T]) {
    let (m, e) = scaled_norm(v);
    for x in v {
        *x = T::from_f64(scale_by_power(x.to_f64() / m, -e));
    }
}
