//! Activations, forward and backward: those that saturate, and the remedies that do not.
//!
//! | activation | f(x) | source |
//! |---|---|---|
//! | [`Relu`](Activation::Relu) | max(x, 0) | Nair & Hinton 2010 |
//! | [`LeakyRelu`](Activation::LeakyRelu) | x > 0 ? x : slope·x | Maas et al. 2013 |
//! | [`Elu`](Activation::Elu) | x > 0 ? x : α(eˣ − 1) | Clevert et al. 2015 |
//! | [`Selu`](Activation::Selu) | λ(x > 0 ? x : α(eˣ − 1)) | Klambauer et al. 2017 |
//! | [`Gelu`](Activation::Gelu) | x·Φ(x) | Hendrycks & Gimpel 2016 |
//! | [`Silu`](Activation::Silu) | x·σ(x) | Elfwing et al. 2017 |
//! | [`Mish`](Activation::Mish) | x·tanh(ln(1 + eˣ)) | Misra 2019 |
//!
//! The method is one vector curve an activation, run by one loop a direction.

pub(crate) mod kernel;
pub mod prelu;
pub mod reference;

use crate::element::compiled_once;
use crate::parallel::{self, PARALLEL_BLOCK};
use crate::shape::{check_len, check_range};
use crate::simd::{self, Active, InOut};
use crate::{Element, Error};

/// What most parameters must be: one past the largest number of the element type would be infinite in the kernel.
const FINITE: &str = "finite in the element type";
/// λ of SELU.
pub(crate) const SELU_SCALE: f64 = 1.050_700_987_355_480_5;
/// α of SELU.
pub(crate) const SELU_ALPHA: f64 = 1.673_263_242_354_377_2;

/// An element-wise activation; semantics are PyTorch's.
///
/// NaN propagates. At ±∞ the gated ones (`Gelu`, `GeluTanh`, `Silu`, `Mish`, `HardSwish`) and `Softsign` return their
/// limits, where PyTorch returns NaN.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// x.
    Identity,
    /// max(x, 0); the derivative at 0 is 0.
    Relu,
    /// x limited to `[0, 6]`; the derivative is 1 strictly inside.
    Relu6,
    /// x > 0 ? x : slope·x.
    LeakyRelu {
        /// Slope on the left; any number that is finite in the element type, usually 0.01.
        slope: f64,
    },
    /// The randomised leaky `ReLU` as it is evaluated: [`LeakyRelu`](Self::LeakyRelu) with the mean slope.
    RRelu {
        /// Lower bound of the slope; finite, usually 1/8.
        lower: f64,
        /// Upper bound of the slope; finite, at least `lower`, usually 1/3.
        upper: f64,
    },
    /// x > 0 ? x : α(eˣ − 1).
    Elu {
        /// −α is the limit on the left; finite in the element type, usually 1.
        alpha: f64,
    },
    /// λ(x > 0 ? x : α(eˣ − 1)) with the λ and α that keep mean 0 and variance 1.
    Selu,
    /// x > 0 ? x : α(e^(x/α) − 1).
    Celu {
        /// −α is the limit on the left; normal in the element type, as its inverse must be; usually 1.
        alpha: f64,
    },
    /// x·Φ(x).
    Gelu,
    /// ½x(1 + tanh(√(2/π)(x + 0.044715x³))).
    GeluTanh,
    /// x·σ(x), also called swish.
    Silu,
    /// x·tanh(ln(1 + eˣ)).
    Mish,
    /// βx > threshold ? x : ln(1 + e^(βx))/β.
    Softplus {
        /// Sharpness; positive, normal in the element type, as its inverse must be; usually 1.
        beta: f64,
        /// Where it becomes linear; not NaN, usually 20.
        threshold: f64,
    },
    /// x/(1 + |x|).
    Softsign,
    /// 1/(1 + e⁻ˣ).
    Sigmoid,
    /// −ln(1 + e⁻ˣ).
    LogSigmoid,
    /// tanh(x).
    Tanh,
    /// x limited to `[min, max]`; the derivative is 1 strictly inside.
    HardTanh {
        /// Lower limit, usually −1.
        min: f64,
        /// Upper limit, at least `min`, usually 1.
        max: f64,
    },
    /// (x + 3)/6 limited to `[0, 1]`.
    HardSigmoid,
    /// x·(x + 3)/6, with the gate limited to `[0, 1]`.
    HardSwish,
    /// x − tanh(x).
    TanhShrink,
}

