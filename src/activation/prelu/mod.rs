//! `PReLU`: a leaky `ReLU` whose slopes are learned, one for all or one a channel.
//!
//! He et al. 2015, "Delving Deep into Rectifiers". The slopes' gradient is summed in `f64`, channel by channel.

mod kernel;
pub mod reference;

use crate::channels::{self, Row};
use crate::element::compiled_once;
use crate::parallel::{self, Rows};
use crate::shape::check_len;
use crate::simd::{self, Active, InOut};
use crate::{ChannelShape, Element, Error};

/// x > 0 ? x : slope·x with a learned slope a channel; `channels = 1` shares one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PRelu;

impl PRelu {
    /// `y = x > 0 ? x : slope_c · x`.
    ///
    /// | argument | elements                     | access      |
    /// |----------|------------------------------|-------------|
    /// | `x`      | `outer · channels · inner`   | read        |
    /// | `slope`  | `channels`                   | read        |
    /// | `y`      | `outer · channels · inner`   | overwritten |
    ///
    /// # Errors
    /// [`Error::Length`] names the first argument whose length differs from the table, [`Error::Overflow`] the shape
    /// whose product does; then nothing was written.
    ///
    /// # Examples
    /// ```
    /// use steadygrad::{ChannelShape, PRelu};
    ///
    /// let shape = ChannelShape { outer: 1, channels: 2, inner: 2 };
    /// let mut y = [0.0_f32; 4];
    /// PRelu.forward(shape, &[-2.0, 1.0, -2.0, 1.0], &[0.5, 0.25], &mut y)?;
    /// assert_eq!(y, [-1.0, 1.0, -0.5, 1.0]);
    /// # Ok::<(), steadygrad::Error>(())
    /// ```
    pub fn forward<T: Element>(
        &self,
        shape: ChannelShape,
        x: &[T],
        slope: &[T],
        y: &mut [T],
    ) -> Result<(), Error> {
        let elements = shape.elements()?;
        check_len("x", x.len(), elements)?;
        check_len("slope", slope.len(), shape.channels)?;
        check_len("y", y.len(), elements)?;
        <T as Compiled>::forward(shape, slope, x, y);
        Ok(())
    }

    /// `dx = dy · (x > 0 ? 1 : slope_c)` and `dslope_c += Σ dy · (x > 0 ? 0 : x)`.
    ///
    /// | argument | elements                     | access      |
    /// |----------|------------------------------|-------------|
    /// | `x`      | `outer · channels · inner`   | read        |
    /// | `slope`  | `channels`                   | read        |
    /// | `dy`     | `outer · channels · inner`   | read        |
    /// | `dx`     | `outer · channels · inner`   | overwritten |
    /// | `dslope` | `channels`                   | accumulated |
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    ///
    /// # Examples
    /// ```
    /// use steadygrad::{ChannelShape, PRelu};
    ///
    /// let shape = ChannelShape { outer: 3, channels: 1, inner: 1 };
    /// let (mut dx, mut dslope) = ([0.0_f64; 3], [10.0]);
    /// PRelu.backward(shape, &[-2.0, 1.0, -1.0], &[0.5], &[1.0, 1.0, 4.0], &mut dx, &mut dslope)?;
    /// assert_eq!((dx, dslope), ([0.5, 1.0, 2.0], [4.0])); // 10 − 2·1 − 1·4
    /// # Ok::<(), steadygrad::Error>(())
    /// ```
    pub fn backward<T: Element>(
        &self,
        shape: ChannelShape,
        x: &[T],
        slope: &[T],
        dy: &[T],
        dx: &mut [T],
        dslope: &mut [T],
    ) -> Result<(), Error> {
        let elements = shape.elements()?;
        check_len("x", x.len(), elements)?;
        check_len("slope", slope.len(), shape.channels)?;
        check_len("dy", dy.len(), elements)?;
        check_len("dx", dx.len(), elements)?;
        check_len("dslope", dslope.len(), shape.channels)?;
        <T as Compiled>::backward(shape, slope, x, dy, dx, dslope);
        Ok(())
    }
}

compiled_once! {
    fn forward(shape: ChannelShape, slope: &[Self], x: &[Self], y: &mut [Self]) = forward_all;
    fn backward(
        shape: ChannelShape, slope: &[Self], x: &[Self], dy: &[Self], dx: &mut [Self], dslope: &mut [Self],
    ) = backward_all;
}

fn forward_all<T: Element>(shape: ChannelShape, slope: &[T], x: &[T], y: &mut [T]) {
    if x.is_empty() {
        return;
    }
    let active = Active::current();
    let (rows, block) = channels::rows(shape, InOut::new(x, y));
    parallel::for_each(rows, block, |Rows { data, .. }| {
        let row = Row::of(shape, data.len());
        simd::dispatch(active, kernel::Forward { row, slope, data });
    });
}

fn backward_all<T: Element>(
    shape: ChannelShape,
    slope: &[T],
    x: &[T],
    dy: &[T],
    dx: &mut [T],
    dslope: &mut [T],
) {
    if x.is_empty() {
        return;
    }
    let active = Active::current();
    let (rows, block) = channels::rows(shape, (x, InOut::new(dy, dx)));
    parallel::for_each(rows, block, |Rows { data: (x, data), .. }| {
        let row = Row::of(shape, data.len());
        simd::dispatch(active, kernel::Backward { row, slope, x, data });
    });
    channels::add_sums(active, shape, (x, dy), kernel::SlopeTerm, dslope);
}
