//! Dropout: parts of a layer's output are left out at random, others make up for them.
//!
//! Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", 2014; with one mask for all
//! time steps, Gal & Ghahramani 2016; alpha dropout, Klambauer et al., "Self-normalizing neural networks", 2017. The mask
//! is drawn from a counter-based generator by the forward and again by the backward: it is never stored.

mod kernel;
pub mod reference;

use crate::element::compiled_once;
use crate::parallel::{self, Offset, PARALLEL_BLOCK, Rows};
use crate::random::Philox;
use crate::random::philox::kernel::Event;
use crate::shape::{check_len, check_range};
use crate::simd::{self, Active, InOut};
use crate::{ChannelShape, Element, Error, RowShape};

/// Which elements share a draw: `outer · repeats · units · inner` elements, the last dimension contiguous, of which
/// those of the same `outer` and the same unit are dropped or kept together.
///
/// Draw number `outer · units + unit` of the stream decides.
///
/// | layout                       | mask                           | constructor                                    |
/// |------------------------------|--------------------------------|------------------------------------------------|
/// | any                          | each element                   | [`elements`](Self::elements)                   |
/// | N×C, N×C×L, NCHW             | each channel of each sample    | [`channels`](Self::channels)                   |
/// | NHWC                         | each channel of each sample    | [`channels_last`](Self::channels_last)         |
/// | rows × cols                  | each row                       | [`rows`](Self::rows)                           |
/// | time × batch × features      | one for all time steps         | [`time_major`](Self::time_major)               |
/// | batch × time × features      | one for all time steps         | [`batch_major`](Self::batch_major)             |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MaskShape {
    /// Product of the dimensions before those that share the mask.
    pub outer: usize,
    /// Product of the dimensions over which the mask is repeated.
    pub repeats: usize,
    /// Draws of an `outer`.
    pub units: usize,
    /// Adjacent elements that share a draw.
    pub inner: usize,
}

impl MaskShape {
    /// A draw an element.
    #[must_use]
    pub const fn elements(elements: usize) -> Self {
        Self { outer: 1, repeats: 1, units: elements, inner: 1 }
    }

    /// A draw a channel of each sample, as PyTorch's `Dropout1d` to `Dropout3d`.
    #[must_use]
    pub const fn channels(shape: ChannelShape) -> Self {
        Self { outer: shape.outer, repeats: 1, units: shape.channels, inner: shape.inner }
    }

    /// A draw a channel of each sample, where channels are the last dimension; `positions` is the height times the
    /// width.
    #[must_use]
    pub const fn channels_last(samples: usize, positions: usize, channels: usize) -> Self {
        Self { outer: samples, repeats: positions, units: channels, inner: 1 }
    }

    /// A draw a row.
    #[must_use]
    pub const fn rows(shape: RowShape) -> Self {
        Self { outer: 1, repeats: 1, units: shape.rows, inner: shape.cols }
    }

    /// Variational dropout: a draw a feature of each sequence, the same at all time steps.
    #[must_use]
    pub const fn time_major(time: usize, batch: usize, features: usize) -> Self {
        // What saturates is refused as an overflow, or has no elements.
        Self { outer: 1, repeats: time, units: batch.saturating_mul(features), inner: 1 }
    }

    /// As [`time_major`](Self::time_major), for sequences that lie one after the other.
    #[must_use]
    pub const fn batch_major(batch: usize, time: usize, features: usize) -> Self {
        Self { outer: batch, repeats: time, units: features, inner: 1 }
    }

    /// `outer · repeats · units · inner`.
    ///
    /// # Errors
    /// [`Error::Overflow`] where the product does not fit in `usize`.
    pub fn elements_in_all(self) -> Result<usize, Error> {
        let factors = [self.repeats, self.units, self.inner];
        let product = factors.into_iter().try_fold(self.outer, usize::checked_mul);
        product.ok_or(Error::Overflow { argument: "shape" })
    }
}

/// Dropout: zeros with probability `p`, and the others scaled so that the mean is kept.
///
/// ```text
/// m = 0 with probability p, else 1/(1 − p)
/// y = x·m,   dx = dy·m
/// ```
///
/// The product is one of PyTorch's: a dropped NaN or infinity is 0·x = NaN, and a dropped negative is −0. `p` = 0 copies,
/// `p` = 1 multiplies all by 0; neither draws. `p` is taken to 2⁻³², of the mask only.
///
/// # Examples
/// ```
/// use steadygrad::Philox;
/// use steadygrad::regularize::{Dropout, MaskShape};
///
/// let dropout = Dropout { p: 0.5 };
/// let (shape, stream) = (MaskShape::elements(4), Philox { key: 1, counter: 0 });
/// let (mut y, mut dx) = ([0.0_f32; 4], [0.0; 4]);
/// dropout.forward(shape, stream, &[1.0, 2.0, 3.0, 4.0], &mut y)?;
/// dropout.backward(shape, stream, &[1.0; 4], &mut dx)?; // the mask of the forward
/// assert!(dx.iter().all(|&m| m == 0.0 || m == 2.0));
/// assert_eq!(y, [dx[0], 2.0 * dx[1], 3.0 * dx[2], 4.0 * dx[3]]);
/// # Ok::<(), steadygrad::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// Probability that a draw drops, in [0, 1]; 0.5 by default.
    pub p: f64,
}

