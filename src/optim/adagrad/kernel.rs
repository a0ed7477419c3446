//! The sum of squares, and the update.

use crate::Element;
use crate::optim::driver::Rule;
use crate::simd::Vector;

/// A step by the root of the sum.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sum<T> {
    /// The learning rate of this step.
    pub(super) lr: T,
    pub(super) eps: T,
}

impl<T: Element> Rule<T, 1> for Sum<T> {
    #[inline(always)]
    fn apply<V: Vector<Elem = T>>(self, g: V, p: V, [s]: [V; 1]) -> (V, [V; 1]) {
        let s = g.mul_add(g, s);
        ((g / (s.sqrt() + self.eps)).neg_mul_add(p.splat(self.lr), p), [s])
    }
}
