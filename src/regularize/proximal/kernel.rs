//! The soft threshold.

use crate::Element;
use crate::simd::{self, Isa, Kernel, Mask, Vector};

/// `w = soft(w, threshold) / divisor`.
pub(super) struct Proximal<'a, T> {
    pub(super) threshold: T,
    pub(super) divisor: T,
    pub(super) weights: &'a mut [T],
}

impl<T: Element> Kernel for Proximal<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Self { threshold, divisor, weights } = self;
        simd::map_memory(
            isa,
            weights,
            #[inline(always)]
            |w: T::Vector<I>| {
                let (threshold, zero) = (w.splat(threshold), w.splat(T::zero()));
                let soft = w - threshold.copysign(w);
                w.abs().le(threshold).select(zero.copysign(w), soft) / divisor
            },
        );
    }
}
