//! Curves that level out: the sigmoid's family and the hyperbolic tangent's.

use super::{Curve, FromOutput};
use crate::Element;
use crate::math::Elementary;
use crate::simd::Vector;

#[derive(Clone, Copy)]
pub(super) struct Softsign;

impl<T: Element> Curve<T> for Softsign {
    #[inline(always)]
    fn value<V: Vector<Elem = T>>(self, x: V) -> V {
        // The largest finite number stands for infinity: ∞/∞ is never formed.
        let x = x.clamp(x.splat(T::min_value()), x.splat(T::max_value()));
        x / (x.abs() + T::one())
    }
    #[inline(always)]
    fn gradient<V: Vector<Elem = T>>(self, x: V, dy: V) -> V {
        // The reciprocal twice: the square of the denominator would overflow where the result is still a number.
        let rest = x.constant(1.0) / (x.abs() + T::one());
        dy * rest * rest
    }
}

impl<T: Element> FromOutput<T> for Softsign {
    #[inline(always)]
    fn gradient_from_output<V: Vector<Elem = T>>(self, y: V, dy: V) -> V {
        let rest = y.constant(1.0) - y.abs();
        dy * (rest * rest)
    }
}

#[derive(Clone, Copy)]
pub(super) struct Sigmoid;

impl<T: Element> Curve<T> for Sigmoid {
    #[inline(always)]
    fn value<V: Vector<Elem = T>>(self, x: V) -> V {
        x.sigmoid()
    }
    #[inline(always)]
    fn gradient<V: Vector<Elem = T>>(self, x: V, dy: V) -> V {
        // σ(1 − σ) = e/(1 + e)² with e = e^(−|x|): no cancellation on either side.
        let e = (-x.abs()).exp();
        let denominator = e + T::one();
        dy * (e / (denominator * denominator))
    }
}

impl<T: Element> FromOutput<T> for Sigmoid {
    #[inline(always)]
    fn gradient_from_output<V: Vector<Elem = T>>(self, y: V, dy: V) -> V {
        dy * ((y.constant(1.0) - y) * y)
    }
}

#[derive(Clone, Copy)]
pub(super) struct LogSigmoid;

impl<T: Element> Curve<T> for LogSigmoid {
    #[inline(always)]
    fn value<V: Vector<Elem = T>>(self, x: V) -> V {
        x.log_sigmoid()
    }
    #[inline(always)]
    fn gradient<V: Vector<Elem = T>>(self, x: V, dy: V) -> V {
        dy * (-x).sigmoid()
    }
}

impl<T: Element> FromOutput<T> for LogSigmoid {
    #[inline(always)]
    fn gradient_from_output<V: Vector<Elem = T>>(self, y: V, dy: V) -> V {
        -(dy * y.expm1())
    }
}

#[derive(Clone, Copy)]
pub(super) struct Tanh;

impl<T: Element> Curve<T> for Tanh {
    #[inline(always)]
    fn value<V: Vector<Elem = T>>(self, x: V) -> V {
        x.tanh()
    }
    #[inline(always)]
    fn gradient<V: Vector<Elem = T>>(self, x: V, dy: V) -> V {
        // 1 − tanh² = 4e/(1 + e)² with e = e^(−2|x|): no cancellation where tanh is near ±1.
        let magnitude = x.abs();
        let e = (-(magnitude + magnitude)).exp();
        let denominator = e + T::one();
        dy * (e * x.constant(4.0) / (denominator * denominator))
    }
}

impl<T: Element> FromOutput<T> for Tanh {
    #[inline(always)]
    fn gradient_from_output<V: Vector<Elem = T>>(self, y: V, dy: V) -> V {
        dy * y.neg_mul_add(y, y.constant(1.0))
    }
}

#[derive(Clone, Copy)]
pub(super) struct TanhShrink;

impl<T: Element> Curve<T> for TanhShrink {
    #[inline(always)]
    fn value<V: Vector<Elem = T>>(self, x: V) -> V {
        x - x.tanh()
    }
    #[inline(always)]
    fn gradient<V: Vector<Elem = T>>(self, x: V, dy: V) -> V {
        let t = x.tanh();
        dy * (t * t)
    }
}
