//! The distance of a Gram matrix from the identity.

use crate::Element;
use crate::simd::{self, Isa, Kernel, Vector};

/// `gram − I` in place for the rows from `first` on, and the sum of its squares.
pub(super) struct Deviation<'a, T> {
    pub(super) first: usize,
    pub(super) order: usize,
    pub(super) gram: &'a mut [T],
}

impl<T: Element> Kernel for Deviation<'_, T> {
    type Output = f64;
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> f64 {
        let Self { first, order, gram } = self;
        let mut sum = 0.0;
        for (row, gram) in gram.chunks_exact_mut(order).enumerate() {
            gram[first + row] = gram[first + row] - T::one();
            sum += simd::fold_f64(
                isa,
                gram,
                #[inline(always)]
                |d, sum| d.mul_add(d, sum),
            );
        }
        sum
    }
}
