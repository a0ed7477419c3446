//! A residual branch with a learned scale: one for all, or one a channel.
//!
//! `ReZero`: Bachlechner et al., "`ReZero` is all you need", 2021: one scale that starts at 0. `LayerScale`: Touvron et al.,
//! "Going deeper with image transformers", 2021: one a channel that starts small.

mod kernel;
pub mod reference;

use crate::channels::{self, Row};
use crate::element::compiled_once;
use crate::parallel::{self, PARALLEL_BLOCK, Rows};
use crate::shape::check_len;
use crate::simd::{self, Active, InOut};
use crate::{ChannelShape, Element, Error};

/// `y = x + scale_c · f` with a learned scale a channel (`LayerScale`); `channels = 1` shares one (`ReZero`).
///
/// A scale of 0 is no exception: 0 times an infinity of `f` is NaN, as in PyTorch, since the scale's gradient is no
/// number either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scaled;

impl Scaled {
    /// `y = x + scale_c · f`.
    ///
    /// | argument | elements                     | access      |
    /// |----------|------------------------------|-------------|
    /// | `x`      | `outer · channels · inner`   | read        |
    /// | `f`      | `outer · channels · inner`   | read        |
    /// | `scale`  | `channels`                   | read        |
    /// | `y`      | `outer · channels · inner`   | overwritten |
    ///
    /// Rounds once with FMA.
    ///
    /// # Errors
    /// [`Error::Length`] names the first argument whose length differs from the table, [`Error::Overflow`] the shape
    /// whose product does; then nothing was written.
    ///
    /// # Examples
    /// ```
    /// use steadygrad::ChannelShape;
    /// use steadygrad::residual::Scaled;
    ///
    /// let shape = ChannelShape { outer: 1, channels: 2, inner: 2 };
    /// let mut y = [0.0_f32; 4];
    /// Scaled.forward(shape, &[1.0; 4], &[2.0, 4.0, 6.0, 8.0], &[0.5, 0.0], &mut y)?;
    /// assert_eq!(y, [2.0, 3.0, 1.0, 1.0]);
    /// # Ok::<(), steadygrad::Error>(())
    /// ```
    pub fn forward<T: Element>(
        &self,
        shape: ChannelShape,
        x: &[T],
        f: &[T],
        scale: &[T],
        y: &mut [T],
    ) -> Result<(), Error> {
        let elements = shape.elements()?;
        check_len("x", x.len(), elements)?;
        check_len("f", f.len(), elements)?;
        check_len("scale", scale.len(), shape.channels)?;
        check_len("y", y.len(), elements)?;
        <T as Compiled>::forward(shape, f, scale, InOut::new(x, y));
        Ok(())
    }

    /// `x = x + scale_c · f`: [`forward`](Self::forward) without a further slice.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn forward_in_place<T: Element>(
        &self,
        shape: ChannelShape,
        x: &mut [T],
        f: &[T],
        scale: &[T],
    ) -> Result<(), Error> {
        let elements = shape.elements()?;
        check_len("x", x.len(), elements)?;
        check_len("f", f.len(), elements)?;
        check_len("scale", scale.len(), shape.channels)?;
        <T as Compiled>::forward(shape, f, scale, InOut::in_place(x));
        Ok(())
    }

    /// `df = scale_c · dy` and `dscale_c += Σ f · dy`; the gradient of `x` is `dy`.
    ///
    /// | argument | elements                     | access      |
    /// |----------|------------------------------|-------------|
    /// | `f`      | `outer · channels · inner`   | read        |
    /// | `scale`  | `channels`                   | read        |
    /// | `dy`     | `outer · channels · inner`   | read        |
    /// | `df`     | `outer · channels · inner`   | overwritten |
    /// | `dscale` | `channels`                   | accumulated |
    ///
    /// Sums are taken in `f64` and rounded once.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    ///
    /// # Examples
    /// ```
    /// use steadygrad::ChannelShape;
    /// use steadygrad::residual::Scaled;
    ///
    /// let shape = ChannelShape { outer: 3, channels: 1, inner: 1 };
    /// let (mut df, mut dscale) = ([0.0_f64; 3], [10.0]);
    /// Scaled.backward(shape, &[1.0, 2.0, 3.0], &[0.0], &[1.0, 1.0, -1.0], &mut df, &mut dscale)?;
    /// assert_eq!((df, dscale), ([0.0, 0.0, 0.0], [10.0])); // 10 + 1 + 2 − 3: learns although the scale is 0
    /// # Ok::<(), steadygrad::Error>(())
    /// ```
    pub fn backward<T: Element>(
        &self,
        shape: ChannelShape,
        f: &[T],
        scale: &[T],
        dy: &[T],
        df: &mut [T],
        dscale: &mut [T],
    ) -> Result<(), Error> {
        let elements = shape.elements()?;
        check_len("f", f.len(), elements)?;
        check_len("scale", scale.len(), shape.channels)?;
        check_len("dy", dy.len(), elements)?;
        check_len("df", df.len(), elements)?;
        check_len("dscale", dscale.len(), shape.channels)?;
        <T as Compiled>::backward(shape, f, scale, dy, df, dscale);
        Ok(())
    }
}

compiled_once! {
    fn forward(shape: ChannelShape, f: &[Self], scale: &[Self], data: InOut<'_, Self>) = forward_all;
    fn backward(
        shape: ChannelShape, f: &[Self], scale: &[Self], dy: &[Self], df: &mut [Self], dscale: &mut [Self],
    ) = backward_all;
}

fn forward_all<T: Element>(shape: ChannelShape, f: &[T], scale: &[T], data: InOut<'_, T>) {
    if f.is_empty() {
        return;
    }
    let active = Active::current();
    let (rows, block) = channels::rows(shape, (f, data));
    parallel::for_each(rows, block, |Rows { data: (f, data), .. }| {
        simd::dispatch(active, kernel::Forward { row: Row::of(shape, f.len()), scale, f, data });
    });
}

fn backward_all<T: Element>(
    shape: ChannelShape,
    f: &[T],
    scale: &[T],
    dy: &[T],
    df: &mut [T],
    dscale: &mut [T],
) {
    if f.is_empty() {
        return;
    }
    let active = Active::current();
    if shape.channels == 1 {
        let sum = parallel::reduce(
            (f, InOut::new(dy, df)),
            PARALLEL_BLOCK,
            |(f, data)| simd::dispatch(active, kernel::BackwardOne { scale: scale[0], f, data }),
            |a, b| a + b,
        );
        dscale[0] = T::from_f64(dscale[0].to_f64() + sum);
        return;
    }
    let (rows, block) = channels::rows(shape, InOut::new(dy, df));
    parallel::for_each(rows, block, |Rows { data, .. }| {
        simd::dispatch(active, kernel::Backward { row: Row::of(shape, data.len()), scale, data });
    });
    channels::add_sums(active, shape, (f, dy), kernel::ScaleTerm, dscale);
}
