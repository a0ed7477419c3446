//! The momenta of a step, and the update.

use super::NAdam;
use crate::Element;
use crate::optim::driver::{Average, Rule};
use crate::simd::Vector;

/// What μ falls short of β₁ by, a step and unit of decay: PyTorch's constant.
const FALL: f64 = 0.96;

/// A step along the gradient and the mean that it changed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ahead<T> {
    first: Average<T>,
    second: Average<T>,
    /// lr·(1 − μₜ)/(1 − Πₜ).
    of_gradient: T,
    /// lr·μₜ₊₁/(1 − Πₜ₊₁).
    of_mean: T,
    /// 1/√(1 − β₂ᵗ).
    root: T,
    eps: T,
}

impl<T: Element> Ahead<T> {
    pub(super) fn new(op: NAdam, step: u64) -> Self {
        let second = Average::<T>::new(op.beta2);
        let momentum = |step: f64| op.beta1 * (1.0 - 0.5 * libm::pow(FALL, step * op.momentum_decay));
        let (current, next) = (momentum(step as f64), momentum(step as f64 + 1.0));
        let product = product(op, step);
        Self {
            first: Average::new(op.beta1),
            second,
            of_gradient: T::from_f64(op.lr * (1.0 - current) / (1.0 - product)),
            of_mean: T::from_f64(op.lr * next / (1.0 - product * next)),
            root: T::from_f64(1.0 / libm::sqrt(second.of_ones(step))),
            eps: T::from_f64(op.eps),
        }
    }
}

/// μ₁·…·μₜ; it ends where 1 less it is 1, after some 400 factors of 0.9.
fn product(op: NAdam, steps: u64) -> f64 {
    let fall = libm::pow(FALL, op.momentum_decay);
    let (mut product, mut power, mut step) = (1.0, 1.0, 0);
    while step < steps && product > f64::EPSILON / 8.0 {
        power *= fall;
        product *= op.beta1 * (1.0 - 0.5 * power);
        step += 1;
    }
    product
}

impl<T: Element> Rule<T, 2> for Ahead<T> {
    #[inline(always)]
    fn apply<V: Vector<Elem = T>>(self, g: V, p: V, [m, v]: [V; 2]) -> (V, [V; 2]) {
        let (m, v) = (self.first.with(m, g), self.second.with_square(v, g));
        let along = m.mul_add(m.splat(self.of_mean), g * self.of_gradient);
        let divisor = v.sqrt().mul_add(v.splat(self.root), v.splat(self.eps));
        (p - along / divisor, [m, v])
    }
}
