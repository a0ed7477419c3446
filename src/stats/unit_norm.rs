//! A norm that neither overflows nor underflows, and what is divided by it.

use num_traits::Float;

use super::norm_partial::kernel::Norm2;
use super::scale_by_power;
use crate::Element;
use crate::simd::{Isa, Kernel};

/// `m · 2^e`, the 2-norm of a unit's weights: finite where they are, 0 only where all of them are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnitNorm {
    m: f64,
    e: i32,
}

impl UnitNorm {
    /// Of one unit's weights.
    #[inline(always)]
    pub(crate) fn of<I: Isa, T: Element>(isa: I, weights: &[T]) -> Self {
        Norm2 { x: weights }.run(isa).into()
    }

    /// The norm as a number.
    pub(crate) fn value(self) -> f64 {
        scale_by_power(self.m, self.e)
    }

    /// Mantissa and exponent.
    pub(crate) fn parts(self) -> (f64, i32) {
        (self.m, self.e)
    }

    /// `dividend / norm`.
    pub(crate) fn divide(self, dividend: f64) -> f64 {
        scale_by_power(dividend / self.m, -self.e)
    }

    /// Two factors whose product is `dividend / norm`: where that is past the largest `T`, its product with a weight is not.
    pub(crate) fn divide_in_two<T: Element>(self, dividend: f64) -> [T; 2] {
        let limit = -(Float::log2(T::min_positive_value().to_f64()) as i32);
        let is_number = self.m.is_finite() && self.m > 0.0;
        let exponent = if is_number { Float::log2(self.m) as i32 + self.e } else { 0 };
        let k = (-exponent).clamp(-limit, limit);
        let first = scale_by_power(1.0, k);
        [T::from_f64(first), T::from_f64(scale_by_power(dividend / self.m, -self.e - k))]
    }
}

/// A number, or `(m, e)`.
impl From<(f64, i32)> for UnitNorm {
    fn from((m, e): (f64, i32)) -> Self {
        Self { m, e }
    }
}
