//! Curves of straight pieces, and `HardSwish`, whose middle is a parabola.

use super::{Curve, FromOutput};
use crate::Activation;
use crate::Element;
use crate::simd::{Mask, Vector};

#[derive(Clone, Copy)]
pub(super) struct Identity;

impl<T: Element> Curve<T> for Identity {
    #[inline(always)]
    fn value<V: Vector<Elem = T>>(self, x: V) -> V {
        x
    }
    #[inline(always)]
    fn gradient<V: Vector<Elem = T>>(self, _x: V, dy: V) -> V {
        dy
    }
}

impl<T: Element> FromOutput<T> for Identity {
    #[inline(always)]
    fn gradient_from_output<V: Vector<Elem = T>>(self, _y: V, dy: V) -> V {
        dy
    }
}

#[derive(Clone, Copy)]
pub(super) struct Relu;

impl<T: Element> Curve<T> for Relu {
    #[inline(always)]
    fn value<V: Vector<Elem = T>>(self, x: V) -> V {
        x.constant(0.0).max(x)
    }
    #[inline(always)]
    fn gradient<V: Vector<Elem = T>>(self, x: V, dy: V) -> V {
        let zero = x.constant(0.0);
        x.le(zero).select(zero, dy)
    }
}

impl<T: Element> FromOutput<T> for Relu {
    #[inline(always)]
    fn gradient_from_output<V: Vector<Elem = T>>(self, y: V, dy: V) -> V {
        self.gradient(y, dy)
    }
}

#[derive(Clone, Copy)]
pub(super) struct Leaky<T> {
    pub(super) slope: T,
}

#[inline(always)]
pub(super) fn leaky_of_rrelu<T: Element>(lower: f64, upper: f64) -> Leaky<T> {
    Leaky { slope: T::from_f64((lower + upper) / 2.0) }
}

impl<T: Element> Curve<T> for Leaky<T> {
    #[inline(always)]
    fn value<V: Vector<Elem = T>>(self, x: V) -> V {
        self.gradient(x, x)
    }
    #[inline(always)]
    fn gradient<V: Vector<Elem = T>>(self, x: V, dy: V) -> V {
        x.gt(x.constant(0.0)).select(dy, dy * self.slope)
    }
}

impl<T: Element> FromOutput<T> for Leaky<T> {
    #[inline(always)]
    fn gradient_from_output<V: Vector<Elem = T>>(self, y: V, dy: V) -> V {
        self.gradient(y, dy)
    }
}

/// The activations that are a line on either side of 0, told apart at run time: a few operations that loops over other
/// things can take along, without a loop of their own for each activation.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rectifier<T> {
    Identity,
    Relu,
    Leaky(T),
}

impl<T: Element> Rectifier<T> {
    /// That of an activation, if it is one of them; of none, the identity.
    pub(crate) fn of(activation: Option<Activation>) -> Option<Self> {
        match activation {
            None | Some(Activation::Identity) => Some(Self::Identity),
            Some(Activation::Relu) => Some(Self::Relu),
            Some(Activation::LeakyRelu { slope }) => Some(Self::Leaky(T::from_f64(slope))),
            Some(Activation::RRelu { lower, upper }) => Some(Self::Leaky(leaky_of_rrelu(lower, upper).slope)),
            Some(_) => None,
        }
    }

    /// f(x), with the bits of the activation's own loop.
    #[inline(always)]
    pub(crate) fn value<V: Vector<Elem = T>>(self, x: V) -> V {
        match self {
            Self::Identity => x,
            Self::Relu => Relu.value(x),
            Self::Leaky(slope) => Leaky { slope }.value(x),
        }
    }

    /// `dy · f′(x)` from x or from f(x), likewise.
    #[inline(always)]
    pub(crate) fn gradient<V: Vector<Elem = T>>(self, x: V, dy: V) -> V {
        match self {
            Self::Identity => dy,
            Self::Relu => Relu.gradient(x, dy),
            Self::Leaky(slope) => Leaky { slope }.gradient(x, dy),
        }
    }
}

/// `x` limited to an interval: `HardTanh` and `ReLU6`.
#[derive(Clone, Copy)]
pub(super) struct Clamp<T> {
    min: T,
    max: T,
}

#[inline(always)]
pub(super) fn clamp<T: Element>(min: f64, max: f64) -> Clamp<T> {
    Clamp { min: T::from_f64(min), max: T::from_f64(max) }
}

impl<T: Element> Curve<T> for Clamp<T> {
    #[inline(always)]
    fn value<V: Vector<Elem = T>>(self, x: V) -> V {
        x.clamp(x.splat(self.min), x.splat(self.max))
    }
    #[inline(always)]
    fn gradient<V: Vector<Elem = T>>(self, x: V, dy: V) -> V {
        let outside = x.le(x.splat(self.min)).or(x.ge(x.splat(self.max)));
        outside.select(x.constant(0.0), dy)
    }
}

impl<T: Element> FromOutput<T> for Clamp<T> {
    #[inline(always)]
    fn gradient_from_output<V: Vector<Elem = T>>(self, y: V, dy: V) -> V {
        self.gradient(y, dy)
    }
}

#[derive(Clone, Copy)]
pub(super) struct HardSigmoid;

impl<T: Element> Curve<T> for HardSigmoid {
    #[inline(always)]
    fn value<V: Vector<Elem = T>>(self, x: V) -> V {
        (x + T::from_f64(3.0)).clamp(x.constant(0.0), x.constant(6.0)) / T::from_f64(6.0)
    }
    #[inline(always)]
    fn gradient<V: Vector<Elem = T>>(self, x: V, dy: V) -> V {
        let outside = x.abs().ge(x.constant(3.0));
        outside.select(x.constant(0.0), dy / T::from_f64(6.0))
    }
}

impl<T: Element> FromOutput<T> for HardSigmoid {
    #[inline(always)]
    fn gradient_from_output<V: Vector<Elem = T>>(self, y: V, dy: V) -> V {
        let outside = y.le(y.constant(0.0)).or(y.ge(y.constant(1.0)));
        outside.select(y.constant(0.0), dy / T::from_f64(6.0))
    }
}

#[derive(Clone, Copy)]
pub(super) struct HardSwish;

impl<T: Element> Curve<T> for HardSwish {
    #[inline(always)]
    fn value<V: Vector<Elem = T>>(self, x: V) -> V {
        // Below −3 the gate is 0, and −3 stands for −∞.
        let x = x.constant(-3.0).max(x);
        // The gate is divided, not the product: that would overflow from a sixth of the largest number on.
        x * ((x + T::from_f64(3.0)).clamp(x.constant(0.0), x.constant(6.0)) / T::from_f64(6.0))
    }
    #[inline(always)]
    fn gradient<V: Vector<Elem = T>>(self, x: V, dy: V) -> V {
        let within = dy * (x / T::from_f64(3.0) + T::from_f64(0.5));
        let right = x.ge(x.constant(3.0)).select(dy, within);
        x.le(x.constant(-3.0)).select(x.constant(0.0), right)
    }
}
