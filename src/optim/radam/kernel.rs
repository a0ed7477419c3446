//! The rectification of a step, and the update with it and without.

use super::RAdam;
use crate::Element;
use crate::optim::driver::{Average, Rule};
use crate::simd::Vector;

/// r, from the step on at which the divisor's variance is bounded.
pub(super) fn rectification(beta2: f64, step: u64) -> Option<f64> {
    let (steps, power) = (step as f64, libm::pow(beta2, step as f64));
    let limit = 2.0 / (1.0 - beta2) - 1.0;
    let length = limit - 2.0 * steps * power / (1.0 - power);
    let square = (length - 4.0) * (length - 2.0) * limit / ((limit - 4.0) * (limit - 2.0) * length);
    (length > 5.0).then(|| libm::sqrt(square))
}

/// A step along the mean.
#[derive(Clone, Copy, Debug)]
pub(super) struct Means<T> {
    first: Average<T>,
    second: Average<T>,
    /// lr/(1 − β₁ᵗ).
    lr: f64,
    /// √(1 − β₂ᵗ).
    root: f64,
    eps: T,
}

impl<T: Element> Means<T> {
    pub(super) fn new(op: RAdam, step: u64) -> Self {
        let (first, second) = (Average::<T>::new(op.beta1), Average::<T>::new(op.beta2));
        let (lr, root) = (op.lr / first.of_ones(step), libm::sqrt(second.of_ones(step)));
        Self { first, second, lr, root, eps: T::from_f64(op.eps) }
    }
}

impl<T: Element> Rule<T, 2> for Means<T> {
    #[inline(always)]
    fn apply<V: Vector<Elem = T>>(self, g: V, p: V, [m, v]: [V; 2]) -> (V, [V; 2]) {
        let (m, v) = (self.first.with(m, g), self.second.with_square(v, g));
        (m.neg_mul_add(p.constant(self.lr), p), [m, v])
    }
}

/// A step along the mean, by the root of the mean square.
#[derive(Clone, Copy, Debug)]
pub(super) struct Adaptive<T> {
    means: Means<T>,
    /// lr/(1 − β₁ᵗ)·r·√(1 − β₂ᵗ).
    lr: T,
}

impl<T: Element> Adaptive<T> {
    pub(super) fn new(means: Means<T>, rectification: f64) -> Self {
        Self { means, lr: T::from_f64(means.lr * rectification * means.root) }
    }
}

impl<T: Element> Rule<T, 2> for Adaptive<T> {
    #[inline(always)]
    fn apply<V: Vector<Elem = T>>(self, g: V, p: V, [m, v]: [V; 2]) -> (V, [V; 2]) {
        let (m, v) = (self.means.first.with(m, g), self.means.second.with_square(v, g));
        ((m / (v.sqrt() + self.means.eps)).neg_mul_add(p.splat(self.lr), p), [m, v])
    }
}
