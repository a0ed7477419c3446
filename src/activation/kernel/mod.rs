//! The curves over vectors, and the three loops that all of them share.

mod exponentials;
mod gated;
mod lines;
mod saturating;

use exponentials::{celu, elu, selu, softplus};
pub(crate) use gated::sigmoid_and_rest;
use gated::{Gelu, GeluTanh, Mish, Silu};
pub(crate) use lines::Rectifier;
use lines::{HardSigmoid, HardSwish, Identity, Leaky, Relu, clamp, leaky_of_rrelu};
use saturating::{LogSigmoid, Sigmoid, Softsign, Tanh, TanhShrink};

use super::Activation;
use crate::Element;
use crate::simd::{self, InOut, Isa, Kernel, Vector};

/// An activation with its parameters in the element type.
pub(crate) trait Curve<T: Element>: Copy {
    /// f(x).
    fn value<V: Vector<Elem = T>>(self, x: V) -> V;
    /// dy · f′(x).
    fn gradient<V: Vector<Elem = T>>(self, x: V, dy: V) -> V;
}

/// A curve whose derivative is a function of its value.
pub(crate) trait FromOutput<T: Element>: Curve<T> {
    /// dy · f′(x), from y = f(x).
    fn gradient_from_output<V: Vector<Elem = T>>(self, y: V, dy: V) -> V;
}

/// Code that is compiled once a curve: what [`visit`] calls.
pub(crate) trait Visitor<T: Element> {
    /// The code for one curve.
    fn visit(self, curve: impl Curve<T>);
}

/// As [`Visitor`], for the curves that have a backward from the output.
pub(crate) trait FromOutputVisitor<T: Element> {
    /// The code for one curve.
    fn visit(self, curve: impl FromOutput<T>);
}

/// Calls `visitor` with the curve of `activation`, so that the choice is made outside its loops. Dispatch inside the
/// visitor: then each curve is compiled into a function of its own, whose frame stays small in debug builds too.
pub(crate) fn visit<T: Element>(activation: Activation, visitor: impl Visitor<T>) {
    let real = T::from_f64;
    match activation {
        Activation::Identity => visitor.visit(Identity),
        Activation::Relu => visitor.visit(Relu),
        Activation::Relu6 => visitor.visit(clamp(0.0, 6.0)),
        Activation::LeakyRelu { slope } => visitor.visit(Leaky { slope: real(slope) }),
        Activation::RRelu { lower, upper } => visitor.visit(leaky_of_rrelu(lower, upper)),
        Activation::Elu { alpha } => visitor.visit(elu(alpha)),
        Activation::Selu => visitor.visit(selu()),
        Activation::Celu { alpha } => visitor.visit(celu(alpha)),
        Activation::Gelu => visitor.visit(Gelu),
        Activation::GeluTanh => visitor.visit(GeluTanh),
        Activation::Silu => visitor.visit(Silu),
        Activation::Mish => visitor.visit(Mish),
        Activation::Softplus { beta, threshold } => visitor.visit(softplus(beta, threshold)),
        Activation::Softsign => visitor.visit(Softsign),
        Activation::Sigmoid => visitor.visit(Sigmoid),
        Activation::LogSigmoid => visitor.visit(LogSigmoid),
        Activation::Tanh => visitor.visit(Tanh),
        Activation::HardTanh { min, max } => visitor.visit(clamp(min, max)),
        Activation::HardSigmoid => visitor.visit(HardSigmoid),
        Activation::HardSwish => visitor.visit(HardSwish),
        Activation::TanhShrink => visitor.visit(TanhShrink),
    }
}

/// As [`visit`], for a backward from the output; an activation that has none is refused before.
pub(crate) fn visit_from_output<T: Element>(activation: Activation, visitor: impl FromOutputVisitor<T>) {
    match activation {
        Activation::Identity => visitor.visit(Identity),
        Activation::Relu => visitor.visit(Relu),
        Activation::Relu6 => visitor.visit(clamp(0.0, 6.0)),
        Activation::LeakyRelu { slope } => visitor.visit(Leaky { slope: T::from_f64(slope) }),
        Activation::RRelu { lower, upper } => visitor.visit(leaky_of_rrelu(lower, upper)),
        Activation::Elu { alpha } => visitor.visit(elu(alpha)),
        Activation::Selu => visitor.visit(selu()),
        Activation::Celu { alpha } => visitor.visit(celu(alpha)),
        Activation::Softplus { beta, threshold } => visitor.visit(softplus(beta, threshold)),
        Activation::Softsign => visitor.visit(Softsign),
        Activation::Sigmoid => visitor.visit(Sigmoid),
        Activation::LogSigmoid => visitor.visit(LogSigmoid),
        Activation::Tanh => visitor.visit(Tanh),
        Activation::HardTanh { min, max } => visitor.visit(clamp(min, max)),
        Activation::HardSigmoid => visitor.visit(HardSigmoid),
        Activation::Gelu
        | Activation::GeluTanh
        | Activation::Silu
        | Activation::Mish
        | Activation::HardSwish
        | Activation::TanhShrink => {}
    }
}

/// `y = f(x)`.
pub(super) struct Forward<'a, T, C> {
    pub(super) curve: C,
    pub(super) data: InOut<'a, T>,
}

impl<T: Element, C: Curve<T>> Kernel for Forward<'_, T, C> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        simd::map(
            isa,
            self.data,
            #[inline(always)]
            |x| self.curve.value(x),
        );
    }
}

/// `dx = dy · f′(x)`, with `dy` read from and `dx` written to `data`.
pub(super) struct Backward<'a, T, C> {
    pub(super) curve: C,
    pub(super) x: &'a [T],
    pub(super) data: InOut<'a, T>,
}

impl<T: Element, C: Curve<T>> Kernel for Backward<'_, T, C> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        simd::map2(
            isa,
            self.x,
            self.data,
            #[inline(always)]
            |x, dy| self.curve.gradient(x, dy),
        );
    }
}

/// `dx = dy · f′(x)` from `y = f(x)`.
pub(super) struct BackwardFromOutput<'a, T, C> {
    pub(super) curve: C,
    pub(super) y: &'a [T],
    pub(super) data: InOut<'a, T>,
}

impl<T: Element, C: FromOutput<T>> Kernel for BackwardFromOutput<'_, T, C> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        simd::map2(
            isa,
            self.y,
            self.data,
            #[inline(always)]
            |y, dy| self.curve.gradient_from_output(y, dy),
        );
    }
}
