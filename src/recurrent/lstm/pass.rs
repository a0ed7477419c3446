//! The passes over a sequence: forward, and backward through time.

use core::ops::Range;

use super::{Compiled, Lstm, LstmGates, LstmVariant};
use crate::parallel::Rows;
use crate::recurrent::carry::Carry;
use crate::recurrent::gradients::Terms;
use crate::recurrent::lanes::Steps;
use crate::recurrent::layer::{Backward, Forward, Pass};
use crate::recurrent::packed::add_outer;
use crate::recurrent::sequence::{Biases, Form, Sizes, part, part_mut};
use crate::recurrent::zoneout::Keep;
use crate::recurrent::{Direction, PackedRecurrent, SequenceShape, SequenceValues};
use crate::simd::InOut;
use crate::{Element, Error, linear};

impl Pass for Lstm {
    const STATE: [&'static [&'static str]; 2] = [&["state.h", "state.c"], &["dstate.h", "dstate.c"]];

    fn sizes(&self) -> Sizes {
        Sizes {
            inputs: self.inputs,
            hidden: self.hidden,
            outputs: self.projection.unwrap_or(self.hidden),
            gates: self.variant.gates(),
            form: Form {
                projected: self.projection.is_some(),
                peephole: self.variant == LstmVariant::Peephole,
                ..Form::plain(Biases::Joined)
            },
        }
    }

    fn direction(&self) -> Direction {
        self.direction
    }

    fn forget_gate(&self) -> Option<(usize, f64)> {
        Some(if self.variant == LstmVariant::Coupled { (0, -1.0) } else { (1, 1.0) })
    }

    fn keeps(&self) -> [bool; 2] {
        // What o saw through its peephole is not kept.
        [true, self.variant != LstmVariant::Peephole]
    }

    fn placed(self, inputs: usize, direction: Direction) -> Self {
        Self { inputs, direction, ..self }
    }

    fn tape_elements(&self, shape: SequenceShape) -> Result<usize, Error> {
        let (hidden, outputs) = (self.hidden, Pass::sizes(self).outputs);
        let (units, state) = (shape.elements(hidden)?, shape.state(hidden)?);
        let plain = [units.checked_mul(self.variant.gates() + 1), Some(state), Some(shape.state(outputs)?)];
        let projection = [Some(units), Some(shape.elements(outputs)?), state.checked_mul(2)];
        let projection = projection.into_iter().filter(|_| self.projection.is_some());
        let sum = plain.into_iter().chain(projection).try_fold(0_usize, |sum, len| sum.checked_add(len?));
        sum.ok_or(Error::Overflow { argument: "shape" })
    }

    fn forward_pass<T: Element>(&self, pass: Forward<'_, T>) {
        let Forward { walk, x, weights, state: [h, c], mut carry, keep, tape, scratch, y } = pass;
        let one_thread_a_sequence = self.projection.is_none() && !keep.iter().any(Keep::is_on);
        let (hidden, Sizes { outputs, .. }) = (self.hidden, Pass::sizes(self));
        let width = Pass::sizes(self).width();
        let Tape { h0, c0, gates, cells, units, .. } = self.tape(walk.shape, tape);
        h0.copy_from_slice(h);
        c0.copy_from_slice(c);
        let mut next = 0;
        while next < walk.shape.steps {
            weights.project_ahead(walk, next, x, scratch, gates);
            let turns = weights.turns_ahead(walk, next);
            next = turns.end;
            if let Some(chunk) = weights.chunk(walk, turns.clone()).filter(|_| one_thread_a_sequence) {
                let (y, h0) = chunk.with_before(y, outputs, h0);
                let (cells, c0) = chunk.with_before(cells, hidden, c0);
                let gates = Steps::new(&chunk, part_mut(gates, width, &chunk.rows), width);
                let x = Steps::new(&chunk, part(x, self.inputs, &chunk.rows), self.inputs);
                let steps = (gates, Steps::new(&chunk, y, outputs), Steps::new(&chunk, cells, hidden));
                let before = (Rows { data: h0, width: outputs }, Rows { data: c0, width: hidden });
                chunk.run((steps, before, (carry.reborrow(), x)), |batch, lane| {
                    let ((mut gates, mut y, mut cells), (h0, c0), (mut carry, x)) = lane;
                    for at in 0..chunk.steps {
                        let (h, c) = (y.with_before(at, h0.data), cells.with_before(at, c0.data));
                        let step = Step { x: x.rows(at), gates: gates.now(at), h, c, units: &mut [] };
                        self.step(weights, &mut carry, &(0..batch), step, &mut []);
                    }
                });
            } else {
                for turn in turns.clone() {
                    for rows in walk.parts(turn) {
                        let h = rows.with_before(y, outputs, h0);
                        let c = rows.with_before(cells, hidden, c0);
                        let units = units.get_mut(rows.rows.start * hidden..).unwrap_or_default();
                        let x = part(x, self.inputs, &rows.rows);
                        let step = Step { x, gates: part_mut(gates, width, &rows.rows), h, c, units };
                        self.step(weights, &mut carry, &rows.sequences, step, scratch);
                    }
                    keep[0].forward(walk, turn, y, h0);
                    keep[1].forward(walk, turn, cells, c0);
                }
            }
            for turn in turns {
                walk.keep_ended(turn, y, outputs, h);
                walk.keep_ended(turn, cells, hidden, c);
            }
        }
    }

    fn backward_pass<T: Element>(&self, pass: Backward<'_, T>) {
        let Backward { walk, values, weights, tape, dstate: [dh, dc], mut buffers, .. } = pass;
        let Backward { keep: [mut keep_h, mut keep_c], new_cells, mut gradients, .. } = pass;
        let one_thread_a_sequence = self.projection.is_none() && !keep_h.is_on() && !keep_c.is_on();
        let (hidden, Sizes { outputs, .. }) = (self.hidden, Pass::sizes(self));
        let (cell, width) = (self.gates(), Pass::sizes(self).width());
        let (peephole, SequenceValues { x, y, .. }) = (&weights.peephole, values);
        let Tape { h0, c0, gates, cells, units, dprojected, dunits, zeros } = self.tape(walk.shape, tape);
        zeros.fill(T::zero());
        let mut end = walk.shape.steps;
        while end > 0 {
            let turns = weights.turns_behind(walk, end);
            end = turns.start;
            if let Some(chunk) = weights.chunk(walk, turns.clone()).filter(|_| one_thread_a_sequence) {
                let gates = Steps::new(&chunk, part_mut(gates, width, &chunk.rows), width);
                let dy = Steps::new(&chunk, part(values.dy, outputs, &chunk.rows), outputs);
                let now = Steps::new(&chunk, part(cells, hidden, &chunk.rows), hidden);
                let c0 = Rows { data: chunk.before(cells, hidden, c0), width: hidden };
                let dstate =
                    (Rows { data: &mut *dh, width: outputs }, Rows { data: &mut *dc, width: hidden });
                let lanes = ((gates, dy, now), (c0, dstate), buffers.carry.reborrow());
                chunk.run(lanes, |batch, ((mut gates, dy, cells), (c0, (dh, dc)), carry)| {
                    for at in (0..chunk.steps).rev() {
                        let (gates, c) = (gates.now(at), (cells.before(at, c0.data), cells.rows(at)));
                        let dy = (dy.rows(at), &*dh.data);
                        <T as Compiled>::backward(cell, peephole, gates, c, dy, dc.data);
                        carry.step_backward(weights, (batch, gates), &mut [], dh.data);
                    }
                });
            } else {
                for turn in turns.rev() {
                    for rows in walk.parts(turn) {
                        let gates = part_mut(gates, width, &rows.rows);
                        let mut cells = (rows.before(cells, hidden, c0), part(cells, hidden, &rows.rows));
                        let dc = part_mut(dc, hidden, &rows.sequences);
                        if keep_c.is_on() {
                            let new = &mut new_cells[..dc.len()];
                            <T as Compiled>::new_cells(cell, gates, cells.0, new);
                            cells.1 = new;
                            let none = keep_c.zeros;
                            keep_c.backward(&rows, &none[..dc.len()], dc);
                        }
                        let dh = part_mut(dh, outputs, &rows.sequences);
                        let dy = keep_h.backward(&rows, part(values.dy, outputs, &rows.rows), dh);
                        if self.projection.is_some() {
                            let dprojected = part_mut(dprojected, outputs, &rows.rows);
                            <T as Compiled>::add(dy, InOut::new(dh, dprojected));
                            let len = rows.rows.len() * hidden;
                            let (dunits, zeros) = (&mut dunits[..len], &zeros[..len]);
                            weights.output_backward(rows.rows.len(), dprojected, buffers.scratch, dunits);
                            <T as Compiled>::backward(cell, peephole, gates, cells, (dunits, zeros), dc);
                        } else {
                            <T as Compiled>::backward(cell, peephole, gates, cells, (dy, dh), dc);
                        }
                    }
                    let rows = walk.rows(turn);
                    let (dgates, dh) = (part(gates, width, &rows), &mut dh[..rows.len() * outputs]);
                    buffers.carry.step_backward(weights, (rows.len(), dgates), buffers.scratch, dh);
                    keep_h.add_kept(rows.len(), dh);
                    keep_c.add_kept(rows.len(), dc);
                }
            }
            let terms = Terms { x, y, h0, input: gates, recurrent: gates, candidate: &[] };
            weights.gradients_behind(walk, end, terms, &mut buffers, &mut gradients);
        }
        let all = 0..walk.len();
        if let Some(dw) = gradients.projection.take().filter(|_| self.projection.is_some()) {
            let (dprojected, units) = (part(dprojected, outputs, &all), part(units, hidden, &all));
            let start = gradients.mode.start();
            add_outer((outputs, hidden), (dprojected, units), start, buffers.scratch, dw);
        }
        if let Some(dp) = gradients.peephole.take().filter(|dp| !dp.is_empty()) {
            // The gradients of the gates are not needed any more: what they are times what their gates saw.
            for turn in 0..walk.shape.steps {
                for rows in walk.parts(turn) {
                    let seen = (rows.before(cells, hidden, c0), part(cells, hidden, &rows.rows));
                    <T as Compiled>::seen(hidden, part_mut(gates, width, &rows.rows), seen);
                }
            }
            for (dp, gate) in dp.chunks_exact_mut(hidden).zip([0, 1, 3]) {
                <T as linear::Compiled>::column_sums(all.end, (&gates[gate * hidden..], width), dp, None);
            }
        }
    }
}

