//! Elementary functions over vectors, and over slices for callers: the only polynomials of the crate.
//!
//! Every function takes NaN to NaN and handles ±∞, ±0 and subnormals; `tests/accuracy.rs` holds the bounds.

mod f32;
mod f64;
pub mod reference;

use crate::Error;
use crate::element::{Element, compiled_once};
use crate::parallel::{self, PARALLEL_BLOCK};
use crate::shape::check_len;
use crate::simd::{self, Active, InOut, Isa, Kernel, Vector};

/// The elementary functions of an element type, lane by lane: what [`Elementary`] calls.
#[doc(hidden)]
pub trait Math: Sized {
    fn exp<V: Vector<Elem = Self>>(x: V) -> V;
    fn expm1<V: Vector<Elem = Self>>(x: V) -> V;
    fn ln<V: Vector<Elem = Self>>(x: V) -> V;
    fn ln_1p<V: Vector<Elem = Self>>(x: V) -> V;
    fn tanh<V: Vector<Elem = Self>>(x: V) -> V;
    fn sigmoid<V: Vector<Elem = Self>>(x: V) -> V;
    fn softplus<V: Vector<Elem = Self>>(x: V) -> V;
    fn log_sigmoid<V: Vector<Elem = Self>>(x: V) -> V;
    fn erf<V: Vector<Elem = Self>>(x: V) -> V;
    fn erfc<V: Vector<Elem = Self>>(x: V) -> V;
    fn gelu<V: Vector<Elem = Self>>(x: V) -> V;
    fn gelu_gradient<V: Vector<Elem = Self>>(x: V) -> V;
    fn normal<V: Vector<Elem = Self>>(x: V) -> (V, V);
}

/// The elementary functions as methods of every vector.
pub(crate) trait Elementary: Vector {
    /// eˣ.
    #[inline(always)]
    fn exp(self) -> Self {
        <Self::Elem as Math>::exp(self)
    }
    /// eˣ − 1 without cancellation.
    #[inline(always)]
    fn expm1(self) -> Self {
        <Self::Elem as Math>::expm1(self)
    }
    /// Natural logarithm.
    #[inline(always)]
    fn ln(self) -> Self {
        <Self::Elem as Math>::ln(self)
    }
    /// ln(1 + x) without cancellation.
    #[inline(always)]
    fn ln_1p(self) -> Self {
        <Self::Elem as Math>::ln_1p(self)
    }
    /// Hyperbolic tangent.
    #[inline(always)]
    fn tanh(self) -> Self {
        <Self::Elem as Math>::tanh(self)
    }
    /// 1 / (1 + e⁻ˣ).
    #[inline(always)]
    fn sigmoid(self) -> Self {
        <Self::Elem as Math>::sigmoid(self)
    }
    /// ln(1 + eˣ) without overflow.
    #[inline(always)]
    fn softplus(self) -> Self {
        <Self::Elem as Math>::softplus(self)
    }
    /// −ln(1 + e⁻ˣ) without overflow.
    #[inline(always)]
    fn log_sigmoid(self) -> Self {
        <Self::Elem as Math>::log_sigmoid(self)
    }
    /// Error function.
    #[inline(always)]
    fn erf(self) -> Self {
        <Self::Elem as Math>::erf(self)
    }
    /// 1 − erf(x), relatively accurate in its tail.
    #[inline(always)]
    fn erfc(self) -> Self {
        <Self::Elem as Math>::erfc(self)
    }
    /// x·Φ(x), relatively accurate in its tail; −0 at −∞.
    #[inline(always)]
    fn gelu(self) -> Self {
        <Self::Elem as Math>::gelu(self)
    }
    /// Φ(x) + x·φ(x), the derivative of x·Φ(x).
    #[inline(always)]
    fn gelu_gradient(self) -> Self {
        <Self::Elem as Math>::gelu_gradient(self)
    }
    /// (Φ(x), φ(x)): the normal distribution function, relatively accurate in its tail, and its density.
    #[inline(always)]
    fn normal(self) -> (Self, Self) {
        <Self::Elem as Math>::normal(self)
    }
}

impl<V: Vector> Elementary for V {}

