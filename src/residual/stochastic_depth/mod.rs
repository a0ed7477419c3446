//! Stochastic depth: the residual branch of some samples is left out at random.
//!
//! Huang et al., "Deep networks with stochastic depth", 2016, with the scale of torchvision's `stochastic_depth` in mode
//! `row`. The backward draws what the forward drew: no mask is stored.

mod kernel;
pub mod reference;

use crate::element::compiled_once;
use crate::parallel::{self, Offset, PARALLEL_BLOCK, Rows};
use crate::random::Philox;
use crate::random::philox::kernel::Event;
use crate::shape::{check_len, check_range};
use crate::simd::{self, Active, InOut};
use crate::{Element, Error, RowShape};

/// `y = x + f/(1 − p)` for the rows that keep their branch, `y = x` for the others.
///
/// A branch that is left out is not read: it may hold anything, as it need not have been computed. (torchvision
/// multiplies by 0, which makes its NaN and infinities NaN.) `p` = 1 leaves out all. `p` is taken to 2⁻³², of the draws only.
///
/// # Examples
/// ```
/// use steadygrad::residual::StochasticDepth;
/// use steadygrad::{Philox, RowShape};
///
/// let (shape, stream) = (RowShape { rows: 2, cols: 1 }, Philox { key: 3, counter: 0 });
/// let depth = StochasticDepth { p: 0.5 };
/// let mut y = [0.0_f32; 2];
/// depth.forward(shape, stream, &[1.0, 1.0], &[2.0, 2.0], &mut y)?;
/// assert_eq!(y, [0, 1].map(|row| if depth.keeps(stream, row) { 5.0 } else { 1.0 }));
/// # Ok::<(), steadygrad::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StochasticDepth {
    /// Probability that a row's branch is left out, in [0, 1]; 0 by default.
    pub p: f64,
}

impl StochasticDepth {
    /// Whether row number `row` keeps its branch.
    #[must_use]
    pub fn keeps(&self, stream: Philox, row: u64) -> bool {
        match Event::new(self.p) {
            Event::Never => true,
            Event::Below(bound) => stream.word(row) >= bound,
            Event::Always => false,
        }
    }

    /// `y = x + f/(1 − p)`, or `x`.
    ///
    /// | argument | elements                    | access                           |
    /// |----------|-----------------------------|----------------------------------|
    /// | `stream` | –                           | draw number `row` decides        |
    /// | `x`      | `rows · cols`               | read                             |
    /// | `f`      | `rows · cols`               | read where kept                  |
    /// | `y`      | `rows · cols`               | overwritten                      |
    ///
    /// Within 1.5 ULP of its larger term.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] where `p` is, [`Error::Length`] for the first slice that does not fit `shape`, and
    /// [`Error::Overflow`] where its product does; then nothing was written.
    pub fn forward<T: Element>(
        &self,
        shape: RowShape,
        stream: Philox,
        x: &[T],
        f: &[T],
        y: &mut [T],
    ) -> Result<(), Error> {
        let elements = self.check(shape)?;
        check_len("x", x.len(), elements)?;
        check_len("f", f.len(), elements)?;
        check_len("y", y.len(), elements)?;
        <T as Compiled>::forward(*self, shape, stream, f, InOut::new(x, y));
        Ok(())
    }

    /// `x = x + f/(1 − p)`, or `x` as it is: [`forward`](Self::forward) without a third slice.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn forward_in_place<T: Element>(
        &self,
        shape: RowShape,
        stream: Philox,
        x: &mut [T],
        f: &[T],
    ) -> Result<(), Error> {
        let elements = self.check(shape)?;
        check_len("x", x.len(), elements)?;
        check_len("f", f.len(), elements)?;
        <T as Compiled>::forward(*self, shape, stream, f, InOut::in_place(x));
        Ok(())
    }

    /// `df = dy/(1 − p)`, or 0; the gradient of `x` is `dy`.
    ///
    /// | argument | elements                    | access                |
    /// |----------|-----------------------------|-----------------------|
    /// | `stream` | –                           | what the forward drew |
    /// | `dy`     | `rows · cols`               | read                  |
    /// | `df`     | `rows · cols`               | overwritten           |
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn backward<T: Element>(
        &self,
        shape: RowShape,
        stream: Philox,
        dy: &[T],
        df: &mut [T],
    ) -> Result<(), Error> {
        let elements = self.check(shape)?;
        check_len("dy", dy.len(), elements)?;
        check_len("df", df.len(), elements)?;
        <T as Compiled>::backward(*self, shape, stream, InOut::new(dy, df));
        Ok(())
    }

    fn check(&self, shape: RowShape) -> Result<usize, Error> {
        check_range("p", "in [0, 1]", (0.0..=1.0).contains(&self.p))?;
        shape.elements()
    }

    fn rule<T: Element>(&self, stream: Philox) -> kernel::Rule<T> {
        kernel::Rule { stream, event: Event::new(self.p), kept: T::from_f64(1.0 / (1.0 - self.p)) }
    }
}

compiled_once! {
    fn forward(op: StochasticDepth, shape: RowShape, stream: Philox, f: &[Self], data: InOut<'_, Self>)
        = forward_all;
    fn backward(op: StochasticDepth, shape: RowShape, stream: Philox, data: InOut<'_, Self>) = backward_all;
}

fn forward_all<T: Element>(
    op: StochasticDepth,
    shape: RowShape,
    stream: Philox,
    f: &[T],
    data: InOut<'_, T>,
) {
    if f.is_empty() {
        return;
    }
    let (active, rule, width) = (Active::current(), op.rule(stream), shape.cols);
    let whole = Offset { first: 0, data: Rows { data: (f, data), width } };
    parallel::for_each(whole, PARALLEL_BLOCK.div_ceil(width), |Offset { first, data }| {
        let (f, data) = data.data;
        simd::dispatch(active, kernel::Forward { rule, first, width, f, data });
    });
}

fn backward_all<T: Element>(op: StochasticDepth, shape: RowShape, stream: Philox, data: InOut<'_, T>) {
    if data.len() == 0 {
        return;
    }
    let (active, rule, width) = (Active::current(), op.rule(stream), shape.cols);
    let whole = Offset { first: 0, data: Rows { data, width } };
    parallel::for_each(whole, PARALLEL_BLOCK.div_ceil(width), |Offset { first, data }| {
        simd::dispatch(active, kernel::Backward { rule, first, width, data: data.data });
    });
}
