//! Norms of the rows of a weight tensor.

use num_traits::Float;

use crate::Element;
use crate::simd::{self, Isa, Vector};
use crate::stats::scale_by_power;

/// Sums of squares below this may have lost parts to underflow; none of `f32` does.
const LEAST: f64 = 1e-200;

/// `m · 2^e`, the 2-norm of a unit's weights: finite where they are, 0 only where all of them are.
#[derive(Clone, Copy, Debug)]
pub(super) struct UnitNorm {
    m: f64,
    e: i32,
}

impl UnitNorm {
    /// Of one unit's weights.
    #[inline(always)]
    pub(super) fn of<I: Isa, T: Element>(isa: I, weights: &[T]) -> Self {
        let squares = simd::fold_f64(
            isa,
            weights,
            #[inline(always)]
            |w, sum| w.mul_add(w, sum),
        );
        if squares.is_nan() || squares >= LEAST && squares.is_finite() {
            return Self { m: Float::sqrt(squares), e: 0 };
        }
        let largest = simd::max_abs(isa, weights).to_f64();
        if largest == 0.0 || !largest.is_finite() {
            return Self { m: largest, e: 0 };
        }
        let e = Float::log2(largest) as i32;
        // A power of two may be past the range of numbers, its halves are not.
        let (first, second) = (scale_by_power(1.0, -e / 2), scale_by_power(1.0, -e - -e / 2));
        let squares = simd::fold_f64(
            isa,
            weights,
            #[inline(always)]
            |w, sum| {
                let scaled = w * first * second;
                scaled.mul_add(scaled, sum)
            },
        );
        Self { m: Float::sqrt(squares), e }
    }

    /// The norm as a number.
    pub(super) fn value(self) -> f64 {
        scale_by_power(self.m, self.e)
    }

    /// Mantissa and exponent.
    pub(super) fn parts(self) -> (f64, i32) {
        (self.m, self.e)
    }

    /// `dividend / norm`.
    pub(super) fn divide(self, dividend: f64) -> f64 {
        scale_by_power(dividend / self.m, -self.e)
    }

    /// Two factors whose product is `dividend / norm`: where that is past the largest `T`, its product with a weight is not.
    pub(super) fn divide_in_two<T: Element>(self, dividend: f64) -> [T; 2] {
        let limit = -(Float::log2(T::min_positive_value().to_f64()) as i32);
        let exponent = if self.m.is_finite() { Float::log2(self.m) as i32 + self.e } else { 0 };
        let k = (-exponent).clamp(-limit, limit);
        let first = scale_by_power(1.0, k);
        [T::from_f64(first), T::from_f64(scale_by_power(dividend / self.m, -self.e - k))]
    }
}
