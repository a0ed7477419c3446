//! Stacks of recurrent layers: against the layers they are made of, and sequences of any lengths against each alone.

mod common;
mod recurrent_stack {
    mod infer;
}

use common::{assert_same_bits, each_level, each_pool, numbers};
use steadygrad::recurrent::{
    Direction, Directions, Gru, Layer, Lengths, Lstm, LstmState, RecurrentGradients, RecurrentWeights, Rnn,
    RnnActivation, SequenceBatch, SequenceLayout, SequenceShape, SequenceValues, Stack, StackGradients,
    VariationalDropout, Zoneout,
};
use steadygrad::regularize::{Dropout, MaskShape};
use steadygrad::{Element, Error, Level, Philox};

/// A cell that a stack is tested with.
trait Cell: Layer + PartialEq {
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
struct Sizes {
    layers: usize,
    directions: Directions,
    direction: Direction,
    dropout: f64,
    variational: VariationalDropout,
    zoneout: Zoneout,
    layout: SequenceLayout,
    shape: SequenceShape,
    lengths: Option<Vec<usize>>,
    inputs: usize,
    hidden: usize,
}

impl Sizes {
    fn new(layers: usize, directions: Directions, (steps, batch): (usize, usize)) -> Self {
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

    fn halves(&self) -> usize {
        if self.directions == Directions::Both { 2 } else { 1 }
    }

    fn stack<C: Cell>(&self) -> Stack<C> {
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
struct Given<T> {
    x: Vec<T>,
    /// Of each layer and direction: input weights, recurrent weights, input bias, recurrent bias.
    weights: Vec<[Vec<T>; 4]>,
    state: [Vec<T>; 2],
    dy: Vec<T>,
    dstate: [Vec<T>; 2],
}

/// Everything that comes out.
#[derive(Clone, Debug, PartialEq)]
struct Outcome<T> {
    y: Vec<T>,
    state: [Vec<T>; 2],
    dx: Vec<T>,
    dweights: Vec<[Vec<T>; 4]>,
    dstate: [Vec<T>; 2],
}

impl<T: Element> Given<T> {
    fn new<C: Cell>(sizes: &Sizes) -> Self {
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
    fn run<C: Cell>(&self, sizes: &Sizes) -> Outcome<T> {
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

fn borrow<T>([input, recurrent, input_bias, recurrent_bias]: &[Vec<T>; 4]) -> RecurrentWeights<'_, T> {
    RecurrentWeights {
        input,
        recurrent,
        input_bias: Some(input_bias),
        recurrent_bias: Some(recurrent_bias),
        ..RecurrentWeights::default()
    }
}

fn borrow_mut<T>(
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

/// Column block `half` of `halves` of rows of `width` each.
fn columns<T: Copy>(data: &[T], width: usize, half: usize, halves: usize) -> Vec<T> {
    data.chunks_exact(width * halves).flat_map(|row| row[half * width..][..width].to_vec()).collect()
}

/// Rows of each part side by side.
fn side_by_side<T: Copy>(parts: &[Vec<T>], width: usize) -> Vec<T> {
    let rows = parts[0].len() / width;
    (0..rows)
        .flat_map(|row| parts.iter().flat_map(move |part| part[row * width..][..width].to_vec()))
        .collect()
}

/// The stack, layer by layer and direction by direction through stacks of one: outputs up, gradients down.
fn composed<C: Cell>(sizes: &Sizes, given: &Given<f64>) -> Outcome<f64> {
    let (halves, hidden) = (sizes.halves(), sizes.hidden);
    let per_state = sizes.shape.batch * hidden;
    let state_of = |states: &[Vec<f64>; 2], at: usize| {
        states.each_ref().map(|s| s.get(at * per_state..(at + 1) * per_state).unwrap_or_default().to_vec())
    };
    let layer = |at: usize, x: &[f64], dy: Vec<f64>| {
        let one = Given {
            x: x.to_vec(),
            weights: vec![given.weights[at].clone()],
            state: state_of(&given.state, at),
            dy,
            dstate: state_of(&given.dstate, at),
        };
        let direction = if halves == 2 && at % 2 == 1 { Direction::Backward } else { Direction::Forward };
        let inputs = x.len() / (sizes.shape.steps * sizes.shape.batch);
        let one_layer = Sizes { layers: 1, directions: Directions::One, direction, inputs, ..sizes.clone() };
        one.run::<C>(&one_layer)
    };
    let mut inputs = vec![given.x.clone()];
    for index in 0..sizes.layers {
        let zero = vec![0.0; sizes.shape.steps * per_state];
        let outputs: Vec<_> =
            (0..halves).map(|half| layer(index * halves + half, &inputs[index], zero.clone()).y).collect();
        inputs.push(side_by_side(&outputs, hidden));
    }
    let mut all: Vec<Outcome<f64>> = Vec::new();
    let mut dy = given.dy.clone();
    for index in (0..sizes.layers).rev() {
        let outcomes: Vec<_> = (0..halves)
            .map(|half| layer(index * halves + half, &inputs[index], columns(&dy, hidden, half, halves)))
            .collect();
        dy = vec![0.0; outcomes[0].dx.len()];
        for outcome in &outcomes {
            dy.iter_mut().zip(&outcome.dx).for_each(|(sum, dx)| *sum += dx);
        }
        all.splice(0..0, outcomes);
    }
    let state = [0, 1].map(|i| all.iter().flat_map(|outcome| outcome.state[i].clone()).collect());
    let dstate = [0, 1].map(|i| all.iter().flat_map(|outcome| outcome.dstate[i].clone()).collect());
    let dweights = all.iter().map(|outcome| outcome.dweights[0].clone()).collect();
    Outcome { y: inputs.pop().unwrap(), state, dx: dy, dweights, dstate }
}

fn assert_near(actual: &Outcome<f64>, exact: &Outcome<f64>, bound: f64, context: &str) {
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

fn equals_its_layers<C: Cell>() {
    for (layers, directions) in
        [(1, Directions::One), (1, Directions::Both), (2, Directions::One), (3, Directions::Both)]
    {
        for lengths in [None, Some(vec![2, 6, 3, 6])] {
            let sizes = Sizes { lengths, ..Sizes::new(layers, directions, (6, 4)) };
            let given = Given::<f64>::new::<C>(&sizes);
            each_level(|level| {
                let (actual, exact) = (given.run::<C>(&sizes), composed::<C>(&sizes, &given));
                assert_same_bits(&actual.y, &exact.y, || format!("{sizes:?} {level}"));
                assert_near(&actual, &exact, 1e-13, &format!("{sizes:?} {level}"));
            });
        }
    }
}

#[test]
fn stack_equals_its_layers_and_directions() {
    equals_its_layers::<Lstm>();
    equals_its_layers::<Gru>();
    equals_its_layers::<Rnn>();
}

#[test]
fn stack_of_one_is_the_layer() {
    for direction in [Direction::Forward, Direction::Backward] {
        let sizes = Sizes { direction, ..Sizes::new(1, Directions::One, (5, 3)) };
        let given = Given::<f32>::new::<Lstm>(&sizes);
        let stacked = given.run::<Lstm>(&sizes);
        let (op, shape) = (Lstm::new(5, 18, direction), sizes.shape);
        let packed = op.pack(borrow(&given.weights[0])).unwrap();
        let mut tape = vec![f32::NAN; op.tape_len(shape).unwrap()];
        let mut scratch = vec![f32::NAN; op.scratch_len::<f32>(shape)];
        let ([mut h, mut c], mut y) = (given.state.clone(), vec![f32::NAN; given.dy.len()]);
        let state = LstmState { h: &mut h, c: &mut c };
        op.forward(shape, &given.x, &packed, state, &mut tape, &mut scratch, &mut y).unwrap();
        let ([mut dh, mut dc], mut dx) = (given.dstate.clone(), vec![f32::NAN; given.x.len()]);
        let mut dweights = given.weights[0].clone().map(|weights| vec![1.0; weights.len()]);
        let gradients = RecurrentGradients { x: Some(&mut dx), ..borrow_mut(&mut dweights) };
        let values = SequenceValues { x: &given.x, y: &y, dy: &given.dy };
        let dstate = LstmState { h: &mut dh, c: &mut dc };
        op.backward(shape, values, &packed, &mut tape, dstate, &mut scratch, gradients).unwrap();
        let alone = Outcome { y, state: [h, c], dx, dweights: vec![dweights], dstate: [dh, dc] };
        assert_eq!(stacked, alone, "{direction:?}");
    }
}

/// Sequence `sequence` of rows of `width`, its first `length` steps.
fn sequence_of<T: Copy>(data: &[T], width: usize, batch: usize, sequence: usize, length: usize) -> Vec<T> {
    let rows = data.chunks_exact(width).skip(sequence).step_by(batch).take(length);
    rows.flatten().copied().collect()
}

fn padded_equals_unpadded<C: Cell>() {
    let lengths = [3, 7, 1, 7, 4];
    for (layers, directions, direction) in [
        (1, Directions::One, Direction::Forward),
        (1, Directions::One, Direction::Backward),
        (2, Directions::Both, Direction::Forward),
    ] {
        let plain = Sizes { direction, ..Sizes::new(layers, directions, (7, 5)) };
        let sizes = Sizes { lengths: Some(lengths.to_vec()), ..plain.clone() };
        let given = Given::<f32>::new::<C>(&sizes);
        let (halves, hidden) = (sizes.halves(), sizes.hidden);
        each_level(|level| {
            let padded = given.run::<C>(&sizes);
            let mut sums: Vec<_> =
                padded.dweights.iter().map(|each| each.clone().map(|w| vec![1.0_f64; w.len()])).collect();
            for (sequence, &length) in lengths.iter().enumerate() {
                let own = |data: &[f32], width| sequence_of(data, width, 5, sequence, length);
                let state = |states: &[Vec<f32>; 2]| {
                    states.each_ref().map(|all| sequence_of(all, hidden, 5, sequence, usize::MAX))
                };
                let alone = Given {
                    x: own(&given.x, 5),
                    dy: own(&given.dy, halves * hidden),
                    state: state(&given.state),
                    dstate: state(&given.dstate),
                    weights: given.weights.clone(),
                };
                let shape = SequenceShape { steps: length, batch: 1 };
                let alone = alone.run::<C>(&Sizes { shape, ..plain.clone() });
                let context = || format!("{sequence} {plain:?} {level}");
                assert_same_bits(&own(&padded.y, halves * hidden), &alone.y, context);
                assert_same_bits(&own(&padded.dx, 5), &alone.dx, context);
                for (padded, alone) in [(&padded.state, &alone.state), (&padded.dstate, &alone.dstate)] {
                    for (padded, alone) in state(padded).iter().zip(alone) {
                        assert_same_bits(padded, alone, context);
                    }
                }
                let tail = |data: &[f32], width| {
                    sequence_of(data, width, 5, sequence, usize::MAX).split_off(length * width)
                };
                let padding = [tail(&padded.y, halves * hidden), tail(&padded.dx, 5)].concat();
                assert!(padding.iter().all(|value| value.to_bits() == 0), "padding is not 0");
                for (sums, alone) in sums.iter_mut().flatten().zip(alone.dweights.iter().flatten()) {
                    for (sum, alone) in sums.iter_mut().zip(alone) {
                        *sum += f64::from(alone - 1.0);
                    }
                }
            }
            for (sums, padded) in sums.iter().flatten().zip(padded.dweights.iter().flatten()) {
                for (sum, &padded) in sums.iter().zip(padded) {
                    assert!((sum - f64::from(padded)).abs() < 2e-5, "{sum} is not {padded}: {level}");
                }
            }
        });
    }
}

#[test]
fn stack_padded_equals_unpadded() {
    padded_equals_unpadded::<Lstm>();
    padded_equals_unpadded::<Gru>();
    padded_equals_unpadded::<Rnn>();
}

#[test]
fn stack_padding_of_nan_changes_no_bit() {
    let lengths = [3, 7, 1, 7, 4];
    let sizes = Sizes { lengths: Some(lengths.to_vec()), ..Sizes::new(2, Directions::Both, (7, 5)) };
    let given = Given::<f32>::new::<Lstm>(&sizes);
    let mut planted = given.clone();
    for (row, (x, dy)) in planted.x.chunks_exact_mut(5).zip(planted.dy.chunks_exact_mut(36)).enumerate() {
        if row / 5 >= lengths[row % 5] {
            x.fill(f32::NAN);
            dy.fill(f32::NAN);
        }
    }
    each_level(|_| assert_eq!(planted.run::<Lstm>(&sizes), given.run::<Lstm>(&sizes)));
}

#[test]
fn stack_full_lengths_are_no_lengths() {
    let sizes = Sizes::new(2, Directions::Both, (4, 3));
    let given = Given::<f64>::new::<Gru>(&sizes);
    let full = Sizes { lengths: Some(vec![4; 3]), ..sizes.clone() };
    let (with, without) = (given.run::<Gru>(&full), given.run::<Gru>(&sizes));
    assert_same_bits(&with.y, &without.y, || "y".into());
    assert_same_bits(&with.dx, &without.dx, || "dx".into());
    assert_near(&with, &without, 1e-13, "full lengths");
}

/// `Σ dy·y + Σ dstate·state`: a loss whose gradients are those of an outcome.
fn loss<C: Cell>(sizes: &Sizes, given: &Given<f64>) -> f64 {
    let outcome = given.run::<C>(sizes);
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    dot(&outcome.y, &given.dy)
        + outcome.state.iter().zip(&given.dstate).map(|(state, dstate)| dot(state, dstate)).sum::<f64>()
}

/// All gradients of an input, the states and each kind of weights, against finite differences of the stack itself.
fn gradients_match_finite_differences<C: Cell>(sizes: &Sizes) {
    const STEP: f64 = 1e-5;
    let mut given = Given::<f64>::new::<C>(sizes);
    // The gradient of padding is 0, and so is its part of the loss.
    let outcome = given.run::<C>(sizes);
    let check = |given: &mut Given<f64>, place: fn(&mut Given<f64>) -> &mut Vec<f64>, gradient: &[f64]| {
        for (i, gradient) in gradient.iter().enumerate() {
            let value = place(given)[i];
            place(given)[i] = value + STEP;
            let above = loss::<C>(sizes, given);
            place(given)[i] = value - STEP;
            let difference = (above - loss::<C>(sizes, given)) / (2.0 * STEP);
            place(given)[i] = value;
            assert!((difference - gradient).abs() < 1e-7, "{i}: {gradient} is not {difference}: {sizes:?}");
        }
    };
    let from_one = |gradient: &[f64]| gradient.iter().map(|gradient| gradient - 1.0).collect::<Vec<_>>();
    check(&mut given, |given| &mut given.x, &outcome.dx);
    check(&mut given, |given| &mut given.state[0], &outcome.dstate[0]);
    check(&mut given, |given| &mut given.state[1], &outcome.dstate[1]);
    check(&mut given, |given| &mut given.weights[0][0], &from_one(&outcome.dweights[0][0]));
    check(&mut given, |given| &mut given.weights[1][1], &from_one(&outcome.dweights[1][1]));
    check(&mut given, |given| &mut given.weights[3][2], &from_one(&outcome.dweights[3][2]));
    check(&mut given, |given| &mut given.weights[5][3], &from_one(&outcome.dweights[5][3]));
}

#[test]
fn stack_gradients_match_finite_differences_through_dropout_and_lengths() {
    let lengths = Some(vec![2, 4, 3]);
    let plain = Sizes { inputs: 2, hidden: 4, lengths, ..Sizes::new(3, Directions::Both, (4, 3)) };
    let dropout = Sizes { dropout: 0.4, ..plain.clone() };
    let both = VariationalDropout { input: 0.3, recurrent: 0.4 };
    let variational = Sizes { variational: both, layout: SequenceLayout::BatchMajor, ..plain.clone() };
    let all = Sizes { dropout: 0.4, variational: both, lengths: None, ..plain.clone() };
    let recurrent =
        Sizes { variational: VariationalDropout { recurrent: 0.5, ..Default::default() }, ..plain.clone() };
    for sizes in [dropout, variational, all, recurrent] {
        let (given, lossless) = (Given::<f64>::new::<Lstm>(&sizes), Given::<f64>::new::<Lstm>(&plain));
        assert_ne!(given.run::<Lstm>(&sizes).y, lossless.run::<Lstm>(&plain).y);
        gradients_match_finite_differences::<Lstm>(&sizes);
        gradients_match_finite_differences::<Gru>(&sizes);
        gradients_match_finite_differences::<Rnn>(&sizes);
    }
}

#[test]
fn stack_gradients_match_finite_differences_through_zoneout() {
    let zoneout = Zoneout { output: 0.3, cell: 0.4 };
    let variational = VariationalDropout { input: 0.2, recurrent: 0.3 };
    for lengths in [None, Some(vec![2, 4, 3])] {
        let plain = Sizes { inputs: 2, hidden: 4, lengths, ..Sizes::new(3, Directions::Both, (4, 3)) };
        let sizes = Sizes { zoneout, variational, ..plain.clone() };
        let given = Given::<f64>::new::<Lstm>(&sizes);
        assert_ne!(given.run::<Lstm>(&sizes).y, given.run::<Lstm>(&plain).y);
        gradients_match_finite_differences::<Lstm>(&sizes);
        let output = Zoneout { cell: 0.0, ..zoneout };
        gradients_match_finite_differences::<Gru>(&Sizes { zoneout: output, ..sizes });
    }
}

/// The mask of the features of one sequence.
fn mask(p: f64, counter: u64, features: usize) -> Vec<f64> {
    let mut mask = vec![1.0; features];
    let stream = Philox { key: 7, counter };
    Dropout { p }.forward_in_place(MaskShape::elements(features), stream, &mut mask).unwrap();
    mask
}

/// What is dropped at all steps might as well be dropped from the matrices.
fn variational_dropout_masks_columns<C: Cell>() {
    let variational = VariationalDropout { input: 0.4, recurrent: 0.3 };
    for (layers, directions) in [(1, Directions::One), (2, Directions::Both), (3, Directions::One)] {
        let plain = Sizes::new(layers, directions, (6, 1));
        let sizes = Sizes { variational, ..plain.clone() };
        let (given, halves, hidden) = (Given::<f64>::new::<C>(&sizes), sizes.halves(), sizes.hidden);
        let masks: Vec<[Vec<f64>; 2]> = (0..layers * halves)
            .map(|at| {
                let (index, inputs) = (at / halves, if at < halves { sizes.inputs } else { halves * hidden });
                // The counter of the batch is 3.
                let of_input = mask(variational.input, (3 + layers + index) as u64, inputs);
                [of_input, mask(variational.recurrent, (3 + 2 * layers + at) as u64, hidden)]
            })
            .collect();
        let apply = |weights: &mut [Vec<f64>; 4], masks: &[Vec<f64>; 2], start: f64| {
            for (weights, mask) in weights.iter_mut().zip(masks) {
                for (at, weight) in weights.iter_mut().enumerate() {
                    *weight = start + (*weight - start) * mask[at % mask.len()];
                }
            }
        };
        let mut masked = given.clone();
        masked.weights.iter_mut().zip(&masks).for_each(|(weights, masks)| apply(weights, masks, 0.0));
        each_level(|level| {
            let mut expected = masked.run::<C>(&plain);
            expected.dweights.iter_mut().zip(&masks).for_each(|(d, masks)| apply(d, masks, 1.0));
            assert_near(&given.run::<C>(&sizes), &expected, 1e-13, &format!("{sizes:?} {level}"));
        });
    }
}

#[test]
fn stack_variational_dropout_drops_the_same_at_all_steps() {
    variational_dropout_masks_columns::<Lstm>();
    variational_dropout_masks_columns::<Gru>();
    variational_dropout_masks_columns::<Rnn>();
}

#[test]
fn stack_variational_dropout_differs_between_sequences_and_streams() {
    // With inputs of 1, and without recurrence, the first outputs show which inputs were dropped.
    let variational = VariationalDropout { input: 0.5, recurrent: 0.0 };
    let sizes = Sizes { variational, inputs: 64, ..Sizes::new(1, Directions::One, (2, 2)) };
    let mut given = Given::<f64>::new::<Rnn>(&sizes);
    given.x.fill(1.0);
    given.state[0].fill(0.0);
    given.weights[0][1].fill(0.0);
    let y = given.run::<Rnn>(&sizes).y;
    let rows: Vec<&[f64]> = y.chunks_exact(sizes.hidden).collect();
    assert!(rows[0] == rows[2] && rows[1] == rows[3], "a mask changed from step to step");
    assert_ne!(rows[0], rows[1], "two sequences have one mask");
    assert_eq!(sizes.stack::<Rnn>().streams().unwrap(), 5);
    assert_eq!(Sizes::new(2, Directions::Both, (1, 1)).stack::<Rnn>().streams().unwrap(), 16);
}

#[test]
fn stack_drops_nothing_at_inference() {
    let variational = VariationalDropout { input: 0.5, recurrent: 0.5 };
    let plain = Sizes::new(2, Directions::Both, (4, 3));
    let sizes = Sizes { variational, dropout: 0.5, ..plain.clone() };
    let given = Given::<f32>::new::<Gru>(&sizes);
    let (stack, batch) = (sizes.stack::<Gru>(), SequenceBatch::from(sizes.shape));
    let packed = stack.pack(&given.weights.iter().map(borrow).collect::<Vec<_>>()).unwrap();
    let mut tape = vec![f32::NAN; stack.tape_len(batch).unwrap()];
    let mut scratch = vec![f32::NAN; stack.scratch_len::<f32>(batch)];
    let (mut h, mut y) = (given.state[0].clone(), vec![f32::NAN; given.dy.len()]);
    stack.forward(batch, &given.x, &packed, &mut h, &mut tape, &mut scratch, &mut y).unwrap();
    assert_same_bits(&y, &given.run::<Gru>(&plain).y, || "inference".into());
}

/// Rows of time × batch in the order batch × time, or back where the two are exchanged.
fn transposed<T: Copy>(data: &[T], width: usize, (steps, batch): (usize, usize)) -> Vec<T> {
    let row = |sequence: usize, step: usize| &data[(step * batch + sequence) * width..][..width];
    (0..batch).flat_map(|sequence| (0..steps).flat_map(move |step| row(sequence, step))).copied().collect()
}

fn batch_major_equals_time_major<C: Cell>() {
    let variational = VariationalDropout { input: 0.2, recurrent: 0.2 };
    let both = Sizes { dropout: 0.3, variational, ..Sizes::new(2, Directions::Both, (6, 4)) };
    for sizes in [Sizes::new(1, Directions::One, (5, 3)), Sizes::new(1, Directions::Both, (1, 7)), both] {
        let SequenceShape { steps, batch } = sizes.shape;
        let lengths = (0..batch).map(|at| 1 + (at * 2) % steps).collect();
        for lengths in [None, Some(lengths)] {
            let sizes = Sizes { lengths, ..sizes.clone() };
            let given = Given::<f32>::new::<C>(&sizes);
            let (inputs, outputs) = (sizes.inputs, sizes.halves() * sizes.hidden);
            let turned = Given {
                x: transposed(&given.x, inputs, (steps, batch)),
                dy: transposed(&given.dy, outputs, (steps, batch)),
                ..given.clone()
            };
            each_level(|level| {
                let expected = given.run::<C>(&sizes);
                let actual = turned.run::<C>(&Sizes { layout: SequenceLayout::BatchMajor, ..sizes.clone() });
                let back = Outcome {
                    y: transposed(&actual.y, outputs, (batch, steps)),
                    dx: transposed(&actual.dx, inputs, (batch, steps)),
                    ..actual
                };
                assert_eq!(back, expected, "{sizes:?} {level}");
            });
        }
    }
}

#[test]
fn stack_batch_major_equals_time_major_to_the_bit() {
    batch_major_equals_time_major::<Lstm>();
    batch_major_equals_time_major::<Gru>();
    batch_major_equals_time_major::<Rnn>();
}

fn same_bits_everywhere<C: Cell>() {
    let sizes = Sizes {
        hidden: 150,
        inputs: 64,
        dropout: 0.2,
        variational: VariationalDropout { input: 0.1, recurrent: 0.1 },
        ..Sizes::new(2, Directions::Both, (6, 40))
    };
    for lengths in [None, Some((0..40).map(|at| 1 + at % 6).collect())] {
        let sizes = Sizes { lengths, ..sizes.clone() };
        let given = Given::<f32>::new::<C>(&sizes);
        let expected = given.run::<C>(&sizes);
        each_pool(|threads| assert_eq!(given.run::<C>(&sizes), expected, "{threads} threads"));
        let fused: Vec<Level> = Level::available().filter(|&level| level != Level::Portable).collect();
        for pair in fused.windows(2) {
            let [first, second] =
                [pair[0], pair[1]].map(|level| Level::scoped(level, || given.run::<C>(&sizes)).unwrap());
            assert_eq!(first, second, "{pair:?}");
        }
    }
}

#[test]
fn stack_same_bits_in_any_pool_and_on_avx2_and_avx512() {
    same_bits_everywhere::<Lstm>();
    same_bits_everywhere::<Gru>();
    same_bits_everywhere::<Rnn>();
}

#[test]
fn stack_nothing_is_fine() {
    for (steps, batch, hidden) in [(0, 3, 4), (3, 0, 4), (3, 2, 0)] {
        let sizes = Sizes { hidden, ..Sizes::new(2, Directions::Both, (steps, batch)) };
        let given = Given::<f32>::new::<Lstm>(&sizes);
        let outcome = given.run::<Lstm>(&sizes);
        assert_eq!((&outcome.state, &outcome.dstate), (&given.state, &given.dstate));
        assert!(outcome.dx.iter().all(|&dx| dx == 0.0));
    }
    let none = SequenceShape { steps: usize::MAX, batch: 0 };
    assert_eq!(Lengths::new(none, &[]).unwrap().rows(), 0);
}

fn name<T: std::fmt::Debug>(result: Result<T, Error>) -> &'static str {
    match result.unwrap_err() {
        Error::OutOfRange { argument, .. }
        | Error::Length { argument, .. }
        | Error::Overflow { argument } => argument,
        error => panic!("{error:?}"),
    }
}

#[test]
fn stack_names_the_bad_argument() {
    let shape = SequenceShape { steps: 3, batch: 2 };
    for lengths in [&[1, 4][..], &[0, 3], &[3], &[1, 1, 1]] {
        assert_eq!(name(Lengths::new(shape, lengths)), "lengths");
    }
    let mut lengths = Lengths::new(shape, &[1, 3]).unwrap();
    assert_eq!(name(lengths.set(shape, &[0, 1])), "lengths");
    assert_eq!(lengths, Lengths::new(shape, &[1, 3]).unwrap());

    let sizes = Sizes { hidden: 4, ..Sizes::new(2, Directions::Both, (3, 2)) };
    let (stack, given) = (sizes.stack::<Lstm>(), Given::<f32>::new::<Lstm>(&sizes));
    let weights: Vec<_> = given.weights.iter().map(borrow).collect();
    assert_eq!(name(stack.pack(&weights[1..])), "weights");
    let swapped = [weights[2], weights[3], weights[0], weights[1]];
    assert_eq!(name(stack.pack(&swapped)), "weights.input");
    assert_eq!(name(Stack { layers: 0, ..stack }.pack::<f32>(&[])), "layers");
    let mut packed = stack.pack(&weights).unwrap();
    assert_eq!(name(packed.repack(&swapped)), "weights.input");
    let huge = SequenceShape { steps: usize::MAX, batch: 2 };
    assert_eq!(name(stack.tape_len(huge.into())), "shape");

    let batch = SequenceBatch::from(shape);
    let lens = [30, 32, 32, stack.tape_len(batch).unwrap(), stack.scratch_len::<f32>(batch), 48];
    let names = ["x", "state.h", "state.c", "tape", "scratch", "y"];
    for (wrong, expected) in names.into_iter().enumerate() {
        let mut buffers = lens.map(|len| vec![7.0_f32; len]);
        buffers[wrong].pop();
        let [x, h, c, tape, scratch, y] = &mut buffers;
        let refused = stack.forward(batch, x, &packed, LstmState { h, c }, tape, scratch, y);
        assert_eq!(name(refused), expected);
        assert!(buffers.iter().flatten().all(|&value| value == 7.0), "written although refused");
    }
    let mut buffers = lens.map(|len| vec![7.0_f32; len]);
    let [x, h, c, tape, scratch, dy] = &mut buffers;
    let other = Lengths::new(SequenceShape { steps: 4, batch: 2 }, &[1, 2]).unwrap();
    let of_another = SequenceBatch { lengths: Some(&other), ..batch };
    assert_eq!(name(stack.forward(of_another, x, &packed, LstmState { h, c }, tape, scratch, dy)), "lengths");
    for dropout in [-0.1, 1.1, f64::NAN] {
        let op = Stack { dropout, ..stack };
        assert_eq!(name(op.forward(batch, x, &packed, LstmState { h, c }, tape, scratch, dy)), "dropout");
    }
    for p in [-0.1, 1.1, f64::NAN] {
        let input = VariationalDropout { input: p, recurrent: 0.0 };
        let recurrent = VariationalDropout { input: 0.0, recurrent: p };
        for (variational, expected) in [(input, "variational.input"), (recurrent, "variational.recurrent")] {
            let op = Stack { variational, ..stack };
            let refused = op.forward(batch, x, &packed, LstmState { h, c }, tape, scratch, dy);
            assert_eq!(name(refused), expected);
        }
    }
    let one = Stack { layers: 1, ..stack };
    assert_eq!(name(one.forward(batch, x, &packed, LstmState { h, c }, tape, scratch, dy)), "weights");

    let mut dx = vec![7.0; 30];
    let mut empty: [RecurrentGradients<'_, f32>; 4] = Default::default();
    let mut backward = |dx: &mut [f32], layers: &mut [RecurrentGradients<'_, f32>]| {
        let gradients = StackGradients { x: Some(dx), layers };
        stack.backward(batch, (x, dy), &packed, tape, LstmState { h, c }, scratch, gradients)
    };
    assert_eq!(name(backward(&mut dx[1..], &mut empty)), "gradients.x");
    assert_eq!(name(backward(&mut dx, &mut empty[1..])), "gradients.layers");
    let mut more = [7.0; 30];
    let mut fewer = [7.0; 30];
    empty[1].x = Some(&mut fewer);
    assert_eq!(name(backward(&mut dx, &mut empty)), "gradients.layers");
    empty[1] = RecurrentGradients { input: Some(&mut more), ..RecurrentGradients::default() };
    assert_eq!(name(backward(&mut dx, &mut empty)), "gradients.input");
    assert!(dx.iter().all(|&dx| dx == 7.0), "written although refused");
}
