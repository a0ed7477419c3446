//! Gated recurrent units: two gates, and an output that is its own memory.
//!
//! Cho et al., "Learning phrase representations using RNN encoder-decoder", 2014, with the reset gate after the product, as
//! cuDNN and `PyTorch` have it.

pub(crate) mod kernel;
pub mod reference;

use super::layer::{self, Backward, Forward, Layer, Pass};
use super::packed::{Biases, Terms, scratch_len};
use super::sequence::{Sizes, part, part_mut, row_block};
use super::{
    Direction, PackedRecurrent, RecurrentGradients, RecurrentWeights, SequenceShape, SequenceValues,
};
use crate::element::compiled_once;
use crate::parallel::{self, Rows};
use crate::shape::check_len;
use crate::simd::{self, Active};
use crate::{Element, Error};

/// Gates of the cell, the candidate among them.
const GATES: usize = 3;

/// A layer of GRU cells over whole sequences; `PyTorch`'s `GRU` of one layer and one direction.
///
/// ```text
/// r = σ(x·W_irᵀ + b_ir + h·W_hrᵀ + b_hr)
/// z = σ(x·W_izᵀ + b_iz + h·W_hzᵀ + b_hz)
/// n = tanh(x·W_inᵀ + b_in + r·(h·W_hnᵀ + b_hn))
/// h' = (h − n)·z + n
/// ```
///
/// # Examples
/// ```
/// use steadygrad::recurrent::{Gru, RecurrentWeights, SequenceShape};
///
/// let gru = Gru { inputs: 1, hidden: 1, ..Gru::default() };
/// let shape = SequenceShape { steps: 2, batch: 1 };
/// // z = 1: the output stays what it was.
/// let weights = RecurrentWeights {
///     input: &[0.0_f64; 3],
///     recurrent: &[0.0; 3],
///     input_bias: Some(&[0.0, 50.0, 0.0]),
///     recurrent_bias: None,
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
}

impl Gru {
    /// The weights as [`forward`](Self::forward) and [`backward`](Self::backward) take them: 3 · `hidden` rows, in the order
    /// r, z, n. After a step of the optimizer, [`PackedRecurrent::repack`] takes the new ones.
    ///
    /// # Errors
    /// [`Error::Length`] where a slice does not fit the layer, [`Error::Overflow`] where its length does not fit in `usize`.
    pub fn pack<T: Element>(&self, weights: RecurrentWeights<'_, T>) -> Result<PackedRecurrent<T>, Error> {
        layer::pack(self, weights)
    }

    /// Elements of a tape: 6 of each unit, step and sequence, and the initial state.
    ///
    /// # Errors
    /// [`Error::Overflow`] where they do not fit in `usize`.
    pub fn tape_len(&self, shape: SequenceShape) -> Result<usize, Error> {
        self.tape_elements(shape)
    }

    /// Elements that `scratch` needs at least.
    #[must_use]
    pub fn scratch_len<T: Element>(&self, shape: SequenceShape) -> usize {
        scratch_len::<T>(shape, Pass::sizes(self))
    }

    /// The outputs of all steps, and the final state.
    ///
    /// | argument  | elements                                        | access                                        |
    /// |-----------|-------------------------------------------------|-----------------------------------------------|
    /// | `x`       | `steps · batch · inputs`                        | read                                          |
    /// | `weights` | packed                                          | read                                          |
    /// | `state`   | `batch · hidden`                                | read as the initial, overwritten with the final state |
    /// | `tape`    | [`tape_len`](Self::tape_len)                    | overwritten, for the backward                 |
    /// | `scratch` | at least [`scratch_len`](Self::scratch_len)     | overwritten                                   |
    /// | `y`       | `steps · batch · hidden`                        | overwritten                                   |
    ///
    /// A sequence cut in two, the state handed on, has the same bits as the whole, and a batch those of its rows. No steps
    /// leave the state as it is.
    ///
    /// # Errors
    /// [`Error::Length`] names the first argument whose length differs from the table, [`Error::OutOfRange`] `weights` of
    /// another layer, [`Error::Overflow`] a product that does not fit in `usize`; then nothing was written.
    #[expect(clippy::too_many_arguments, reason = "each is its own memory, owned by the caller")]
    pub fn forward<T: Element>(
        &self,
        shape: SequenceShape,
        x: &[T],
        weights: &PackedRecurrent<T>,
        state: &mut [T],
        tape: &mut [T],
        scratch: &mut [T],
        y: &mut [T],
    ) -> Result<(), Error> {
        layer::forward(self, shape, (x, y), weights, [state, &mut []], (tape, scratch))
    }

