//! Velocity and update, once a tensor's learning rate is known.

use super::Lars;
use crate::Element;
use crate::clip::clip_norm::kernel::Factor;
use crate::optim::driver::Rule;
use crate::simd::Vector;

/// A step by the velocity.
#[derive(Clone, Copy, Debug)]
pub(super) struct Velocity<T> {
    momentum: T,
    /// lr·ratio.
    rate: Factor<T>,
}

impl<T: Element> Velocity<T> {
    pub(super) fn new(op: Lars, rate: f64) -> Self {
        Self { momentum: T::from_f64(op.momentum), rate: Factor::new(rate) }
    }
}

impl<T: Element> Rule<T, 1> for Velocity<T> {
    #[inline(always)]
    fn apply<V: Vector<Elem = T>>(self, g: V, p: V, [v]: [V; 1]) -> (V, [V; 1]) {
        let v = v.mul_add(v.splat(self.momentum), self.rate.times(g));
        (p - v, [v])
    }
}
