//! [`GruGates`]: what a step does unit by unit, its rows shared by all threads.

use super::{Compiled, GATES, kernel};
use crate::parallel::{self, Rows};
use crate::recurrent::sequence::row_block;
use crate::shape::check_len;
use crate::simd::{self, Active};
use crate::{Element, Error};

/// The element-wise part of a GRU step, for crates with products of their own.
///
/// # Examples
/// ```
/// use steadygrad::recurrent::GruGates;
///
/// let (mut gates, mut h) = ([0.0_f64, -100.0, 0.5], [0.0]); // r, z, n of the input
/// GruGates { hidden: 1 }.forward(1, &mut gates, &[0.0, 0.0, 1.0], &[7.0], &mut h)?;
/// assert!((h[0] - 1.0_f64.tanh()).abs() < 1e-15); // tanh(0.5 + σ(0)·1)
/// # Ok::<(), steadygrad::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GruGates {
    /// Units.
    pub hidden: usize,
}

impl GruGates {
    /// The gates after their activations, and the output.
    ///
    /// | argument    | elements             | access                                                             |
    /// |-------------|----------------------|--------------------------------------------------------------------|
    /// | `gates`     | `batch · 3 · hidden` | read as the projection of the input, overwritten with the activated gates |
    /// | `recurrent` | `batch · 3 · hidden` | read: the projection of the old output                             |
    /// | `h_before`  | `batch · hidden`     | read                                                               |
    /// | `h`         | `batch · hidden`     | overwritten                                                        |
    ///
    /// # Errors
    /// [`Error::Length`] names the first argument whose length differs from the table, [`Error::Overflow`] a product that
    /// does not fit in `usize`; then nothing was written.
    pub fn forward<T: Element>(
        &self,
        batch: usize,
        gates: &mut [T],
        recurrent: &[T],
        h_before: &[T],
        h: &mut [T],
    ) -> Result<(), Error> {
        let elements = self.check(batch, gates, recurrent)?;
        check_len("h_before", h_before.len(), elements)?;
        check_len("h", h.len(), elements)?;
        if elements > 0 {
            <T as Compiled>::forward(self.hidden, gates, recurrent, h_before, h);
        }
        Ok(())
    }

    /// The gradients of both projections, and of the old output but for what comes through its projection.
    ///
    /// | argument    | elements             | access                                                                   |
    /// |-------------|----------------------|--------------------------------------------------------------------------|
    /// | `gates`     | `batch · 3 · hidden` | read: the activated gates; overwritten with the gradient of the input's projection |
    /// | `recurrent` | `batch · 3 · hidden` | read: the projection of the old output; overwritten with its gradient    |
    /// | `h_before`  | `batch · hidden`     | read                                                                     |
    /// | `dy`        | `batch · hidden`     | read: with `dh` the gradient of the output                               |
    /// | `dh`        | `batch · hidden`     | read, and overwritten with the gradient of the old output                |
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn backward<T: Element>(
        &self,
        batch: usize,
        (gates, recurrent): (&mut [T], &mut [T]),
        h_before: &[T],
        dy: &[T],
        dh: &mut [T],
    ) -> Result<(), Error> {
        let elements = self.check(batch, gates, recurrent)?;
        let slices = [("h_before", h_before), ("dy", dy), ("dh", &*dh)];
        slices.into_iter().try_for_each(|(name, slice)| check_len(name, slice.len(), elements))?;
        if elements > 0 {
            <T as Compiled>::backward(self.hidden, (gates, recurrent), h_before, dy, dh);
        }
        Ok(())
    }

    /// `batch · hidden`.
    fn check<T>(&self, batch: usize, gates: &[T], recurrent: &[T]) -> Result<usize, Error> {
        let elements = batch.checked_mul(self.hidden);
        let all = elements.and_then(|elements| elements.checked_mul(GATES));
        let (Some(elements), Some(all)) = (elements, all) else {
            return Err(Error::Overflow { argument: "gates" });
        };
        check_len("gates", gates.len(), all)?;
        check_len("recurrent", recurrent.len(), all)?;
        Ok(elements)
    }
}

pub(super) fn reset_all<T: Element>(hidden: usize, gates: &mut [T], before: &[T], reset: &mut [T]) {
    let active = Active::current();
    let gates = Rows { data: gates, width: GATES * hidden };
    let rows = (gates, Rows { data: before, width: hidden }, Rows { data: reset, width: hidden });
    parallel::for_each(rows, row_block(hidden), |(gates, before, reset)| {
        simd::dispatch(active, kernel::Reset { gates, before, reset });
    });
}

pub(super) fn forward_reset_all<T: Element>(hidden: usize, gates: &mut [T], before: &[T], h: &mut [T]) {
    let active = Active::current();
    let gates = Rows { data: gates, width: GATES * hidden };
    let rows = (gates, Rows { data: before, width: hidden }, Rows { data: h, width: hidden });
    parallel::for_each(rows, row_block(hidden), |(gates, before, h)| {
        simd::dispatch(active, kernel::ForwardReset { gates, before, h });
    });
}

pub(super) fn candidate_backward_all<T: Element>(
    hidden: usize,
    gates: &mut [T],
    before: &[T],
    dy: &[T],
    dh: &mut [T],
) {
    let active = Active::current();
    let gates = Rows { data: gates, width: GATES * hidden };
    let row = |data| Rows { data, width: hidden };
    let rows = (gates, (row(before), row(dy)), Rows { data: dh, width: hidden });
    parallel::for_each(rows, row_block(hidden), |(gates, (before, dy), dh)| {
        simd::dispatch(active, kernel::CandidateBackward { gates, before, dy, dh });
    });
}

pub(super) fn reset_backward_all<T: Element>(
    hidden: usize,
    gates: &mut [T],
    before: &[T],
    dreset: &[T],
    dh: &mut [T],
) {
    let active = Active::current();
    let gates = Rows { data: gates, width: GATES * hidden };
    let row = |data| Rows { data, width: hidden };
    let rows = (gates, (row(before), row(dreset)), Rows { data: dh, width: hidden });
    parallel::for_each(rows, row_block(hidden), |(gates, (before, dreset), dh)| {
        simd::dispatch(active, kernel::ResetBackward { gates, before, dreset, dh });
    });
}

pub(super) fn forward_all<T: Element>(
    hidden: usize,
    gates: &mut [T],
    recurrent: &[T],
    before: &[T],
    h: &mut [T],
) {
    let active = Active::current();
    let projections =
        (Rows { data: gates, width: GATES * hidden }, Rows { data: recurrent, width: GATES * hidden });
    let rows = (projections, Rows { data: before, width: hidden }, Rows { data: h, width: hidden });
    parallel::for_each(rows, row_block(hidden), |((gates, recurrent), before, h)| {
        simd::dispatch(active, kernel::Forward { gates, recurrent, before, h });
    });
}

pub(super) fn backward_all<T: Element>(
    hidden: usize,
    (gates, recurrent): (&mut [T], &mut [T]),
    before: &[T],
    dy: &[T],
    dh: &mut [T],
) {
    let active = Active::current();
    let projections =
        (Rows { data: gates, width: GATES * hidden }, Rows { data: recurrent, width: GATES * hidden });
    let inputs = (Rows { data: before, width: hidden }, Rows { data: dy, width: hidden });
    let rows = (projections, inputs, Rows { data: dh, width: hidden });
    parallel::for_each(rows, row_block(hidden), |((gates, recurrent), (before, dy), dh)| {
        simd::dispatch(active, kernel::Backward { gates, recurrent, before, dy, dh });
    });
}
