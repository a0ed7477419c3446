//! Clipping by norm: one read pass over all gradients, and a scale pass only where the norm is over the limit.
//!
//! Pascanu, Mikolov & Bengio 2013. The norm is a [`NormPartial`], so no finite gradient is too large to be clipped.

pub(crate) mod kernel;
pub mod reference;

use crate::element::compiled_once;
use crate::parallel;
use crate::shape::check_range;
use crate::simd::{self, Active};
use crate::stats::norm_partial::{self, NormPartial};
use crate::stats::scale_by_power;
use crate::tensors::{GRAIN, ListMut, TASK};
use crate::{Element, Error};
use kernel::Factor;

/// What the gradients are multiplied by where their norm is over the limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ClipRule {
    /// `max_norm / norm`, and nothing where `norm ≤ max_norm`.
    ///
    /// A quotient within two epsilons of 1 (in `f64`, 2⁻⁴², or 2⁻⁴²/p for a `p` below 1, which bounds the error of the norm)
    /// counts as 1: the product would round away what it corrects. So clipping twice is clipping once.
    Exact,
    /// `min(1, max_norm / (norm + eps))`, as PyTorch's `clip_grad_norm_` does with 1e-6.
    Torch {
        /// What keeps the quotient finite; not negative.
        eps: f64,
    },
}

/// What to do where a gradient is NaN or infinite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NonFinite {
    /// Return [`Error::NonFinite`]; nothing was written.
    Error,
    /// Leave every gradient as it is and report a scale of 0, with which an optimizer's step takes no part of them.
    Skip,
    /// Multiply, as PyTorch: an infinite norm makes finite gradients 0 and infinite ones NaN, a NaN makes all NaN.
    Propagate,
}

impl NonFinite {
    /// [`Error::NonFinite`] of `argument` under that policy, where there is such a place.
    pub(super) fn accept(self, argument: &'static str, place: Option<usize>) -> Result<(), Error> {
        match place {
            Some(index) if self == Self::Error => Err(Error::NonFinite { argument, index }),
            _ => Ok(()),
        }
    }
}

/// What clipping found and did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClipReport {
    /// The norm of all gradients before clipping; infinite also where a norm of finite ones is past the largest `f64`.
    pub norm: f64,
    /// The factor, 1 where nothing was clipped: at most 1, or NaN under [`NonFinite::Propagate`].
    pub scale: f64,
    /// Position in the list of the first tensor with an element that is NaN or infinite.
    pub non_finite: Option<usize>,
}

impl ClipReport {
    /// Of nothing.
    pub(super) const NOTHING: Self = Self { norm: 0.0, scale: 1.0, non_finite: None };

    /// What was found and done in both: the larger norm, the smaller scale, NaN where either is, and the first place.
    pub(super) fn join(self, other: Self) -> Self {
        let or_nan = |nan: bool, value| if nan { f64::NAN } else { value };
        let first = |a: usize| other.non_finite.map_or(a, |b| a.min(b));
        Self {
            norm: or_nan(self.norm.is_nan() || other.norm.is_nan(), self.norm.max(other.norm)),
            scale: or_nan(self.scale.is_nan() || other.scale.is_nan(), self.scale.min(other.scale)),
            non_finite: self.non_finite.map(first).or(other.non_finite),
        }
    }
}

/// Scales all gradients by one factor so that their norm is at most `max_norm`: the direction of the step is kept.
///
/// ```text
/// norm  = ‖g‖_p over all tensors
/// scale = norm ≤ max_norm ? 1 : max_norm / norm
/// g     = scale · g
/// ```
///
/// Sums are held in `f64` and merged exactly (see [`NormPartial`]): the same bits for any pool, and a norm that is
/// finite for gradients of 3e38 in `f32` and 1e300 in `f64`. Each element is within 1.5 ULP of `scale · g`: the factor and
/// the product round once each.
///
/// # Examples
/// ```
/// use steadygrad::clip::ClipNorm;
///
/// let (mut weights, mut bias) = ([3.0_f32, 0.0], [4.0_f32]);
/// let report = ClipNorm { max_norm: 2.5, ..ClipNorm::default() }.clip(&mut [&mut weights, &mut bias])?;
/// assert_eq!((report.norm, report.scale, report.non_finite), (5.0, 0.5, None));
/// assert_eq!((weights, bias), ([1.5, 0.0], [2.0]));
/// # Ok::<(), steadygrad::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClipNorm {
    /// The limit, at least 0; infinite for the norm alone. 1 by default.
    pub max_norm: f64,
    /// Exponent of the norm, from 1e-6 to infinity; 2 by default. See [`NormPartial::new`].
    pub p: f64,
    /// How the factor is made; [`ClipRule::Exact`] by default.
    pub rule: ClipRule,
    /// What to do with NaN and infinities; [`NonFinite::Error`] by default.
    pub non_finite: NonFinite,
}

