//! The measure of a row: its mean and its deviation, while it is in cache.

use num_traits::Float;

use crate::Element;
use crate::norm::rows::{Hat, Measured, Rule};
use crate::simd::{self, Isa, Vector};
use crate::stats::moments::kernel::{about_first, add_deviation, moments_of_sums};

/// Takes off the mean and divides by the deviation.
pub(crate) struct Deviation;

/// The least part that Σ(x − mean)² may be of the squares about the first element: ten of the bits that `f64` has more than
/// `f32`.
const KEPT: f64 = 1.0 / 1024.0;

impl Rule for Deviation {
    #[inline(always)]
    fn measure<I: Isa, T: Element>(isa: I, x: &[T], eps: f64) -> Measured {
        let count = x.len() as f64;
        // Mean, Σ(x − mean)², and whether the sums about this number kept enough of it.
        let of_sums_about = simd::inlined(
            #[inline(always)]
            |about: f64| {
                let zeros = [simd::splat(isa, 0.0); 2];
                let itself = simd::inlined(
                    #[inline(always)]
                    |x: [T::Vector<I>; 1]| x,
                );
                let add = simd::inlined(
                    #[inline(always)]
                    |x: [I::F64; 1], about: I::F64, sums: [I::F64; 2]| add_deviation(x, about, sums),
                );
                let sums = simd::fold_run(isa, [x], simd::splat(isa, about), zeros, (itself, add, |_| ()));
                let sums = simd::map_array(
                    sums,
                    #[inline(always)]
                    |sum: I::F64| sum.sum(),
                );
                let (mean, squares) = moments_of_sums(about, sums, count);
                (mean, squares, squares >= KEPT * sums[1])
            },
        );
        let has_bits_to_lose = T::epsilon().to_f64() > f64::EPSILON;
        let (mut mean, mut squares, kept) =
            if has_bits_to_lose { of_sums_about(about_first(x[0])) } else { (0.0, 0.0, false) };
        if !kept {
            let sum = simd::fold_f64(
                isa,
                x,
                #[inline(always)]
                |x, sum| sum + x,
            );
            (mean, squares, _) = of_sums_about(sum / count);
        }
        Measured { mean, rstd: 1.0 / Float::sqrt(squares / count + eps) }
    }
    #[inline(always)]
    fn hat<V: Vector>(x: V, by: Hat<V::Elem>) -> V {
        (x - by.shift).mul_add(x.splat(by.rstd), x.splat(by.offset))
    }
    #[inline(always)]
    fn through_mean(mean_of_gradient: f64) -> f64 {
        mean_of_gradient
    }
}
