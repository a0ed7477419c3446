//! A stack of any cell, everything that goes in, and everything that comes out.

use steadygrad::recurrent::{
    Direction, Directions, Gru, Layer, Lengths, Lstm, LstmState, RecurrentGradients, RecurrentWeights, Rnn,
    RnnActivation, SequenceBatch, SequenceLayout, SequenceShape, Stack, StackGradients, VariationalDropout,
    Zoneout,
};
use steadygrad::{Element, Philox};

use crate::common::numbers;

/// A cell that a stack is tested with.
pub(crate) trait Cell: Layer + PartialEq {
    const GATES: usize;
    const HAS_CELL: bool = false;
    fn new(inputs: usize, hidden: usize, direction: Direction) -> Self;
    fn state<'a, T>(h: &'a mut [T], c: &'a mut [T]) -> Self::State<'a, T>;
}

impl Cell for Lstm {
    const GATES: usize = 4;
    const HAS_CELL: bool = true;
    fn new(inputs: usize, hidden: usize, direction: Direction) -> Self {
        Self { inputs, hidden, direction, ..Self::default() }
    }
    fn state<'a, T>(h: &'a mut [T], c: &'a mut [T]) -> LstmState<'a, T> {
        LstmState { h, c }
    }
}

impl Cell for Gru {
    const GATES: usize = 3;
    fn new(inputs: usize, hidden: usize, direction: Direction) -> Self {
        Self { inputs, hidden, direction, ..Self::default() }
    }
    fn state<'a, T>(h: &'a mut [T], _: &'a mut [T]) -> &'a mut [T] {
        h
    }
}

impl Cell for Rnn {
    const GATES: usize = 1;
    fn new(inputs: usize, hidden: usize, direction: Direction) -> Self {
        Self { inputs, hidden, direction, activation: RnnActivation::Tanh }
    }
    fn state<'a, T>(h: &'a mut [T], _: &'a mut [T]) -> &'a mut [T] {
        h
    }
}

/// Sizes of a stack and of what it goes over.
#[derive(Clone, Debug)]
pub(crate) struct Sizes {
    pub(crate) layers: usize,
    pub(crate) directions: Directions,
    pub(crate) direction: Direction,
    pub(crate) dropout: f64,
    pub(crate) variational: VariationalDropout,
    pub(crate) zoneout: Zoneout,
    pub(crate) layout: SequenceLayout,
    pub(crate) shape: SequenceShape,
    pub(crate) lengths: Option<Vec<usize>>,
    pub(crate) inputs: usize,
    pub(crate) hidden: usize,
}

impl Sizes {
    pub(crate) fn new(layers: usize, directions: Directions, (steps, batch): (usize, usize)) -> Self {
        Self {
            layers,
            directions,
            direction: Direction::Forward,
            dropout: 0.0,
            variational: VariationalDropout::default(),
            zoneout: Zoneout::default(),
            layout: SequenceLayout::TimeMajor,
            shape: SequenceShape { steps, batch },
            lengths: None,
            inputs: 5,
            hidden: 18,
        }
    }

    pub(crate) fn halves(&self) -> usize {
        if self.directions == Directions::Both { 2 } else { 1 }
    }

    pub(crate) fn stack<C: Cell>(&self) -> Stack<C> {
        Stack {
            layer: C::new(self.inputs, self.hidden, self.direction),
            layers: self.layers,
            directions: self.directions,
            dropout: self.dropout,
            variational: self.variational,
            zoneout: self.zoneout,
        }
    }
}

/// Everything that goes in.
#[derive(Clone, Debug)]
pub(crate) struct Given<T> {
    pub(crate) x: Vec<T>,
    /// Of each layer and direction: input weights, recurrent weights, input bias, recurrent bias.
    pub(crate) weights: Vec<[Vec<T>; 4]>,
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
    pub(crate) dweights: Vec<[Vec<T>; 4]>,
    pub(crate) dstate: [Vec<T>; 2],
}