impl Activation {
    /// `y = f(x)`.
    ///
    /// | argument | elements | access      |
    /// |----------|----------|-------------|
    /// | `x`      | n        | read        |
    /// | `y`      | n        | overwritten |
    ///
    /// Within 4 ULP of the formula for `f32` and `f64`, but for two that cancel: `TanhShrink` is within 2 ULP of x, and
    /// `GeluTanh` left of 0 within 4 ULP of x. Where the gate of `Gelu`, `Silu` or `Mish` is subnormal, what it lost is
    /// multiplied by x.
    ///
    /// # Errors
    /// [`Error::Length`] where `y` is not as long as `x`, [`Error::OutOfRange`] where a parameter is; then nothing
    /// was written.
    ///
    /// # Examples
    /// ```
    /// use steadygrad::Activation;
    ///
    /// let mut y = [0.0_f32; 3];
    /// Activation::LeakyRelu { slope: 0.5 }.forward(&[-2.0, 0.0, 3.0], &mut y)?;
    /// assert_eq!(y, [-1.0, 0.0, 3.0]);
    /// # Ok::<(), steadygrad::Error>(())
    /// ```
    pub fn forward<T: Element>(&self, x: &[T], y: &mut [T]) -> Result<(), Error> {
        self.check::<T>()?;
        check_len("y", y.len(), x.len())?;
        <T as Compiled>::forward(*self, InOut::new(x, y));
        Ok(())
    }

    /// `x = f(x)`: [`forward`](Self::forward) without a second slice.
    ///
    /// | argument | elements | access               |
    /// |----------|----------|----------------------|
    /// | `x`      | n        | read and overwritten |
    ///
    /// # Errors
    /// [`Error::OutOfRange`] where a parameter is; then nothing was written.
    pub fn forward_in_place<T: Element>(&self, x: &mut [T]) -> Result<(), Error> {
        self.check::<T>()?;
        <T as Compiled>::forward(*self, InOut::in_place(x));
        Ok(())
    }

    /// `dx = dy · f′(x)`.
    ///
    /// | argument | elements | access                          |
    /// |----------|----------|---------------------------------|
    /// | `x`      | n        | read: the input of the forward  |
    /// | `dy`     | n        | read                            |
    /// | `dx`     | n        | overwritten                     |
    ///
    /// Within 4 ULP of the formula, but where f′ crosses 0 (`Gelu`, `GeluTanh`, `Silu`, `Mish`): there within 8 ULP
    /// of `dy`. `TanhShrink`, a square, is within 8 ULP.
    ///
    /// # Errors
    /// [`Error::Length`] where `dy` or `dx` is not as long as `x`, [`Error::OutOfRange`] where a parameter is; then
    /// nothing was written.
    ///
    /// # Examples
    /// ```
    /// use steadygrad::Activation;
    ///
    /// let mut dx = [0.0_f64; 3];
    /// Activation::Relu.backward(&[-1.0, 0.0, 2.0], &[10.0, 10.0, 10.0], &mut dx)?;
    /// assert_eq!(dx, [0.0, 0.0, 10.0]);
    /// # Ok::<(), steadygrad::Error>(())
    /// ```
    pub fn backward<T: Element>(&self, x: &[T], dy: &[T], dx: &mut [T]) -> Result<(), Error> {
        self.check::<T>()?;
        check_len("dy", dy.len(), x.len())?;
        check_len("dx", dx.len(), x.len())?;
        <T as Compiled>::backward(*self, x, InOut::new(dy, dx));
        Ok(())
    }

