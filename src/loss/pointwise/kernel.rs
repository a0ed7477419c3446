//! A curve a loss, and the loop that all of them share.

use super::PointwiseLoss;
use crate::Element;
use crate::activation::kernel::sigmoid_and_rest;
use crate::math::Elementary;
use crate::simd::{self, Isa, Kernel, Mask, Products, Source, Vector};

/// A loss with its parameters in the element type.
trait Curve<T: Element>: Copy {
    /// The gradient as `output`, and the loss as `left · right`, a product that is taken in `f64`.
    fn evaluate<V: Vector<Elem = T>>(self, x: V, t: V) -> Products<V>;
}

/// `output = scale · l′(x, t)`; returns Σ l(x, t).
pub(super) struct Pointwise<'a, T, S> {
    pub(super) loss: PointwiseLoss,
    pub(super) scale: T,
    pub(super) targets: &'a [T],
    pub(super) data: S,
}

impl<T: Element, S: Source<T>> Kernel for Pointwise<'_, T, S> {
    type Output = f64;
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> f64 {
        match self.loss {
            PointwiseLoss::Squared => self.each(isa, Squared),
            PointwiseLoss::Absolute => self.each(isa, Absolute),
            PointwiseLoss::Huber { delta } => self.each(isa, Huber { delta: T::from_f64(delta) }),
            PointwiseLoss::SmoothAbsolute { beta } => {
                let beta = T::from_f64(beta);
                if beta == T::zero() { self.each(isa, Absolute) } else { self.each(isa, Smooth { beta }) }
            }
            PointwiseLoss::BinaryCrossEntropy => self.each(isa, BinaryCrossEntropy),
            PointwiseLoss::KlDivergence => self.each(isa, KlDivergence),
            PointwiseLoss::KlDivergenceOfLogarithms => self.each(isa, KlDivergenceOfLogarithms),
            PointwiseLoss::SigmoidSquared => self.each(isa, SigmoidSquared),
        }
    }
}

impl<T: Element, S: Source<T>> Pointwise<'_, T, S> {
    #[inline(always)]
    fn each<I: Isa>(mut self, isa: I, curve: impl Curve<T>) -> f64 {
        simd::map_products(
            isa,
            [self.targets],
            &mut self.data,
            #[inline(always)]
            |[t], x| {
                let products = curve.evaluate(x, t);
                Products { output: products.output * self.scale, ..products }
            },
        )
    }
}

#[derive(Clone, Copy)]
struct Squared;

impl<T: Element> Curve<T> for Squared {
    #[inline(always)]
    fn evaluate<V: Vector<Elem = T>>(self, x: V, t: V) -> Products<V> {
        let d = x - t;
        Products { output: d + d, left: d, right: d }
    }
}

#[derive(Clone, Copy)]
struct Absolute;

impl<T: Element> Curve<T> for Absolute {
    #[inline(always)]
    fn evaluate<V: Vector<Elem = T>>(self, x: V, t: V) -> Products<V> {
        let d = x - t;
        let one = x.constant(1.0);
        // 0 and NaN are their own sign.
        let kept = d.eq(x.constant(0.0)).or(d.is_nan());
        Products { output: kept.select(d, one.copysign(d)), left: d.abs(), right: one }
    }
}

#[derive(Clone, Copy)]
struct Huber<T> {
    delta: T,
}

impl<T: Element> Curve<T> for Huber<T> {
    /// With c = min(|d|, δ) both branches are c · (|d| − ½c).
    #[inline(always)]
    fn evaluate<V: Vector<Elem = T>>(self, x: V, t: V) -> Products<V> {
        let d = x - t;
        let limited = x.splat(self.delta).min(d.abs());
        Products {
            output: limited.copysign(d),
            left: limited,
            right: limited.neg_mul_add(x.constant(0.5), d.abs()),
        }
    }
}

#[derive(Clone, Copy)]
struct Smooth<T> {
    beta: T,
}

impl<T: Element> Curve<T> for Smooth<T> {
    /// Huber's, divided by β; the division makes the gradient exactly ±1 past β.
    #[inline(always)]
    fn evaluate<V: Vector<Elem = T>>(self, x: V, t: V) -> Products<V> {
        let huber = Huber { delta: self.beta }.evaluate(x, t);
        Products { output: huber.output / self.beta, left: huber.left / self.beta, right: huber.right }
    }
}

#[derive(Clone, Copy)]
struct BinaryCrossEntropy;

impl<T: Element> Curve<T> for BinaryCrossEntropy {
    #[inline(always)]
    fn evaluate<V: Vector<Elem = T>>(self, x: V, t: V) -> Products<V> {
        let (one, lowest) = (x.constant(1.0), x.constant(-100.0));
        let (ln_x, ln_rest) = (lowest.max(x.ln()), lowest.max((-x).ln_1p()));
        let variance = x.constant(1e-12).max(x * (one - x));
        Products { output: (x - t) / variance, left: (t - one).mul_sub(ln_rest, t * ln_x), right: one }
    }
}

#[derive(Clone, Copy)]
struct KlDivergence;

impl<T: Element> Curve<T> for KlDivergence {
    #[inline(always)]
    fn evaluate<V: Vector<Elem = T>>(self, x: V, t: V) -> Products<V> {
        // 0 · ln 0 is 0.
        let ln_t = t.eq(t.constant(0.0)).select(t, t.ln());
        Products { output: -t, left: t, right: ln_t - x }
    }
}

#[derive(Clone, Copy)]
struct KlDivergenceOfLogarithms;

impl<T: Element> Curve<T> for KlDivergenceOfLogarithms {
    #[inline(always)]
    fn evaluate<V: Vector<Elem = T>>(self, x: V, t: V) -> Products<V> {
        let target = t.exp();
        Products { output: -target, left: target, right: t - x }
    }
}

#[derive(Clone, Copy)]
struct SigmoidSquared;

impl<T: Element> Curve<T> for SigmoidSquared {
    #[inline(always)]
    fn evaluate<V: Vector<Elem = T>>(self, x: V, t: V) -> Products<V> {
        let (s, rest) = sigmoid_and_rest(x);
        // Right of 0 by 1 − σ, which has not lost what σ has near 1.
        let d = x.lt(x.constant(0.0)).select(s - t, (x.constant(1.0) - t) - rest);
        Products { output: d * s * rest, left: d, right: d * V::Elem::from_f64(0.5) }
    }
}
