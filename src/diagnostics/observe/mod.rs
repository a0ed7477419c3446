//! What is measured: [`Magnitude`] of any tensor, [`Activity`] of the outputs of units, [`Change`] of a step.

mod kernel;
pub mod reference;

use core::ops::Range;

use crate::element::compiled_once;
use crate::parallel::{self, PARALLEL_BLOCK, Split};
use crate::shape::{check_len, check_rows};
use crate::simd::{self, Active};
use crate::stats::NormPartial;
use crate::tensors::{List, TASK};
use crate::{Activation, Element, Error, RowShape};
pub(crate) use kernel::ChangeTally;
use kernel::{AddChange, AddSlice, CountStrip, Counts, SMALL, Tally, WIDTH, WINDOW};

/// How large a tensor is.
///
/// ```text
/// norm = ‖x‖₂        rms = norm / √elements
/// ```
///
/// The norm is that of [`NormPartial`]: it neither overflows nor depends on the number of
/// threads. NaN or infinite where an element is.
///
/// # Examples
/// ```
/// use steadygrad::diagnostics::Magnitude;
///
/// let gradient = Magnitude::of(&[3.0_f32, -4.0, 0.0, 0.0]);
/// assert_eq!((gradient.norm, gradient.rms(), gradient.non_finite), (5.0, 2.5, 0));
/// assert_eq!(Magnitude::of(&[1.0, f64::NAN]).non_finite, 1);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Magnitude {
    /// Root of the sum of squares.
    pub norm: f64,
    /// Number of elements.
    pub elements: u64,
    /// How many of them are NaN or infinite.
    pub non_finite: u64,
}

impl Magnitude {
    /// Of a tensor.
    #[must_use]
    pub fn of<T: Element>(x: &[T]) -> Self {
        <T as Compiled>::magnitude(x)
    }

    fn new(tally: &Tally, elements: usize) -> Self {
        Self { norm: tally.norm.norm(), elements: elements as u64, non_finite: tally.non_finite }
    }

    /// As of a tensor whose norm was taken on the way.
    pub(crate) fn measured<T: Element>(norm: &NormPartial, x: &[T]) -> Self {
        let non_finite = if norm.is_finite() { 0 } else { reference::non_finite(x) };
        Self { norm: norm.norm(), elements: x.len() as u64, non_finite: non_finite as u64 }
    }

    /// Root of the mean square: comparable between tensors of any sizes. 0 of nothing.
    #[must_use]
    pub fn rms(&self) -> f64 {
        if self.elements == 0 { 0.0 } else { self.norm / libm::sqrt(self.elements as f64) }
    }
}

/// Outputs where an activation has next to no slope, so that no gradient comes through: at most `low`, or at least `high`.
///
/// # Examples
/// ```
/// use steadygrad::Activation;
/// use steadygrad::diagnostics::FlatRegion;
///
/// assert_eq!(FlatRegion::from(Activation::Relu), FlatRegion { low: 0.0, high: f64::INFINITY });
/// assert!(FlatRegion::from(Activation::Tanh).is_bounded());
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FlatRegion {
    /// Flat from here down; −∞ where the activation never is.
    pub low: f64,
    /// Flat from here up; ∞ where the activation never is.
    pub high: f64,
}

/// The share of its largest slope below which an activation counts as flat. Three such layers leave 1/4096 of a gradient.
const FLAT_SLOPE: f64 = 1.0 / 16.0;

impl FlatRegion {
    /// Flat nowhere.
    pub const NONE: Self = Self { low: f64::NEG_INFINITY, high: f64::INFINITY };

    /// Whether the activation is flat at both ends: then it saturates, where one with a single flat end dies.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        self.low > f64::NEG_INFINITY && self.high < f64::INFINITY
    }
}

