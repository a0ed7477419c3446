//! A row in cache: its maximum, its exponentials with their sum, and its gradient.
//!
//! Every form of target is a vector v of what the classes count, and then the loss is `Σ v_c (ln Σeˣ − x_c)` and its
//! gradient `Σv · softmax(x) − v`.

use num_traits::Float;

use crate::Element;
use crate::loss::negative_log_likelihood::kernel::weight_of;
use crate::loss::softmax::kernel::{each_row, exponentials};
use crate::parallel::Rows;
use crate::simd::{self, InOut, Isa, Kernel, Products, Source, Vector};

/// What the rows of a batch share.
#[derive(Clone, Copy)]
pub(super) struct Shared<'a, T> {
    /// ε.
    pub(super) smoothing: f64,
    pub(super) class_weights: Option<&'a [T]>,
    /// Σ of the class weights; C without any.
    pub(super) weight_sum: f64,
    /// What the gradient is divided by.
    pub(super) divisor: f64,
}

/// Rows with a class each; returns the sum of their losses.
pub(super) struct ClassRows<'a, T, S> {
    pub(super) shared: Shared<'a, T>,
    pub(super) ignore_index: i64,
    pub(super) targets: &'a [i64],
    pub(super) rows: Rows<S>,
}

impl<T: Element, S: Source<T>> Kernel for ClassRows<'_, T, S> {
    type Output = f64;
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> f64 {
        let Self { shared, ignore_index, targets, rows } = self;
        let (mut sum, mut targets) = (0.0, targets.iter());
        each_row(
            rows,
            #[inline(always)]
            |mut row: S| match targets.next() {
                Some(&class) if class != ignore_index => sum += shared.class_row(isa, class as usize, row),
                _ => {
                    if let Some(dx) = row.output() {
                        dx.fill(T::zero());
                    }
                }
            },
        );
        sum
    }
}

/// Rows with a distribution each; returns the sum of their losses.
pub(super) struct ProbabilityRows<'a, T, S> {
    pub(super) shared: Shared<'a, T>,
    pub(super) rows: Rows<(&'a [T], S)>,
}

impl<T: Element, S: Source<T>> Kernel for ProbabilityRows<'_, T, S> {
    type Output = f64;
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> f64 {
        let mut sum = 0.0;
        each_row(
            self.rows,
            #[inline(always)]
            |(targets, row)| sum += self.shared.probability_row(isa, targets, row),
        );
        sum
    }
}

impl<T: Element> Shared<'_, T> {
    /// With `v_c = (1 − ε) · [c = t] · w_c + ε/C · w_c`.
    #[inline(always)]
    fn class_row<I: Isa, S: Source<T>>(self, isa: I, class: usize, mut row: S) -> f64 {
        let Self { smoothing, class_weights, weight_sum, divisor } = self;
        let of_target = (1.0 - smoothing) * weight_of(class_weights, class);
        let of_each = smoothing / row.len() as f64;

        let largest = simd::max(isa, row.input());
        let target_below = row.input()[class].to_f64() - largest.to_f64();
        let smooth_below =
            if smoothing > 0.0 { weighted_below(isa, largest, class_weights, row.input()) } else { 0.0 };
        let sum = exponentials(isa, largest, &mut row);
        let ln_sum = Float::ln(sum);

        if let Some(dx) = row.output() {
            // In f64 from the two terms that cancel, so that a certain row keeps its small gradient.
            let of_all = of_target + of_each * weight_sum;
            let of_class = of_target + of_each * weight_of(class_weights, class);
            let at_target = (of_all * (dx[class].to_f64() / sum) - of_class) / divisor;
            let (scale, offset) = (T::from_f64(of_all / sum / divisor), T::from_f64(of_each / divisor));
            scale_and_subtract(isa, scale, offset, class_weights, dx);
            dx[class] = T::from_f64(at_target);
        }
        let smooth = if smoothing > 0.0 { of_each * (weight_sum * ln_sum - smooth_below) } else { 0.0 };
        of_target * (ln_sum - target_below) + smooth
    }

    /// With `v_c = ((1 − ε) · q_c + ε/C) · w_c`.
    #[inline(always)]
    fn probability_row<I: Isa, S: Source<T>>(self, isa: I, targets: &[T], mut row: S) -> f64 {
        let Self { smoothing, class_weights, weight_sum, divisor } = self;
        let of_each = smoothing / row.len() as f64;

        let largest = simd::max(isa, row.input());
        let total = (1.0 - smoothing) * weighted_sum(isa, class_weights, targets) + of_each * weight_sum;
        let smoothed = Affine::of(1.0 - smoothing, of_each);
        let below = counted_below(isa, smoothed, class_weights, targets, largest, row.input());
        let sum = exponentials(isa, largest, &mut row);

        if let Some(dx) = row.output() {
            let scale = T::from_f64(total / sum / divisor);
            let smoothed = Affine::of((1.0 - smoothing) / divisor, of_each / divisor);
            scale_and_subtract_targets(isa, scale, smoothed, class_weights, targets, dx);
        }
        total * Float::ln(sum) - below
    }
}