impl<T: Element> Given<T> {
    pub(crate) fn new<C: Cell>(sizes: &Sizes) -> Self {
        let SequenceShape { steps, batch } = sizes.shape;
        let (hidden, halves) = (sizes.hidden, sizes.halves());
        let width = C::GATES * hidden;
        let spread = 0.7 / (hidden as f64).sqrt();
        let weights = |at: usize| {
            let inputs = if at < halves { sizes.inputs } else { halves * hidden };
            let seed = 20 + 4 * at as u64;
            [
                numbers(seed, width * inputs, spread),
                numbers(seed + 1, width * hidden, spread),
                numbers(seed + 2, width, 0.3),
                numbers(seed + 3, width, 0.3),
            ]
        };
        let states = sizes.layers * halves * batch * hidden;
        let cells = if C::HAS_CELL { states } else { 0 };
        Self {
            x: numbers(1, steps * batch * sizes.inputs, 0.5),
            weights: (0..sizes.layers * halves).map(weights).collect(),
            state: [numbers(2, states, 0.5), numbers(3, cells, 0.5)],
            dy: numbers(4, steps * batch * halves * hidden, 0.5),
            dstate: [numbers(5, states, 0.5), numbers(6, cells, 0.5)],
        }
    }

    /// Forward and backward by the crate; weights' gradients start from 1, what is to be overwritten from NaN.
    pub(crate) fn run<C: Cell>(&self, sizes: &Sizes) -> Outcome<T> {
        let stack = sizes.stack::<C>();
        let lengths = sizes.lengths.as_ref().map(|lengths| Lengths::new(sizes.shape, lengths).unwrap());
        let dropout = Some(Philox { key: 7, counter: 3 });
        let batch =
            SequenceBatch { shape: sizes.shape, layout: sizes.layout, lengths: lengths.as_ref(), dropout };
        let weights: Vec<_> = self.weights.iter().map(borrow).collect();
        let packed = stack.pack(&weights).unwrap();
        let mut tape = vec![T::nan(); stack.tape_len(batch).unwrap()];
        let mut scratch = vec![T::nan(); stack.scratch_len::<T>(batch)];
        let mut y = vec![T::nan(); self.dy.len()];
        let mut dx = vec![T::nan(); self.x.len()];
        let ([mut h, mut c], [mut dh, mut dc]) = (self.state.clone(), self.dstate.clone());
        let state = C::state(&mut h, &mut c);
        stack.forward(batch, &self.x, &packed, state, &mut tape, &mut scratch, &mut y).unwrap();
        let mut dweights: Vec<_> = self
            .weights
            .iter()
            .map(|each| each.clone().map(|weights| vec![T::one(); weights.len()]))
            .collect();
        let mut layers: Vec<_> = dweights.iter_mut().map(borrow_mut).collect();
        let gradients = StackGradients { x: Some(&mut dx), layers: &mut layers };
        let dstate = C::state(&mut dh, &mut dc);
        scratch.fill(T::nan());
        stack
            .backward(batch, (&self.x, &self.dy), &packed, &mut tape, dstate, &mut scratch, gradients)
            .unwrap();
        Outcome { y, state: [h, c], dx, dweights, dstate: [dh, dc] }
    }
}

pub(crate) fn borrow<T>(
    [input, recurrent, input_bias, recurrent_bias]: &[Vec<T>; 4],
) -> RecurrentWeights<'_, T> {
    RecurrentWeights {
        input,
        recurrent,
        input_bias: Some(input_bias),
        recurrent_bias: Some(recurrent_bias),
        ..RecurrentWeights::default()
    }
}

pub(crate) fn borrow_mut<T>(
    [input, recurrent, input_bias, recurrent_bias]: &mut [Vec<T>; 4],
) -> RecurrentGradients<'_, T> {
    RecurrentGradients {
        x: None,
        input: Some(input),
        recurrent: Some(recurrent),
        input_bias: Some(input_bias),
        recurrent_bias: Some(recurrent_bias),
        ..RecurrentGradients::default()
    }
}

pub(crate) fn assert_near(actual: &Outcome<f64>, exact: &Outcome<f64>, bound: f64, context: &str) {
    let parts = |outcome: &Outcome<f64>| -> Vec<Vec<f64>> {
        let mut parts = vec![outcome.y.clone(), outcome.dx.clone()];
        parts.extend(
            outcome.state.iter().chain(&outcome.dstate).chain(outcome.dweights.iter().flatten()).cloned(),
        );
        parts
    };
    for (part, (actual, exact)) in parts(actual).iter().zip(parts(exact)).enumerate() {
        assert_eq!(actual.len(), exact.len());
        for (i, (a, e)) in actual.iter().zip(&exact).enumerate() {
            assert!((a - e).abs() <= bound * (1.0 + e.abs()), "part {part} {i}: {a} is not {e}: {context}");
        }
    }
}
