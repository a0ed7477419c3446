//! The highway connection: a learned gate mixes the layer's result with its input.
//!
//! Srivastava, Greff & Schmidhuber, "Training very deep networks", 2015. Start the gate's bias below 0, so that the input
//! is carried past the layer at first.

mod kernel;
pub mod reference;

use crate::element::compiled_once;
use crate::parallel::{self, PARALLEL_BLOCK};
use crate::shape::check_len;
use crate::simd::{self, Active, InOut};
use crate::{Element, Error};

/// `y = t·h + (1 − t)·x` with `t = σ(z)`, in one pass; 1 − t is taken as σ(−z), which does not cancel.
///
/// # Examples
/// ```
/// use steadygrad::residual::{Highway, HighwayGradients, HighwayInputs};
///
/// let inputs = HighwayInputs { x: &[2.0_f64], h: &[4.0], z: &[0.0] };
/// let (mut y, mut dx, mut dh, mut dz) = ([0.0], [0.0], [0.0], [0.0]);
/// Highway.forward(inputs, &mut y)?;
/// Highway.backward(inputs, &[8.0], HighwayGradients { x: &mut dx, h: &mut dh, z: &mut dz })?;
/// assert_eq!((y, dx, dh, dz), ([3.0], [4.0], [4.0], [4.0])); // dz = 8·(4 − 2)·½·½
/// # Ok::<(), steadygrad::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Highway;

/// What a highway connection mixes.
#[derive(Clone, Copy, Debug)]
pub struct HighwayInputs<'a, T> {
    /// The layer's input.
    pub x: &'a [T],
    /// The layer's result.
    pub h: &'a [T],
    /// The gate before its sigmoid.
    pub z: &'a [T],
}

/// The gradients of [`HighwayInputs`].
#[derive(Debug)]
pub struct HighwayGradients<'a, T> {
    /// Of the layer's input, without what comes through `h` and `z`.
    pub x: &'a mut [T],
    /// Of the layer's result.
    pub h: &'a mut [T],
    /// Of the gate before its sigmoid.
    pub z: &'a mut [T],
}

impl Highway {
    /// `y = σ(z)·h + σ(−z)·x`.
    ///
    /// | argument              | elements | access      |
    /// |-----------------------|----------|-------------|
    /// | `inputs.x`, `.h`, `.z` | n        | read        |
    /// | `y`                   | n        | overwritten |
    ///
    /// Within 4 ULP of its larger term.
    ///
    /// # Errors
    /// [`Error::Length`] for the first slice that is not as long as `inputs.x`; then nothing was written.
    pub fn forward<T: Element>(&self, inputs: HighwayInputs<'_, T>, y: &mut [T]) -> Result<(), Error> {
        inputs.check()?;
        check_len("y", y.len(), inputs.x.len())?;
        <T as Compiled>::forward(inputs, y);
        Ok(())
    }

    /// `dx = σ(−z)·dy`, `dh = σ(z)·dy`, `dz = (h − x)·σ(z)·σ(−z)·dy`.
    ///
    /// | argument                 | elements | access      |
    /// |--------------------------|----------|-------------|
    /// | `inputs.x`, `.h`, `.z`    | n        | read        |
    /// | `dy`                     | n        | read        |
    /// | `gradients.x`, `.h`, `.z` | n        | overwritten |
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn backward<T: Element>(
        &self,
        inputs: HighwayInputs<'_, T>,
        dy: &[T],
        gradients: HighwayGradients<'_, T>,
    ) -> Result<(), Error> {
        inputs.check()?;
        let len = inputs.x.len();
        check_len("dy", dy.len(), len)?;
        check_len("gradients.x", gradients.x.len(), len)?;
        check_len("gradients.h", gradients.h.len(), len)?;
        check_len("gradients.z", gradients.z.len(), len)?;
        <T as Compiled>::backward(inputs, dy, gradients);
        Ok(())
    }
}

impl<T> HighwayInputs<'_, T> {
    fn check(&self) -> Result<(), Error> {
        check_len("inputs.h", self.h.len(), self.x.len())?;
        check_len("inputs.z", self.z.len(), self.x.len())
    }
}

compiled_once! {
    fn forward(inputs: HighwayInputs<'_, Self>, y: &mut [Self]) = forward_all;
    fn backward(inputs: HighwayInputs<'_, Self>, dy: &[Self], gradients: HighwayGradients<'_, Self>)
        = backward_all;
}

fn forward_all<T: Element>(inputs: HighwayInputs<'_, T>, y: &mut [T]) {
    let active = Active::current();
    let HighwayInputs { x, h, z } = inputs;
    parallel::for_each((h, z, InOut::new(x, y)), PARALLEL_BLOCK, |(h, z, data)| {
        simd::dispatch(active, kernel::Forward { h, z, data });
    });
}

fn backward_all<T: Element>(inputs: HighwayInputs<'_, T>, dy: &[T], gradients: HighwayGradients<'_, T>) {
    let active = Active::current();
    let HighwayInputs { x, h, z } = inputs;
    let HighwayGradients { x: dx, h: dh, z: dz } = gradients;
    let all = ((x, h, z), (dy, (dx, dh, dz)));
    parallel::for_each(all, PARALLEL_BLOCK, |((x, h, z), (dy, (dx, dh, dz)))| {
        simd::dispatch(active, kernel::Backward { inputs: [x, h, z, dy], gradients: [dx, dh, dz] });
    });
}
