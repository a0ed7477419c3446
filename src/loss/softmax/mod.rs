//! Softmax and its logarithm over rows, with their backward passes.
//!
//! Bridle 1990. The largest element is subtracted first, so no exponential overflows; a row stays in cache over its
//! passes: maximum, exponentials with their sum, and the scaling.

pub(crate) mod kernel;
pub mod reference;

use crate::element::compiled_once;
use crate::parallel::{self, Rows, row_block};
use crate::shape::check_rows;
use crate::simd::{self, Active, InOut};
use crate::{Element, Error, RowShape};

/// A distribution from logits, over each row; semantics are PyTorch's.
///
/// A row with NaN or +∞, or of −∞ only, gives NaN.
#[doc(alias = "log_softmax")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Softmax {
    /// y = eˣ / Σ eˣ; −∞ gives 0.
    Probabilities,
    /// y = x − ln Σ eˣ, PyTorch's `log_softmax`; −∞ stays −∞.
    Logarithms,
}

impl Softmax {
    /// `y = softmax(x)`, or its logarithm, for each row.
    ///
    /// ```text
    /// Probabilities: yᵢ = eˣⁱ / Σⱼ eˣʲ        Logarithms: yᵢ = xᵢ − ln Σⱼ eˣʲ
    /// ```
    ///
    /// | argument | elements      | access      |
    /// |----------|---------------|-------------|
    /// | `x`      | `rows · cols` | read        |
    /// | `y`      | `rows · cols` | overwritten |
    ///
    /// Probabilities are within 4 + |x − max x| ULP of the formula, for the exponent is rounded once; logarithms within
    /// 4 ULP, or 2 epsilons near 0.
    ///
    /// # Errors
    /// [`Error::Length`] names the first argument whose length differs from the table, [`Error::Empty`] `cols` where
    /// there are rows without elements, [`Error::Overflow`] `shape` where `rows · cols` does; then nothing was written.
    ///
    /// # Examples
    /// ```
    /// use steadygrad::{RowShape, loss::Softmax};
    ///
    /// let mut y = [0.0_f32; 4];
    /// let x = [5.0, 5.0, 1e30, f32::NEG_INFINITY];
    /// Softmax::Probabilities.forward(RowShape { rows: 2, cols: 2 }, &x, &mut y)?;
    /// assert_eq!(y, [0.5, 0.5, 1.0, 0.0]);
    /// # Ok::<(), steadygrad::Error>(())
    /// ```
    pub fn forward<T: Element>(&self, shape: RowShape, x: &[T], y: &mut [T]) -> Result<(), Error> {
        check_rows(shape, &[("x", x.len()), ("y", y.len())])?;
        <T as Compiled>::forward(*self, shape, InOut::new(x, y));
        Ok(())
    }

    /// [`forward`](Self::forward) without a second slice.
    ///
    /// | argument | elements      | access               |
    /// |----------|---------------|----------------------|
    /// | `x`      | `rows · cols` | read and overwritten |
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn forward_in_place<T: Element>(&self, shape: RowShape, x: &mut [T]) -> Result<(), Error> {
        check_rows(shape, &[("x", x.len())])?;
        <T as Compiled>::forward(*self, shape, InOut::in_place(x));
        Ok(())
    }

    /// `dx` for each row from the input: `y` is computed anew, so it need not be kept.
    ///
    /// | argument | elements      | access                         |
    /// |----------|---------------|--------------------------------|
    /// | `x`      | `rows · cols` | read: the input of the forward |
    /// | `dy`     | `rows · cols` | read                           |
    /// | `dx`     | `rows · cols` | overwritten                    |
    ///
    /// The bits are those of [`forward`](Self::forward) and
    /// [`backward_from_output`](Self::backward_from_output).
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn backward<T: Element>(
        &self,
        shape: RowShape,
        x: &[T],
        dy: &[T],
        dx: &mut [T],
    ) -> Result<(), Error> {
        check_rows(shape, &[("x", x.len()), ("dy", dy.len()), ("dx", dx.len())])?;
        <T as Compiled>::backward(*self, shape, dy, InOut::new(x, dx));
        Ok(())
    }

