//! Units whose norm is over the limit.

use crate::Element;
use crate::clip::clip_norm::kernel::Factor;
use crate::simd::{self, InOut, Isa, Kernel};
use crate::stats::unit_norm::UnitNorm;

/// Scales the units over the limit; how many there were.
pub(super) struct Constrain<'a, T> {
    pub(super) width: usize,
    pub(super) max: f64,
    pub(super) weights: &'a mut [T],
}

impl<T: Element> Kernel for Constrain<'_, T> {
    type Output = usize;
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> usize {
        let Self { width, max, weights } = self;
        // A product with a factor this close to 1 would round away what it corrects.
        let one = 1.0 - 2.0 * T::epsilon().to_f64();
        let mut over = 0;
        for unit in weights.chunks_exact_mut(width) {
            let norm = UnitNorm::of(isa, unit);
            if norm.value() > max && norm.divide(max) < one {
                over += 1;
                let factor: Factor<T> = Factor::quotient(max, norm.parts());
                simd::map(
                    isa,
                    InOut::in_place(unit),
                    #[inline(always)]
                    |w: T::Vector<I>| factor.times(w),
                );
            }
        }
        over
    }
}
