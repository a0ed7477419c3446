//! The clamp of a tensor.

use crate::Element;
use crate::simd::{self, Isa, Kernel, Vector};

/// `data` limited to `[min, max]`.
pub(super) struct Clamp<'a, T> {
    pub(super) min: T,
    pub(super) max: T,
    pub(super) data: &'a mut [T],
}

impl<T: Element> Kernel for Clamp<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let (min, max) = (simd::splat(isa, self.min), simd::splat(isa, self.max));
        simd::map_memory(
            isa,
            self.data,
            #[inline(always)]
            |g: T::Vector<I>| g.clamp(min, max),
        );
    }
}
