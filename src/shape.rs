//! Shapes, and the only length arithmetic of the crate: every product is checked.

use crate::Error;

/// `Ok` where `actual == expected`, else [`Error::Length`] for `argument`.
pub(crate) fn check_len(argument: &'static str, actual: usize, expected: usize) -> Result<(), Error> {
    if actual == expected { Ok(()) } else { Err(Error::Length { argument, expected, actual }) }
}

/// `Ok` where `actual >= expected`, else [`Error::Length`] for `argument`, which is scratch.
pub(crate) fn check_at_least(argument: &'static str, actual: usize, expected: usize) -> Result<(), Error> {
    if actual >= expected { Ok(()) } else { Err(Error::Length { argument, expected, actual }) }
}

/// `Ok` where `holds`, else [`Error::OutOfRange`]. Write conditions so that NaN makes them false.
pub(crate) fn check_range(
    argument: &'static str,
    requirement: &'static str,
    holds: bool,
) -> Result<(), Error> {
    if holds { Ok(()) } else { Err(Error::OutOfRange { argument, requirement }) }
}

/// Checks the lengths of slices of whole rows, and that the rows have elements.
pub(crate) fn check_rows(shape: RowShape, slices: &[(&'static str, usize)]) -> Result<(), Error> {
    let elements = shape.elements()?;
    if shape.cols == 0 && shape.rows > 0 {
        return Err(Error::Empty { dimension: "cols" });
    }
    slices.iter().try_for_each(|&(argument, len)| check_len(argument, len, elements))
}

/// A row-major matrix without gaps: `rows · cols` elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RowShape {
    /// Number of rows, such as samples of a batch.
    pub rows: usize,
    /// Elements of a row, such as features or classes.
    pub cols: usize,
}

impl RowShape {
    /// `rows · cols`.
    ///
    /// # Errors
    /// [`Error::Overflow`] where the product does not fit in `usize`.
    pub fn elements(self) -> Result<usize, Error> {
        self.rows.checked_mul(self.cols).ok_or(Error::Overflow { argument: "shape" })
    }
}

/// Channels in any layout: `outer · channels · inner` elements, the last dimension contiguous.
///
/// N×C is `outer = N, inner = 1`; N×C×L and NCHW are `outer = N, inner = L` or `H · W`; NHWC is
/// `outer = N · H · W, inner = 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChannelShape {
    /// Product of the dimensions before the channels.
    pub outer: usize,
    /// Number of channels.
    pub channels: usize,
    /// Product of the dimensions after the channels.
    pub inner: usize,
}

impl ChannelShape {
    /// `outer · channels · inner`.
    ///
    /// # Errors
    /// [`Error::Overflow`] where the product does not fit in `usize`.
    pub fn elements(self) -> Result<usize, Error> {
        let plane = self.channels.checked_mul(self.inner);
        plane.and_then(|plane| plane.checked_mul(self.outer)).ok_or(Error::Overflow { argument: "shape" })
    }
}

/// The weights of a layer, as `outputs` rows of `inputs · field`: what a layer connects, and how often.
///
/// ```
/// use steadygrad::WeightShape;
///
/// // A 3×3 convolution from 16 channels to 32: PyTorch's (32, 16, 3, 3).
/// let conv = WeightShape { outputs: 32, inputs: 16, field: 9 };
/// assert_eq!((conv.fan_in(), conv.fan_out()), (Ok(144), Ok(288)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WeightShape {
    /// Output features or channels.
    pub outputs: usize,
    /// Input features, or the input channels of a group.
    pub inputs: usize,
    /// Elements of the receptive field: 1 for a dense layer, 9 for a 3×3 convolution.
    pub field: usize,
}

impl WeightShape {
    /// Values that one output sums: `inputs · field`.
    ///
    /// # Errors
    /// [`Error::Overflow`] where the product does not fit in `usize`.
    pub fn fan_in(self) -> Result<usize, Error> {
        product(self.inputs, self.field)
    }

    /// Values that one input reaches: `outputs · field`.
    ///
    /// # Errors
    /// [`Error::Overflow`] where the product does not fit in `usize`.
    pub fn fan_out(self) -> Result<usize, Error> {
        product(self.outputs, self.field)
    }

    /// `outputs · inputs · field`.
    ///
    /// # Errors
    /// [`Error::Overflow`] where the product does not fit in `usize`.
    pub fn elements(self) -> Result<usize, Error> {
        product(self.outputs, self.fan_in()?)
    }
}

/// A dense layer's weights: a row an output.
impl From<RowShape> for WeightShape {
    fn from(RowShape { rows, cols }: RowShape) -> Self {
        Self { outputs: rows, inputs: cols, field: 1 }
    }
}

/// `a · b`, or [`Error::Overflow`] for `shape`.
fn product(a: usize, b: usize) -> Result<usize, Error> {
    a.checked_mul(b).ok_or(Error::Overflow { argument: "shape" })
}
