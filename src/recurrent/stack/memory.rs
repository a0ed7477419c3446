//! Where what a stack keeps lies in its tape, and what it needs meanwhile in its scratch.

use core::mem;

use super::{Directions, Stack};
use crate::recurrent::batch::SequenceBatch;
use crate::recurrent::layer::{Layer, state_widths};
use crate::recurrent::packed::scratch_len;
use crate::recurrent::rows::rows;
use crate::recurrent::sequence::{Direction, SequenceShape};
use crate::recurrent::zoneout::Zoneout;
use crate::{Element, Error};

impl<L: Layer> Stack<L> {
    /// Elements of a tape: those of each layer and direction, their outputs, and the inputs of the layers above; with
    /// lengths, batch-major or with dropout of the input, those of the input too. It does not depend on what the lengths are.
    ///
    /// # Errors
    /// [`Error::Overflow`] where they do not fit in `usize`, [`Error::OutOfRange`] where `layers` is 0.
    pub fn tape_len(&self, batch: SequenceBatch<'_>) -> Result<usize, Error> {
        self.count()?;
        let overflow = Error::Overflow { argument: "shape" };
        let x = self.own_input(batch)?;
        let (first, last) = (self.part_len(batch.shape, 0)?, self.part_len(batch.shape, self.layers - 1)?);
        // All but the first and the last are of one size.
        let between = if self.layers > 2 { self.part_len(batch.shape, 1)? } else { 0 };
        let between = between.checked_mul(self.layers.saturating_sub(2)).ok_or(overflow)?;
        let ends = if self.layers == 1 { first } else { first.checked_add(last).ok_or(overflow)? };
        ends.checked_add(between).and_then(|sum| sum.checked_add(x)).ok_or(overflow)
    }

    /// Elements that `scratch` needs at least; it does not depend on what the lengths are.
    #[must_use]
    pub fn scratch_len<T: Element>(&self, batch: SequenceBatch<'_>) -> usize {
        let products = [0, 1].map(|index| scratch_len::<T>(batch.shape, self.sizes(index)));
        self.scratch_lens(batch).into_iter().fold(products[0].max(products[1]), usize::saturating_add)
    }

    /// Whether the input of the layer above is another than the output of a single half.
    pub(super) fn joins(&self) -> bool {
        self.directions == Directions::Both || self.dropout > 0.0 || self.variational.input > 0.0
    }

    /// Elements of the tape for the input as the first layer takes it, 0 where that is the caller's.
    pub(super) fn own_input(&self, batch: SequenceBatch<'_>) -> Result<usize, Error> {
        let is_own = batch.moves_rows() || self.variational.input > 0.0;
        if is_own { batch.shape.elements(self.sizes(0).inputs) } else { Ok(0) }
    }

    /// Elements of the tape that belong to layer `index`.
    pub(super) fn part_len(&self, shape: SequenceShape, index: usize) -> Result<usize, Error> {
        let outputs = shape.elements(self.layer.sizes().outputs)?;
        let half = self.placed(index, Direction::Forward).tape_elements(shape)?.checked_add(outputs);
        let halves = half.and_then(|half| half.checked_mul(self.directions.count()));
        let joined = if self.joins() && index + 1 < self.layers { shape.elements(self.width())? } else { 0 };
        halves.and_then(|halves| halves.checked_add(joined)).ok_or(Error::Overflow { argument: "shape" })
    }

