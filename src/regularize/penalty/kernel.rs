//! The sum of a block, and its gradient while the block is in cache.

use super::ElasticNet;
use crate::Element;
use crate::simd::{self, Isa, Kernel, Mask, Vector};

/// The coefficients that are not 0: 0 times an infinite weight would be NaN.
#[derive(Clone, Copy)]
pub(super) struct Rule {
    l1: Option<f64>,
    l2: Option<f64>,
}

impl Rule {
    pub(super) fn new(op: ElasticNet) -> Self {
        let unless_zero = |value: f64| (value != 0.0).then_some(value);
        Self { l1: unless_zero(op.l1), l2: unless_zero(op.l2) }
    }

    #[inline(always)]
    fn add_value<V: Vector<Elem = f64>>(self, w: V, mut sum: V) -> V {
        if let Some(l1) = self.l1 {
            sum = w.abs().mul_add(w.splat(l1), sum);
        }
        if let Some(l2) = self.l2 {
            sum = (w * (0.5 * l2)).mul_add(w, sum);
        }
        sum
    }

    #[inline(always)]
    fn add_gradient<V: Vector>(self, w: V, mut g: V) -> V {
        if let Some(l1) = self.l1 {
            let is_itself = w.eq(w.constant(0.0)).or(w.is_nan());
            g = g + is_itself.select(w, w.constant(l1).copysign(w));
        }
        if let Some(l2) = self.l2 {
            g = w.mul_add(w.constant(l2), g);
        }
        g
    }
}

/// Σ l1·|w| + ½·l2·w².
pub(super) struct Value<'a, T> {
    pub(super) rule: Rule,
    pub(super) weights: &'a [T],
}

impl<T: Element> Kernel for Value<'_, T> {
    type Output = f64;
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> f64 {
        simd::fold_f64(
            isa,
            self.weights,
            #[inline(always)]
            |w, sum| self.rule.add_value(w, sum),
        )
    }
}

/// Weights that are summed and then read again: 8 KiB of `f64`, and as much of the gradient.
const BLOCK: usize = 1024;

/// `grad += l1·sign(w) + l2·w`, and the value, in one pass through memory.
pub(super) struct AddGradient<'a, T> {
    pub(super) rule: Rule,
    pub(super) weights: &'a [T],
    pub(super) grad: &'a mut [T],
}

impl<T: Element> Kernel for AddGradient<'_, T> {
    type Output = f64;
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> f64 {
        let Self { rule, weights, grad } = self;
        let mut sum = 0.0;
        for (weights, grad) in weights.chunks(BLOCK).zip(grad.chunks_mut(BLOCK)) {
            sum += Value { rule, weights }.run(isa);
            simd::zip(
                isa,
                [weights],
                [grad],
                #[inline(always)]
                |[w]: [T::Vector<I>; 1], [g]| [rule.add_gradient(w, g)],
            );
        }
        sum
    }
}
