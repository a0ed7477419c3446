//! Clipping of each sample's gradient before they are summed.
//!
//! Abadi et al., "Deep learning with differential privacy", 2016 (DP-SGD); the norm of a dense layer's per-sample
//! gradient from its factors: Goodfellow, "Efficient per-example gradient computations", 2015.

use super::clip_norm::Factored;
use super::clip_norm::kernel::{AddScaled, Factor, Scale};
use super::{ClipNorm, ClipReport, NonFinite};
use crate::element::compiled_once;
use crate::parallel::{self, Offset, Rows};
use crate::shape::{check_len, check_range};
use crate::simd::{self, Active};
use crate::stats::norm_partial::kernel::Norm2;
use crate::stats::scale_by_power;
use crate::tensors::{GRAIN, TASK};
use crate::{Element, Error, RowShape};

/// Clips the gradient of each sample of a batch by its norm over all parameters, so that no sample moves the sum by more
/// than the limit.
///
/// ```text
/// factor_i = ‖g_i‖₂ ≤ max_norm ? 1 : max_norm/‖g_i‖₂
/// g        = Σ_i factor_i · g_i
/// ```
///
/// Three steps: gather the norms of all layers, turn them into factors, apply those.
///
/// - Gradients that are there, a row a sample: [`add_norms`](Self::add_norms) of each tensor,
///   [`factors`](Self::factors), [`add_clipped`](Self::add_clipped) of each tensor.
/// - Dense layers, whose per-sample gradients `dz_i · x_iᵀ` are never formed: [`add_dense_norms`](Self::add_dense_norms)
///   of each layer, [`factors`](Self::factors), [`scale`](Self::scale) of each layer's `dz`, and the ordinary
///   [`Dense::backward`](crate::Dense::backward) for weights and bias.
///
/// With a time step a row it clips each time step.
///
/// # Examples
/// ```
/// use steadygrad::RowShape;
/// use steadygrad::clip::ClipPerSample;
///
/// let shape = RowShape { rows: 2, cols: 2 };
/// let (grads, mut norms, mut sum) = ([3.0_f32, 4.0, 0.5, 0.0], [0.0; 2], [0.0; 2]);
/// ClipPerSample::add_norms(shape, &grads, &mut norms)?;
/// assert_eq!(norms, [5.0, 0.5]);
/// ClipPerSample::default().factors(&mut norms)?;
/// assert_eq!(norms, [0.2, 1.0]);
/// ClipPerSample::add_clipped(shape, &grads, &norms, &mut sum)?;
/// assert!((sum[0] - 1.1).abs() < 1e-6 && (sum[1] - 0.8).abs() < 1e-6);
/// # Ok::<(), steadygrad::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClipPerSample {
    /// The limit, at least 0; 1 by default.
    pub max_norm: f64,
    /// What to do with samples whose norm is not finite; [`NonFinite::Error`] by default. [`NonFinite::Skip`] leaves only
    /// those samples out.
    pub non_finite: NonFinite,
}

impl Default for ClipPerSample {
    fn default() -> Self {
        Self { max_norm: 1.0, non_finite: NonFinite::Error }
    }
}

impl ClipPerSample {
    /// `norms[i] = √(norms[i]² + ‖g_i‖²)`: start with zeros, and add every tensor.
    ///
    /// | argument | elements      | access      |
    /// |----------|---------------|-------------|
    /// | `grads`  | `rows · cols` | read        |
    /// | `norms`  | `rows`        | accumulated |
    ///
    /// # Errors
    /// [`Error::Length`] and [`Error::Overflow`] for arguments that do not fit the shape; then nothing was written.
    pub fn add_norms<T: Element>(shape: RowShape, grads: &[T], norms: &mut [f64]) -> Result<(), Error> {
        check_len("grads", grads.len(), shape.elements()?)?;
        check_len("norms", norms.len(), shape.rows)?;
        <T as Compiled>::add_norms(shape.cols, grads, norms);
        Ok(())
    }