/// `Σ w_c · (x_c − largest)`.
#[inline(always)]
fn weighted_below<I: Isa, T: Element>(isa: I, largest: T, class_weights: Option<&[T]>, mut x: &[T]) -> f64 {
    let one = simd::splat(isa, T::one());
    match class_weights {
        None => simd::map_products(
            isa,
            [],
            &mut x,
            #[inline(always)]
            |[], x| Products { output: x, left: x - largest, right: one },
        ),
        Some(weights) => simd::map_products(
            isa,
            [weights],
            &mut x,
            #[inline(always)]
            |[w], x| Products { output: x, left: x - largest, right: w },
        ),
    }
}

/// `dx_c = scale · dx_c − offset · w_c`.
#[inline(always)]
fn scale_and_subtract<I: Isa, T: Element>(
    isa: I,
    scale: T,
    offset: T,
    class_weights: Option<&[T]>,
    dx: &mut [T],
) {
    let dx = InOut::in_place(dx);
    match class_weights {
        _ if offset == T::zero() => simd::map(
            isa,
            dx,
            #[inline(always)]
            |e| e * scale,
        ),
        None => simd::map(
            isa,
            dx,
            #[inline(always)]
            |e| e.mul_sub(e.splat(scale), e.splat(offset)),
        ),
        Some(weights) => simd::map2(
            isa,
            weights,
            dx,
            #[inline(always)]
            |w, e| e.mul_sub(e.splat(scale), w * offset),
        ),
    }
}

/// q ↦ scale · q + offset.
#[derive(Clone, Copy)]
struct Affine<T> {
    scale: T,
    offset: T,
}

impl<T: Element> Affine<T> {
    #[inline(always)]
    fn of(scale: f64, offset: f64) -> Self {
        Self { scale: T::from_f64(scale), offset: T::from_f64(offset) }
    }
    #[inline(always)]
    fn at<V: Vector<Elem = T>>(self, q: V) -> V {
        q.mul_add(q.splat(self.scale), q.splat(self.offset))
    }
}

/// `Σ w_c · q_c`.
#[inline(always)]
fn weighted_sum<I: Isa, T: Element>(isa: I, class_weights: Option<&[T]>, targets: &[T]) -> f64 {
    match class_weights {
        None => simd::fold_f64(
            isa,
            targets,
            #[inline(always)]
            |q, sum| q + sum,
        ),
        Some(weights) => simd::fold2_f64(
            isa,
            targets,
            weights,
            #[inline(always)]
            |q, w, sum| q.mul_add(w, sum),
        ),
    }
}

/// `Σ v_c · (x_c − largest)` with `v_c = smoothed(q_c) · w_c`.
#[inline(always)]
fn counted_below<I: Isa, T: Element>(
    isa: I,
    smoothed: Affine<T>,
    class_weights: Option<&[T]>,
    targets: &[T],
    largest: T,
    mut x: &[T],
) -> f64 {
    match class_weights {
        None => simd::map_products(
            isa,
            [targets],
            &mut x,
            #[inline(always)]
            |[q], x| Products { output: x, left: smoothed.at(q), right: x - largest },
        ),
        Some(weights) => simd::map_products(
            isa,
            [targets, weights],
            &mut x,
            #[inline(always)]
            |[q, w], x| Products { output: x, left: smoothed.at(q) * w, right: x - largest },
        ),
    }
}

/// `dx_c = scale · dx_c − smoothed(q_c) · w_c`.
#[inline(always)]
fn scale_and_subtract_targets<I: Isa, T: Element>(
    isa: I,
    scale: T,
    smoothed: Affine<T>,
    class_weights: Option<&[T]>,
    targets: &[T],
    dx: &mut [T],
) {
    let dx = InOut::in_place(dx);
    match class_weights {
        None => simd::map2(
            isa,
            targets,
            dx,
            #[inline(always)]
            |q, e| e.mul_sub(e.splat(scale), smoothed.at(q)),
        ),
        Some(weights) => simd::map3(
            isa,
            targets,
            weights,
            dx,
            #[inline(always)]
            |q, w, e| e.mul_sub(e.splat(scale), smoothed.at(q) * w),
        ),
    }
}

/// Σ of the class weights.
pub(super) struct Sum<'a, T>(pub(super) &'a [T]);

impl<T: Element> Kernel for Sum<'_, T> {
    type Output = f64;
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> f64 {
        weighted_sum(isa, None, self.0)
    }
}
