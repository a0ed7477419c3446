//! A sum and a line on either side of 0.

use crate::Element;
use crate::activation::kernel::Rectifier;
use crate::simd::{self, InOut, Isa, Kernel};

/// `y = a(x + f)`, with `x` and `y` in `data`.
pub(super) struct Forward<'a, T> {
    pub(super) rectifier: Rectifier<T>,
    pub(super) f: &'a [T],
    pub(super) data: InOut<'a, T>,
}

impl<T: Element> Kernel for Forward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        simd::map2(
            isa,
            self.f,
            self.data,
            #[inline(always)]
            |f, x| self.rectifier.value(x + f),
        );
    }
}

/// `dsum = dy · a′(x + f)`, with `dy` and `dsum` in `data`.
pub(super) struct Backward<'a, T> {
    pub(super) rectifier: Rectifier<T>,
    pub(super) x: &'a [T],
    pub(super) f: &'a [T],
    pub(super) data: InOut<'a, T>,
}

impl<T: Element> Kernel for Backward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        simd::map3(
            isa,
            self.x,
            self.f,
            self.data,
            #[inline(always)]
            |x, f, dy| self.rectifier.gradient(x + f, dy),
        );
    }
}
