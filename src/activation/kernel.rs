//! The curves over vectors, and the three loops that all of them share.

use num_traits::One;

use super::Activation;
use crate::Element;
use crate::math::Elementary;
use crate::simd::{self, InOut, Isa, Kernel, Mask, Vector};

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

#[derive(Clone, Copy)]
struct Identity;

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
struct Relu;

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
struct Leaky<T> {
    slope: T,
}

#[inline(always)]
fn leaky_of_rrelu<T: Element>(lower: f64, upper: f64) -> Leaky<T> {
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

/// `x > 0 ? positive · x : negative · expm1(rate · x)`: ELU, SELU and CELU.
#[derive(Clone, Copy)]
struct Exponential<T> {
    positive: T,
    negative: T,
    rate: T,
}

#[inline(always)]
fn elu<T: Element>(alpha: f64) -> Exponential<T> {
    Exponential { positive: T::one(), negative: T::from_f64(alpha), rate: T::one() }
}

#[inline(always)]
fn selu<T: Element>() -> Exponential<T> {
    let (scale, alpha) = (super::SELU_SCALE, super::SELU_ALPHA);
    Exponential { positive: T::from_f64(scale), negative: T::from_f64(scale * alpha), rate: T::one() }
}

#[inline(always)]
fn celu<T: Element>(alpha: f64) -> Exponential<T> {
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

/// Where the gated curves are 0 on the left and x on the right in every element type (e⁻⁷⁵⁰ and 750·e⁻⁷⁵⁰ are 0),
/// so that ±∞ times 0 is never formed.
const GATE_LIMIT: f64 = 750.0;

/// `x` no lower than the limit of the gated curves, NaN kept.
#[inline(always)]
fn gate_from_below<V: Vector>(x: V) -> V {
    x.constant(-GATE_LIMIT).max(x)
}

/// `x` within the limits of the gated curves, NaN kept.
#[inline(always)]
fn gate<V: Vector>(x: V) -> V {
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
struct Gelu;

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
struct GeluTanh;

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
struct Silu;

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
struct Mish;

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

#[derive(Clone, Copy)]
struct Softplus<T> {
    beta: T,
    threshold: T,
}

#[inline(always)]
fn softplus<T: Element>(beta: f64, threshold: f64) -> Softplus<T> {
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

#[derive(Clone, Copy)]
struct Softsign;

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
struct Sigmoid;

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
struct LogSigmoid;

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
struct Tanh;

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

/// `x` limited to an interval: `HardTanh` and `ReLU6`.
#[derive(Clone, Copy)]
struct Clamp<T> {
    min: T,
    max: T,
}

#[inline(always)]
fn clamp<T: Element>(min: f64, max: f64) -> Clamp<T> {
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
struct HardSigmoid;

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
struct HardSwish;

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

#[derive(Clone, Copy)]
struct TanhShrink;

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