/// What a step of some sequences reads and writes.
struct Step<'a, T> {
    x: &'a [T],
    gates: &'a mut [T],
    /// The output, and that before.
    h: (&'a mut [T], &'a [T]),
    /// The cell, and that before.
    c: (&'a mut [T], &'a [T]),
    /// What is projected, and what comes after it.
    units: &'a mut [T],
}

impl Lstm {
    /// A step of `sequences`, whose input was projected ahead or is now.
    fn step<T: Element>(
        &self,
        weights: &PackedRecurrent<T>,
        carry: &mut Carry<'_, T>,
        sequences: &Range<usize>,
        Step { x, gates, h: (h, h_before), c: (c, c_before), units }: Step<'_, T>,
        scratch: &mut [T],
    ) {
        let (cell, batch, peephole) = (self.gates(), sequences.len(), &weights.peephole);
        weights.project_now(batch, x, scratch, gates);
        weights.add_step(batch, carry.kept(sequences, h_before), scratch, gates);
        if self.projection.is_some() {
            let units = &mut units[..batch * self.hidden];
            <T as Compiled>::forward(cell, peephole, gates, c_before, c, units);
            weights.project_output(batch, units, scratch, h);
        } else {
            <T as Compiled>::forward(cell, peephole, gates, c_before, c, h);
        }
    }