impl Default for Dropout {
    fn default() -> Self {
        Self { p: 0.5 }
    }
}

impl Dropout {
    /// `y = x·m`.
    ///
    /// | argument | elements                    | access      |
    /// |----------|-----------------------------|-------------|
    /// | `stream` | –                           | what is drawn |
    /// | `x`      | those of `shape`            | read        |
    /// | `y`      | those of `shape`            | overwritten |
    ///
    /// # Errors
    /// [`Error::OutOfRange`] where `p` is, [`Error::Length`] for the first slice that does not fit `shape`, and
    /// [`Error::Overflow`] where its product does; then nothing was written.
    pub fn forward<T: Element>(
        &self,
        shape: MaskShape,
        stream: Philox,
        x: &[T],
        y: &mut [T],
    ) -> Result<(), Error> {
        let mask = Drawn::new(self.p, shape, stream)?;
        check_len("x", x.len(), mask.elements)?;
        check_len("y", y.len(), mask.elements)?;
        <T as Compiled>::product(mask, self.factor(), InOut::new(x, y));
        Ok(())
    }

    /// `x = x·m`: [`forward`](Self::forward) without a second slice.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn forward_in_place<T: Element>(
        &self,
        shape: MaskShape,
        stream: Philox,
        x: &mut [T],
    ) -> Result<(), Error> {
        let mask = Drawn::new(self.p, shape, stream)?;
        check_len("x", x.len(), mask.elements)?;
        <T as Compiled>::product(mask, self.factor(), InOut::in_place(x));
        Ok(())
    }

    /// `dx = dy·m`, with the shape and the stream of the forward.
    ///
    /// | argument | elements                    | access      |
    /// |----------|-----------------------------|-------------|
    /// | `stream` | –                           | what the forward drew |
    /// | `dy`     | those of `shape`            | read        |
    /// | `dx`     | those of `shape`            | overwritten |
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn backward<T: Element>(
        &self,
        shape: MaskShape,
        stream: Philox,
        dy: &[T],
        dx: &mut [T],
    ) -> Result<(), Error> {
        let mask = Drawn::new(self.p, shape, stream)?;
        check_len("dy", dy.len(), mask.elements)?;
        check_len("dx", dx.len(), mask.elements)?;
        <T as Compiled>::product(mask, self.factor(), InOut::new(dy, dx));
        Ok(())
    }

    /// `grad = grad·m`: [`backward`](Self::backward) with `dx` in the place of `dy`.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn backward_in_place<T: Element>(
        &self,
        shape: MaskShape,
        stream: Philox,
        grad: &mut [T],
    ) -> Result<(), Error> {
        let mask = Drawn::new(self.p, shape, stream)?;
        check_len("grad", grad.len(), mask.elements)?;
        <T as Compiled>::product(mask, self.factor(), InOut::in_place(grad));
        Ok(())
    }

    /// What is kept is multiplied by this; nothing is where `p` is 1.
    fn factor(&self) -> f64 {
        if self.p == 1.0 { 0.0 } else { 1.0 / (1.0 - self.p) }
    }
}

/// Alpha dropout, for SELU: what is dropped becomes SELU's lower limit −α′, and an affine map keeps mean 0 and variance 1.
///
/// ```text
/// a = 1/√((α′²·p + 1)·(1 − p)),  α′ = 1.7580993408473766
/// y = dropped ? 0·x − a·α′·(1 − p) : a·x + a·α′·p
/// dx = dy·(dropped ? 0 : a)
/// ```
///
/// PyTorch's, its 0·x and its zeros for `p` = 1 included: a dropped NaN or infinity is NaN.
///
/// # Examples
/// ```
/// use steadygrad::Philox;
/// use steadygrad::regularize::{AlphaDropout, MaskShape};
///
/// let (shape, stream) = (MaskShape::elements(3), Philox { key: 1, counter: 0 });
/// let mut y = [0.0_f64; 3];
/// AlphaDropout { p: 0.0 }.forward(shape, stream, &[1.0, 2.0, 3.0], &mut y)?;
/// assert_eq!(y, [1.0, 2.0, 3.0]);
/// # Ok::<(), steadygrad::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AlphaDropout {
    /// Probability that a draw drops, in [0, 1]; 0.5 by default.
    pub p: f64,
}

impl Default for AlphaDropout {
    fn default() -> Self {
        Self { p: 0.5 }
    }
}

