//! The plain recurrent cell backward: the gradient before the activation, from the output.

use super::RnnActivation;
use crate::Element;
use crate::simd::{self, Isa, Kernel, Mask, Vector};

/// `da = f'(a) · (dy + dh)`.
pub(super) struct Backward<'a, T> {
    pub(super) activation: RnnActivation,
    pub(super) h: &'a [T],
    pub(super) dy: &'a [T],
    pub(super) dh: &'a [T],
    pub(super) da: &'a mut [T],
}

impl<T: Element> Kernel for Backward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Self { activation, h, dy, dh, da } = self;
        match activation {
            RnnActivation::Tanh => simd::zip(
                isa,
                [h, dy, dh],
                [da],
                #[inline(always)]
                |[h, dy, dh]: [T::Vector<I>; 3], _| [(dy + dh) * h.neg_mul_add(h, h.splat(T::one()))],
            ),
            RnnActivation::Relu => simd::zip(
                isa,
                [h, dy, dh],
                [da],
                #[inline(always)]
                |[h, dy, dh]: [T::Vector<I>; 3], _| {
                    let zero = h.splat(T::zero());
                    [h.le(zero).select(zero, dy + dh)]
                },
            ),
        }
    }
}
