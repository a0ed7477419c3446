//! Curves with an exponential on the left that are a line, or nearly one, on the right.

use super::{Curve, FromOutput};
use crate::Element;
use crate::activation::{SELU_ALPHA, SELU_SCALE};
use crate::math::Elementary;
use crate::simd::{Mask, Vector};

/// `x > 0 ? positive · x : negative · expm1(rate · x)`: ELU, SELU and CELU.
#[derive(Clone, Copy)]
pub(super) struct Exponential<T> {
    positive: T,
    negative: T,
    rate: T,
}

#[inline(always)]
pub(super) fn elu<T: Element>(alpha: f64) -> Exponential<T> {
    Exponential { positive: T::one(), negative: T::from_f64(alpha), rate: T::one() }
}

#[inline(always)]
pub(super) fn selu<T: Element>() -> Exponential<T> {
    let (scale, alpha) = (SELU_SCALE, SELU_ALPHA);
    Exponential { positive: T::from_f64(scale), negative: T::from_f64(scale * alpha), rate: T::one() }
}

#[inline(always)]
pub(super) fn celu<T: Element>(alpha: f64) -> Exponential<T> {
    Exponential { positive: T::one(), negative: T::from_f64(alpha), rate: T::from_f64(1.0 / alpha) }
}

impl<T: Element> Curve<T> for Exponential<T> {
    #[inline(always)]
    fn value<V: Vector<Elem = T>>(self, x: V) -> V {
        let below = (x * self.rate).expm1() * self.negative;
        x.gt(x.constant(0.0)).select(x * self.positive, below)
    }
    #[inline(always)]
    fn gradient<V: Vector<Elem = T>>(self, x: V, dy: V) -> V {
        let below = (x * self.rate).exp() * (self.negative * self.rate);
        x.gt(x.constant(0.0)).select(dy * self.positive, dy * below)
    }
}

impl<T: Element> FromOutput<T> for Exponential<T> {
    #[inline(always)]
    fn gradient_from_output<V: Vector<Elem = T>>(self, y: V, dy: V) -> V {
        let below = (y + self.negative) * self.rate;
        y.gt(y.constant(0.0)).select(dy * self.positive, dy * below)
    }
}

#[derive(Clone, Copy)]
pub(super) struct Softplus<T> {
    beta: T,
    threshold: T,
}

#[inline(always)]
pub(super) fn softplus<T: Element>(beta: f64, threshold: f64) -> Softplus<T> {
    Softplus { beta: T::from_f64(beta), threshold: T::from_f64(threshold) }
}

impl<T: Element> Softplus<T> {
    #[inline(always)]
    fn is_linear<V: Vector<Elem = T>>(self, scaled: V) -> V::Mask {
        scaled.gt(scaled.splat(self.threshold))
    }
}

impl<T: Element> Curve<T> for Softplus<T> {
    #[inline(always)]
    fn value<V: Vector<Elem = T>>(self, x: V) -> V {
        let scaled = x * self.beta;
        self.is_linear(scaled).select(x, scaled.softplus() / self.beta)
    }
    #[inline(always)]
    fn gradient<V: Vector<Elem = T>>(self, x: V, dy: V) -> V {
        let scaled = x * self.beta;
        self.is_linear(scaled).select(dy, dy * scaled.sigmoid())
    }
}

impl<T: Element> FromOutput<T> for Softplus<T> {
    #[inline(always)]
    fn gradient_from_output<V: Vector<Elem = T>>(self, y: V, dy: V) -> V {
        let scaled = y * self.beta;
        self.is_linear(scaled).select(dy, -(dy * (-scaled).expm1()))
    }
}
