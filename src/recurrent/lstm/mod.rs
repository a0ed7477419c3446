//! Long short-term memory: a cell that its forget gate keeps, so that gradients reach far back.
//!
//! Hochreiter & Schmidhuber, "Long short-term memory", 1997; the forget gate of Gers, Schmidhuber & Cummins, 2000; peepholes
//! of Gers & Schmidhuber, "Recurrent nets that time and count", 2000; the projection of Sak, Senior & Beaufays, 2014; coupled
//! gates of Greff et al., "LSTM: a search space odyssey", 2015.

pub(crate) mod kernel;
pub mod reference;

use core::ops::Range;

use super::carry::Carry;
use super::gradients::Terms;
use super::lanes::Steps;
use super::layer::{Backward, Forward, Layer, Pass};
use super::packed::add_outer;
use super::sequence::{Biases, Form, Sizes, part, part_mut, row_block};
use super::zoneout::Keep;
use super::{Direction, PackedRecurrent, SequenceShape, SequenceValues};
use crate::element::compiled_once;
use crate::parallel::{self, Rows};
use crate::shape::check_len;
use crate::simd::{self, Active, InOut};
use crate::{Element, Error, linear};

/// Which gates a cell has, and what they see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LstmVariant {
    /// i, f, g, o.
    #[default]
    Standard,
    /// i, f, g, o, of which i and f see the cell before, and o the cell after, each unit its own, by weights p:
    /// `i = σ(… + p_i·c)`, `f = σ(… + p_f·c)`, `o = σ(… + p_o·c')`.
    Peephole,
    /// i, g, o: what enters is forgotten, `f = 1 − i`.
    Coupled,
}

impl LstmVariant {
    pub(super) fn gates(self) -> usize {
        match self {
            Self::Standard | Self::Peephole => 4,
            Self::Coupled => 3,
        }
    }
}

/// The state between two steps: of a batch `batch · hidden` elements each, of a projection `batch · projection` of h.
#[derive(Debug)]
pub struct LstmState<'a, T> {
    /// The output of the step before.
    pub h: &'a mut [T],
    /// The cell.
    pub c: &'a mut [T],
}

/// A layer of LSTM cells over whole sequences; `PyTorch`'s `LSTM` of one layer and one direction.
///
/// ```text
/// [i, f, g, o] = x·W_ihᵀ + b_ih + h·W_hhᵀ + b_hh
/// c' = σ(f)·c + σ(i)·tanh(g)
/// h' = σ(o)·tanh(c')             with a projection h' = (σ(o)·tanh(c'))·W_hrᵀ
/// ```
///
/// The tape has 5 elements a unit, step and sequence, 4 where gates are coupled, and the initial state; a projection adds one a
/// unit and one a feature of its own, and two units a sequence.
///
/// # Examples
/// ```
/// use steadygrad::recurrent::{Layer, Lstm, LstmState, RecurrentWeights, SequenceShape};
///
/// let lstm = Lstm { inputs: 1, hidden: 1, ..Lstm::default() };
/// let shape = SequenceShape { steps: 3, batch: 1 };
/// // An open forget gate, a closed input gate: the cell remembers.
/// let weights = RecurrentWeights {
///     input: &[0.0_f32; 4],
///     recurrent: &[0.0; 4],
///     input_bias: Some(&[-50.0, 50.0, 0.0, 50.0]),
///     recurrent_bias: None,
///     ..RecurrentWeights::default()
/// };
/// let packed = lstm.pack(weights)?;
/// let (mut h, mut c, mut y) = ([0.0], [0.5], [0.0; 3]);
/// let mut tape = vec![0.0; lstm.tape_len(shape)?];
/// let mut scratch = vec![0.0; lstm.scratch_len::<f32>(shape)];
/// let state = LstmState { h: &mut h, c: &mut c };
/// lstm.forward(shape, &[1.0, 2.0, 3.0], &packed, state, &mut tape, &mut scratch, &mut y)?;
/// assert_eq!(c, [0.5]);
/// assert!(y.iter().all(|y| (y - 0.5_f32.tanh()).abs() < 1e-6));
/// # Ok::<(), steadygrad::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Lstm {
    /// Features of a step of the input.
    pub inputs: usize,
    /// Units, which are the features of the output.
    pub hidden: usize,
    /// Which way it goes through the sequence; [`Direction::Forward`] by default.
    pub direction: Direction,
    /// Features that the output is projected to, `PyTorch`'s `proj_size`; none by default.
    pub projection: Option<usize>,
    /// Its gates; [`LstmVariant::Standard`] by default.
    pub variant: LstmVariant,
}

impl Layer for Lstm {
    type State<'a, T: 'a> = LstmState<'a, T>;

    fn slices<'a, T: 'a>(state: LstmState<'a, T>) -> [&'a mut [T]; 2] {
        [state.h, state.c]
    }
}

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

compiled_once! {
    fn forward(
        op: LstmGates,
        peephole: &[Self],
        gates: &mut [Self],
        before: &[Self],
        c: &mut [Self],
        h: &mut [Self],
    ) = forward_all;
    fn backward(
        op: LstmGates,
        peephole: &[Self],
        gates: &mut [Self],
        cells: (&[Self], &[Self]),
        dh: (&[Self], &[Self]),
        dc: &mut [Self],
    ) = backward_all;
    fn add(a: &[Self], to: InOut<'_, Self>) = add_all;
    fn new_cells(op: LstmGates, gates: &[Self], before: &[Self], to: &mut [Self]) = new_cells_all;
    fn seen(hidden: usize, gates: &mut [Self], cells: (&[Self], &[Self])) = seen_all;
}

fn forward_all<T: Element>(
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

fn backward_all<T: Element>(
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

fn add_all<T: Element>(a: &[T], to: InOut<'_, T>) {
    let active = Active::current();
    parallel::for_each((a, to), parallel::PARALLEL_BLOCK, |(a, to)| {
        simd::dispatch(active, kernel::Add { a, to });
    });
}

fn new_cells_all<T: Element>(
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

fn seen_all<T: Element>(hidden: usize, gates: &mut [T], (before, c): (&[T], &[T])) {
    let active = Active::current();
    let row = |data| Rows { data, width: hidden };
    let rows = (Rows { data: gates, width: 4 * hidden }, row(before), row(c));
    parallel::for_each(rows, row_block(hidden), |(gates, before, c)| {
        simd::dispatch(active, kernel::Seen { gates, before, c });
    });
}
