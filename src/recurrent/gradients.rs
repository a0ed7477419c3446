//! What the gradients of gates give to those of the input, the weights and the biases.

use core::ops::Range;

use super::PackedRecurrent;
use super::carry::Carry;
use super::packed::{multiply, outer};
use super::sequence::{Biases, Direction, RecurrentGradients, Sizes, Walk, part, part_mut};
use crate::Element;
use crate::linear::{Compiled, Factor, GemmShape, MatrixLayout, Start};

/// Rows whose gates' gradients, while they are in cache, go into all gradients that are made of them: as many as a block of
/// a product sums at least, or as many as a row has inputs where that is more.
pub(super) const ROWS_TOGETHER: usize = 256;

/// What the gradients of weights are made of: the sequences that the layer read and wrote, and the gradients of the gates,
/// `input` before the bias of the input, `recurrent` before the recurrent bias.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms<'a, T> {
    pub(super) x: &'a [T],
    pub(super) y: &'a [T],
    pub(super) h0: &'a [T],
    pub(super) input: &'a [T],
    pub(super) recurrent: &'a [T],
    /// What the last gate's own product took, where it is apart.
    pub(super) candidate: &'a [T],
}

/// What a backward writes by the way.
#[derive(Debug)]
pub(super) struct Buffers<'a, T> {
    pub(super) scratch: &'a mut [T],
    /// The outputs before each step, where sequences have lengths of their own or the outputs a mask; else nothing.
    pub(super) before: &'a mut [T],
    pub(super) carry: Carry<'a, T>,
    /// The factor of what the gradient of the input holds: 0, or 1 to add.
    pub(super) dx_start: T,
    /// The same of what the gradients of the weights hold.
    pub(super) dw_start: T,
}

impl<T: Element> PackedRecurrent<T> {
    /// What the gradients of the gates from `turn` on give to all others, where that is due; of a backward, whose turns go
    /// down to 0.
    pub(super) fn gradients_behind(
        &self,
        walk: Walk<'_>,
        turn: usize,
        terms: Terms<'_, T>,
        buffers: &mut Buffers<'_, T>,
        gradients: &mut RecurrentGradients<'_, T>,
    ) {
        let Some(now) = self.together(walk, turn, ROWS_TOGETHER).filter(|now| !now.is_empty()) else {
            return;
        };
        let (inputs, width) = (self.sizes.inputs, self.width());
        let Buffers { scratch, dx_start, dw_start, .. } = buffers;
        let dgates = part(terms.input, width, &now);
        if let Some(dx) = &mut gradients.x {
            let shape = GemmShape::dense(now.len(), inputs, width);
            let (b, start) = (Factor::Packed(&self.input_backward), Start::Scaled(*dx_start));
            multiply(shape, dgates, b, start, scratch, part_mut(dx, inputs, &now));
        }
        if let Some(dw) = &mut gradients.input {
            let x = Factor::Strided(part(terms.x, inputs, &now));
            multiply(outer(width, inputs, now.len()), dgates, x, Start::Scaled(*dw_start), scratch, dw);
        }
        if let Some(dw) = &mut gradients.recurrent {
            self.recurrent_gradients(walk, (turn, &now), terms, buffers, dw);
        }
        buffers.dw_start = T::one();
        let drecurrent = part(terms.recurrent, width, &now);
        match (&mut gradients.input_bias, &mut gradients.recurrent_bias) {
            (Some(db), also) if self.sizes.form.biases == Biases::Joined => {
                <T as Compiled>::column_sums(now.len(), (dgates, width), db, also.as_deref_mut());
            }
            (input, recurrent) => {
                for (db, values) in [(input, dgates), (recurrent, drecurrent)] {
                    if let Some(db) = db {
                        <T as Compiled>::column_sums(now.len(), (values, width), db, None);
                    }
                }
            }
        }
    }

    /// `dW_hh += dgatesᵀ·h` of the rows `now`, which begin with `turn`.
    fn recurrent_gradients(
        &self,
        walk: Walk<'_>,
        (turn, now): (usize, &Range<usize>),
        Terms { y, h0, recurrent, candidate, .. }: Terms<'_, T>,
        Buffers { scratch, before, carry, dw_start, .. }: &mut Buffers<'_, T>,
        dw: &mut [T],
    ) {
        let (Sizes { hidden, outputs, .. }, width) = (self.sizes, self.width());
        let (rows, batch, together) = (walk.len(), walk.shape.batch, self.sizes.together());
        let (dw, dw_candidate) = dw.split_at_mut(together * outputs);
        let mut add = |(m, skip): (usize, usize), rows: Range<usize>, h: &[T], start: T, dw: &mut [T]| {
            let a = MatrixLayout { stride: width, ..MatrixLayout::transposed(m, rows.len()) };
            let shape = GemmShape { a, ..outer(m, outputs, rows.len()) };
            let dgates = recurrent.get(rows.start * width + skip..).unwrap_or_default();
            multiply(shape, dgates, Factor::Strided(h), Start::Scaled(start), scratch, dw);
        };
        if self.sizes.form.candidate_apart {
            add((hidden, together), now.clone(), part(candidate, outputs, now), *dw_start, dw_candidate);
        }
        if walk.starts.is_some() || carry.is_masked() {
            let from = now.start;
            let in_block =
                |turn: &usize| now.contains(&walk.rows(*turn).start) || walk.rows(*turn).is_empty();
            for turn in (turn..walk.shape.steps).take_while(in_block) {
                for rows in walk.parts(turn) {
                    let to = rows.rows.start - from..rows.rows.end - from;
                    let before = part_mut(before, outputs, &to);
                    before.copy_from_slice(rows.before(y, outputs, h0));
                    carry.keep(&rows.sequences, before);
                }
            }
            return add((together, 0), now.clone(), part(before, outputs, &(0..now.len())), *dw_start, dw);
        }
        // Every step but the first in turn has the output of another before it.
        let (first, later, earlier) = match walk.direction {
            Direction::Forward => {
                let later = now.start.max(batch)..now.end.max(batch);
                (0..batch, later.clone(), later.start - batch..later.end - batch)
            }
            Direction::Backward => {
                let later = now.start.min(rows - batch)..now.end.min(rows - batch);
                (rows - batch..rows, later.clone(), later.start + batch..later.end + batch)
            }
        };
        let mut start = *dw_start;
        if !later.is_empty() {
            add((together, 0), later, part(y, outputs, &earlier), start, dw);
            start = T::one();
        }
        if turn == 0 {
            add((together, 0), first, h0, start, dw);
        }
    }
}
