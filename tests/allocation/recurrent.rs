//! Recurrent layers and stacks.

use steadygrad::recurrent::{
    Directions, Gru, Layer, Lengths, Lstm, LstmState, RecurrentGradients, RecurrentWeights, SequenceBatch,
    SequenceShape, SequenceValues, Stack, StackGradients, VariationalDropout,
};
use steadygrad::{Element, Philox};

use crate::{assert_none, ramp};

fn recurrent<T: Element>() {
    let shape = SequenceShape { steps: 4, batch: 20 };
    let op = Lstm { inputs: 40, hidden: 50, ..Lstm::default() };
    let (x, dy, mut y, mut dx) = (ramp::<T>(3200), ramp::<T>(4000), ramp::<T>(4000), ramp::<T>(3200));
    let (mut input, mut recurrent) = (ramp::<T>(200 * 40), ramp::<T>(200 * 50));
    let (mut h, mut c) = (ramp::<T>(1000), ramp::<T>(1000));
    let mut packed = {
        let weights = RecurrentWeights {
            input: &input,
            recurrent: &recurrent,
            input_bias: None,
            recurrent_bias: None,
            ..RecurrentWeights::default()
        };
        op.pack(weights).unwrap()
    };
    let mut tape = ramp::<T>(op.tape_len(shape).unwrap());
    let mut scratch = ramp::<T>(op.scratch_len::<T>(shape));
    assert_none("Lstm", || {
        let state = LstmState { h: &mut h, c: &mut c };
        op.forward(shape, &x, &packed, state, &mut tape, &mut scratch, &mut y).unwrap();
        let values = SequenceValues { x: &x, y: &y, dy: &dy };
        let gradients = RecurrentGradients {
            x: Some(&mut dx),
            input: Some(&mut input),
            recurrent: Some(&mut recurrent),
            ..RecurrentGradients::default()
        };
        let dstate = LstmState { h: &mut h, c: &mut c };
        op.backward(shape, values, &packed, &mut tape, dstate, &mut scratch, gradients).unwrap();
        let weights = RecurrentWeights {
            input: &input,
            recurrent: &recurrent,
            input_bias: None,
            recurrent_bias: None,
            ..RecurrentWeights::default()
        };
        packed.repack(weights).unwrap();
    });
}

fn recurrent_stack<T: Element>() {
    let shape = SequenceShape { steps: 4, batch: 10 };
    let gru = Gru { inputs: 8, hidden: 20, ..Gru::default() };
    let (directions, variational) = (Directions::Both, VariationalDropout { input: 0.1, recurrent: 0.2 });
    let op = Stack { layers: 2, directions, dropout: 0.5, variational, ..Stack::new(gru) };
    let (all, mut lengths) = ([3, 1, 2, 4, 4, 4, 1, 2, 3, 3], Lengths::new(shape, &[4; 10]).unwrap());
    let (x, dy, mut y, mut dx) = (ramp::<T>(320), ramp::<T>(1600), ramp::<T>(1600), ramp::<T>(320));
    let (mut state, input, recurrent) = (ramp::<T>(800), ramp::<T>(60 * 40), ramp::<T>(60 * 20));
    let weights = [8, 8, 40, 40].map(|inputs| RecurrentWeights {
        input: &input[..60 * inputs],
        recurrent: &recurrent,
        ..RecurrentWeights::default()
    });
    let mut packed = op.pack(&weights).unwrap();
    let batch = SequenceBatch { lengths: Some(&lengths), ..shape.into() };
    let mut tape = ramp::<T>(op.tape_len(batch).unwrap());
    let mut scratch = ramp::<T>(op.scratch_len::<T>(batch));
    let mut gradients = [8, 8, 40, 40].map(|inputs| ramp::<T>(60 * inputs));
    assert_none("Stack", || {
        lengths.set(shape, &all).unwrap();
        let dropout = Some(Philox { key: 1, counter: 2 });
        let batch = SequenceBatch { lengths: Some(&lengths), dropout, ..shape.into() };
        op.forward(batch, &x, &packed, &mut state, &mut tape, &mut scratch, &mut y).unwrap();
        let mut layers = gradients.each_mut().map(|gradient| RecurrentGradients {
            input: Some(&mut gradient[..]),
            ..RecurrentGradients::default()
        });
        let gradients = StackGradients { x: Some(&mut dx), layers: &mut layers };
        op.backward(batch, (&x, &dy), &packed, &mut tape, &mut state, &mut scratch, gradients).unwrap();
        packed.repack(&weights).unwrap();
    });
}

#[test]
fn allocation_none_in_recurrent() {
    recurrent::<f32>();
    recurrent::<f64>();
    recurrent_stack::<f32>();
    recurrent_stack::<f64>();
}
