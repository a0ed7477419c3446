//! Curves that are x times a gate between 0 and 1.

use num_traits::One;

use super::Curve;
use crate::Element;
use crate::math::Elementary;
use crate::simd::{Mask, Vector};

/// Where the gated curves are 0 on the left and x on the right in every element type (e⁻⁷⁵⁰ and 750·e⁻⁷⁵⁰ are 0),
/// so that ±∞ times 0 is never formed.
const GATE_LIMIT: f64 = 750.0;

/// `x` no lower than the limit of the gated curves, NaN kept.
#[inline(always)]
pub(super) fn gate_from_below<V: Vector>(x: V) -> V {
    x.constant(-GATE_LIMIT).max(x)
}

/// `x` within the limits of the gated curves, NaN kept.
#[inline(always)]
pub(super) fn gate<V: Vector>(x: V) -> V {
    x.clamp(x.constant(-GATE_LIMIT), x.constant(GATE_LIMIT))
}

/// (σ(x), 1 − σ(x)) without cancellation in either, from one exponential and one division.
#[inline(always)]
pub(crate) fn sigmoid_and_rest<V: Vector>(x: V) -> (V, V) {
    let e = (-x.abs()).exp();
    let larger = x.constant(1.0) / (e + V::Elem::one());
    let smaller = e * larger;
    let left = x.lt(x.constant(0.0));
    (left.select(smaller, larger), left.select(larger, smaller))
}

#[derive(Clone, Copy)]
pub(super) struct Gelu;

impl<T: Element> Curve<T> for Gelu {
    #[inline(always)]
    fn value<V: Vector<Elem = T>>(self, x: V) -> V {
        x.gelu()
    }
    #[inline(always)]
    fn gradient<V: Vector<Elem = T>>(self, x: V, dy: V) -> V {
        dy * x.gelu_gradient()
    }
}

#[derive(Clone, Copy)]
pub(super) struct GeluTanh;

impl GeluTanh {
    /// √(2/π) · 2: the tanh of u is 2σ(2u) − 1, so `½x(1 + tanh u)` is `x·σ(2u)`.
    const RATE: f64 = 1.595_769_121_605_730_7;
    const CUBIC: f64 = 0.044_715;
}

impl<T: Element> Curve<T> for GeluTanh {
    #[inline(always)]
    fn value<V: Vector<Elem = T>>(self, x: V) -> V {
        let x = gate_from_below(x);
        let cubic = (x * x).mul_add(x.constant(Self::RATE * Self::CUBIC), x.constant(Self::RATE));
        x * (x * cubic).sigmoid()
    }
    #[inline(always)]
    fn gradient<V: Vector<Elem = T>>(self, x: V, dy: V) -> V {
        let x = gate(x);
        let square = x * x;
        let cubic = square.mul_add(x.constant(Self::RATE * Self::CUBIC), x.constant(Self::RATE));
        let slope = square.mul_add(x.constant(3.0 * Self::RATE * Self::CUBIC), x.constant(Self::RATE));
        let (s, rest) = sigmoid_and_rest(x * cubic);
        dy * (x * slope * s).mul_add(rest, s)
    }
}

#[derive(Clone, Copy)]
pub(super) struct Silu;

impl<T: Element> Curve<T> for Silu {
    #[inline(always)]
    fn value<V: Vector<Elem = T>>(self, x: V) -> V {
        let x = gate_from_below(x);
        x * x.sigmoid()
    }
    #[inline(always)]
    fn gradient<V: Vector<Elem = T>>(self, x: V, dy: V) -> V {
        let x = gate(x);
        let (s, rest) = sigmoid_and_rest(x);
        dy * (x * s).mul_add(rest, s)
    }
}

/// With `e = eˣ` and `n = e(e + 2)`: `tanh(softplus(x)) = n / (n + 2)`.
#[derive(Clone, Copy)]
pub(super) struct Mish;

impl Mish {
    /// From here on the tanh rounds to 1 in `f64` too: 2/n < 10⁻¹⁷; and `(n + 2)²` is still finite in `f32`.
    const LINEAR_FROM: f64 = 20.0;
}

impl<T: Element> Curve<T> for Mish {
    #[inline(always)]
    fn value<V: Vector<Elem = T>>(self, x: V) -> V {
        let x = gate_from_below(x);
        let e = x.constant(Self::LINEAR_FROM).min(x).exp();
        let n = e.mul_add(e, e + e);
        x * (n / (n + x.constant(2.0)))
    }
    #[inline(always)]
    fn gradient<V: Vector<Elem = T>>(self, x: V, dy: V) -> V {
        let x = x.clamp(x.constant(-GATE_LIMIT), x.constant(Self::LINEAR_FROM));
        let e = x.exp();
        let n = e.mul_add(e, e + e);
        let denominator = n + x.constant(2.0);
        let gate_part = x * x.constant(4.0) * e.mul_add(e, e);
        dy * (n.mul_add(denominator, gate_part) / (denominator * denominator))
    }
}
