//! Moving averages, the quotient by their root, momentum and update.

use super::RmsProp;
use crate::Element;
use crate::optim::driver::{Average, Rule};
use crate::simd::Vector;

/// What the four rules are made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Root<T> {
    average: Average<T>,
    eps: T,
    momentum: T,
    lr: T,
}

impl<T: Element> Root<T> {
    pub(super) fn new(op: RmsProp) -> Self {
        let [eps, momentum, lr] = [op.eps, op.momentum, op.lr].map(T::from_f64);
        Self { average: Average::new(op.alpha), eps, momentum, lr }
    }

    /// `g / (√(v − a²) + eps)`.
    #[inline(always)]
    fn by_deviation<V: Vector<Elem = T>>(self, g: V, v: V, a: V) -> V {
        // `max` lets NaN through where it is second.
        let variance = g.splat(T::zero()).max(a.neg_mul_add(a, v));
        self.by_root(g, variance)
    }

    /// `g / (√v + eps)`.
    #[inline(always)]
    fn by_root<V: Vector<Elem = T>>(self, g: V, v: V) -> V {
        g / (v.sqrt() + self.eps)
    }

    /// `μ·b + d`.
    #[inline(always)]
    fn moved<V: Vector<Elem = T>>(self, b: V, d: V) -> V {
        b.mul_add(b.splat(self.momentum), d)
    }

    /// `p − lr·d`.
    #[inline(always)]
    fn updated<V: Vector<Elem = T>>(self, p: V, d: V) -> V {
        d.neg_mul_add(p.splat(self.lr), p)
    }
}

/// By the mean square.
#[derive(Clone, Copy, Debug)]
pub(super) struct Square<T>(pub(super) Root<T>);

impl<T: Element> Rule<T, 1> for Square<T> {
    #[inline(always)]
    fn apply<V: Vector<Elem = T>>(self, g: V, p: V, [v]: [V; 1]) -> (V, [V; 1]) {
        let v = self.0.average.with_square(v, g);
        (self.0.updated(p, self.0.by_root(g, v)), [v])
    }
}

/// By the mean square, with momentum.
#[derive(Clone, Copy, Debug)]
pub(super) struct SquareMomentum<T>(pub(super) Root<T>);

impl<T: Element> Rule<T, 2> for SquareMomentum<T> {
    #[inline(always)]
    fn apply<V: Vector<Elem = T>>(self, g: V, p: V, [v, b]: [V; 2]) -> (V, [V; 2]) {
        let v = self.0.average.with_square(v, g);
        let b = self.0.moved(b, self.0.by_root(g, v));
        (self.0.updated(p, b), [v, b])
    }
}

/// By the variance.
#[derive(Clone, Copy, Debug)]
pub(super) struct Variance<T>(pub(super) Root<T>);

impl<T: Element> Rule<T, 2> for Variance<T> {
    #[inline(always)]
    fn apply<V: Vector<Elem = T>>(self, g: V, p: V, [v, a]: [V; 2]) -> (V, [V; 2]) {
        let (v, a) = (self.0.average.with_square(v, g), self.0.average.with(a, g));
        (self.0.updated(p, self.0.by_deviation(g, v, a)), [v, a])
    }
}

/// By the variance, with momentum.
#[derive(Clone, Copy, Debug)]
pub(super) struct VarianceMomentum<T>(pub(super) Root<T>);

impl<T: Element> Rule<T, 3> for VarianceMomentum<T> {
    #[inline(always)]
    fn apply<V: Vector<Elem = T>>(self, g: V, p: V, [v, a, b]: [V; 3]) -> (V, [V; 3]) {
        let (v, a) = (self.0.average.with_square(v, g), self.0.average.with(a, g));
        let b = self.0.moved(b, self.0.by_deviation(g, v, a));
        (self.0.updated(p, b), [v, a, b])
    }
}
