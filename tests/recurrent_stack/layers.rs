//! Stacks against the layers and directions they are made of.

use steadygrad::recurrent::{
    Direction, Directions, Gru, Layer, Lstm, LstmState, RecurrentGradients, Rnn, SequenceValues,
};

use super::subject::{Cell, Given, Outcome, Sizes, assert_near, borrow, borrow_mut};
use crate::common::{assert_same_bits, each_level};

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
