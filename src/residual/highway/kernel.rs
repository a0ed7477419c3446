//! The gate and what it mixes.

use crate::Element;
use crate::math::Elementary;
use crate::simd::{self, InOut, Isa, Kernel, Vector};

/// `y = σ(z)·h + σ(−z)·x`, with `x` and `y` in `data`.
pub(super) struct Forward<'a, T> {
    pub(super) h: &'a [T],
    pub(super) z: &'a [T],
    pub(super) data: InOut<'a, T>,
}

impl<T: Element> Kernel for Forward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        simd::map3(
            isa,
            self.h,
            self.z,
            self.data,
            #[inline(always)]
            |h: T::Vector<I>, z, x| z.sigmoid().mul_add(h, (-z).sigmoid() * x),
        );
    }
}

/// The gradients of `x`, `h` and `z`.
pub(super) struct Backward<'a, T> {
    pub(super) inputs: [&'a [T]; 4],
    pub(super) gradients: [&'a mut [T]; 3],
}

impl<T: Element> Kernel for Backward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        simd::combine(
            isa,
            self.inputs,
            self.gradients,
            #[inline(always)]
            |[x, h, z, dy]: [T::Vector<I>; 4]| {
                let (t, carry) = (z.sigmoid(), (-z).sigmoid());
                [carry * dy, t * dy, (h - x) * t * carry * dy]
            },
        );
    }
}
