//! The passes over a sequence: forward, and backward through time.

use core::ops::Range;

use super::{Compiled, GATES, Gru, GruReset};
use crate::parallel::Rows;
use crate::recurrent::gradients::Terms;
use crate::recurrent::lanes::{Chunk, Steps};
use crate::recurrent::layer::{Backward, Forward, Pass};
use crate::recurrent::sequence::{Biases, Form, Sizes, Walk, part, part_mut};
use crate::recurrent::{Direction, PackedRecurrent, SequenceShape, SequenceValues};
use crate::{Element, Error};

impl Pass for Gru {
    const STATE: [&'static [&'static str]; 2] = [&["state"], &["dstate"]];

    fn sizes(&self) -> Sizes {
        let candidate_apart = self.reset == GruReset::Before;
        let biases = if candidate_apart { Biases::Joined } else { Biases::Apart };
        let form = Form { candidate_apart, ..Form::plain(biases) };
        Sizes { inputs: self.inputs, hidden: self.hidden, outputs: self.hidden, gates: GATES, form }
    }

    fn direction(&self) -> Direction {
        self.direction
    }

    fn keeps(&self) -> [bool; 2] {
        [true, false]
    }

    fn placed(self, inputs: usize, direction: Direction) -> Self {
        Self { inputs, direction, ..self }
    }

    fn tape_elements(&self, shape: SequenceShape) -> Result<usize, Error> {
        let (values, states) = match self.reset {
            GruReset::After => (2 * GATES, 1),
            GruReset::Before => (GATES + 1, 2),
        };
        let values = shape.elements(self.hidden)?.checked_mul(values);
        let states = shape.state(self.hidden)?.checked_mul(states);
        let sum = values.and_then(|values| values.checked_add(states?));
        sum.ok_or(Error::Overflow { argument: "shape" })
    }

    fn forward_pass<T: Element>(&self, pass: Forward<'_, T>) {
        let Forward { walk, x, weights, state: [state, _], mut carry, keep: [keep, _], tape, scratch, y } =
            pass;
        let (hidden, width) = (self.hidden, GATES * self.hidden);
        let Tape { h0, gates, recurrent, .. } = self.tape(walk.shape, tape);
        h0.copy_from_slice(state);
        let mut next = 0;
        while next < walk.shape.steps {
            weights.project_ahead(walk, next, x, scratch, gates);
            let turns = weights.turns_ahead(walk, next);
            next = turns.end;
            if let Some(chunk) = self.chunk(weights, walk, &turns).filter(|_| !keep.is_on()) {
                let (y, h0) = chunk.with_before(y, hidden, h0);
                let projection = |data| Steps::new(&chunk, part_mut(data, width, &chunk.rows), width);
                let steps = (projection(gates), projection(recurrent), Steps::new(&chunk, y, hidden));
                let x = Steps::new(&chunk, part(x, self.inputs, &chunk.rows), self.inputs);
                let lanes = (steps, Rows { data: h0, width: hidden }, (carry.reborrow(), x));
                chunk.run(lanes, |batch, ((mut gates, mut recurrent, mut y), h0, (mut carry, x))| {
                    for at in 0..chunk.steps {
                        let ((h, before), recurrent) = (y.with_before(at, h0.data), recurrent.now(at));
                        weights.project_now(batch, x.rows(at), &mut [], gates.now(at));
                        weights.project_step(batch, carry.kept(&(0..batch), before), &mut [], recurrent);
                        <T as Compiled>::forward(hidden, gates.now(at), recurrent, before, h);
                    }
                });
            } else {
                for turn in turns.clone() {
                    for now in walk.parts(turn) {
                        let rows = now.rows.len();
                        let gates = part_mut(gates, width, &now.rows);
                        weights.project_now(rows, part(x, self.inputs, &now.rows), scratch, gates);
                        let (h, before) = now.with_before(y, hidden, h0);
                        let kept = carry.kept(&now.sequences, before);
                        match self.reset {
                            GruReset::After => {
                                let recurrent = part_mut(recurrent, width, &now.rows);
                                weights.project_step(rows, kept, scratch, recurrent);
                                <T as Compiled>::forward(hidden, gates, recurrent, before, h);
                            }
                            GruReset::Before => {
                                let reset = part_mut(recurrent, hidden, &now.rows);
                                weights.add_step(rows, kept, scratch, gates);
                                <T as Compiled>::reset(hidden, gates, before, reset);
                                carry.keep(&now.sequences, reset);
                                weights.add_candidate(rows, reset, scratch, gates);
                                <T as Compiled>::forward_reset(hidden, gates, before, h);
                            }
                        }
                    }
                    keep.forward(walk, turn, y, h0);
                }
            }
            turns.for_each(|turn| walk.keep_ended(turn, y, hidden, state));
        }
    }

    fn backward_pass<T: Element>(&self, pass: Backward<'_, T>) {
        let Backward { walk, values, weights, tape, dstate: [dh, _], mut buffers, .. } = pass;
        let Backward { keep: [mut keep, _], mut gradients, .. } = pass;
        let (hidden, width, SequenceValues { x, y, dy }) = (self.hidden, GATES * self.hidden, values);
        let Tape { h0, gates, recurrent, dreset } = self.tape(walk.shape, tape);
        let mut end = walk.shape.steps;
        while end > 0 {
            let turns = weights.turns_behind(walk, end);
            end = turns.start;
            if let Some(chunk) = self.chunk(weights, walk, &turns).filter(|_| !keep.is_on()) {
                let projection = |data| Steps::new(&chunk, part_mut(data, width, &chunk.rows), width);
                let given = |data| Steps::new(&chunk, part(data, hidden, &chunk.rows), hidden);
                let h0 = Rows { data: chunk.before(y, hidden, h0), width: hidden };
                let dh = Rows { data: &mut *dh, width: hidden };
                let steps = ((projection(gates), projection(recurrent)), (given(y), given(dy)));
                let lanes = (steps, (h0, dh), buffers.carry.reborrow());
                chunk.run(lanes, |batch, (((mut gates, mut recurrent), (y, dy)), (h0, dh), mut carry)| {
                    for at in (0..chunk.steps).rev() {
                        let (gates, recurrent) = (gates.now(at), recurrent.now(at));
                        let before = y.before(at, h0.data);
                        <T as Compiled>::backward(hidden, (gates, recurrent), before, dy.rows(at), dh.data);
                        carry.add_step_backward(weights, (batch, recurrent), &mut [], dh.data);
                    }
                });
            } else {
                for turn in turns.rev() {
                    for rows in walk.parts(turn) {
                        let gates = part_mut(gates, width, &rows.rows);
                        let before = rows.before(y, hidden, h0);
                        let dh = part_mut(dh, hidden, &rows.sequences);
                        let dy = keep.backward(&rows, part(dy, hidden, &rows.rows), dh);
                        match self.reset {
                            GruReset::After => {
                                let projections = (gates, part_mut(recurrent, width, &rows.rows));
                                <T as Compiled>::backward(hidden, projections, before, dy, dh);
                            }
                            GruReset::Before => {
                                let (rows, dreset) =
                                    (&rows.sequences, &mut dreset[..rows.rows.len() * hidden]);
                                <T as Compiled>::candidate_backward(hidden, gates, before, dy, dh);
                                weights.candidate_backward(rows.len(), gates, buffers.scratch, dreset);
                                buffers.carry.keep(rows, dreset);
                                <T as Compiled>::reset_backward(hidden, gates, before, dreset, dh);
                            }
                        }
                    }
                    let rows = walk.rows(turn);
                    let dgates = match self.reset {
                        GruReset::After => part(recurrent, width, &rows),
                        GruReset::Before => part(gates, width, &rows),
                    };
                    let dh = &mut dh[..rows.len() * hidden];
                    buffers.carry.add_step_backward(weights, (rows.len(), dgates), buffers.scratch, dh);
                    keep.add_kept(rows.len(), dh);
                }
            }
            let (dgates, candidate): (&[T], &[T]) = match self.reset {
                GruReset::After => (recurrent, &[]),
                GruReset::Before => (gates, recurrent),
            };
            let terms = Terms { x, y, h0, input: gates, recurrent: dgates, candidate };
            weights.gradients_behind(walk, end, terms, &mut buffers, &mut gradients);
        }
    }
}

