//! Spectral normalisation: weights divided by an estimate of their largest singular value, so that a layer stretches
//! nothing by more than about 1.
//!
//! Miyato et al. 2018. The estimate is one power iteration a step on vectors that the caller keeps; products are sums in
//! `f64`, so the estimate neither overflows nor depends on the number of threads.

mod kernel;
pub mod reference;

use super::layer_norm::check_eps;
use super::weight_norm::check_units;
use crate::element::compiled_once;
use crate::parallel::{self, Offset, PARALLEL_BLOCK, Rows, row_block};
use crate::shape::{check_at_least, check_len};
use crate::simd::{self, Active, InOut, MAX_LANES};
use crate::stats::unit_norm::UnitNorm;
use crate::{Element, Error, WeightShape};

/// Spectral normalisation of weights with a row of `fan_in` an output; semantics are PyTorch's.
///
/// ```text
/// each iteration: u = W·v / ‖W·v‖        v = Wᵀ·u / ‖Wᵀ·u‖
/// σ = uᵀ·W·v        Ŵ = W / σ
/// ```
///
/// A norm below `eps` counts as `eps`. Weights of zeros have σ = 0 and give NaN, as PyTorch's do. A NaN or an infinity in
/// the weights reaches all of Ŵ and the state.
///
/// # Examples
/// ```
/// use steadygrad::WeightShape;
/// use steadygrad::norm::{SavedSpectral, SpectralNorm, SpectralState};
///
/// let (norm, shape) = (SpectralNorm::default(), WeightShape { outputs: 2, inputs: 2, field: 1 });
/// let mut scratch = vec![0.0; norm.scratch_len(shape)];
/// let (mut u, mut v, mut w) = ([0.0; 2], [0.6, 0.8], [0.0_f32; 4]);
/// let weights = [0.0, 5.0, 5.0, 0.0]; // stretches everything by 5
/// let sigma =
///     norm.forward(shape, &weights, SpectralState { u: &mut u, v: &mut v }, &mut scratch, &mut w)?;
/// assert!((sigma - 5.0).abs() < 1e-6 && (w[1] - 1.0).abs() < 1e-6);
/// assert!((u[0] - 0.8).abs() < 1e-6 && (v[0] - 0.6).abs() < 1e-6);
///
/// let saved = SavedSpectral { normalised: &w, u: &u, v: &v, sigma };
/// let mut dweights = [0.0; 4];
/// norm.backward(shape, &[0.0, 1.0, 0.0, 0.0], saved, &mut dweights)?;
/// // Σ dŴ·Ŵ = 1: (0 − 0.8·0.6)/5, (1 − 0.8·0.8)/5
/// assert!((dweights[0] + 0.096).abs() < 1e-6 && (dweights[1] - 0.072).abs() < 1e-6);
/// # Ok::<(), steadygrad::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SpectralNorm {
    /// Power iterations a forward; default 1. 0 leaves the state as it is: for inference, and where weights are shared. At
    /// first PyTorch does 15 from random vectors.
    pub iterations: usize,
    /// The least norm of a product, at least 0 and finite; default 1e-12.
    pub eps: f64,
}

impl Default for SpectralNorm {
    fn default() -> Self {
        Self { iterations: 1, eps: 1e-12 }
    }
}

/// Estimates of the singular vectors of the largest singular value, kept from forward to forward.
///
/// At first any vectors of about length 1 that are not orthogonal to what they shall become, such as random ones.
#[derive(Debug)]
pub struct SpectralState<'a, T> {
    /// Left, `outputs` elements; an iteration overwrites it before it is read.
    pub u: &'a mut [T],
    /// Right, `fan_in` elements.
    pub v: &'a mut [T],
}

/// What a forward leaves for the backward.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SavedSpectral<'a, T> {
    /// Ŵ.
    pub normalised: &'a [T],
    /// [`SpectralState::u`] after the forward.
    pub u: &'a [T],
    /// [`SpectralState::v`] after the forward.
    pub v: &'a [T],
    /// σ, which the forward returned.
    pub sigma: f64,
}

impl SpectralNorm {
    /// Numbers that `scratch` of [`forward`](Self::forward) needs at least: one product.
    #[must_use]
    pub fn scratch_len(&self, shape: WeightShape) -> usize {
        shape.fan_in().map_or(usize::MAX, |fan_in| product_len(fan_in).max(shape.outputs))
    }

    /// Ŵ; returns σ, 0 of no outputs.
    ///
    /// | argument     | elements           | access                                              |
    /// |--------------|--------------------|-----------------------------------------------------|
    /// | `weights`    | `outputs · fan_in` | read                                                |
    /// | `state.u`    | `outputs`          | updated, unless there are 0 iterations              |
    /// | `state.v`    | `fan_in`           | updated, unless there are 0 iterations              |
    /// | `scratch`    | at least [`scratch_len`](Self::scratch_len) | overwritten                |
    /// | `normalised` | `outputs · fan_in` | overwritten                                         |
    ///
    /// Within 2 ULP of W / σ, and σ within 2⁻⁴⁰ of uᵀ·W·v relative to the sum of the terms' magnitudes.
    ///
    /// # Errors
    /// [`Error::Length`] names the first argument whose length differs from the table, [`Error::OutOfRange`] `eps`,
    /// [`Error::Empty`] `inputs` or `field` where there are outputs without weights, [`Error::Overflow`] `shape` where its
    /// product does; then nothing was written.
    pub fn forward<T: Element>(
        &self,
        shape: WeightShape,
        weights: &[T],
        state: SpectralState<'_, T>,
        scratch: &mut [f64],
        normalised: &mut [T],
    ) -> Result<f64, Error> {
        check_eps(self.eps)?;
        let elements = check_units(shape)?;
        check_len("weights", weights.len(), elements)?;
        check_len("state.u", state.u.len(), shape.outputs)?;
        check_len("state.v", state.v.len(), shape.fan_in()?)?;
        check_at_least("scratch", scratch.len(), self.scratch_len(shape))?;
        check_len("normalised", normalised.len(), elements)?;
        if elements == 0 {
            return Ok(0.0);
        }
        let sigma = <T as Compiled>::iterate(*self, weights, (state.u, state.v), scratch);
        <T as Compiled>::scale(sigma, InOut::new(weights, normalised));
        Ok(sigma)
    }