/// Where the slope is at most 1/16 of the largest: 0 for `ReLU`, 0.016 and 0.984 for the sigmoid, ±0.968 for tanh.
///
/// [`FlatRegion::NONE`] for those whose output does not tell: `Identity`, leaky ones, `Gelu`, `Silu`, `Mish`, `HardSwish`,
/// `TanhShrink`.
impl From<Activation> for FlatRegion {
    fn from(activation: Activation) -> Self {
        let below = |low: f64| Self { low, ..Self::NONE };
        match activation {
            Activation::Relu => below(0.0),
            Activation::Relu6 => Self { low: 0.0, high: 6.0 },
            // y + α is the slope.
            Activation::Elu { alpha } if alpha > 0.0 => below(alpha * (FLAT_SLOPE - 1.0)),
            Activation::Celu { alpha } if alpha > 0.0 => below(alpha * (FLAT_SLOPE - 1.0)),
            Activation::Selu => below(1.758_099_340_847_376_6 * (FLAT_SLOPE - 1.0)),
            // 1 − e^(−βy) is the slope.
            Activation::Softplus { beta, .. } => below(-libm::log1p(-FLAT_SLOPE) / beta),
            Activation::LogSigmoid => Self { high: libm::log1p(-FLAT_SLOPE), ..Self::NONE },
            // (1 − |y|)², 1 − y² and y(1 − y) are the slopes.
            Activation::Softsign => {
                Self { low: libm::sqrt(FLAT_SLOPE) - 1.0, high: 1.0 - libm::sqrt(FLAT_SLOPE) }
            }
            Activation::Tanh => {
                Self { low: -libm::sqrt(1.0 - FLAT_SLOPE), high: libm::sqrt(1.0 - FLAT_SLOPE) }
            }
            Activation::Sigmoid => {
                let half = libm::sqrt(1.0 - FLAT_SLOPE) / 2.0;
                Self { low: 0.5 - half, high: 0.5 + half }
            }
            Activation::HardTanh { min, max } => Self { low: min, high: max },
            Activation::HardSigmoid => Self { low: 0.0, high: 1.0 },
            _ => Self::NONE,
        }
    }
}

/// What the units of a layer give for a batch.
///
/// # Examples
/// ```
/// use steadygrad::diagnostics::Activity;
/// use steadygrad::{Activation, RowShape};
///
/// let y = [0.0_f32, 3.0, 0.0, 0.0, 4.0, 1.0]; // two samples of three units: the first is never on
/// let activity = Activity::of(RowShape { rows: 2, cols: 3 }, Activation::Relu, &y)?;
/// assert_eq!((activity.units, activity.dead_units, activity.flat), (3, 1, 3));
/// assert_eq!(activity.values.norm, 26.0_f64.sqrt());
/// # Ok::<(), steadygrad::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Activity {
    /// All values of the batch.
    pub values: Magnitude,
    /// Where a value counts as flat.
    pub region: FlatRegion,
    /// How many values are flat.
    pub flat: u64,
    /// Units of the layer.
    pub units: u64,
    /// Units that are flat for every sample: this batch teaches their weights nothing.
    pub dead_units: u64,
}

impl Activity {
    /// Of the outputs of a layer, in one read.
    ///
    /// | argument | elements      | access                                      |
    /// |----------|---------------|---------------------------------------------|
    /// | `shape`  |               | samples by units                            |
    /// | `region` |               | an [`Activation`], or where yours is flat   |
    /// | `y`      | `rows · cols` | read                                        |
    ///
    /// NaN is not flat.
    ///
    /// # Errors
    /// [`Error::Length`] for `y`, [`Error::Empty`] for rows without elements, [`Error::Overflow`] where the shape's product
    /// does.
    pub fn of<T: Element>(shape: RowShape, region: impl Into<FlatRegion>, y: &[T]) -> Result<Self, Error> {
        check_rows(shape, &[("y", y.len())])?;
        Ok(<T as Compiled>::activity(shape, region.into(), y))
    }

    /// Flat values over all; 0 of nothing.
    #[must_use]
    pub fn flat_share(&self) -> f64 {
        share(self.flat, self.values.elements)
    }

    /// Dead units over all; 0 of nothing.
    #[must_use]
    pub fn dead_share(&self) -> f64 {
        share(self.dead_units, self.units)
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// What a step has done to a tensor; filled by [`Optimizer::step_observed`](crate::optim::Optimizer::step_observed).
///
/// # Examples
/// ```
/// use steadygrad::diagnostics::Change;
///
/// let change = Change::between(&[3.0_f32, 4.0], &[3.0, 4.5])?;
/// assert_eq!((change.before.norm, change.update.norm, change.ratio()), (5.0, 0.5, 0.1));
/// # Ok::<(), steadygrad::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Change {
    /// The tensor before the step.
    pub before: Magnitude,
    /// What the step added to it.
    pub update: Magnitude,
    /// The gradient as it was given, before any scale or clip, where a step has measured it.
    pub gradient: Option<Magnitude>,
}

impl Change {
    /// From one tensor to another.
    ///
    /// # Errors
    /// [`Error::Length`] for `after` where it is not as long as `before`.
    pub fn between<T: Element>(before: &[T], after: &[T]) -> Result<Self, Error> {
        check_len("after", after.len(), before.len())?;
        Ok(<T as Compiled>::change(before, after))
    }

    /// Norm of the update over that of what it was added to; about 1e-3 where training goes well. Infinite or NaN where
    /// that was 0.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        self.update.norm / self.before.norm
    }
}