    /// `dx` for each row from the output.
    ///
    /// ```text
    /// Probabilities: dxᵢ = yᵢ · (dyᵢ − Σⱼ yⱼ · dyⱼ)        Logarithms: dxᵢ = dyᵢ − eʸⁱ · Σⱼ dyⱼ
    /// ```
    ///
    /// | argument | elements      | access                          |
    /// |----------|---------------|---------------------------------|
    /// | `y`      | `rows · cols` | read: the output of the forward |
    /// | `dy`     | `rows · cols` | read                            |
    /// | `dx`     | `rows · cols` | overwritten                     |
    ///
    /// The row's sum is taken in `f64`; the difference cancels, so the result is within 4 ULP of its larger term.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    ///
    /// # Examples
    /// ```
    /// use steadygrad::{RowShape, loss::Softmax};
    ///
    /// let mut dx = [0.0_f64; 2];
    /// let shape = RowShape { rows: 1, cols: 2 };
    /// Softmax::Probabilities.backward_from_output(shape, &[0.5, 0.5], &[4.0, 0.0], &mut dx)?;
    /// assert_eq!(dx, [1.0, -1.0]); // 0.5 · (4 − 2), 0.5 · (0 − 2)
    /// # Ok::<(), steadygrad::Error>(())
    /// ```
    pub fn backward_from_output<T: Element>(
        &self,
        shape: RowShape,
        y: &[T],
        dy: &[T],
        dx: &mut [T],
    ) -> Result<(), Error> {
        check_rows(shape, &[("y", y.len()), ("dy", dy.len()), ("dx", dx.len())])?;
        <T as Compiled>::backward_from_output(*self, shape, y, InOut::new(dy, dx));
        Ok(())
    }

    /// [`backward_from_output`](Self::backward_from_output) with `dx` in the place of `dy`.
    ///
    /// | argument | elements      | access                              |
    /// |----------|---------------|-------------------------------------|
    /// | `y`      | `rows · cols` | read: the output of the forward     |
    /// | `grad`   | `rows · cols` | read as `dy`, overwritten with `dx` |
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn backward_from_output_in_place<T: Element>(
        &self,
        shape: RowShape,
        y: &[T],
        grad: &mut [T],
    ) -> Result<(), Error> {
        check_rows(shape, &[("y", y.len()), ("grad", grad.len())])?;
        <T as Compiled>::backward_from_output(*self, shape, y, InOut::in_place(grad));
        Ok(())
    }
}

compiled_once! {
    fn forward(softmax: Softmax, shape: RowShape, data: InOut<'_, Self>) = forward_all;
    fn backward(softmax: Softmax, shape: RowShape, dy: &[Self], data: InOut<'_, Self>) = backward_all;
    fn backward_from_output(softmax: Softmax, shape: RowShape, y: &[Self], data: InOut<'_, Self>) = backward_from_output_all;
}

fn forward_all<T: Element>(softmax: Softmax, shape: RowShape, data: InOut<'_, T>) {
    if data.len() == 0 {
        return;
    }
    let active = Active::current();
    parallel::for_each(Rows { data, width: shape.cols }, row_block(shape.cols), |rows| {
        simd::dispatch(active, kernel::Forward { softmax, rows });
    });
}

fn backward_all<T: Element>(softmax: Softmax, shape: RowShape, dy: &[T], data: InOut<'_, T>) {
    if data.len() == 0 {
        return;
    }
    let active = Active::current();
    let rows = Rows { data: (dy, data), width: shape.cols };
    parallel::for_each(rows, row_block(shape.cols), |rows| {
        simd::dispatch(active, kernel::Backward { softmax, rows });
    });
}

fn backward_from_output_all<T: Element>(softmax: Softmax, shape: RowShape, y: &[T], data: InOut<'_, T>) {
    if data.len() == 0 {
        return;
    }
    let active = Active::current();
    let rows = Rows { data: (y, data), width: shape.cols };
    parallel::for_each(rows, row_block(shape.cols), |rows| {
        simd::dispatch(active, kernel::BackwardFromOutput { softmax, rows });
    });
}
