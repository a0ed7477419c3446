//! Units: norm, gradient and block soft threshold.

use crate::Element;
use crate::simd::{self, InOut, Isa, Kernel, Vector};
use crate::stats::unit_norm::UnitNorm;

/// Σ‖w‖ over units.
pub(super) struct Value<'a, T> {
    pub(super) width: usize,
    pub(super) weights: &'a [T],
}

impl<T: Element> Kernel for Value<'_, T> {
    type Output = f64;
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> f64 {
        let mut sum = 0.0;
        for unit in self.weights.chunks_exact(self.width) {
            sum += UnitNorm::of(isa, unit).value();
        }
        sum
    }
}

/// `grad += λ·w/‖w‖`, and Σ‖w‖.
pub(super) struct AddGradient<'a, T> {
    pub(super) width: usize,
    pub(super) lambda: f64,
    pub(super) weights: &'a [T],
    pub(super) grad: &'a mut [T],
}

impl<T: Element> Kernel for AddGradient<'_, T> {
    type Output = f64;
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> f64 {
        let Self { width, lambda, weights, grad } = self;
        let mut sum = 0.0;
        for (unit, grad) in weights.chunks_exact(width).zip(grad.chunks_exact_mut(width)) {
            let norm = UnitNorm::of(isa, unit);
            sum += norm.value();
            if norm.parts().0 == 0.0 {
                continue;
            }
            let [first, second]: [T; 2] = norm.divide_in_two(lambda);
            simd::zip(
                isa,
                [unit],
                [grad],
                #[inline(always)]
                |[w]: [T::Vector<I>; 1], [g]| [(w * first).mul_add(w.splat(second), g)],
            );
        }
        sum
    }
}

/// `w = w·max(1 − threshold/‖w‖, 0)`.
pub(super) struct Proximal<'a, T> {
    pub(super) width: usize,
    pub(super) threshold: f64,
    pub(super) weights: &'a mut [T],
}

impl<T: Element> Kernel for Proximal<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Self { width, threshold, weights } = self;
        for unit in weights.chunks_exact_mut(width) {
            let norm = UnitNorm::of(isa, unit);
            if norm.value() <= threshold {
                unit.fill(T::zero());
                continue;
            }
            let factor = T::from_f64(1.0 - norm.divide(threshold));
            simd::map(
                isa,
                InOut::in_place(unit),
                #[inline(always)]
                |w: T::Vector<I>| w * factor,
            );
        }
    }
}