    fn gates(&self) -> LstmGates {
        LstmGates { hidden: self.hidden, variant: self.variant }
    }

    fn tape<'a, T>(&self, shape: SequenceShape, tape: &'a mut [T]) -> Tape<'a, T> {
        let (width, outputs) = (shape.batch * self.hidden, shape.batch * Pass::sizes(self).outputs);
        let (h0, rest) = tape.split_at_mut(outputs);
        let (c0, rest) = rest.split_at_mut(width);
        let (gates, rest) = rest.split_at_mut(self.variant.gates() * shape.steps * width);
        let (cells, rest) = rest.split_at_mut(shape.steps * width);
        let [a, b, c] = match self.projection {
            Some(_) => [shape.steps * width, shape.steps * outputs, width],
            None => [0; 3],
        };
        let (units, rest) = rest.split_at_mut(a);
        let (dprojected, rest) = rest.split_at_mut(b);
        let (dunits, zeros) = rest.split_at_mut(c);
        Tape { h0, c0, gates, cells, units, dprojected, dunits, zeros }
    }
}

/// What a forward leaves for its backward.
struct Tape<'a, T> {
    h0: &'a mut [T],
    c0: &'a mut [T],
    gates: &'a mut [T],
    cells: &'a mut [T],
    /// What is projected.
    units: &'a mut [T],
    /// Gradient of the projected, by the backward.
    dprojected: &'a mut [T],
    /// Gradient of the units of one step.
    dunits: &'a mut [T],
    /// As many zeros.
    zeros: &'a mut [T],
}