    /// The tape and the output of each half, and the input of the layer above; of a checked part.
    pub(super) fn part<'a, T>(&self, shape: SequenceShape, part: &'a mut [T]) -> Part<'a, T> {
        let outputs = shape.steps * shape.batch * self.layer.sizes().outputs;
        let tape = self.layer.tape_elements(shape).unwrap_or(0);
        let (first, rest) = part.split_at_mut(tape + outputs);
        let both = if self.directions == Directions::Both { tape + outputs } else { 0 };
        let (second, joined) = rest.split_at_mut(both);
        let halves = [first.split_at_mut(tape), second.split_at_mut(tape.min(both))];
        Part { halves, joined }
    }

    /// What layer `index` read, and its part of the tape.
    pub(super) fn split_tape<'a, T: Copy>(
        &self,
        batch: SequenceBatch<'_>,
        index: usize,
        x: &'a [T],
        tape: &'a mut [T],
    ) -> Result<(&'a [T], &'a mut [T]), Error> {
        let (own_x, mut rest) = tape.split_at_mut(self.own_input(batch)?);
        if index == 0 {
            let own = rows(batch) * self.sizes(0).inputs;
            let input = if own_x.is_empty() { x } else { &own_x[..own] };
            return Ok((input, &mut rest[..self.part_len(batch.shape, 0)?]));
        }
        for below in 0..index - 1 {
            rest = rest.split_at_mut(self.part_len(batch.shape, below)?).1;
        }
        let (below, here) = rest.split_at_mut(self.part_len(batch.shape, index - 1)?);
        let Part { halves: [(_, own_y), _], joined } = self.part(batch.shape, below);
        let input = if self.joins() { joined } else { own_y };
        let here = &mut here[..self.part_len(batch.shape, index)?];
        Ok((&input[..rows(batch) * self.width()], here))
    }

    /// Elements of the states of a layer and direction.
    pub(in crate::recurrent) fn state_len(&self, batch: SequenceBatch<'_>) -> usize {
        let widths = state_widths(self.sizes(0)).into_iter().fold(0, usize::saturating_add);
        batch.shape.batch.saturating_mul(widths)
    }

    /// Elements of the parts of a [`Scratch`] besides the products', in the order of its fields.
    fn scratch_lens(&self, batch: SequenceBatch<'_>) -> [usize; 9] {
        let SequenceShape { steps, batch: sequences } = batch.shape;
        let (rows, sizes) = (steps.saturating_mul(sequences), self.sizes(0));
        let above = if self.layers > 1 { self.width() } else { 0 };
        let below = if batch.moves_rows() { above.max(sizes.inputs) } else { above };
        let masked = self.variational.recurrent > 0.0;
        let before = if batch.lengths.is_some() || masked { sizes.outputs } else { 0 };
        let room = if masked { sizes.outputs } else { 0 };
        let zoned = if self.zoneout == Zoneout::default() { 0 } else { sequences };
        [
            self.state_len(batch),
            sequences.saturating_mul(room),
            rows.saturating_mul(self.width()),
            rows.saturating_mul(below),
            rows.saturating_mul(before),
            zoned.saturating_mul(sizes.outputs),
            zoned.saturating_mul(sizes.hidden),
            zoned.saturating_mul(sizes.hidden),
            zoned.saturating_mul(sizes.outputs.max(sizes.hidden)),
        ]
    }

    /// The parts of a checked scratch.
    pub(super) fn split_scratch<'a, T: Element>(
        &self,
        batch: SequenceBatch<'_>,
        scratch: &'a mut [T],
    ) -> Scratch<'a, T> {
        let mut rest = scratch;
        let [state, room, dy, below, before, kept_h, kept_c, new_cells, zeros] =
            self.scratch_lens(batch).map(|len| {
                let (part, behind) = mem::take(&mut rest).split_at_mut(len);
                rest = behind;
                part
            });
        Scratch { state, room, dy, below, before, kept: [kept_h, kept_c], new_cells, zeros, products: rest }
    }
}

/// The scratch of a stack: what no option asks for is empty.
pub(super) struct Scratch<'a, T> {
    /// The states of a layer and direction, in the order of its rows.
    pub(super) state: &'a mut [T],
    /// With a mask of the recurrent output: the output of a step behind it.
    pub(super) room: &'a mut [T],
    /// The gradient of a layer's outputs, each half on its own.
    pub(super) dy: &'a mut [T],
    /// The gradient of a layer's inputs.
    pub(super) below: &'a mut [T],
    /// With lengths or such a mask: the outputs before each step.
    pub(super) before: &'a mut [T],
    /// With zoneout: what goes past a step, of output and cell.
    pub(super) kept: [&'a mut [T]; 2],
    /// With zoneout: the cells of a step before some are kept.
    pub(super) new_cells: &'a mut [T],
    /// With zoneout: to be filled with zeros.
    pub(super) zeros: &'a mut [T],
    /// What the products need.
    pub(super) products: &'a mut [T],
}

/// The tape of a layer of a stack.
pub(super) struct Part<'a, T> {
    /// Tape and output of each direction.
    pub(super) halves: [(&'a mut [T], &'a mut [T]); 2],
    /// The input of the layer above, where it is not the output of a single half.
    pub(super) joined: &'a mut [T],
}
