//! A layer with everything that goes in, and everything that comes out.

use core::ops::Range;

use steadygrad::Element;
use steadygrad::recurrent::{
    Direction, Gru, Layer, Lstm, LstmState, PackedRecurrent, RecurrentGradients, RecurrentWeights, Rnn,
    RnnActivation, SequenceShape, SequenceValues,
};

use crate::common::{assert_same_bits, numbers};

/// Which cell a layer has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Cell {
    Tanh,
    Relu,
    Lstm,
    Gru,
}

pub(crate) const CELLS: [Cell; 4] = [Cell::Tanh, Cell::Relu, Cell::Lstm, Cell::Gru];
pub(crate) const DIRECTIONS: [Direction; 2] = [Direction::Forward, Direction::Backward];

impl Cell {
    pub(crate) fn gates(self) -> usize {
        match self {
            Self::Tanh | Self::Relu => 1,
            Self::Lstm => 4,
            Self::Gru => 3,
        }
    }
}

/// A layer and everything that goes in.
#[derive(Clone, Debug)]
pub(crate) struct Case<T> {
    pub(crate) cell: Cell,
    pub(crate) direction: Direction,
    pub(crate) shape: SequenceShape,
    pub(crate) inputs: usize,
    pub(crate) hidden: usize,
    pub(crate) x: Vec<T>,
    /// Input weights, recurrent weights, input bias, recurrent bias.
    pub(crate) weights: [Vec<T>; 4],
    /// Output and cell before the first step.
    pub(crate) state: [Vec<T>; 2],
    pub(crate) dy: Vec<T>,
    pub(crate) dstate: [Vec<T>; 2],
}

/// Everything that comes out.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outcome<T> {
    pub(crate) y: Vec<T>,
    pub(crate) state: [Vec<T>; 2],
    pub(crate) dx: Vec<T>,
    pub(crate) dweights: [Vec<T>; 4],
    pub(crate) dstate: [Vec<T>; 2],
}

impl<T: Element> Case<T> {
    pub(crate) fn new(
        cell: Cell,
        direction: Direction,
        shape: SequenceShape,
        inputs: usize,
        hidden: usize,
    ) -> Self {
        let SequenceShape { steps, batch } = shape;
        let width = cell.gates() * hidden;
        let spread = 0.7 / (hidden as f64).sqrt();
        Self {
            cell,
            direction,
            shape,
            inputs,
            hidden,
            x: numbers(1, steps * batch * inputs, 0.5),
            weights: [
                numbers(2, width * inputs, spread),
                numbers(3, width * hidden, spread),
                numbers(4, width, 0.3),
                numbers(5, width, 0.3),
            ],
            state: [numbers(6, batch * hidden, 0.5), numbers(7, batch * hidden, 0.5)],
            dy: numbers(8, steps * batch * hidden, 0.5),
            dstate: [numbers(9, batch * hidden, 0.5), numbers(10, batch * hidden, 0.5)],
        }
    }

