//! Momentum and update.

use super::{Momentum, Sgd};
use crate::Element;
use crate::optim::driver::Rule;
use crate::simd::Vector;

/// A step along the gradient.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plain<T> {
    pub(super) lr: T,
}

impl<T: Element> Rule<T, 0> for Plain<T> {
    #[inline(always)]
    fn apply<V: Vector<Elem = T>>(self, g: V, p: V, state: [V; 0]) -> (V, [V; 0]) {
        (g.neg_mul_add(p.splat(self.lr), p), state)
    }
}

/// Whether the buffer holds anything yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum History {
    /// The first step: it may hold anything.
    Empty,
    /// It holds the steps before.
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

/// A step with momentum.
#[derive(Clone, Copy, Debug)]
pub(super) struct WithMomentum<T> {
    momentum: T,
    /// 1 − dampening.
    share: T,
    lr: T,
    history: History,
    direction: Direction,
}

impl<T: Element> WithMomentum<T> {
    pub(super) fn new(op: Sgd, step: u64) -> Self {
        let (momentum, dampening, direction) = match op.momentum {
            Momentum::None => (0.0, 0.0, Direction::Buffer),
            Momentum::Classical { momentum, dampening } => (momentum, dampening, Direction::Buffer),
            Momentum::Nesterov { momentum } => (momentum, 0.0, Direction::Ahead),
        };
        Self {
            momentum: T::from_f64(momentum),
            share: T::from_f64(1.0 - dampening),
            lr: T::from_f64(op.lr),
            history: if step == 1 { History::Empty } else { History::Kept },
            direction,
        }
    }
}

impl<T: Element> Rule<T, 1> for WithMomentum<T> {
    #[inline(always)]
    fn apply<V: Vector<Elem = T>>(self, g: V, p: V, [b]: [V; 1]) -> (V, [V; 1]) {
        let b = match self.history {
            History::Empty => g,
            History::Kept => b.mul_add(b.splat(self.momentum), g * self.share),
        };
        let along = match self.direction {
            Direction::Buffer => b,
            Direction::Ahead => b.mul_add(b.splat(self.momentum), g),
        };
        (along.neg_mul_add(p.splat(self.lr), p), [b])
    }
}
