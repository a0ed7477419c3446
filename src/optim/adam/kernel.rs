//! Moving averages, their bias corrections, and the update.

use super::Adam;
use crate::Element;
use crate::optim::driver::{Average, Rule};
use crate::simd::{Mask, Vector};

/// A step by the root of the mean square.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mean<T> {
    first: Average<T>,
    second: Average<T>,
    /// lr/(1 − β₁ᵗ).
    lr: T,
    /// 1/√(1 − β₂ᵗ).
    root: T,
    eps: T,
}

impl<T: Element> Mean<T> {
    pub(super) fn new(op: Adam, step: u64) -> Self {
        let (first, second) = (Average::<T>::new(op.beta1), Average::<T>::new(op.beta2));
        Self {
            first,
            second,
            lr: T::from_f64(op.lr / first.of_ones(step)),
            root: T::from_f64(1.0 / libm::sqrt(second.of_ones(step))),
            eps: T::from_f64(op.eps),
        }
    }

    /// `p − lr/(1 − β₁ᵗ) · m / (√v/√(1 − β₂ᵗ) + eps)`.
    #[inline(always)]
    fn updated<V: Vector<Elem = T>>(self, p: V, m: V, v: V) -> V {
        let divisor = v.sqrt().mul_add(v.splat(self.root), v.splat(self.eps));
        (m / divisor).neg_mul_add(p.splat(self.lr), p)
    }
}

impl<T: Element> Rule<T, 2> for Mean<T> {
    #[inline(always)]
    fn apply<V: Vector<Elem = T>>(self, g: V, p: V, [m, v]: [V; 2]) -> (V, [V; 2]) {
        let (m, v) = (self.first.with(m, g), self.second.with_square(v, g));
        (self.updated(p, m, v), [m, v])
    }
}

/// A step by the root of the largest mean square so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Largest<T>(pub(super) Mean<T>);

impl<T: Element> Rule<T, 3> for Largest<T> {
    #[inline(always)]
    fn apply<V: Vector<Elem = T>>(self, g: V, p: V, [m, v, largest]: [V; 3]) -> (V, [V; 3]) {
        let Self(mean) = self;
        let (m, v) = (mean.first.with(m, g), mean.second.with_square(v, g));
        // `max` lets NaN through where it is second.
        let largest = largest.is_nan().select(largest, largest.max(v));
        (mean.updated(p, m, largest), [m, v, largest])
    }
}