    /// Adds the norms of the gradients of a dense layer's weights, and of its bias where it has one:
    /// `‖dz_i · x_iᵀ‖ = ‖dz_i‖ · ‖x_i‖`.
    ///
    /// | argument   | elements              | access      |
    /// |------------|-----------------------|-------------|
    /// | `x`        | `batch · inputs`      | read        |
    /// | `dz`       | `batch · outputs`     | read        |
    /// | `norms`    | `batch`               | accumulated |
    ///
    /// # Errors
    /// [`Error::Length`] and [`Error::Overflow`] for arguments that do not fit the layer; then nothing was written.
    pub fn add_dense_norms<T: Element>(
        layer: crate::Dense,
        has_bias: bool,
        x: &[T],
        dz: &[T],
        norms: &mut [f64],
    ) -> Result<(), Error> {
        let batch = norms.len();
        check_len("x", x.len(), RowShape { rows: batch, cols: layer.inputs }.elements()?)?;
        check_len("dz", dz.len(), RowShape { rows: batch, cols: layer.outputs }.elements()?)?;
        <T as Compiled>::add_dense_norms((layer.inputs, layer.outputs), has_bias, x, dz, norms);
        Ok(())
    }

    /// Turns the norm of each sample into its factor.
    ///
    /// | argument | elements        | access               |
    /// |----------|-----------------|----------------------|
    /// | `norms`  | one of a sample | read and overwritten |
    ///
    /// The report has the largest norm, the smallest factor and the first sample whose norm is not finite. Such a sample's
    /// factor is 0 under [`NonFinite::Skip`]; under [`NonFinite::Propagate`] 0 for an infinite norm and NaN for NaN.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] where `max_norm` or a norm is negative, and [`Error::NonFinite`] under that policy with the
    /// first such sample; then nothing was written.
    pub fn factors(&self, norms: &mut [f64]) -> Result<ClipReport, Error> {
        check_range("max_norm", "at least 0", self.max_norm >= 0.0)?;
        check_range("norms", "at least 0", norms.iter().all(|&norm| norm >= 0.0 || norm.is_nan()))?;
        self.non_finite.accept("norms", norms.iter().position(|norm| !norm.is_finite()))?;
        let op = ClipNorm { max_norm: self.max_norm, ..ClipNorm::default() };
        let mut all = ClipReport::NOTHING;
        for (sample, place) in norms.iter_mut().enumerate() {
            let Factored { norm, scale, .. } = op.factor::<f64>((*place, 0));
            let is_skipped = self.non_finite == NonFinite::Skip && !norm.is_finite();
            *place = if is_skipped { 0.0 } else { scale };
            let non_finite = (!norm.is_finite()).then_some(sample);
            all = all.join(ClipReport { norm, scale: *place, non_finite });
        }
        Ok(all)
    }

    /// Multiplies each row by its factor; with 0 it becomes zeros, whatever it held.
    ///
    /// | argument  | elements      | access               |
    /// |-----------|---------------|----------------------|
    /// | `factors` | `rows`        | read                 |
    /// | `x`       | `rows · cols` | read and overwritten |
    ///
    /// # Errors
    /// [`Error::Length`] and [`Error::Overflow`] for arguments that do not fit the shape, [`Error::OutOfRange`] where a
    /// factor is negative; then nothing was written.
    pub fn scale<T: Element>(shape: RowShape, factors: &[f64], x: &mut [T]) -> Result<(), Error> {
        check_factors(shape, factors)?;
        check_len("x", x.len(), shape.elements()?)?;
        <T as Compiled>::scale_rows(shape.cols, factors, x);
        Ok(())
    }

    /// `sum += Σ_i factor_i · g_i`; a factor of 0 leaves its sample out, whatever it holds.
    ///
    /// | argument  | elements      | access      |
    /// |-----------|---------------|-------------|
    /// | `grads`   | `rows · cols` | read        |
    /// | `factors` | `rows`        | read        |
    /// | `sum`     | `cols`        | accumulated |
    ///
    /// # Errors
    /// As [`scale`](Self::scale).
    pub fn add_clipped<T: Element>(
        shape: RowShape,
        grads: &[T],
        factors: &[f64],
        sum: &mut [T],
    ) -> Result<(), Error> {
        check_len("grads", grads.len(), shape.elements()?)?;
        check_factors(shape, factors)?;
        check_len("sum", sum.len(), shape.cols)?;
        <T as Compiled>::add_clipped(grads, factors, sum);
        Ok(())
    }
}

