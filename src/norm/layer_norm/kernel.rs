//! The measure of a row: its mean and its deviation, while it is in cache.

use num_traits::Float;

use crate::Element;
use crate::norm::rows::{Mean, Measured, Rule};
use crate::simd::{self, Isa, Products, Vector};
use crate::stats::moments::kernel::{about_first, add_deviation, moments_of_sums};

/// Takes off the mean and divides by the deviation.
pub(in crate::norm) struct Deviation;

impl Rule for Deviation {
    #[inline(always)]
    fn measure<I: Isa, T: Element>(isa: I, x: &[T], eps: f64) -> Measured {
        let (mean, squares) = in_one_pass(isa, x).unwrap_or_else(
            #[inline(always)]
            || in_two_passes(isa, x),
        );
        Measured { mean, rstd: 1.0 / Float::sqrt(squares / x.len() as f64 + eps) }
    }
    #[inline(always)]
    fn centre<V: Vector>(x: V, mean: Mean<V::Elem>) -> V {
        (x - mean.high) - mean.low
    }
    #[inline(always)]
    fn through_mean(mean_of_gradient: f64) -> f64 {
        mean_of_gradient
    }
}

/// The least part that Σ(x − mean)² may be of the squares about the first element: ten of the bits that `f64` has more than
/// `f32`.
const KEPT: f64 = 1.0 / 1024.0;

/// (mean, Σ(x − mean)²), from sums about the first element; where those lose too much of it, as they do of `f64` and where
/// the first is far from the others, `None`.
#[inline(always)]
fn in_one_pass<I: Isa, T: Element>(isa: I, x: &[T]) -> Option<(f64, f64)> {
    if T::epsilon().to_f64() <= f64::EPSILON {
        return None;
    }
    let (about, zero) = (about_first(x[0]), simd::splat(isa, 0.0));
    let itself = simd::inlined(
        #[inline(always)]
        |x: [T::Vector<I>; 1]| x,
    );
    let sums = simd::fold_run(isa, [x], simd::splat(isa, about), [zero; 2], (itself, add_deviation));
    let sums = sums.map(Vector::sum);
    let (mean, squares) = moments_of_sums(about, sums, x.len() as f64);
    (squares >= KEPT * sums[1]).then_some((mean, squares))
}

/// (mean, Σ(x − mean)²), mean first.
#[inline(always)]
fn in_two_passes<I: Isa, T: Element>(isa: I, x: &[T]) -> (f64, f64) {
    let sum = simd::fold_f64(
        isa,
        x,
        #[inline(always)]
        |x, sum| sum + x,
    );
    let mean = sum / x.len() as f64;
    let around = Mean::new(mean);
    let squares = simd::map_products(
        isa,
        [],
        &mut &*x,
        #[inline(always)]
        |[], x| {
            let t = Deviation::centre(x, around);
            Products { output: t, left: t, right: t }
        },
    );
    (mean, squares)
}
