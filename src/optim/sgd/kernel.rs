//! The fused step: scale, decay, momentum and update of a tensor in one pass.

use super::{Momentum, Sgd, WeightDecay};
use crate::Element;
use crate::clip::clip_norm::kernel::Factor;
use crate::simd::{self, Isa, Kernel, Vector};

/// Whether the buffers hold anything yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum History {
    /// The first step: they may hold anything.
    Empty,
    /// They hold the steps before.
    Kept,
}

/// Which direction the step goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    /// Along the buffer.
    Buffer,
    /// Along the gradient and the buffer.
    Ahead,
}

/// The coefficients of a step in the element type.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule<T> {
    /// Of the gradient; `None` where it counts as 0 whatever it holds.
    scale: Option<Factor<T>>,
    /// λ of coupled decay; `None` where there is none, since 0 times an infinite parameter would be NaN.
    coupled: Option<T>,
    /// 1 − lr·λ of decoupled decay, multiplied with the parameter.
    keep: T,
    momentum: T,
    /// 1 − dampening.
    share: T,
    lr: T,
    direction: Direction,
}

impl<T: Element> Rule<T> {
    pub(super) fn new(op: Sgd, scale: f64) -> Self {
        let (coupled, keep) = match op.weight_decay {
            WeightDecay::Coupled(decay) => ((decay != 0.0).then(|| T::from_f64(decay)), 1.0),
            WeightDecay::Decoupled(decay) => (None, 1.0 - op.lr * decay),
        };
        let (momentum, dampening, direction) = match op.momentum {
            Momentum::None => (0.0, 0.0, Direction::Buffer),
            Momentum::Classical { momentum, dampening } => (momentum, dampening, Direction::Buffer),
            Momentum::Nesterov { momentum } => (momentum, 0.0, Direction::Ahead),
        };
        Self {
            scale: (scale != 0.0).then(|| Factor::new(scale)),
            coupled,
            keep: T::from_f64(keep),
            momentum: T::from_f64(momentum),
            share: T::from_f64(1.0 - dampening),
            lr: T::from_f64(op.lr),
            direction,
        }
    }

    /// The gradient with scale and coupled decay, and the parameter after decoupled decay.
    #[inline(always)]
    fn decayed<V: Vector<Elem = T>>(self, g: V, p: V) -> (V, V) {
        let g = match self.scale {
            Some(scale) => scale.times(g),
            None => g.splat(T::zero()),
        };
        let g = match self.coupled {
            Some(decay) => p.mul_add(p.splat(decay), g),
            None => g,
        };
        (g, p * self.keep)
    }
}

/// A step with momentum.
pub(super) struct Step<'a, T> {
    pub(super) rule: Rule<T>,
    pub(super) history: History,
    pub(super) param: &'a mut [T],
    pub(super) grad: &'a [T],
    pub(super) buffer: &'a mut [T],
}

impl<T: Element> Kernel for Step<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Self { rule, history, param, grad, buffer } = self;
        simd::update(
            isa,
            grad,
            [param, buffer],
            #[inline(always)]
            |g: T::Vector<I>, [p, b]| {
                let (g, p) = rule.decayed(g, p);
                let b = match history {
                    History::Empty => g,
                    History::Kept => b.mul_add(b.splat(rule.momentum), g * rule.share),
                };
                let along = match rule.direction {
                    Direction::Buffer => b,
                    Direction::Ahead => b.mul_add(b.splat(rule.momentum), g),
                };
                [along.neg_mul_add(p.splat(rule.lr), p), b]
            },
        );
    }
}

/// A step along the gradient.
pub(super) struct StepWithoutBuffer<'a, T> {
    pub(super) rule: Rule<T>,
    pub(super) param: &'a mut [T],
    pub(super) grad: &'a [T],
}

impl<T: Element> Kernel for StepWithoutBuffer<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Self { rule, param, grad } = self;
        simd::update(
            isa,
            grad,
            [param],
            #[inline(always)]
            |g: T::Vector<I>, [p]| {
                let (g, p) = rule.decayed(g, p);
                [g.neg_mul_add(p.splat(rule.lr), p)]
            },
        );
    }
}
