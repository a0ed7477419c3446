//! The plain recurrent network: the patient. Its gradient is multiplied by the same matrix at every step back, and so
//! vanishes or explodes with their number.
//!
//! Elman, "Finding structure in time", 1990; the disease by Bengio, Simard & Frasconi, "Learning long-term dependencies with
//! gradient descent is difficult", 1994.

pub(crate) mod kernel;
pub mod reference;

use super::gradients::Terms;
use super::lanes::Steps;
use super::layer::{Backward, Forward, Layer, Pass};
use super::sequence::{Biases, Form, Sizes, part, part_mut};
use super::{Direction, SequenceShape, SequenceValues};
use crate::activation;
use crate::element::compiled_once;
use crate::parallel::{self, PARALLEL_BLOCK, Rows};
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
/// The tape has one element a unit, step and sequence, and the initial state.
///
/// # Examples
/// ```
/// use steadygrad::recurrent::{Layer, RecurrentWeights, Rnn, RnnActivation, SequenceShape};
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
        let Forward { walk, x, weights, state: [state, _], mut carry, tape, scratch, y, .. } = pass;
        let hidden = self.hidden;
        let (h0, _) = tape.split_at_mut(state.len());
        h0.copy_from_slice(state);
        let mut next = 0;
        while next < walk.shape.steps {
            weights.project_ahead(walk, next, x, scratch, y);
            let turns = weights.turns_ahead(walk, next);
            next = turns.end;
            if let Some(chunk) = weights.chunk(walk, turns.clone()) {
                let (y, h0) = chunk.with_before(y, hidden, h0);
                let x = Steps::new(&chunk, part(x, self.inputs, &chunk.rows), self.inputs);
                let before = Rows { data: h0, width: hidden };
                let lanes = (Steps::new(&chunk, y, hidden), before, (carry.reborrow(), x));
                chunk.run(lanes, |batch, (mut y, h0, (mut carry, x))| {
                    for at in 0..chunk.steps {
                        let (h, before) = y.with_before(at, h0.data);
                        weights.project_now(batch, x.rows(at), &mut [], h);
                        weights.add_step(batch, carry.kept(&(0..batch), before), &mut [], h);
                        <T as Compiled>::forward(self.activation, h);
                    }
                });
            } else {
                for now in turns.clone().flat_map(|turn| walk.parts(turn)) {
                    let (h, before) = now.with_before(y, hidden, h0);
                    weights.project_now(now.rows.len(), part(x, self.inputs, &now.rows), scratch, h);
                    let kept = carry.kept(&now.sequences, before);
                    weights.add_step(now.rows.len(), kept, scratch, h);
                    <T as Compiled>::forward(self.activation, h);
                }
            }
            turns.for_each(|turn| walk.keep_ended(turn, y, hidden, state));
        }
    }

    fn backward_pass<T: Element>(&self, pass: Backward<'_, T>) {
        let Backward { walk, values, weights, tape, dstate: [dh, _], mut buffers, mut gradients, .. } = pass;
        let (hidden, SequenceValues { x, y, dy }) = (self.hidden, values);
        let (h0, sums) = tape.split_at_mut(dh.len());
        let mut end = walk.shape.steps;
        while end > 0 {
            let turns = weights.turns_behind(walk, end);
            end = turns.start;
            if let Some(chunk) = weights.chunk(walk, turns.clone()) {
                let given = |data| Steps::new(&chunk, part(data, hidden, &chunk.rows), hidden);
                let sums = Steps::new(&chunk, part_mut(sums, hidden, &chunk.rows), hidden);
                let dh = Rows { data: &mut *dh, width: hidden };
                let lanes = ((sums, given(y), given(dy)), dh, buffers.carry.reborrow());
                chunk.run(lanes, |batch, ((mut sums, y, dy), dh, carry)| {
                    for at in (0..chunk.steps).rev() {
                        let da = sums.now(at);
                        <T as Compiled>::backward(self.activation, y.rows(at), (dy.rows(at), dh.data), da);
                        carry.step_backward(weights, (batch, da), &mut [], dh.data);
                    }
                });
            } else {
                for rows in turns.rev().map(|turn| walk.rows(turn)) {
                    let (h, dy) = (part(y, hidden, &rows), part(dy, hidden, &rows));
                    let (da, dh) = (part_mut(sums, hidden, &rows), &mut dh[..rows.len() * hidden]);
                    <T as Compiled>::backward(self.activation, h, (dy, dh), da);
                    buffers.carry.step_backward(weights, (rows.len(), da), buffers.scratch, dh);
                }
            }
            let terms = Terms { x, y, h0, input: sums, recurrent: sums, candidate: &[] };
            weights.gradients_behind(walk, end, terms, &mut buffers, &mut gradients);
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
