//! Adaptive gradient clipping: each unit by the norm of its own weights.
//!
//! Brock, De, Smith & Simonyan, "High-performance large-scale image recognition without normalization", 2021 (AGC).

use super::clip_norm::Factored;
use super::clip_norm::kernel::Scale;
use super::{ClipNorm, ClipReport, NonFinite};
use crate::element::compiled_once;
use crate::parallel::{self, Offset, Rows};
use crate::shape::{check_len, check_range};
use crate::simd::{self, Active};
use crate::stats::norm_partial::kernel::Norm2;
use crate::stats::scale_by_power;
use crate::tensors::{GRAIN, TASK};
use crate::{Element, Error, RowShape};

/// Limits the gradient of each unit to a share of the norm of the unit's weights, so that no step changes a unit beyond
/// recognition.
///
/// ```text
/// limit_i = ratio · max(‖w_i‖₂, eps)
/// g_i     = ‖g_i‖₂ ≤ limit_i ? g_i : limit_i/‖g_i‖₂ · g_i
/// ```
///
/// A unit is a row: the weights that lead to one output of a dense layer, the filter of one output channel. The paper
/// takes a bias as one unit, and leaves the last layer out.
///
/// # Examples
/// ```
/// use steadygrad::RowShape;
/// use steadygrad::clip::ClipAdaptive;
///
/// let shape = RowShape { rows: 2, cols: 2 };
/// let weights = [3.0_f32, 4.0, 0.0, 1.0];
/// let mut grad = [0.0, 4.0, 0.5, 0.0]; // norms 4 of 5, 0.5 of 1
/// let report = ClipAdaptive { ratio: 0.5, ..ClipAdaptive::default() }.clip(shape, &weights, &mut grad)?;
/// assert_eq!(grad, [0.0, 2.5, 0.5, 0.0]);
/// assert_eq!((report.norm, report.scale), (4.0, 0.625));
/// # Ok::<(), steadygrad::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClipAdaptive {
    /// λ: how long a gradient may be beside its weights, at least 0. 0.01 by default.
    pub ratio: f64,
    /// What the norm of weights counts at least, so that units can leave 0; at least 0 and finite. 1e-3 by default.
    pub eps: f64,
    /// What to do where a unit's gradient or weights hold a NaN or an infinity; [`NonFinite::Error`] by default.
    pub non_finite: NonFinite,
}

impl Default for ClipAdaptive {
    fn default() -> Self {
        Self { ratio: 0.01, eps: 1e-3, non_finite: NonFinite::Error }
    }
}

impl ClipAdaptive {
    /// Clips the gradient of one tensor, unit by unit.
    ///
    /// | argument | elements      | access                                                      |
    /// |----------|---------------|-------------------------------------------------------------|
    /// | `params` | `rows · cols` | read                                                        |
    /// | `grad`   | `rows · cols` | read twice, and units over their limit overwritten          |
    ///
    /// The report has the largest norm of a unit's gradient, the smallest scale, and the first unit that is not finite.
    ///
    /// # Errors
    /// [`Error::Length`] and [`Error::Overflow`] for arguments that do not fit the shape, [`Error::OutOfRange`] where a
    /// field is, and [`Error::NonFinite`] under that policy with the first such unit of `params` or `grad`; then nothing
    /// was written.
    pub fn clip<T: Element>(
        &self,
        shape: RowShape,
        params: &[T],
        grad: &mut [T],
    ) -> Result<ClipReport, Error> {
        check_range("ratio", "at least 0", self.ratio >= 0.0)?;
        check_range("eps", "at least 0 and finite", self.eps >= 0.0 && self.eps.is_finite())?;
        let elements = shape.elements()?;
        check_len("params", params.len(), elements)?;
        check_len("grad", grad.len(), elements)?;
        if elements == 0 {
            return Ok(ClipReport::NOTHING);
        }
        let Survey { report, params: bad_params } = <T as Compiled>::survey(*self, shape, params, grad);
        self.non_finite.accept("params", bad_params)?;
        self.non_finite.accept("grad", report.non_finite)?;
        let non_finite = ClipReport { non_finite: bad_params, ..ClipReport::NOTHING };
        let report = report.join(non_finite);
        if report.non_finite.is_some() && self.non_finite == NonFinite::Skip {
            return Ok(ClipReport { scale: 0.0, ..report });
        }
        if report.scale != 1.0 {
            <T as Compiled>::scale(*self, shape, params, grad);
        }
        Ok(report)
    }