impl Default for ClipNorm {
    fn default() -> Self {
        Self { max_norm: 1.0, p: 2.0, rule: ClipRule::Exact, non_finite: NonFinite::Error }
    }
}

impl ClipNorm {
    /// Clips the gradients of a list of tensors by their common norm.
    ///
    /// | argument | elements           | access                                                  |
    /// |----------|--------------------|---------------------------------------------------------|
    /// | `grads`  | any of each tensor | read; then read and overwritten where `scale` is not 1 |
    ///
    /// The norm of an empty list is 0.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] where a field is, and [`Error::NonFinite`] under that policy with the position of the first
    /// tensor that holds a NaN or an infinity; then nothing was written.
    pub fn clip<T: Element>(&self, grads: &mut [&mut [T]]) -> Result<ClipReport, Error> {
        let mut partial = self.check()?;
        <T as norm_partial::Compiled>::add_mut(&mut partial, grads);
        self.clip_to(&partial, grads)
    }

    /// [`clip`](Self::clip) of gradients whose norm is known.
    pub(super) fn clip_to<T: Element>(
        &self,
        partial: &NormPartial,
        grads: &mut [&mut [T]],
    ) -> Result<ClipReport, Error> {
        let Decision { report, factor } = self.decide::<T, _>(partial, grads)?;
        if let Some(factor) = factor {
            <T as Compiled>::scale(factor, grads);
        }
        Ok(report)
    }

    /// [`clip`](Self::clip) of each tensor of a list by its own norm.
    ///
    /// | argument | elements           | access                                                  |
    /// |----------|--------------------|---------------------------------------------------------|
    /// | `grads`  | any of each tensor | read; then read twice, and overwritten where over the limit |
    ///
    /// The report has the largest norm of a tensor and the smallest scale. Under [`NonFinite::Skip`] one tensor with a NaN
    /// or an infinity leaves all as they are.
    ///
    /// # Errors
    /// As [`clip`](Self::clip); then no tensor was written.
    pub fn clip_each<T: Element>(&self, grads: &mut [&mut [T]]) -> Result<ClipReport, Error> {
        self.check()?;
        // All are looked at before the first is written.
        let mut all = ClipReport::NOTHING;
        for (index, grad) in grads.iter().enumerate() {
            let report = Self { non_finite: NonFinite::Propagate, ..*self }.measure(&[&**grad])?;
            all = all.join(ClipReport { non_finite: report.non_finite.map(|_| index), ..report });
        }
        self.non_finite.accept("grads", all.non_finite)?;
        if all.non_finite.is_some() && self.non_finite == NonFinite::Skip {
            return Ok(ClipReport { scale: 0.0, ..all });
        }
        grads.iter_mut().try_for_each(|grad| self.clip_one(grad).map(drop))?;
        Ok(all)
    }

    /// [`clip`](Self::clip) of one tensor.
    ///
    /// # Errors
    /// As [`clip`](Self::clip).
    pub fn clip_one<T: Element>(&self, grad: &mut [T]) -> Result<ClipReport, Error> {
        self.clip(&mut [grad])
    }

    /// The report of [`clip`](Self::clip) without its scale pass: an optimizer's step takes the scale, so that each
    /// gradient is read twice in all and written never.
    ///
    /// | argument | elements           | access |
    /// |----------|--------------------|--------|
    /// | `grads`  | any of each tensor | read   |
    ///
    /// # Errors
    /// As [`clip`](Self::clip).
    ///
    /// # Examples
    /// ```
    /// use steadygrad::clip::ClipNorm;
    ///
    /// let report = ClipNorm::default().measure(&[&[3.0_f64, -4.0], &[0.0]])?;
    /// assert_eq!((report.norm, report.scale), (5.0, 0.2));
    /// # Ok::<(), steadygrad::Error>(())
    /// ```
    pub fn measure<T: Element>(&self, grads: &[&[T]]) -> Result<ClipReport, Error> {
        let mut partial = self.check()?;
        partial.add_list(grads);
        Ok(self.decide::<T, _>(&partial, grads)?.report)
    }

