//! A sum and a curve.

use crate::Element;
use crate::activation::kernel::Curve;
use crate::simd::{self, InOut, Isa, Kernel};

/// `y = a(x + f)`, with `x` and `y` in `data`.
pub(super) struct Forward<'a, T, C> {
    pub(super) curve: C,
    pub(super) f: &'a [T],
    pub(super) data: InOut<'a, T>,
}

impl<T: Element, C: Curve<T>> Kernel for Forward<'_, T, C> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        simd::map2(
            isa,
            self.f,
            self.data,
            #[inline(always)]
            |f, x| self.curve.value(x + f),
        );
    }
}

/// `dsum = dy · a′(x + f)`, with `dy` and `dsum` in `data`.
pub(super) struct Backward<'a, T, C> {
    pub(super) curve: C,
    pub(super) x: &'a [T],
    pub(super) f: &'a [T],
    pub(super) data: InOut<'a, T>,
}

impl<T: Element, C: Curve<T>> Kernel for Backward<'_, T, C> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        simd::map3(
            isa,
            self.x,
            self.f,
            self.data,
            #[inline(always)]
            |x, f, dy| self.curve.gradient(x + f, dy),
        );
    }
}
