//! The measure of a row: its root mean square.

use num_traits::Float;

use crate::Element;
use crate::norm::rows::{Hat, Measured, Rule};
use crate::simd::{self, Isa, Vector};

/// Divides by the root of the mean square; no mean is taken off.
pub(in crate::norm) struct RootMeanSquare;

impl Rule for RootMeanSquare {
    #[inline(always)]
    fn measure<I: Isa, T: Element>(isa: I, x: &[T], eps: f64) -> Measured {
        let squares = simd::fold_f64(
            isa,
            x,
            #[inline(always)]
            |x, sum| x.mul_add(x, sum),
        );
        Measured { mean: 0.0, rstd: 1.0 / Float::sqrt(squares / x.len() as f64 + eps) }
    }
    #[inline(always)]
    fn hat<V: Vector>(x: V, by: Hat<V::Elem>) -> V {
        x * by.rstd
    }
    #[inline(always)]
    fn through_mean(_mean_of_gradient: f64) -> f64 {
        0.0
    }
}
