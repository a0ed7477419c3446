//! Variational dropout: one mask of a sequence for all of its steps, drawn again wherever it is needed.

use core::ops::Range;

use super::lstm;
use super::packed::PackedRecurrent;
use super::sequence::{Walk, part_mut};
use crate::Element;
use crate::parallel::Split;
use crate::random::Philox;
use crate::regularize::drop_elements;
use crate::simd::InOut;

/// A draw a feature of each sequence.
#[derive(Clone, Copy, Debug)]
pub(super) struct StepMask {
    /// Probability of a zero, in [0, 1].
    pub(super) p: f64,
    pub(super) stream: Philox,
}

impl StepMask {
    /// Applies what sequences from `first` on have of the mask to their rows of `width`.
    fn apply<T: Element>(self, first: usize, width: usize, rows: InOut<'_, T>) {
        drop_elements(self.p, self.stream, (first * width) as u64, rows);
    }

    /// Applies the mask to the rows of all steps.
    pub(super) fn apply_to_steps<T: Element>(self, walk: Walk<'_>, width: usize, data: &mut [T]) {
        for turn in 0..walk.shape.steps {
            let rows = walk.rows(turn);
            self.apply(0, width, InOut::in_place(part_mut(data, width, &rows)));
        }
    }
}

/// What of the outputs goes into the product of the next step.
#[derive(Debug)]
pub(super) struct Carry<'a, T> {
    /// All of it where there is none.
    mask: Option<StepMask>,
    /// As many elements as the outputs of a step have, where there is a mask.
    room: &'a mut [T],
    /// Features of the output.
    width: usize,
    /// Number of the first sequence.
    first: usize,
}

/// No mask.
impl<T> Default for Carry<'_, T> {
    fn default() -> Self {
        Self { mask: None, room: &mut [], width: 0, first: 0 }
    }
}

impl<'a, T: Element> Carry<'a, T> {
    pub(super) fn new(mask: Option<StepMask>, room: &'a mut [T], width: usize) -> Self {
        Self { mask, room, width, first: 0 }
    }

    /// The same for a shorter time.
    pub(super) fn reborrow(&mut self) -> Carry<'_, T> {
        Carry { mask: self.mask, room: &mut *self.room, ..*self }
    }

    pub(super) fn is_masked(&self) -> bool {
        self.mask.is_some()
    }

    /// What is left of `before`, the rows of `sequences` before a step.
    pub(super) fn kept<'b>(&'b mut self, sequences: &Range<usize>, before: &'b [T]) -> &'b [T] {
        let Some(mask) = self.mask else { return before };
        let kept = &mut self.room[..before.len()];
        mask.apply(self.first + sequences.start, self.width, InOut::new(before, kept));
        kept
    }

    /// [`kept`](Self::kept) in the place of what it is of, and so what goes back through it.
    pub(super) fn keep(&self, sequences: &Range<usize>, rows: &mut [T]) {
        if let Some(mask) = self.mask {
            mask.apply(self.first + sequences.start, self.width, InOut::in_place(rows));
        }
    }

    /// `dh = m∘(dgates·W_hh)` of the first `batch` sequences.
    pub(super) fn step_backward(
        &self,
        weights: &PackedRecurrent<T>,
        (batch, dgates): (usize, &[T]),
        scratch: &mut [T],
        dh: &mut [T],
    ) {
        weights.step_backward(batch, dgates, T::zero(), scratch, dh);
        self.keep(&(0..batch), dh);
    }

    /// `dh += m∘(dgates·W_hh)` of the first `batch` sequences.
    pub(super) fn add_step_backward(
        &mut self,
        weights: &PackedRecurrent<T>,
        (batch, dgates): (usize, &[T]),
        scratch: &mut [T],
        dh: &mut [T],
    ) {
        let Some(mask) = self.mask else {
            return weights.step_backward(batch, dgates, T::one(), scratch, dh);
        };
        let through = &mut self.room[..dh.len()];
        weights.step_backward(batch, dgates, T::zero(), scratch, through);
        mask.apply(self.first, self.width, InOut::in_place(through));
        <T as lstm::Compiled>::add(through, InOut::in_place(dh));
    }
}

/// Cut between sequences.
impl<T: Send> Split for Carry<'_, T> {
    fn len(&self) -> usize {
        self.room.len().checked_div(self.width).unwrap_or(0)
    }
    fn split_at(self, mid: usize) -> (Self, Self) {
        let (room, rest) = self.room.split_at_mut(self.room.len().min(mid * self.width));
        (Self { room, ..self }, Self { room: rest, first: self.first + mid, ..self })
    }
}