    /// `grad = grad · f′(x)`: [`backward`](Self::backward) with `dx` in the place of `dy`.
    ///
    /// | argument | elements | access                              |
    /// |----------|----------|-------------------------------------|
    /// | `x`      | n        | read: the input of the forward      |
    /// | `grad`   | n        | read as `dy`, overwritten with `dx` |
    ///
    /// # Errors
    /// As [`backward`](Self::backward).
    pub fn backward_in_place<T: Element>(&self, x: &[T], grad: &mut [T]) -> Result<(), Error> {
        self.check::<T>()?;
        check_len("grad", grad.len(), x.len())?;
        <T as Compiled>::backward(*self, x, InOut::in_place(grad));
        Ok(())
    }

    /// `dx = dy · f′(x)` from `y = f(x)`, for activations whose derivative is a function of their value: the input
    /// need not be kept.
    ///
    /// | argument | elements | access                          |
    /// |----------|----------|---------------------------------|
    /// | `y`      | n        | read: the output of the forward |
    /// | `dy`     | n        | read                            |
    /// | `dx`     | n        | overwritten                     |
    ///
    /// What the rounding of `y` lost cannot come back: near a plateau, such as `Sigmoid` and `Tanh` for large |x|,
    /// the result is within 4 ULP of `dy`, not of itself. These are PyTorch's formulas.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for `Gelu`, `GeluTanh`, `Silu`, `Mish`, `HardSwish` and `TanhShrink`,
    /// [`Error::OutOfRange`] for a parameter out of range or a negative slope or α (they fold the curve over), and
    /// [`Error::Length`] as [`backward`](Self::backward); then nothing was written.
    ///
    /// # Examples
    /// ```
    /// use steadygrad::Activation;
    ///
    /// let mut dx = [0.0_f32];
    /// Activation::Sigmoid.backward_from_output(&[0.5], &[8.0], &mut dx)?;
    /// assert_eq!(dx, [2.0]); // 8 · 0.5 · (1 − 0.5)
    /// # Ok::<(), steadygrad::Error>(())
    /// ```
    pub fn backward_from_output<T: Element>(&self, y: &[T], dy: &[T], dx: &mut [T]) -> Result<(), Error> {
        self.check::<T>()?;
        self.check_from_output()?;
        check_len("dy", dy.len(), y.len())?;
        check_len("dx", dx.len(), y.len())?;
        <T as Compiled>::backward_from_output(*self, y, InOut::new(dy, dx));
        Ok(())
    }

    /// Whether every parameter is in its range; kernels have it in `T`.
    pub(crate) fn check<T: Element>(&self) -> Result<(), Error> {
        let finite = |value: f64| T::from_f64(value).is_finite();
        let invertible = |value: f64| T::from_f64(value).is_normal() && T::from_f64(1.0 / value).is_normal();
        match *self {
            Self::LeakyRelu { slope } => check_range("slope", FINITE, finite(slope)),
            Self::RRelu { lower, upper } => {
                check_range("lower", FINITE, finite(lower))?;
                let requirement = "at least `lower`, and finite in the element type as their sum";
                check_range("upper", requirement, upper >= lower && finite(upper) && finite(lower + upper))
            }
            Self::Elu { alpha } => check_range("alpha", FINITE, finite(alpha)),
            Self::Celu { alpha } => {
                check_range("alpha", "a normal number of the element type, as its inverse", invertible(alpha))
            }
            Self::Softplus { beta, threshold } => {
                let requirement = "positive, and a normal number of the element type as its inverse";
                check_range("beta", requirement, beta > 0.0 && invertible(beta))?;
                check_range("threshold", "a number", !threshold.is_nan())
            }
            Self::HardTanh { min, max } => {
                check_range("min", "a number", !min.is_nan())?;
                check_range("max", "at least `min`", max >= min)
            }
            _ => Ok(()),
        }
    }

    /// Whether the derivative is a function of the output.
    pub(crate) fn check_from_output(&self) -> Result<(), Error> {
        match *self {
            Self::Gelu | Self::GeluTanh | Self::Silu | Self::Mish | Self::HardSwish | Self::TanhShrink => {
                Err(Error::Unsupported { operation: "a backward from the output of this activation" })
            }
            Self::LeakyRelu { slope } => {
                check_range("slope", "at least 0 for a backward from the output", slope >= 0.0)
            }
            Self::RRelu { lower, upper } => check_range(
                "lower",
                "of a mean slope of at least 0 for a backward from the output",
                lower + upper >= 0.0,
            ),
            Self::Elu { alpha } | Self::Celu { alpha } => {
                check_range("alpha", "at least 0 for a backward from the output", alpha >= 0.0)
            }
            _ => Ok(()),
        }
    }