/// Implements [`Math`] by the free functions of a module.
macro_rules! math {
    ($Elem:ident: $($function:ident)*) => {
        impl Math for $Elem {
            $(
                #[inline(always)]
                fn $function<V: Vector<Elem = Self>>(x: V) -> V {
                    $Elem::$function(x)
                }
            )*
            #[inline(always)]
            fn normal<V: Vector<Elem = Self>>(x: V) -> (V, V) {
                $Elem::normal(x)
            }
        }
    };
}
math!(f32: exp expm1 ln ln_1p tanh sigmoid softplus log_sigmoid erf erfc gelu gelu_gradient);
math!(f64: exp expm1 ln ln_1p tanh sigmoid softplus log_sigmoid erf erfc gelu gelu_gradient);

/// A function of one variable.
#[derive(Clone, Copy, Debug)]
pub enum Function {
    /// [`exp`]
    Exp,
    /// [`expm1`]
    Expm1,
    /// [`ln`]
    Ln,
    /// [`ln_1p`]
    Ln1p,
    /// [`tanh`]
    Tanh,
    /// [`sigmoid`]
    Sigmoid,
    /// [`softplus`]
    Softplus,
    /// [`log_sigmoid`]
    LogSigmoid,
    /// [`erf`]
    Erf,
    /// [`erfc`]
    Erfc,
    /// [`normal_cdf`]
    NormalCdf,
    /// [`normal_pdf`]
    NormalPdf,
}

/// Runs one function over `data`: each in a compiled function of its own, whose frame stays small in debug builds too.
fn run<T: Element>(active: Active, function: Function, data: InOut<'_, T>) {
    /// One loop a function.
    macro_rules! each {
        ($($Name:ident => |$x:ident| $y:expr),*) => {
            match function {
                $(Function::$Name => {
                    struct Loop<'a, T>(InOut<'a, T>);
                    impl<T: Element> Kernel for Loop<'_, T> {
                        type Output = ();
                        #[inline(always)]
                        fn run<I: Isa>(self, isa: I) {
                            simd::map(isa, self.0, #[inline(always)] |$x| $y);
                        }
                    }
                    simd::dispatch(active, Loop(data));
                })*
            }
        };
    }
    each!(
        Exp => |x| x.exp(), Expm1 => |x| x.expm1(), Ln => |x| x.ln(), Ln1p => |x| x.ln_1p(), Tanh => |x| x.tanh(),
        Sigmoid => |x| x.sigmoid(), Softplus => |x| x.softplus(), LogSigmoid => |x| x.log_sigmoid(),
        Erf => |x| x.erf(), Erfc => |x| x.erfc(), NormalCdf => |x| x.normal().0, NormalPdf => |x| x.normal().1
    );
}

fn apply_all<T: Element>(function: Function, x: &[T], y: &mut [T]) {
    let active = Active::current();
    parallel::for_each(InOut::new(x, y), PARALLEL_BLOCK, |data| {
        run(active, function, data);
    });
}

compiled_once! {
    fn apply(function: Function, x: &[Self], y: &mut [Self]) = apply_all;
}

/// The public functions over slices: one text for all.
macro_rules! over_slices {
    ($($(#[$doc:meta])* $name:ident = $Name:ident;)*) => {
        $(
            $(#[$doc])*
            ///
            /// | argument | elements | access      |
            /// |----------|----------|-------------|
            /// | `x`      | n        | read        |
            /// | `y`      | n        | overwritten |
            ///
            /// # Errors
            /// [`Error::Length`] where `y` is not as long as `x`; then nothing was written.
            pub fn $name<T: Element>(x: &[T], y: &mut [T]) -> Result<(), Error> {
                check_len("y", y.len(), x.len())?;
                T::apply(Function::$Name, x, y);
                Ok(())
            }
        )*
    };
}

over_slices! {
    /// eˣ.
    exp = Exp;
    /// eˣ − 1, without cancellation near 0.
    expm1 = Expm1;
    /// Natural logarithm: −∞ at ±0, NaN below.
    ln = Ln;
    /// ln(1 + x), without cancellation near 0.
    ln_1p = Ln1p;
    /// Hyperbolic tangent.
    tanh = Tanh;
    /// 1 / (1 + e⁻ˣ).
    sigmoid = Sigmoid;
    /// ln(1 + eˣ), without overflow.
    softplus = Softplus;
    /// −ln(1 + e⁻ˣ), without overflow.
    log_sigmoid = LogSigmoid;
    /// Error function: 2/√π ∫₀ˣ e^(−t²) dt.
    erf = Erf;
    /// 1 − erf(x), relatively accurate in its tail.
    erfc = Erfc;
    /// Φ(x) = erfc(−x/√2) / 2, relatively accurate in its tail.
    normal_cdf = NormalCdf;
    /// φ(x) = e^(−x²/2) / √(2π).
    normal_pdf = NormalPdf;
}
