//! Layouts, pools and levels that give the same bits, and stacks over nothing.

use steadygrad::Level;
use steadygrad::recurrent::{
    Directions, Gru, Lengths, Lstm, Rnn, SequenceLayout, SequenceShape, VariationalDropout,
};

use super::subject::{Cell, Given, Outcome, Sizes};
use crate::common::{each_level, each_pool};

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
