//! Dropout, variational dropout and zoneout: gradients through them, and what is dropped.

use steadygrad::Philox;
use steadygrad::recurrent::{
    Directions, Gru, Lstm, Rnn, SequenceBatch, SequenceLayout, VariationalDropout, Zoneout,
};
use steadygrad::regularize::{Dropout, MaskShape};

use super::subject::{Cell, Given, Sizes, assert_near, borrow};
use crate::common::{assert_same_bits, each_level};

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
