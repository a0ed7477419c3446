//! The plain recurrent network: the patient. Its gradient is multiplied by the same matrix at every step back, and so
//! vanishes or explodes with their number.
//!
//! Elman, "Finding structure in time", 1990; the disease by Bengio, Simard & Frasconi, "Learning long-term dependencies with
//! gradient descent is difficult", 1994.

pub(crate) mod kernel;
pub mod reference;

use super::gradients::Terms;
use super::layer::{self, Backward, Forward, Layer, Pass};
use super::packed::scratch_len;
use super::sequence::{Biases, Form, Sizes, part, part_mut};
use super::{
    Direction, PackedRecurrent, RecurrentGradients, RecurrentWeights, SequenceShape, SequenceValues,
};
use crate::activation;
use crate::element::compiled_once;
use crate::parallel::{self, PARALLEL_BLOCK};
use crate::simd::{self, Active, InOut};
use crate::{Activation, Element, Error};

/// What the sums of a plain recurrent cell go through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RnnActivation {
    /// tanh.
    #[default]
    Tanh,
    /// max(·, 0).
    Relu,
}

/// A layer of plain recurrent cells over whole sequences; `PyTorch`'s `RNN` of one layer and one direction.
///
/// ```text
/// h' = f(x·W_ihᵀ + b_ih + h·W_hhᵀ + b_hh)
/// ```
///
/// # Examples
/// ```
/// use steadygrad::recurrent::{RecurrentWeights, Rnn, RnnActivation, SequenceShape};
///
/// let rnn = Rnn { inputs: 1, hidden: 1, activation: RnnActivation::Relu, ..Rnn::default() };
/// let shape = SequenceShape { steps: 3, batch: 1 };
/// let weights = RecurrentWeights {
///     input: &[1.0_f32],
///     recurrent: &[2.0],
///     input_bias: None,
///     recurrent_bias: None,
///     ..RecurrentWeights::default()
/// };
/// let packed = rnn.pack(weights)?;
/// let (mut h, mut y) = ([0.0], [0.0; 3]);
/// let mut tape = vec![0.0; rnn.tape_len(shape)?];
/// let mut scratch = vec![0.0; rnn.scratch_len::<f32>(shape)];
/// rnn.forward(shape, &[1.0, 0.0, 0.0], &packed, &mut h, &mut tape, &mut scratch, &mut y)?;
/// assert_eq!(y, [1.0, 2.0, 4.0]); // explodes
/// # Ok::<(), steadygrad::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rnn {
    /// Features of a step of the input.
    pub inputs: usize,
    /// Units, which are the features of the output.
    pub hidden: usize,
    /// What the sums go through; [`RnnActivation::Tanh`] by default.
    pub activation: RnnActivation,
    /// Which way it goes through the sequence; [`Direction::Forward`] by default.
    pub direction: Direction,
}

impl Rnn {
    /// The weights as [`forward`](Self::forward) and [`backward`](Self::backward) take them. After a step of the optimizer,
    /// [`PackedRecurrent::repack`] takes the new ones.
    ///
    /// # Errors
    /// [`Error::Length`] where a slice does not fit the layer, [`Error::Overflow`] where its length does not fit in `usize`.
    pub fn pack<T: Element>(&self, weights: RecurrentWeights<'_, T>) -> Result<PackedRecurrent<T>, Error> {
        layer::pack(self, weights)
    }

    /// Elements of a tape: one of each unit, step and sequence, and the initial state.
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
    /// | `tape`    | [`tape_len`](Self::tape_len)                    | its initial state overwritten, for the backward |
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

impl Layer for Rnn {
    type State<'a, T: 'a> = &'a mut [T];

    fn slices<'a, T: 'a>(state: &'a mut [T]) -> [&'a mut [T]; 2] {
        [state, &mut []]
    }
}

impl Pass for Rnn {
    const STATE: [&'static [&'static str]; 2] = [&["state"], &["dstate"]];

    fn sizes(&self) -> Sizes {
        Sizes {
            inputs: self.inputs,
            hidden: self.hidden,
            outputs: self.hidden,
            gates: 1,
            form: Form::plain(Biases::Joined),
        }
    }

    fn direction(&self) -> Direction {
        self.direction
    }

    fn placed(self, inputs: usize, direction: Direction) -> Self {
        Self { inputs, direction, ..self }
    }

    fn tape_elements(&self, shape: SequenceShape) -> Result<usize, Error> {
        let values = shape.elements(self.hidden)?.checked_add(shape.state(self.hidden)?);
        values.ok_or(Error::Overflow { argument: "shape" })
    }

    fn forward_pass<T: Element>(&self, pass: Forward<'_, T>) {
        let Forward { walk, x, weights, state: [state, _], tape, scratch, y } = pass;
        let hidden = self.hidden;
        let (h0, _) = tape.split_at_mut(state.len());
        h0.copy_from_slice(state);
        for turn in 0..walk.shape.steps {
            weights.project_ahead(walk, turn, x, scratch, y);
            for part in walk.parts(turn) {
                let (h, before) = part.with_before(y, hidden, h0);
                weights.add_step(part.rows.len(), before, scratch, h);
                <T as Compiled>::forward(self.activation, h);
            }
            walk.keep_ended(turn, y, hidden, state);
        }
    }

    fn backward_pass<T: Element>(&self, pass: Backward<'_, T>) {
        let Backward { walk, values, weights, tape, dstate: [dh, _], mut buffers, mut gradients } = pass;
        let hidden = self.hidden;
        let (h0, sums) = tape.split_at_mut(dh.len());
        for turn in (0..walk.shape.steps).rev() {
            let rows = walk.rows(turn);
            let (h, dy) = (part(values.y, hidden, &rows), part(values.dy, hidden, &rows));
            let (da, dh) = (part_mut(sums, hidden, &rows), &mut dh[..rows.len() * hidden]);
            <T as Compiled>::backward(self.activation, h, (dy, dh), da);
            weights.step_backward(rows.len(), da, T::zero(), buffers.scratch, dh);
            let SequenceValues { x, y, .. } = values;
            let terms = Terms { x, y, h0, input: sums, recurrent: sums, candidate: &[] };
            weights.gradients_behind(walk, turn, terms, &mut buffers, &mut gradients);
        }
    }
}

compiled_once! {
    fn forward(activation: RnnActivation, h: &mut [Self]) = forward_all;
    fn backward(activation: RnnActivation, h: &[Self], gradients: (&[Self], &[Self]), da: &mut [Self])
        = backward_all;
}

fn forward_all<T: Element>(activation: RnnActivation, h: &mut [T]) {
    let activation = match activation {
        RnnActivation::Tanh => Activation::Tanh,
        RnnActivation::Relu => Activation::Relu,
    };
    <T as activation::Compiled>::forward(activation, InOut::in_place(h));
}

fn backward_all<T: Element>(activation: RnnActivation, h: &[T], (dy, dh): (&[T], &[T]), da: &mut [T]) {
    let active = Active::current();
    parallel::for_each(((h, dy), dh, da), PARALLEL_BLOCK, |((h, dy), dh, da)| {
        simd::dispatch(active, kernel::Backward { activation, h, dy, dh, da });
    });
}