    pub(crate) fn weights(&self) -> RecurrentWeights<'_, T> {
        let [input, recurrent, input_bias, recurrent_bias] = &self.weights;
        RecurrentWeights {
            input,
            recurrent,
            input_bias: Some(input_bias),
            recurrent_bias: Some(recurrent_bias),
            ..RecurrentWeights::default()
        }
    }

    pub(crate) fn lstm(&self) -> Lstm {
        Lstm { inputs: self.inputs, hidden: self.hidden, direction: self.direction, ..Lstm::default() }
    }

    fn gru(&self) -> Gru {
        Gru { inputs: self.inputs, hidden: self.hidden, direction: self.direction, ..Gru::default() }
    }

    fn rnn(&self) -> Rnn {
        let activation = if self.cell == Cell::Relu { RnnActivation::Relu } else { RnnActivation::Tanh };
        Rnn { inputs: self.inputs, hidden: self.hidden, activation, direction: self.direction }
    }

    pub(crate) fn pack(&self) -> PackedRecurrent<T> {
        match self.cell {
            Cell::Lstm => self.lstm().pack(self.weights()),
            Cell::Gru => self.gru().pack(self.weights()),
            _ => self.rnn().pack(self.weights()),
        }
        .unwrap()
    }

    /// Forward and backward by the crate. Every buffer that is to be overwritten starts as NaN.
    pub(crate) fn run(&self) -> Outcome<T> {
        self.run_with(&self.pack())
    }

    pub(crate) fn run_with(&self, packed: &PackedRecurrent<T>) -> Outcome<T> {
        let shape = self.shape;
        let (tape, scratch) = match self.cell {
            Cell::Lstm => (self.lstm().tape_len(shape), self.lstm().scratch_len::<T>(shape)),
            Cell::Gru => (self.gru().tape_len(shape), self.gru().scratch_len::<T>(shape)),
            _ => (self.rnn().tape_len(shape), self.rnn().scratch_len::<T>(shape)),
        };
        let (mut tape, mut scratch) = (vec![T::nan(); tape.unwrap()], vec![T::nan(); scratch]);
        let mut y = vec![T::nan(); self.dy.len()];
        let mut dx = vec![T::nan(); self.x.len()];
        let mut dweights = self.weights.clone().map(|weights| vec![T::one(); weights.len()]);
        let ([mut h, mut c], [mut dh, mut dc]) = (self.state.clone(), self.dstate.clone());
        let (x, w, t, s) = (&self.x, packed, &mut tape, &mut scratch);
        match self.cell {
            Cell::Lstm => self.lstm().forward(shape, x, w, LstmState { h: &mut h, c: &mut c }, t, s, &mut y),
            Cell::Gru => self.gru().forward(shape, x, w, &mut h, t, s, &mut y),
            _ => self.rnn().forward(shape, x, w, &mut h, t, s, &mut y),
        }
        .unwrap();
        for (inferred, forward) in self.infer_with(packed).iter().zip([&y, &h, &c]) {
            assert_same_bits(inferred, forward, || "inference".into());
        }
        let [input, recurrent, input_bias, recurrent_bias] = &mut dweights;
        let gradients = RecurrentGradients {
            x: Some(&mut dx),
            input: Some(input),
            recurrent: Some(recurrent),
            input_bias: Some(input_bias),
            recurrent_bias: Some(recurrent_bias),
            ..RecurrentGradients::default()
        };
        let values = SequenceValues { x, y: &y, dy: &self.dy };
        match self.cell {
            Cell::Lstm => {
                let dstate = LstmState { h: &mut dh, c: &mut dc };
                self.lstm().backward(shape, values, w, t, dstate, s, gradients)
            }
            Cell::Gru => self.gru().backward(shape, values, w, t, &mut dh, s, gradients),
            _ => self.rnn().backward(shape, values, w, t, &mut dh, s, gradients),
        }
        .unwrap();
        Outcome { y, state: [h, c], dx, dweights, dstate: [dh, dc] }
    }

    /// Output and final state without a tape.
    fn infer_with(&self, packed: &PackedRecurrent<T>) -> [Vec<T>; 3] {
        let shape = self.shape;
        let scratch = match self.cell {
            Cell::Lstm => self.lstm().infer_scratch_len::<T>(shape),
            Cell::Gru => self.gru().infer_scratch_len::<T>(shape),
            _ => self.rnn().infer_scratch_len::<T>(shape),
        };
        let (mut scratch, mut y) = (vec![T::nan(); scratch], vec![T::nan(); self.dy.len()]);
        let [mut h, mut c] = self.state.clone();
        let (x, s) = (&self.x, &mut scratch);
        match self.cell {
            Cell::Lstm => self.lstm().infer(shape, x, packed, LstmState { h: &mut h, c: &mut c }, s, &mut y),
            Cell::Gru => self.gru().infer(shape, x, packed, &mut h, s, &mut y),
            _ => self.rnn().infer(shape, x, packed, &mut h, s, &mut y),
        }
        .unwrap();
        [y, h, c]
    }

    /// Some steps of it, with the same states.
    pub(crate) fn window(&self, steps: Range<usize>) -> Self {
        let part = |values: &[T], width: usize| {
            let step = self.shape.batch * width;
            values[steps.start * step..steps.end * step].to_vec()
        };
        Self {
            shape: SequenceShape { steps: steps.len(), ..self.shape },
            x: part(&self.x, self.inputs),
            dy: part(&self.dy, self.hidden),
            ..self.clone()
        }
    }

    pub(crate) fn to_f64(&self) -> Case<f64> {
        let wide = |values: &[T]| values.iter().map(|&value| value.to_f64()).collect::<Vec<f64>>();
        Case {
            cell: self.cell,
            direction: self.direction,
            shape: self.shape,
            inputs: self.inputs,
            hidden: self.hidden,
            x: wide(&self.x),
            weights: self.weights.each_ref().map(|values| wide(values)),
            state: self.state.each_ref().map(|values| wide(values)),
            dy: wide(&self.dy),
            dstate: self.dstate.each_ref().map(|values| wide(values)),
        }
    }
}
