//! Sequences of any lengths against each alone.

use steadygrad::recurrent::{Direction, Directions, Gru, Lstm, Rnn, SequenceShape};

use super::subject::{Cell, Given, Sizes, assert_near};
use crate::common::{assert_same_bits, each_level};

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