    /// What is to be done about one unit, and the norm of its weights.
    fn unit<T: Element>(&self, active: Active, params: &[T], grad: &[T]) -> (Factored<T>, f64) {
        let (m, e) = simd::dispatch(active, Norm2 { x: params });
        let weights = scale_by_power(m, e);
        // Not `max`, which would lose a NaN.
        let counted = if weights < self.eps { self.eps } else { weights };
        let op = ClipNorm { max_norm: self.ratio * counted, ..ClipNorm::default() };
        (op.factor(simd::dispatch(active, Norm2 { x: grad })), weights)
    }
}

/// What clipping will do, and the first unit whose weights are not finite.
#[derive(Clone, Copy, Debug)]
pub struct Survey {
    report: ClipReport,
    params: Option<usize>,
}

compiled_once! {
    fn survey(op: ClipAdaptive, shape: RowShape, params: &[Self], grad: &[Self]) -> Survey = survey_all;
    fn scale(op: ClipAdaptive, shape: RowShape, params: &[Self], grad: &mut [Self]) = scale_all;
}

/// Units of parameters and of their gradient.
type Units<'a, T> = (Rows<&'a [T]>, Rows<&'a [T]>);

/// Rows worth a task.
fn block(shape: RowShape) -> usize {
    (TASK / shape.cols).max(1)
}

fn survey_all<T: Element>(op: ClipAdaptive, shape: RowShape, params: &[T], grad: &[T]) -> Survey {
    let (active, width) = (Active::current(), shape.cols);
    let rows = (Rows { data: params, width }, Rows { data: grad, width });
    let survey = |Offset { first, data: (params, grad) }: Offset<Units<'_, T>>| {
        let mut survey = Survey { report: ClipReport::NOTHING, params: None };
        let units = params.data.chunks_exact(width).zip(grad.data.chunks_exact(width));
        for (unit, (params, grad)) in (first..).zip(units) {
            let (Factored { norm, scale, .. }, weights) = op.unit(active, params, grad);
            let is_bad = |norm: f64, x: &[T]| !norm.is_finite() && x.iter().any(|x| !x.is_finite());
            let non_finite = is_bad(norm, grad).then_some(unit);
            survey.report = survey.report.join(ClipReport { norm, scale, non_finite });
            if survey.params.is_none() && is_bad(weights, params) {
                survey.params = Some(unit);
            }
        }
        survey
    };
    let join =
        |a: Survey, b: Survey| Survey { report: a.report.join(b.report), params: a.params.or(b.params) };
    parallel::reduce(Offset { first: 0, data: rows }, block(shape), survey, join)
}

fn scale_all<T: Element>(op: ClipAdaptive, shape: RowShape, params: &[T], grad: &mut [T]) {
    let (active, width) = (Active::current(), shape.cols);
    let rows = (Rows { data: params, width }, Rows { data: grad, width });
    parallel::for_each(rows, block(shape), |(params, grad)| {
        for (params, grad) in params.data.chunks_exact(width).zip(grad.data.chunks_exact_mut(width)) {
            let (Factored { factor, .. }, _) = op.unit(active, params, grad);
            if let Some(factor) = factor {
                for data in grad.chunks_mut(GRAIN) {
                    simd::dispatch(active, Scale { factor, data });
                }
            }
        }
    });
}
