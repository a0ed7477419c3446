//! Shapes, and the only length arithmetic of the crate: every product is checked.

use crate::Error;

/// `Ok` where `actual == expected`, else [`Error::Length`] for `argument`.
pub(crate) fn check_len(argument: &'static str, actual: usize, expected: usize) -> Result<(), Error> {
    if actual == expected { Ok(()) } else { Err(Error::Length { argument, expected, actual }) }
}

/// `Ok` where `holds`, else [`Error::OutOfRange`]. Write conditions so that NaN makes them false.
pub(crate) fn check_range(
    argument: &'static str,
    requirement: &'static str,
    holds: bool,
) -> Result<(), Error> {
    if holds { Ok(()) } else { Err(Error::OutOfRange { argument, requirement }) }
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