    /// Elements worth a task of their own: those without an exponential are done four times as fast.
    fn block(&self) -> usize {
        match self {
            Self::Identity
            | Self::Relu
            | Self::Relu6
            | Self::LeakyRelu { .. }
            | Self::RRelu { .. }
            | Self::Softsign
            | Self::HardTanh { .. }
            | Self::HardSigmoid
            | Self::HardSwish => 4 * PARALLEL_BLOCK,
            _ => PARALLEL_BLOCK,
        }
    }
}

compiled_once! {
    fn forward(activation: Activation, data: InOut<'_, Self>) = forward_all;
    fn backward(activation: Activation, x: &[Self], data: InOut<'_, Self>) = backward_all;
    fn backward_from_output(activation: Activation, y: &[Self], data: InOut<'_, Self>) = backward_from_output_all;
}

fn forward_all<T: Element>(activation: Activation, data: InOut<'_, T>) {
    let active = Active::current();
    parallel::for_each(data, activation.block(), |data| {
        kernel::visit(activation, RunForward { active, data })
    });
}

/// `x = f(x)` on this thread, for compositions that have chosen the level and the part.
pub(crate) fn apply<T: Element>(active: Active, activation: Activation, x: &mut [T]) {
    kernel::visit(activation, RunForward { active, data: InOut::in_place(x) });
}

/// `dx = dy · f′(x)` on this thread, as [`apply`].
pub(crate) fn apply_backward<T: Element>(
    active: Active,
    activation: Activation,
    x: &[T],
    data: InOut<'_, T>,
) {
    kernel::visit(activation, RunBackward { active, x, data });
}

/// `dx = dy · f′(x)` from `y = f(x)` on this thread, as [`apply`]; the activation has been checked.
pub(crate) fn apply_backward_from_output<T: Element>(
    active: Active,
    activation: Activation,
    y: &[T],
    data: InOut<'_, T>,
) {
    kernel::visit_from_output(activation, RunBackwardFromOutput { active, y, data });
}

fn backward_all<T: Element>(activation: Activation, x: &[T], data: InOut<'_, T>) {
    let active = Active::current();
    parallel::for_each((x, data), activation.block(), |(x, data)| {
        kernel::visit(activation, RunBackward { active, x, data });
    });
}

fn backward_from_output_all<T: Element>(activation: Activation, y: &[T], data: InOut<'_, T>) {
    let active = Active::current();
    parallel::for_each((y, data), activation.block(), |(y, data)| {
        kernel::visit_from_output(activation, RunBackwardFromOutput { active, y, data });
    });
}

struct RunForward<'a, T> {
    active: Active,
    data: InOut<'a, T>,
}

impl<T: Element> kernel::Visitor<T> for RunForward<'_, T> {
    fn visit(self, curve: impl kernel::Curve<T>) {
        simd::dispatch(self.active, kernel::Forward { curve, data: self.data });
    }
}

struct RunBackward<'a, T> {
    active: Active,
    x: &'a [T],
    data: InOut<'a, T>,
}

impl<T: Element> kernel::Visitor<T> for RunBackward<'_, T> {
    fn visit(self, curve: impl kernel::Curve<T>) {
        simd::dispatch(self.active, kernel::Backward { curve, x: self.x, data: self.data });
    }
}

struct RunBackwardFromOutput<'a, T> {
    active: Active,
    y: &'a [T],
    data: InOut<'a, T>,
}

impl<T: Element> kernel::FromOutputVisitor<T> for RunBackwardFromOutput<'_, T> {
    fn visit(self, curve: impl kernel::FromOutput<T>) {
        simd::dispatch(self.active, kernel::BackwardFromOutput { curve, y: self.y, data: self.data });
    }
}
