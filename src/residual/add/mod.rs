//! The plain residual connection, with the activation that follows it.

mod kernel;
pub mod reference;

use crate::activation::{self, kernel::Rectifier};
use crate::element::compiled_once;
use crate::parallel::{self, PARALLEL_BLOCK, Split};
use crate::shape::check_len;
use crate::simd::{self, Active, InOut};
use crate::strips::TILE;
use crate::{Activation, Element, Error};

/// `y = a(x + f)` in one pass over memory.
///
/// # Examples
/// ```
/// use steadygrad::Activation;
/// use steadygrad::residual::Add;
///
/// let add = Add { activation: Activation::Relu };
/// let (x, f) = ([1.0_f32, 2.0], [0.5, -3.0]);
/// let (mut y, mut dsum) = ([0.0; 2], [0.0; 2]);
/// add.forward(&x, &f, &mut y)?;
/// add.backward(&x, &f, &[10.0, 10.0], &mut dsum)?;
/// assert_eq!((y, dsum), ([1.5, 0.0], [10.0, 0.0]));
/// # Ok::<(), steadygrad::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Add {
    /// Applied to the sum; [`Activation::Identity`] by default.
    pub activation: Activation,
}

impl Default for Add {
    fn default() -> Self {
        Self { activation: Activation::Identity }
    }
}

impl Add {
    /// `y = a(x + f)`.
    ///
    /// | argument | elements | access      |
    /// |----------|----------|-------------|
    /// | `x`      | n        | read        |
    /// | `f`      | n        | read        |
    /// | `y`      | n        | overwritten |
    ///
    /// The sum rounds once; then within the bounds of [`Activation::forward`].
    ///
    /// # Errors
    /// [`Error::OutOfRange`] where a parameter of the activation is, [`Error::Length`] where `f` or `y` is not as long
    /// as `x`; then nothing was written.
    pub fn forward<T: Element>(&self, x: &[T], f: &[T], y: &mut [T]) -> Result<(), Error> {
        self.activation.check::<T>()?;
        check_len("f", f.len(), x.len())?;
        check_len("y", y.len(), x.len())?;
        <T as Compiled>::forward(self.activation, f, InOut::new(x, y));
        Ok(())
    }

    /// `x = a(x + f)`: [`forward`](Self::forward) without a third slice.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn forward_in_place<T: Element>(&self, x: &mut [T], f: &[T]) -> Result<(), Error> {
        self.activation.check::<T>()?;
        check_len("f", f.len(), x.len())?;
        <T as Compiled>::forward(self.activation, f, InOut::in_place(x));
        Ok(())
    }

    /// `dsum = dy · a′(x + f)`: the gradient of `x` and that of `f`.
    ///
    /// | argument | elements | access      |
    /// |----------|----------|-------------|
    /// | `x`      | n        | read        |
    /// | `f`      | n        | read        |
    /// | `dy`     | n        | read        |
    /// | `dsum`   | n        | overwritten |
    ///
    /// Without an activation it is `dy`, and there is no need to call this. Where the derivative is a function of `y`,
    /// [`Activation::backward_from_output`] gives the same of `y` alone.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn backward<T: Element>(&self, x: &[T], f: &[T], dy: &[T], dsum: &mut [T]) -> Result<(), Error> {
        self.activation.check::<T>()?;
        check_len("f", f.len(), x.len())?;
        check_len("dy", dy.len(), x.len())?;
        check_len("dsum", dsum.len(), x.len())?;
        <T as Compiled>::backward(self.activation, x, f, InOut::new(dy, dsum));
        Ok(())
    }

    /// `grad = grad · a′(x + f)`: [`backward`](Self::backward) with `dsum` in the place of `dy`.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn backward_in_place<T: Element>(&self, x: &[T], f: &[T], grad: &mut [T]) -> Result<(), Error> {
        self.activation.check::<T>()?;
        check_len("f", f.len(), x.len())?;
        check_len("grad", grad.len(), x.len())?;
        <T as Compiled>::backward(self.activation, x, f, InOut::in_place(grad));
        Ok(())
    }
}

compiled_once! {
    fn forward(activation: Activation, f: &[Self], data: InOut<'_, Self>) = forward_all;
    fn backward(activation: Activation, x: &[Self], f: &[Self], data: InOut<'_, Self>) = backward_all;
}

fn forward_all<T: Element>(activation: Activation, f: &[T], data: InOut<'_, T>) {
    let active = Active::current();
    parallel::for_each((f, data), PARALLEL_BLOCK, |(f, data)| {
        if let Some(rectifier) = Rectifier::of(Some(activation)) {
            return simd::dispatch(active, kernel::Forward { rectifier, f, data });
        }
        each_tile((f, data), |(f, mut data)| {
            let (rectifier, sums) = (Rectifier::Identity, data.reborrow().cached());
            simd::dispatch(active, kernel::Forward { rectifier, f, data: sums });
            activation::apply(active, activation, data.output());
        });
    });
}

fn backward_all<T: Element>(activation: Activation, x: &[T], f: &[T], data: InOut<'_, T>) {
    let active = Active::current();
    parallel::for_each((x, f, data), PARALLEL_BLOCK, |(x, f, data)| {
        if let Some(rectifier) = Rectifier::of(Some(activation)) {
            return simd::dispatch(active, kernel::Backward { rectifier, x, f, data });
        }
        let mut sums = [T::zero(); TILE];
        each_tile((x, f, data), |(x, f, data)| {
            let sums = &mut sums[..x.len()];
            let rectifier = Rectifier::Identity;
            simd::dispatch(active, kernel::Forward { rectifier, f, data: InOut::new(x, sums) });
            activation::apply_backward(active, activation, sums, data.cached());
        });
    });
}

/// Calls `f` on parts that stay in L1 while two loops go over them: the curves are compiled once, not for sums too.
fn each_tile<S: Split>(mut data: S, mut f: impl FnMut(S)) {
    while data.len() > TILE {
        let (tile, rest) = data.split_at(TILE);
        f(tile);
        data = rest;
    }
    f(data);
}
