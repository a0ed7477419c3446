//! [`LstmGates`]: what a step does unit by unit, its rows shared by all threads.

use super::{Compiled, LstmVariant, kernel};
use crate::parallel::{self, Rows};
use crate::recurrent::sequence::row_block;
use crate::shape::check_len;
use crate::simd::{self, Active, InOut};
use crate::{Element, Error};

/// The element-wise part of an LSTM step, for crates with products of their own.
///
/// # Examples
/// ```
/// use steadygrad::recurrent::LstmGates;
///
/// let mut gates = [0.0_f64, 100.0, 0.0, 100.0]; // i, f, g, o before their activations
/// let (mut c, mut h) = ([0.0], [0.0]);
/// LstmGates { hidden: 1, ..LstmGates::default() }.forward(1, &[], &mut gates, &[2.0], &mut c, &mut h)?;
/// assert!(c == [2.0] && (h[0] - 2.0_f64.tanh()).abs() < 1e-15);
/// # Ok::<(), steadygrad::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LstmGates {
    /// Units.
    pub hidden: usize,
    /// Which gates there are; [`LstmVariant::Standard`] by default.
    pub variant: LstmVariant,
}

impl LstmGates {
    /// The gates after their activations, the new cell and the output.
    ///
    /// | argument   | elements             | access                                                         |
    /// |------------|----------------------|----------------------------------------------------------------|
    /// | `peephole` | `3 · hidden` of i, f, o, or none | read, by [`LstmVariant::Peephole`] only             |
    /// | `gates`    | `batch · 4 · hidden`, coupled 3 | read as the sums before the activations, overwritten with the activated gates |
    /// | `c_before` | `batch · hidden`     | read                                                           |
    /// | `c`        | `batch · hidden`     | overwritten                                                    |
    /// | `h`        | `batch · hidden`     | overwritten                                                    |
    ///
    /// # Errors
    /// [`Error::Length`] names the first argument whose length differs from the table, [`Error::Overflow`] a product that
    /// does not fit in `usize`; then nothing was written.
    pub fn forward<T: Element>(
        &self,
        batch: usize,
        peephole: &[T],
        gates: &mut [T],
        c_before: &[T],
        c: &mut [T],
        h: &mut [T],
    ) -> Result<(), Error> {
        let elements = self.check(batch, peephole, gates)?;
        check_len("c_before", c_before.len(), elements)?;
        check_len("c", c.len(), elements)?;
        check_len("h", h.len(), elements)?;
        if elements > 0 {
            <T as Compiled>::forward(*self, peephole, gates, c_before, c, h);
        }
        Ok(())
    }

    /// The gradients of the sums before the activations, and of the old cell.
    ///
    /// | argument   | elements             | access                                                                |
    /// |------------|----------------------|-----------------------------------------------------------------------|
    /// | `peephole` | as in the forward    | read                                                                  |
    /// | `gates`    | `batch · 4 · hidden`, coupled 3 | read: the activated gates; overwritten with the gradients of the sums |
    /// | `c_before` | `batch · hidden`     | read                                                                  |
    /// | `c`        | `batch · hidden`     | read: the new cell                                                    |
    /// | `dy`, `dh` | `batch · hidden`     | read: their sum is the gradient of the output                         |
    /// | `dc`       | `batch · hidden`     | read as the gradient of the new cell, overwritten with that of the old one |
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn backward<T: Element>(
        &self,
        batch: usize,
        peephole: &[T],
        gates: &mut [T],
        (c_before, c): (&[T], &[T]),
        (dy, dh): (&[T], &[T]),
        dc: &mut [T],
    ) -> Result<(), Error> {
        let elements = self.check(batch, peephole, gates)?;
        let slices = [("c_before", c_before), ("c", c), ("dy", dy), ("dh", dh), ("dc", &*dc)];
        slices.into_iter().try_for_each(|(name, slice)| check_len(name, slice.len(), elements))?;
        if elements > 0 {
            <T as Compiled>::backward(*self, peephole, gates, (c_before, c), (dy, dh), dc);
        }
        Ok(())
    }

    /// `batch · hidden`.
    fn check<T>(&self, batch: usize, peephole: &[T], gates: &[T]) -> Result<usize, Error> {
        let elements = batch.checked_mul(self.hidden);
        let all = elements.and_then(|elements| elements.checked_mul(self.variant.gates()));
        let seen = self.hidden.checked_mul(if self.variant == LstmVariant::Peephole { 3 } else { 0 });
        let (Some(elements), Some(all), Some(seen)) = (elements, all, seen) else {
            return Err(Error::Overflow { argument: "gates" });
        };
        check_len("peephole", peephole.len(), seen)?;
        check_len("gates", gates.len(), all)?;
        Ok(elements)
    }
}

pub(super) fn forward_all<T: Element>(
    LstmGates { hidden, variant }: LstmGates,
    peephole: &[T],
    gates: &mut [T],
    before: &[T],
    c: &mut [T],
    h: &mut [T],
) {
    let active = Active::current();
    let gates = Rows { data: gates, width: variant.gates() * hidden };
    let cells = (Rows { data: before, width: hidden }, Rows { data: c, width: hidden });
    let rows = (gates, cells, Rows { data: h, width: hidden });
    parallel::for_each(rows, row_block(hidden), |(gates, (before, c), h)| {
        simd::dispatch(active, kernel::Forward { variant, peephole, gates, before, c, h });
    });
}

pub(super) fn backward_all<T: Element>(
    LstmGates { hidden, variant }: LstmGates,
    peephole: &[T],
    gates: &mut [T],
    (before, c): (&[T], &[T]),
    (dy, dh): (&[T], &[T]),
    dc: &mut [T],
) {
    let active = Active::current();
    let gates = (Rows { data: gates, width: variant.gates() * hidden }, Rows { data: dc, width: hidden });
    let row = |data| Rows { data, width: hidden };
    let rows = (gates, (row(before), row(c)), (row(dy), row(dh)));
    parallel::for_each(rows, row_block(hidden), |((gates, dc), (before, c), (dy, dh))| {
        simd::dispatch(active, kernel::Backward { variant, peephole, gates, before, c, dy, dh, dc });
    });
}

pub(super) fn add_all<T: Element>(a: &[T], to: InOut<'_, T>) {
    let active = Active::current();
    parallel::for_each((a, to), parallel::PARALLEL_BLOCK, |(a, to)| {
        simd::dispatch(active, kernel::Add { a, to });
    });
}

pub(super) fn new_cells_all<T: Element>(
    LstmGates { hidden, variant }: LstmGates,
    gates: &[T],
    before: &[T],
    to: &mut [T],
) {
    let active = Active::current();
    let cells = (Rows { data: before, width: hidden }, Rows { data: to, width: hidden });
    let rows = (Rows { data: gates, width: variant.gates() * hidden }, cells);
    parallel::for_each(rows, row_block(hidden), |(gates, (before, to))| {
        simd::dispatch(active, kernel::NewCells { variant, gates, before, to });
    });
}

pub(super) fn seen_all<T: Element>(hidden: usize, gates: &mut [T], (before, c): (&[T], &[T])) {
    let active = Active::current();
    let row = |data| Rows { data, width: hidden };
    let rows = (Rows { data: gates, width: 4 * hidden }, row(before), row(c));
    parallel::for_each(rows, row_block(hidden), |(gates, before, c)| {
        simd::dispatch(active, kernel::Seen { gates, before, c });
    });
}