    /// The norm of nothing, where every field is in its range.
    fn check(&self) -> Result<NormPartial, Error> {
        check_range("max_norm", "at least 0", self.max_norm >= 0.0)?;
        if let ClipRule::Torch { eps } = self.rule {
            check_range("eps", "at least 0 and finite", eps >= 0.0 && eps.is_finite())?;
        }
        NormPartial::new(self.p)
    }

    /// What to do about the gradients, from their norm.
    fn decide<T: Element, S: AsRef<[T]>>(
        &self,
        partial: &NormPartial,
        grads: &[S],
    ) -> Result<Decision<T>, Error> {
        let non_finite = (!partial.is_finite()).then(|| {
            let found = |grad: &S| <T as norm_partial::Compiled>::has_non_finite(grad.as_ref());
            grads.iter().position(found).unwrap_or(0)
        });
        self.non_finite.accept("grads", non_finite)?;
        let Factored { norm, scale, factor } = self.factor(partial.scaled_norm());
        let decision = if non_finite.is_some() && self.non_finite == NonFinite::Skip {
            Decision { report: ClipReport { norm, scale: 0.0, non_finite }, factor: None }
        } else {
            Decision { report: ClipReport { norm, scale, non_finite }, factor }
        };
        Ok(decision)
    }

    /// What a norm of `m · 2^e` asks for.
    pub(super) fn factor<T: Element>(&self, scaled: (f64, i32)) -> Factored<T> {
        let norm = scale_by_power(scaled.0, scaled.1);
        let divisor = match self.rule {
            _ if norm.is_infinite() => scaled,
            ClipRule::Exact => (norm, 0),
            ClipRule::Torch { eps } => (norm + eps, 0),
        };
        let scale = self.scale::<T>(norm, divisor);
        let is_finite = scaled.0.is_finite();
        let factor = || if is_finite { Factor::quotient(self.max_norm, divisor) } else { Factor::new(scale) };
        let factor = (scale != 1.0).then(factor);
        Factored { norm, scale, factor }
    }

    /// The factor, where the limit is divided by `m · 2^e`.
    fn scale<T: Element>(&self, norm: f64, (m, e): (f64, i32)) -> f64 {
        let quotient = scale_by_power(self.max_norm / m, -e);
        let is_one = match self.rule {
            ClipRule::Exact => {
                let within = 2.0 * T::epsilon().to_f64() + NORM_UNCERTAINTY / self.p.min(1.0);
                norm <= self.max_norm || quotient >= 1.0 - within
            }
            ClipRule::Torch { .. } => quotient > 1.0,
        };
        if is_one { 1.0 } else { quotient }
    }
}

/// A norm, the factor that is reported, and the factor to multiply by where that is not 1.
pub(super) struct Factored<T> {
    pub(super) norm: f64,
    pub(super) scale: f64,
    pub(super) factor: Option<Factor<T>>,
}

/// What is reported, and what the gradients are to be multiplied by.
struct Decision<T> {
    report: ClipReport,
    factor: Option<Factor<T>>,
}

/// How far two norms of equal gradients may be apart at most, relative to them; see [`NormPartial`].
const NORM_UNCERTAINTY: f64 = 1.0 / (1_u64 << 42) as f64;

compiled_once! {
    fn scale(factor: Factor<Self>, grads: &mut [&mut [Self]]) = scale_all;
}

/// Elements of a step downwards, within which memory is walked upwards: 1 MiB of `f32`. With steps of 64 KiB a Zen 5 takes 1.1 of
/// the time.
const DESCENT: usize = 16 * GRAIN;

fn scale_all<T: Element>(factor: Factor<T>, grads: &mut [&mut [T]]) {
    let active = Active::current();
    parallel::for_each(ListMut::new(grads), TASK, |list| {
        // From the last to the first: the read pass left the last ones in the cache.
        for grad in list.pieces().rev() {
            for data in grad.rchunks_mut(DESCENT) {
                simd::dispatch(active, kernel::Scale { factor, data });
            }
        }
    });
}
