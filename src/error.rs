//! The one error type: what was wrong, and with which argument.

use core::fmt;

/// Why a call was refused. Every check comes before the first write, so on `Err` every output is untouched.
///
/// ```
/// use steadygrad::{Activation, Error};
///
/// let mut y = [0.0_f32; 3];
/// let refused = Activation::Relu.forward(&[1.0, 2.0], &mut y);
/// assert_eq!(refused, Err(Error::Length { argument: "y", expected: 2, actual: 3 }));
/// assert_eq!(refused.unwrap_err().to_string(), "`y` has 3 elements, expected 2");
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// A slice has the wrong number of elements.
    Length {
        /// Name of the argument, as in the signature.
        argument: &'static str,
        /// Elements it must have.
        expected: usize,
        /// Elements it has.
        actual: usize,
    },
    /// A dimension that is reduced over has no elements, so the result is undefined.
    Empty {
        /// Name of the dimension.
        dimension: &'static str,
    },
    /// A hyper-parameter, an index or a stride is outside its range; NaN always is.
    OutOfRange {
        /// Name of the argument or field.
        argument: &'static str,
        /// What it must satisfy.
        requirement: &'static str,
    },
    /// A product of dimensions does not fit in `usize`.
    Overflow {
        /// Name of the shape or argument.
        argument: &'static str,
    },
    /// A value is NaN or infinite where the caller asked for that to be an error.
    NonFinite {
        /// Name of the argument.
        argument: &'static str,
        /// Position of the first such value, or of the tensor in a list of tensors.
        index: usize,
    },
    /// A class index is neither below the number of classes nor the one to ignore.
    ClassIndex {
        /// Name of the argument.
        argument: &'static str,
        /// Row of the first such class.
        row: usize,
        /// The class.
        class: i64,
        /// Number of classes.
        classes: usize,
    },
    /// A layer of a stack does not take what the one before it gives.
    LayerSize {
        /// The layer, from 0.
        layer: usize,
        /// Outputs of the layer before.
        expected: usize,
        /// Inputs of this one.
        actual: usize,
    },
    /// Training led to weights or an error that are NaN or infinite: the learning rate is too large.
    Diverged {
        /// The layer, from 0.
        layer: usize,
        /// The epoch of that layer, from 0.
        epoch: usize,
    },
    /// The operation is not defined for this variant, such as a backward from the output of an
    /// activation that cannot be undone.
    Unsupported {
        /// What was asked for.
        operation: &'static str,
    },
    /// This CPU, or this build, does not have the instruction set.
    LevelUnavailable,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Length { argument, expected, actual } => {
                write!(f, "`{argument}` has {actual} elements, expected {expected}")
            }
            Self::Empty { dimension } => write!(f, "`{dimension}` is 0, but is reduced over"),
            Self::OutOfRange { argument, requirement } => write!(f, "`{argument}` must be {requirement}"),
            Self::Overflow { argument } => {
                write!(f, "the number of elements of `{argument}` overflows usize")
            }
            Self::NonFinite { argument, index } => {
                write!(f, "`{argument}` is NaN or infinite at index {index}")
            }
            Self::ClassIndex { argument, row, class, classes } => {
                write!(
                    f,
                    "`{argument}` has class {class} in row {row}, expected one of {classes} or the ignored one"
                )
            }
            Self::LayerSize { layer, expected, actual } => {
                write!(f, "layer {layer} takes {actual} values, but the layer before it gives {expected}")
            }
            Self::Diverged { layer, epoch } => {
                write!(f, "layer {layer} diverged in epoch {epoch}: its weights or its error are not finite")
            }
            Self::Unsupported { operation } => write!(f, "{operation} is not defined"),
            Self::LevelUnavailable => f.write_str("this CPU or build lacks the requested instruction set"),
        }
    }
}

impl core::error::Error for Error {}