impl AlphaDropout {
    /// `y = dropped ? 0·x − a·α′·(1 − p) : a·x + a·α′·p`, within 2 ULP of its largest term.
    ///
    /// | argument | elements                    | access      |
    /// |----------|-----------------------------|-------------|
    /// | `stream` | –                           | what is drawn |
    /// | `x`      | those of `shape`            | read        |
    /// | `y`      | those of `shape`            | overwritten |
    ///
    /// # Errors
    /// As [`Dropout::forward`].
    pub fn forward<T: Element>(
        &self,
        shape: MaskShape,
        stream: Philox,
        x: &[T],
        y: &mut [T],
    ) -> Result<(), Error> {
        let mask = Drawn::new(self.p, shape, stream)?;
        check_len("x", x.len(), mask.elements)?;
        check_len("y", y.len(), mask.elements)?;
        <T as Compiled>::affine(mask, *self, InOut::new(x, y));
        Ok(())
    }

    /// `dx = dy·(dropped ? 0 : a)`, with the shape and the stream of the forward.
    ///
    /// | argument | elements                    | access      |
    /// |----------|-----------------------------|-------------|
    /// | `stream` | –                           | what the forward drew |
    /// | `dy`     | those of `shape`            | read        |
    /// | `dx`     | those of `shape`            | overwritten |
    ///
    /// # Errors
    /// As [`Dropout::forward`].
    pub fn backward<T: Element>(
        &self,
        shape: MaskShape,
        stream: Philox,
        dy: &[T],
        dx: &mut [T],
    ) -> Result<(), Error> {
        let mask = Drawn::new(self.p, shape, stream)?;
        check_len("dy", dy.len(), mask.elements)?;
        check_len("dx", dx.len(), mask.elements)?;
        <T as Compiled>::product(mask, self.factor(), InOut::new(dy, dx));
        Ok(())
    }

    /// a, or 0 where `p` is 1.
    fn factor(&self) -> f64 {
        if self.p == 1.0 { 0.0 } else { reference::alpha_scale(self.p) }
    }
}

/// A mask that is yet to be drawn, of checked arguments.
#[derive(Clone, Copy, Debug)]
pub struct Drawn {
    p: f64,
    shape: MaskShape,
    stream: Philox,
    /// Number of the first draw.
    first: u64,
    elements: usize,
}

impl Drawn {
    fn new(p: f64, shape: MaskShape, stream: Philox) -> Result<Self, Error> {
        check_range("p", "in [0, 1]", (0.0..=1.0).contains(&p))?;
        Ok(Self { p, shape, stream, first: 0, elements: shape.elements_in_all()? })
    }
}

/// [`Dropout`] with a draw an element, of which the first has number `first`; `p` was checked.
pub(crate) fn drop_elements<T: Element>(p: f64, stream: Philox, first: u64, data: InOut<'_, T>) {
    let (shape, elements) = (MaskShape::elements(data.len()), data.len());
    <T as Compiled>::product(Drawn { p, shape, stream, first, elements }, Dropout { p }.factor(), data);
}

compiled_once! {
    fn product(mask: Drawn, kept: f64, data: InOut<'_, Self>) = product_all;
    fn affine(mask: Drawn, op: AlphaDropout, data: InOut<'_, Self>) = affine_all;
}

fn product_all<T: Element>(mask: Drawn, kept: f64, data: InOut<'_, T>) {
    apply(mask, T::from_f64(kept), kernel::Product, data);
}

fn affine_all<T: Element>(mask: Drawn, op: AlphaDropout, data: InOut<'_, T>) {
    if op.p == 0.0 || op.p == 1.0 {
        return product_all(mask, op.factor(), data);
    }
    let scaled = op.factor() * reference::alpha::<f64>();
    let (dropped, kept) = (T::from_f64(-scaled * (1.0 - op.p)), T::from_f64(scaled * op.p));
    apply(mask, T::from_f64(op.factor()), kernel::Affine { dropped, kept }, data);
}

fn apply<T: Element, R: kernel::Rule<T>>(mask: Drawn, kept: T, rule: R, data: InOut<'_, T>) {
    if mask.elements == 0 {
        return;
    }
    let (active, event) = (Active::current(), Event::new(mask.p));
    let Drawn { stream, first: start, shape: MaskShape { repeats, units, inner, .. }, .. } = mask;
    let run = |first: u64, units: usize, data: InOut<'_, T>| {
        let first = start.wrapping_add(first);
        simd::dispatch(active, kernel::Apply { stream, event, kept, rule, first, units, inner, data });
    };
    if repeats == 1 {
        // Cut between whole groups of draws.
        let block = PARALLEL_BLOCK.div_ceil(inner).next_multiple_of(64);
        let whole = Offset { first: 0, data: Rows { data, width: inner } };
        parallel::for_each(whole, block, |Offset { first, data: Rows { data, .. } }| {
            run(first as u64, data.len() / inner, data);
        });
        return;
    }
    let width = units * inner;
    let whole = Offset { first: 0, data: Rows { data, width } };
    parallel::for_each(whole, PARALLEL_BLOCK.div_ceil(width), |Offset { first, data: Rows { data, .. } }| {
        let (mut row, mut data) = (first, data);
        while data.len() > 0 {
            let rows = (repeats - row % repeats).min(data.len() / width);
            let (shared, rest) = data.split_at(rows * width);
            run((row / repeats * units) as u64, units, shared);
            (row, data) = (row + rows, rest);
        }
    });
}