    /// The gradients through time, from those of the outputs and of the final state.
    ///
    /// | argument    | elements                                    | access                                                   |
    /// |-------------|---------------------------------------------|----------------------------------------------------------|
    /// | `values`    | as its fields say                           | read                                                     |
    /// | `weights`   | packed                                      | read: those of the forward                               |
    /// | `tape`      | [`tape_len`](Self::tape_len)                | read: that of the forward; overwritten                   |
    /// | `dstate`    | `batch · hidden`                            | read as the gradient of the final state, overwritten with that of the initial one |
    /// | `scratch`   | at least [`scratch_len`](Self::scratch_len) | overwritten                                              |
    /// | `gradients` | as its fields say                           | `x` overwritten, the others accumulated                  |
    ///
    /// Truncated backpropagation is zeros in `dstate` where the sequence is cut.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    #[expect(clippy::too_many_arguments, reason = "each is its own memory, owned by the caller")]
    pub fn backward<T: Element>(
        &self,
        shape: SequenceShape,
        values: SequenceValues<'_, T>,
        weights: &PackedRecurrent<T>,
        tape: &mut [T],
        dstate: &mut [T],
        scratch: &mut [T],
        gradients: RecurrentGradients<'_, T>,
    ) -> Result<(), Error> {
        layer::backward(self, shape, values, weights, (tape, scratch), [dstate, &mut []], gradients)
    }
}

impl Layer for Gru {
    type State<'a, T: 'a> = &'a mut [T];

    fn slices<'a, T: 'a>(state: &'a mut [T]) -> [&'a mut [T]; 2] {
        [state, &mut []]
    }
}

impl Pass for Gru {
    const STATE: [&'static [&'static str]; 2] = [&["state"], &["dstate"]];
    const BIASES: Biases = Biases::Apart;

    fn sizes(&self) -> Sizes {
        Sizes { inputs: self.inputs, hidden: self.hidden, outputs: self.hidden, gates: GATES }
    }

    fn direction(&self) -> Direction {
        self.direction
    }

    fn placed(self, inputs: usize, direction: Direction) -> Self {
        Self { inputs, direction, ..self }
    }

    fn tape_elements(&self, shape: SequenceShape) -> Result<usize, Error> {
        let values = shape.elements(self.hidden)?.checked_mul(2 * GATES);
        let state = shape.state(self.hidden)?;
        let sum = values.and_then(|values| values.checked_add(state));
        sum.ok_or(Error::Overflow { argument: "shape" })
    }

    fn forward_pass<T: Element>(&self, pass: Forward<'_, T>) {
        let Forward { walk, x, weights, state: [state, _], tape, scratch, y } = pass;
        let (hidden, width) = (self.hidden, GATES * self.hidden);
        let Tape { h0, gates, recurrent } = self.tape(walk.shape, tape);
        h0.copy_from_slice(state);
        for turn in 0..walk.shape.steps {
            weights.project_ahead(walk, turn, x, scratch, gates);
            for part in walk.parts(turn) {
                let gates = part_mut(gates, width, &part.rows);
                let recurrent = part_mut(recurrent, width, &part.rows);
                let (h, before) = part.with_before(y, hidden, h0);
                weights.project_step(part.rows.len(), before, scratch, recurrent);
                <T as Compiled>::forward(hidden, gates, recurrent, before, h);
            }
            walk.keep_ended(turn, y, hidden, state);
        }
    }

    fn backward_pass<T: Element>(&self, pass: Backward<'_, T>) {
        let Backward { walk, values, weights, tape, dstate: [dh, _], buffers, gradients } = pass;
        let (hidden, width) = (self.hidden, GATES * self.hidden);
        let Tape { h0, gates, recurrent } = self.tape(walk.shape, tape);
        for turn in (0..walk.shape.steps).rev() {
            for rows in walk.parts(turn) {
                let projections =
                    (part_mut(gates, width, &rows.rows), part_mut(recurrent, width, &rows.rows));
                let before = rows.before(values.y, hidden, h0);
                let (dy, dh) = (part(values.dy, hidden, &rows.rows), part_mut(dh, hidden, &rows.sequences));
                <T as Compiled>::backward(hidden, projections, before, dy, dh);
            }
            let rows = walk.rows(turn);
            let dh = &mut dh[..rows.len() * hidden];
            weights.step_backward(rows.len(), part(recurrent, width, &rows), T::one(), buffers.scratch, dh);
        }
        let terms = Terms { x: values.x, y: values.y, h0, input: gates, recurrent };
        weights.gradients(walk, terms, buffers, gradients);
    }
}

impl Gru {
    fn tape<'a, T>(&self, shape: SequenceShape, tape: &'a mut [T]) -> Tape<'a, T> {
        let width = shape.batch * self.hidden;
        let (h0, rest) = tape.split_at_mut(width);
        let (gates, recurrent) = rest.split_at_mut(GATES * shape.steps * width);
        Tape { h0, gates, recurrent }
    }
}

/// What a forward leaves for its backward.
struct Tape<'a, T> {
    h0: &'a mut [T],
    gates: &'a mut [T],
    recurrent: &'a mut [T],
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
