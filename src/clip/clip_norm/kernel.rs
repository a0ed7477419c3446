//! Products of a tensor and a factor.

use crate::Element;
use crate::simd::{self, InOut, Isa, Kernel, Vector};
use crate::stats::scale_by_power;

/// A factor as the product of two, since it may be outside the normal numbers of `T`.
#[derive(Clone, Copy, Debug)]
pub struct Factor<T> {
    /// The factor itself, where that is a normal number, else the first to multiply by.
    first: T,
    /// 1, or the second to multiply by.
    second: T,
}

impl<T: Element> Factor<T> {
    /// A factor that is not negative.
    pub(crate) fn new(factor: f64) -> Self {
        let (smallest, largest) = (T::min_positive_value(), T::max_value());
        if factor > largest.to_f64() && factor.is_finite() {
            // A power of two comes first: it makes normal numbers of subnormal ones.
            let second = T::from_f64(factor * smallest.to_f64());
            return Self { first: smallest.recip(), second: second.min(largest) };
        }
        Self::quotient(factor, (1.0, 0))
    }

    /// `dividend / (m · 2^e)`, at most 1, as precise below the normal numbers as above.
    pub(crate) fn quotient(dividend: f64, (m, e): (f64, i32)) -> Self {
        let smallest = T::min_positive_value();
        let factor = scale_by_power(dividend / m, -e);
        if factor < smallest.to_f64() {
            let first = scale_by_power(dividend / smallest.to_f64() / m, -e);
            Self { first: T::from_f64(first), second: smallest }
        } else {
            Self { first: T::from_f64(factor), second: T::one() }
        }
    }

    /// The same where the first is all there is to multiply by, which a kernel that is compiled for it need not ask.
    #[inline(always)]
    pub(crate) fn single(self) -> Option<Self> {
        (self.second == T::one()).then_some(Self { first: self.first, second: T::one() })
    }

    /// `g` times the factor.
    #[inline(always)]
    pub(crate) fn times<V: Vector<Elem = T>>(self, g: V) -> V {
        g * self.first * self.second
    }
}

/// `data = factor · data`.
pub(crate) struct Scale<'a, T> {
    pub(crate) factor: Factor<T>,
    pub(crate) data: &'a mut [T],
}

impl<T: Element> Kernel for Scale<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        simd::map_memory(
            isa,
            self.data,
            #[inline(always)]
            |g: T::Vector<I>| self.factor.times(g),
        );
    }
}

/// `sum = sum + factor · x`.
pub(crate) struct AddScaled<'a, T> {
    pub(crate) factor: Factor<T>,
    pub(crate) x: &'a [T],
    pub(crate) sum: &'a mut [T],
}

impl<T: Element> Kernel for AddScaled<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        simd::map2(
            isa,
            self.x,
            InOut::in_place(self.sum),
            #[inline(always)]
            |x: T::Vector<I>, sum| sum + self.factor.times(x),
        );
    }
}
