//! Rows of sequences in the order of their steps, without padding: where they are in the caller's batch, and copies from one to
//! the other.

use super::layer::state_widths;
use super::sequence::Sizes;
use super::{Lengths, SequenceBatch};
use crate::Element;

/// Rows without padding.
pub(super) fn rows(batch: SequenceBatch<'_>) -> usize {
    batch.lengths.map_or(batch.shape.steps * batch.shape.batch, Lengths::rows)
}

/// Columns of rows that several halves share.
#[derive(Clone, Copy)]
pub(super) struct Columns {
    width: usize,
    offset: usize,
    stride: usize,
}

impl Columns {
    pub(super) fn of(width: usize, half: usize, count: usize) -> Self {
        Self { width, offset: half * width, stride: count * width }
    }
}

/// Where each row, in the order in which layers go through them, lies in the caller's batch; where there is none, each lies
/// where it is.
fn places(batch: Option<SequenceBatch<'_>>, rows: usize) -> impl Iterator<Item = usize> {
    let all = if batch.is_some() { 0 } else { rows };
    batch.into_iter().flat_map(SequenceBatch::places).chain(0..all)
}

/// Copies columns of rows to rows of their own.
pub(super) fn collect<T: Copy>(batch: Option<SequenceBatch<'_>>, from: &[T], columns: Columns, to: &mut [T]) {
    let Columns { width, offset, stride } = columns;
    let rows = to.len().checked_div(width).unwrap_or(0);
    for (place, to) in places(batch, rows).zip(to.chunks_exact_mut(width.max(1))) {
        to.copy_from_slice(&from[place * stride + offset..][..width]);
    }
}

/// Copies rows to columns of rows.
pub(super) fn spread<T: Copy>(batch: Option<SequenceBatch<'_>>, from: &[T], columns: Columns, to: &mut [T]) {
    let Columns { width, offset, stride } = columns;
    let rows = from.len().checked_div(width).unwrap_or(0);
    for (place, from) in places(batch, rows).zip(from.chunks_exact(width.max(1))) {
        to[place * stride + offset..][..width].copy_from_slice(from);
    }
}

/// The state of one half of a layer, sorted as the rows are.
pub(super) struct States<'a, T> {
    lengths: Option<&'a Lengths>,
    index: usize,
    slices: [&'a mut [T]; 2],
    widths: [usize; 2],
}

impl<'a, T: Element> States<'a, T> {
    pub(super) fn sort(
        batch: SequenceBatch<'a>,
        index: usize,
        sizes: Sizes,
        all: &[&mut [T]; 2],
        scratch: &'a mut [T],
    ) -> Self {
        let widths = state_widths(sizes);
        let sequences = batch.shape.batch;
        let (h, c) = scratch.split_at_mut(sequences * widths[0]);
        // Cells without a state of their own have an empty slice.
        let c = if all[1].is_empty() { &mut [] } else { &mut c[..sequences * widths[1]] };
        let mut sorted = Self { lengths: batch.lengths, index, slices: [h, c], widths };
        let places = |row: usize| sorted.lengths.map_or(row, |lengths| lengths.order()[row]);
        for ((slice, all), width) in sorted.slices.iter_mut().zip(all).zip(widths) {
            let from = all.get(index * sequences * width..).unwrap_or_default();
            for (row, to) in slice.chunks_exact_mut(width.max(1)).enumerate() {
                to.copy_from_slice(&from[places(row) * width..][..width]);
            }
        }
        sorted
    }

    pub(super) fn slices(&mut self) -> [&mut [T]; 2] {
        let [h, c] = &mut self.slices;
        [h, c]
    }

    pub(super) fn put_back(self, all: &mut [&mut [T]; 2]) {
        let places = |row: usize| self.lengths.map_or(row, |lengths| lengths.order()[row]);
        for ((slice, all), width) in self.slices.iter().zip(all).zip(self.widths) {
            let from = self.index * slice.len();
            for (row, slice) in slice.chunks_exact(width.max(1)).enumerate() {
                all[from + places(row) * width..][..width].copy_from_slice(slice);
            }
        }
    }
}
