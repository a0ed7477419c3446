//! The sign of one average, and the other.

use super::Lion;
use crate::Element;
use crate::optim::driver::{Average, Rule};
use crate::simd::{Mask, Vector};

/// A step of the length of the learning rate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signed<T> {
    direction: Average<T>,
    mean: Average<T>,
    lr: T,
}

impl<T: Element> Signed<T> {
    pub(super) fn new(op: Lion) -> Self {
        let (direction, mean) = (Average::new(op.beta1), Average::new(op.beta2));
        Self { direction, mean, lr: T::from_f64(op.lr) }
    }
}

impl<T: Element> Rule<T, 1> for Signed<T> {
    #[inline(always)]
    fn apply<V: Vector<Elem = T>>(self, g: V, p: V, [m]: [V; 1]) -> (V, [V; 1]) {
        let along = self.direction.with(m, g);
        let is_sign = along.eq(p.splat(T::zero())).or(along.is_nan());
        let sign = is_sign.select(along, p.splat(T::one()).copysign(along));
        (sign.neg_mul_add(p.splat(self.lr), p), [self.mean.with(m, g)])
    }
}
