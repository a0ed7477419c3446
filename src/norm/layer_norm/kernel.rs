//! The measure of a row: its mean, then its deviation, both while it is in cache.

use num_traits::Float;

use crate::Element;
use crate::norm::rows::{Mean, Measured, Rule};
use crate::simd::{self, Isa, Products, Vector};

/// Takes off the mean and divides by the deviation.
pub(in crate::norm) struct Deviation;

impl Rule for Deviation {
    #[inline(always)]
    fn measure<I: Isa, T: Element>(isa: I, x: &[T], eps: f64) -> Measured {
        let count = x.len() as f64;
        let sum = simd::fold_f64(
            isa,
            x,
            #[inline(always)]
            |x, sum| sum + x,
        );
        let mean = sum / count;
        let around = Mean::new(mean);
        let squares = simd::map_products(
            isa,
            [],
            &mut &*x,
            #[inline(always)]
            |[], x| {
                let t = Self::centre(x, around);
                Products { output: t, left: t, right: t }
            },
        );
        Measured { mean, rstd: 1.0 / Float::sqrt(squares / count + eps) }
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
