//! Two averages of squares, and the update by their roots.

use super::Adadelta;
use crate::Element;
use crate::optim::driver::{Average, Rule};
use crate::simd::Vector;

/// A step as long as those before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delta<T> {
    average: Average<T>,
    eps: T,
    lr: T,
}

impl<T: Element> Delta<T> {
    pub(super) fn new(op: Adadelta) -> Self {
        Self { average: Average::new(op.rho), eps: T::from_f64(op.eps), lr: T::from_f64(op.lr) }
    }
}

impl<T: Element> Rule<T, 2> for Delta<T> {
    #[inline(always)]
    fn apply<V: Vector<Elem = T>>(self, g: V, p: V, [v, u]: [V; 2]) -> (V, [V; 2]) {
        let v = self.average.with_square(v, g);
        // Two roots: their quotient may be below the normal numbers where the root of it is not.
        let d = (u + self.eps).sqrt() / (v + self.eps).sqrt() * g;
        (d.neg_mul_add(p.splat(self.lr), p), [v, self.average.with_square(u, d)])
    }
}