    /// The gradient of the weights, with u and v held constant, as PyTorch's.
    ///
    /// ```text
    /// dW += (dŴ − (Σ dŴ·Ŵ) · u·vᵀ) / σ
    /// ```
    ///
    /// | argument           | elements           | access              |
    /// |--------------------|--------------------|---------------------|
    /// | `dnormalised`      | `outputs · fan_in` | read                |
    /// | `saved.normalised` | `outputs · fan_in` | read                |
    /// | `saved.u`          | `outputs`          | read                |
    /// | `saved.v`          | `fan_in`           | read                |
    /// | `dweights`         | `outputs · fan_in` | accumulated         |
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn backward<T: Element>(
        &self,
        shape: WeightShape,
        dnormalised: &[T],
        saved: SavedSpectral<'_, T>,
        dweights: &mut [T],
    ) -> Result<(), Error> {
        check_eps(self.eps)?;
        let elements = check_units(shape)?;
        check_len("dnormalised", dnormalised.len(), elements)?;
        check_len("saved.normalised", saved.normalised.len(), elements)?;
        check_len("saved.u", saved.u.len(), shape.outputs)?;
        check_len("saved.v", saved.v.len(), shape.fan_in()?)?;
        check_len("dweights", dweights.len(), elements)?;
        <T as Compiled>::backward(dnormalised, saved, dweights);
        Ok(())
    }
}

/// Numbers of a product with a number a column, in whole vectors.
fn product_len(cols: usize) -> usize {
    cols.checked_next_multiple_of(MAX_LANES).unwrap_or(usize::MAX)
}

compiled_once! {
    fn iterate(op: SpectralNorm, weights: &[Self], state: (&mut [Self], &mut [Self]), scratch: &mut [f64]) -> f64
        = iterate_all;
    fn scale(sigma: f64, data: InOut<'_, Self>) = scale_all;
    fn backward(dnormalised: &[Self], saved: SavedSpectral<'_, Self>, dweights: &mut [Self]) = backward_all;
}

/// The iterations; gives σ.
fn iterate_all<T: Element>(
    op: SpectralNorm,
    weights: &[T],
    (u, v): (&mut [T], &mut [T]),
    scratch: &mut [f64],
) -> f64 {
    let (active, eps) = (Active::current(), op.eps);
    for _ in 0..op.iterations {
        let product = times_vector(active, weights, v, &mut scratch[..u.len()]);
        simd::dispatch(active, kernel::Normalise { product, eps, unit: u });
        let product = transposed_times_vector(active, weights, u, v.len(), scratch);
        simd::dispatch(active, kernel::Normalise { product, eps, unit: v });
    }
    let product = times_vector(active, weights, v, &mut scratch[..u.len()]);
    product.iter().zip(&*u).fold(0.0, |sum, (product, &u)| sum + product * u.to_f64())
}

/// W·v.
fn times_vector<'a, T: Element>(active: Active, weights: &[T], v: &[T], product: &'a mut [f64]) -> &'a [f64] {
    let rows = (Rows { data: weights, width: v.len() }, &mut *product);
    parallel::for_each(rows, row_block(v.len()), |rows| {
        simd::dispatch(active, kernel::TimesVector { v, rows });
    });
    product
}

/// Wᵀ·u.
fn transposed_times_vector<'a, T: Element>(
    active: Active,
    weights: &[T],
    u: &[T],
    cols: usize,
    scratch: &'a mut [f64],
) -> &'a [f64] {
    let product = Offset { first: 0, data: &mut scratch[..product_len(cols)] };
    let block = row_block(u.len()).next_multiple_of(MAX_LANES);
    parallel::for_each(product, block, |product| {
        let weights = Rows { data: weights, width: cols };
        simd::dispatch(active, kernel::TransposedTimesVector { weights, u, product });
    });
    &scratch[..cols]
}

fn scale_all<T: Element>(sigma: f64, data: InOut<'_, T>) {
    let (active, factors) = (Active::current(), factors(sigma));
    parallel::for_each(data, PARALLEL_BLOCK, |data| {
        simd::dispatch(active, kernel::Scale { factors, data });
    });
}

/// Two factors whose product is 1/σ.
fn factors<T: Element>(sigma: f64) -> [T; 2] {
    UnitNorm::from((sigma.abs(), 0)).divide_in_two(sigma.signum())
}

fn backward_all<T: Element>(dnormalised: &[T], saved: SavedSpectral<'_, T>, dweights: &mut [T]) {
    if dnormalised.is_empty() {
        return;
    }
    let (active, SavedSpectral { normalised, u, v, sigma }) = (Active::current(), saved);
    let dot = parallel::reduce(
        (normalised, dnormalised),
        PARALLEL_BLOCK,
        |(a, b)| simd::dispatch(active, kernel::Dot { a, b }),
        |a, b| a + b,
    );
    let factors = factors(sigma);
    let rows = Offset { first: 0, data: Rows { data: (dnormalised, dweights), width: v.len() } };
    parallel::for_each(rows, row_block(v.len()), |rows| {
        simd::dispatch(active, kernel::Backward { dot, u, v, factors, rows });
    });
}