compiled_once! {
    fn magnitude(x: &[Self]) -> Magnitude = magnitude_of;
    fn activity(shape: RowShape, region: FlatRegion, y: &[Self]) -> Activity = activity_of;
    fn change(before: &[Self], after: &[Self]) -> Change = change_between;
}

fn magnitude_of<T: Element>(x: &[T]) -> Magnitude {
    let (active, mut all) = (Active::current(), Tally::NOTHING);
    parallel::accumulate(
        List::new(&[x]),
        TASK,
        &mut all,
        &|list, to| list.pieces().for_each(|x| simd::dispatch(active, AddSlice { x, to: &mut *to })),
        &|_| Tally::NOTHING,
        &|all, other| all.join(&other),
    );
    Magnitude::new(&all, x.len())
}

fn activity_of<T: Element>(shape: RowShape, region: FlatRegion, y: &[T]) -> Activity {
    let RowShape { rows, cols } = shape;
    let (active, mut all) = (Active::current(), Counts::NOTHING);
    // Nothing is at most NaN.
    let bounds = [region.low, region.high].map(T::from_f64);
    let bounds = bounds.map(|bound| if bound.is_finite() { bound } else { T::nan() });
    if rows > 0 {
        parallel::accumulate(
            0..cols.div_ceil(WIDTH),
            PARALLEL_BLOCK.div_ceil(rows.saturating_mul(WIDTH)),
            &mut all,
            &|strips: Range<usize>, to| {
                for first in strips.map(|strip| strip * WIDTH) {
                    let strip = CountStrip {
                        x: &y[first..],
                        rows,
                        stride: cols,
                        width: WIDTH.min(cols - first),
                        region: bounds,
                        to: &mut *to,
                    };
                    simd::dispatch(active, strip);
                }
            },
            &|_| Counts::NOTHING,
            &|all, other| all.join(&other),
        );
    }
    Activity {
        values: Magnitude::new(&all.values, y.len()),
        region,
        flat: all.flat,
        units: cols as u64,
        dead_units: all.dead,
    }
}

impl ChangeTally {
    pub(crate) const NOTHING: Self =
        Self { gradient: Tally::NOTHING, before: Tally::NOTHING, update: Tally::NOTHING };

    /// Lets `step` change `param`, a window of it at a time with what is cut with it, and adds what it did and by what
    /// gradient, while they are in L1.
    ///
    /// To add up the squares of vectors that the step has in registers took more instructions: converted as they are read,
    /// numbers need no shuffles.
    pub(crate) fn watch<T: Element, S: Split>(
        &mut self,
        active: Active,
        (param, grad): (&mut [T], &[T]),
        mut others: S,
        step: &impl Fn(&mut [T], &[T], S),
    ) {
        // Biases and the like are small: to clear a whole window would cost more than they do.
        let (mut small, mut large) = ([T::zero(); SMALL], None);
        let buffer =
            if param.len() <= SMALL { &mut small[..] } else { &mut large.insert([T::zero(); WINDOW])[..] };
        for (param, gradient) in param.chunks_mut(WINDOW).zip(grad.chunks(WINDOW)) {
            let before = &mut buffer[..param.len()];
            before.copy_from_slice(param);
            let (part, rest) = others.split_at(param.len());
            others = rest;
            step(param, gradient, part);
            simd::dispatch(active, AddChange { gradient, before, after: param, to: &mut *self });
        }
    }

    pub(crate) fn join(&mut self, other: &Self) {
        self.gradient.join(&other.gradient);
        self.before.join(&other.before);
        self.update.join(&other.update);
    }

    /// Of a tensor of so many elements.
    pub(crate) fn change(&self, elements: usize) -> Change {
        let of = |tally| Magnitude::new(tally, elements);
        Change { before: of(&self.before), update: of(&self.update), gradient: Some(of(&self.gradient)) }
    }
}

fn change_between<T: Element>(before: &[T], after: &[T]) -> Change {
    let (active, mut all) = (Active::current(), ChangeTally::NOTHING);
    parallel::accumulate(
        (before, after),
        TASK,
        &mut all,
        &|(before, after), to| {
            let mut buffer = [T::zero(); WINDOW];
            for (before, after) in before.chunks(WINDOW).zip(after.chunks(WINDOW)) {
                let buffer = &mut buffer[..before.len()];
                buffer.copy_from_slice(before);
                simd::dispatch(active, AddChange { gradient: &[], before: buffer, after, to: &mut *to });
            }
        },
        &|_| ChangeTally::NOTHING,
        &|all, other| all.join(&other),
    );
    Change { gradient: None, ..all.change(before.len()) }
}
