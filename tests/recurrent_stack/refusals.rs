//! What stacks refuse: errors name the argument, and nothing is written.

use steadygrad::Error;
use steadygrad::recurrent::{
    Directions, Lengths, Lstm, LstmState, RecurrentGradients, SequenceBatch, SequenceShape, Stack,
    StackGradients, VariationalDropout,
};

use super::subject::{Given, Sizes, borrow};

pub(crate) fn name<T: std::fmt::Debug>(result: Result<T, Error>) -> &'static str {
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