fn check_factors(shape: RowShape, factors: &[f64]) -> Result<(), Error> {
    check_len("factors", factors.len(), shape.rows)?;
    check_range("factors", "at least 0", factors.iter().all(|&factor| factor >= 0.0 || factor.is_nan()))
}

compiled_once! {
    fn add_norms(cols: usize, grads: &[Self], norms: &mut [f64]) = add_all_norms;
    fn add_dense_norms(cols: (usize, usize), has_bias: bool, x: &[Self], dz: &[Self], norms: &mut [f64])
        = add_all_dense_norms;
    fn scale_rows(cols: usize, factors: &[f64], x: &mut [Self]) = scale_all_rows;
    fn add_clipped(grads: &[Self], factors: &[f64], sum: &mut [Self]) = add_all_clipped;
}

/// Rows worth a task.
fn block(cols: usize) -> usize {
    (TASK / cols.max(1)).max(1)
}

fn row<T>(x: &[T], cols: usize, index: usize) -> &[T] {
    &x[index * cols..][..cols]
}

fn norm<T: Element>(active: Active, x: &[T]) -> f64 {
    let (m, e) = simd::dispatch(active, Norm2 { x });
    scale_by_power(m, e)
}

fn add_all_norms<T: Element>(cols: usize, grads: &[T], norms: &mut [f64]) {
    let active = Active::current();
    parallel::for_each(Offset { first: 0, data: norms }, block(cols), |Offset { first, data }| {
        for (sample, sum) in (first..).zip(data) {
            *sum = num_traits::Float::hypot(*sum, norm(active, row(grads, cols, sample)));
        }
    });
}

fn add_all_dense_norms<T: Element>(
    (inputs, outputs): (usize, usize),
    has_bias: bool,
    x: &[T],
    dz: &[T],
    norms: &mut [f64],
) {
    let active = Active::current();
    let block = block(inputs.max(outputs));
    parallel::for_each(Offset { first: 0, data: norms }, block, |Offset { first, data }| {
        for (sample, sum) in (first..).zip(data) {
            let input = norm(active, row(x, inputs, sample));
            // The bias is the weight of an input of 1.
            let input = if has_bias { num_traits::Float::hypot(input, 1.0) } else { input };
            let part = input * norm(active, row(dz, outputs, sample));
            *sum = num_traits::Float::hypot(*sum, part);
        }
    });
}

fn scale_all_rows<T: Element>(width: usize, factors: &[f64], x: &mut [T]) {
    if width == 0 {
        return;
    }
    let active = Active::current();
    parallel::for_each((factors, Rows { data: x, width }), block(width), |(factors, rows)| {
        for (&factor, row) in factors.iter().zip(rows.data.chunks_exact_mut(width)) {
            if factor == 0.0 {
                row.fill(T::zero());
            } else if factor != 1.0 {
                let factor = Factor::new(factor);
                for data in row.chunks_mut(GRAIN) {
                    simd::dispatch(active, Scale { factor, data });
                }
            }
        }
    });
}

/// Columns of a sum that stay in the first cache while the samples pass.
const COLUMNS: usize = 2048;

fn add_all_clipped<T: Element>(grads: &[T], factors: &[f64], sum: &mut [T]) {
    let (active, cols) = (Active::current(), sum.len());
    let block = (TASK / factors.len().max(1)).max(COLUMNS);
    parallel::for_each(Offset { first: 0, data: sum }, block, |Offset { first, data }| {
        for (at, sum) in (first..).step_by(COLUMNS).zip(data.chunks_mut(COLUMNS)) {
            for (sample, &factor) in factors.iter().enumerate().filter(|&(_, &factor)| factor != 0.0) {
                let x = &row(grads, cols, sample)[at..][..sum.len()];
                simd::dispatch(active, AddScaled { factor: Factor::new(factor), x, sum: &mut *sum });
            }
        }
    });
}
