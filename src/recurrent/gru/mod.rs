//! Gated recurrent units: two gates, and an output that is its own memory.
//!
//! Cho et al., "Learning phrase representations using RNN encoder-decoder", 2014, with the reset gate after the product, as
//! cuDNN and `PyTorch` have it, or before it, as there.

pub(crate) mod kernel;
pub mod reference;

use core::ops::Range;

use super::gradients::Terms;
use super::lanes::{Chunk, Steps};
use super::layer::{Backward, Forward, Layer, Pass};
use super::sequence::{Biases, Form, Sizes, Walk, part, part_mut, row_block};
use super::{Direction, PackedRecurrent, SequenceShape, SequenceValues};
use crate::element::compiled_once;
use crate::parallel::{self, Rows};
use crate::shape::check_len;
use crate::simd::{self, Active};
use crate::{Element, Error};

/// Gates of the cell, the candidate among them.
const GATES: usize = 3;

/// Where the reset gate acts on what the candidate sees of the old output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum GruReset {
    /// On its projection: `r·(h·W_hnᵀ + b_hn)`, of `PyTorch`, cuDNN and Keras by default.
    #[default]
    After,
    /// On the output itself: `(r·h)·W_hnᵀ + b_hn`, of the paper and of ONNX by default. Each step takes two products.
    Before,
}

/// A layer of GRU cells over whole sequences; `PyTorch`'s `GRU` of one layer and one direction.
///
/// ```text
/// r = σ(x·W_irᵀ + b_ir + h·W_hrᵀ + b_hr)
/// z = σ(x·W_izᵀ + b_iz + h·W_hzᵀ + b_hz)
/// n = tanh(x·W_inᵀ + b_in + r·(h·W_hnᵀ + b_hn))
/// h' = (h − n)·z + n
/// ```
///
/// The tape has 6 elements a unit, step and sequence, 4 with [`GruReset::Before`], and the initial state, then twice.
///
/// With [`GruReset::Before`], `n = tanh(x·W_inᵀ + b_in + (r·h)·W_hnᵀ + b_hn)`.
///
/// # Examples
/// ```
/// use steadygrad::recurrent::{Gru, Layer, RecurrentWeights, SequenceShape};
///
/// let gru = Gru { inputs: 1, hidden: 1, ..Gru::default() };
/// let shape = SequenceShape { steps: 2, batch: 1 };
/// // z = 1: the output stays what it was.
/// let weights = RecurrentWeights {
///     input: &[0.0_f64; 3],
///     recurrent: &[0.0; 3],
///     input_bias: Some(&[0.0, 50.0, 0.0]),
///     recurrent_bias: None,
///     ..RecurrentWeights::default()
/// };
/// let packed = gru.pack(weights)?;
/// let (mut h, mut y) = ([0.75], [0.0; 2]);
/// let mut tape = vec![0.0; gru.tape_len(shape)?];
/// let mut scratch = vec![0.0; gru.scratch_len::<f64>(shape)];
/// gru.forward(shape, &[1.0, 2.0], &packed, &mut h, &mut tape, &mut scratch, &mut y)?;
/// assert_eq!((h, y), ([0.75], [0.75; 2]));
/// # Ok::<(), steadygrad::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Gru {
    /// Features of a step of the input.
    pub inputs: usize,
    /// Units, which are the features of the output.
    pub hidden: usize,
    /// Which way it goes through the sequence; [`Direction::Forward`] by default.
    pub direction: Direction,
    /// Where the reset gate acts; [`GruReset::After`] by default.
    pub reset: GruReset,
}

impl Layer for Gru {
    type State<'a, T: 'a> = &'a mut [T];

    fn slices<'a, T: 'a>(state: &'a mut [T]) -> [&'a mut [T]; 2] {
        [state, &mut []]
    }
}

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

compiled_once! {
    fn forward(hidden: usize, gates: &mut [Self], recurrent: &[Self], before: &[Self], h: &mut [Self])
        = forward_all;
    fn backward(
        hidden: usize,
        gates: (&mut [Self], &mut [Self]),
        before: &[Self],
        dy: &[Self],
        dh: &mut [Self],
    ) = backward_all;
    fn reset(hidden: usize, gates: &mut [Self], before: &[Self], reset: &mut [Self]) = reset_all;
    fn forward_reset(hidden: usize, gates: &mut [Self], before: &[Self], h: &mut [Self]) = forward_reset_all;
    fn candidate_backward(hidden: usize, gates: &mut [Self], before: &[Self], dy: &[Self], dh: &mut [Self])
        = candidate_backward_all;
    fn reset_backward(hidden: usize, gates: &mut [Self], before: &[Self], dreset: &[Self], dh: &mut [Self])
        = reset_backward_all;
}

fn reset_all<T: Element>(hidden: usize, gates: &mut [T], before: &[T], reset: &mut [T]) {
    let active = Active::current();
    let gates = Rows { data: gates, width: GATES * hidden };
    let rows = (gates, Rows { data: before, width: hidden }, Rows { data: reset, width: hidden });
    parallel::for_each(rows, row_block(hidden), |(gates, before, reset)| {
        simd::dispatch(active, kernel::Reset { gates, before, reset });
    });
}

fn forward_reset_all<T: Element>(hidden: usize, gates: &mut [T], before: &[T], h: &mut [T]) {
    let active = Active::current();
    let gates = Rows { data: gates, width: GATES * hidden };
    let rows = (gates, Rows { data: before, width: hidden }, Rows { data: h, width: hidden });
    parallel::for_each(rows, row_block(hidden), |(gates, before, h)| {
        simd::dispatch(active, kernel::ForwardReset { gates, before, h });
    });
}

fn candidate_backward_all<T: Element>(hidden: usize, gates: &mut [T], before: &[T], dy: &[T], dh: &mut [T]) {
    let active = Active::current();
    let gates = Rows { data: gates, width: GATES * hidden };
    let row = |data| Rows { data, width: hidden };
    let rows = (gates, (row(before), row(dy)), Rows { data: dh, width: hidden });
    parallel::for_each(rows, row_block(hidden), |(gates, (before, dy), dh)| {
        simd::dispatch(active, kernel::CandidateBackward { gates, before, dy, dh });
    });
}

fn reset_backward_all<T: Element>(hidden: usize, gates: &mut [T], before: &[T], dreset: &[T], dh: &mut [T]) {
    let active = Active::current();
    let gates = Rows { data: gates, width: GATES * hidden };
    let row = |data| Rows { data, width: hidden };
    let rows = (gates, (row(before), row(dreset)), Rows { data: dh, width: hidden });
    parallel::for_each(rows, row_block(hidden), |(gates, (before, dreset), dh)| {
        simd::dispatch(active, kernel::ResetBackward { gates, before, dreset, dh });
    });
}

fn forward_all<T: Element>(hidden: usize, gates: &mut [T], recurrent: &[T], before: &[T], h: &mut [T]) {
    let active = Active::current();
    let projections =
        (Rows { data: gates, width: GATES * hidden }, Rows { data: recurrent, width: GATES * hidden });
    let rows = (projections, Rows { data: before, width: hidden }, Rows { data: h, width: hidden });
    parallel::for_each(rows, row_block(hidden), |((gates, recurrent), before, h)| {
        simd::dispatch(active, kernel::Forward { gates, recurrent, before, h });
    });
}

fn backward_all<T: Element>(
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