impl Gru {
    /// [`PackedRecurrent::chunk`] of the cell whose step is one product.
    fn chunk<T: Element>(
        &self,
        weights: &PackedRecurrent<T>,
        walk: Walk<'_>,
        turns: &Range<usize>,
    ) -> Option<Chunk> {
        weights.chunk(walk, turns.clone()).filter(|_| self.reset == GruReset::After)
    }

    fn tape<'a, T>(&self, shape: SequenceShape, tape: &'a mut [T]) -> Tape<'a, T> {
        let width = shape.batch * self.hidden;
        let (h0, rest) = tape.split_at_mut(width);
        let (gates, rest) = rest.split_at_mut(GATES * shape.steps * width);
        let kept = match self.reset {
            GruReset::After => GATES,
            GruReset::Before => 1,
        };
        let (recurrent, dreset) = rest.split_at_mut(kept * shape.steps * width);
        Tape { h0, gates, recurrent, dreset }
    }
}

/// What a forward leaves for its backward.
struct Tape<'a, T> {
    h0: &'a mut [T],
    gates: &'a mut [T],
    /// The projection of the old output; with a reset before it, the output that was reset.
    recurrent: &'a mut [T],
    /// Of one step, the gradient of the output that was reset.
    dreset: &'a mut [T],
}
