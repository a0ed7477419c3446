//! [`GradientMode`]: what a backward does with what the gradients of parameters hold.

use crate::Element;

/// What a backward does with what the gradients of its parameters hold: adds to it, as to `PyTorch`'s `.grad`, or overwrites it, as
/// after `zero_grad(set_to_none=True)`. Where a step of the optimizer takes several backwards (parts of a batch, of a sequence), the first
/// overwrites and the others accumulate.
///
/// ```
/// use steadygrad::GradientMode;
/// use steadygrad::linear::{Dense, DenseGradients};
///
/// let layer = Dense { inputs: 2, outputs: 1 };
/// let mut scratch = vec![0.0; layer.backward_scratch_len::<f32>(1)];
/// let (mut dw, mode) = ([f32::NAN; 2], GradientMode::Overwrite);
/// let gradients = DenseGradients { weights: Some(&mut dw), mode, ..DenseGradients::default() };
/// layer.backward(1, &[1.0, 2.0], &[10.0], &[3.0, 4.0], &mut scratch, gradients)?;
/// assert_eq!(dw, [10.0, 20.0]);
/// # Ok::<(), steadygrad::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum GradientMode {
    /// The default: `gradient += …`.
    #[default]
    Accumulate,
    /// `gradient = …`, with the bits of accumulating into zeros: nobody has to write those zeros, and the gradients of matrices
    /// are not read. Zeros where the batch is empty.
    Overwrite,
}

impl GradientMode {
    /// The factor of what a gradient holds.
    pub(crate) fn start<T: Element>(self) -> T {
        match self {
            Self::Accumulate => T::one(),
            Self::Overwrite => T::zero(),
        }
    }

    /// Makes `gradient` one to accumulate into.
    pub(crate) fn prepare<T: Element>(self, gradient: Option<&mut [T]>) {
        if let (Self::Overwrite, Some(gradient)) = (self, gradient) {
            gradient.fill(T::zero());
        }
    }
}
