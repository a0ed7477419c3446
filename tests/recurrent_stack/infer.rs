//! Inference without a tape has the bits of the forward with one.

use steadygrad::recurrent::{
    Direction, Directions, Gru, Lengths, Lstm, Rnn, SequenceBatch, SequenceLayout, SequenceShape, Stack,
    VariationalDropout, Zoneout,
};
use steadygrad::{Element, Error, Philox};

use super::refusals::name;
use super::subject::{Cell, Given, Sizes, borrow};
use crate::common::{assert_same_bits, each_level, each_pool};

/// `[y, h, c]` of the forward, then of the inference.
fn both_ways<C: Cell, T: Element>(sizes: &Sizes, given: &Given<T>) -> [[Vec<T>; 3]; 2] {
    let stack = sizes.stack::<C>();
    let lengths = sizes.lengths.as_ref().map(|lengths| Lengths::new(sizes.shape, lengths).unwrap());
    let (lengths, layout) = (lengths.as_ref(), sizes.layout);
    let batch = SequenceBatch { layout, lengths, ..sizes.shape.into() };
    let packed = stack.pack(&given.weights.iter().map(borrow).collect::<Vec<_>>()).unwrap();
    let mut tape = vec![T::nan(); stack.tape_len(batch).unwrap()];
    let mut scratch = vec![T::nan(); stack.scratch_len::<T>(batch)];
    let ([mut h, mut c], mut y) = (given.state.clone(), vec![T::nan(); given.dy.len()]);
    let state = C::state(&mut h, &mut c);
    stack.forward(batch, &given.x, &packed, state, &mut tape, &mut scratch, &mut y).unwrap();
    let forward = [y, h, c];
    // What masks would be drawn from is not read.
    let batch = SequenceBatch { dropout: Some(Philox { key: 7, counter: 3 }), ..batch };
    let mut scratch = vec![T::nan(); stack.infer_scratch_len::<T>(batch)];
    let ([mut h, mut c], mut y) = (given.state.clone(), vec![T::nan(); given.dy.len()]);
    stack.infer(batch, &given.x, &packed, C::state(&mut h, &mut c), &mut scratch, &mut y).unwrap();
    [forward, [y, h, c]]
}

fn assert_same<C: Cell, T: Element>(sizes: &Sizes) {
    let given = Given::<T>::new::<C>(sizes);
    let [forward, infer] = both_ways::<C, T>(sizes, &given);
    for (forward, infer) in forward.iter().zip(&infer) {
        assert_same_bits(infer, forward, || format!("{sizes:?}"));
    }
}

fn infers_as_it_goes_forward<C: Cell>(zoneout: Zoneout) {
    let dropped = Sizes {
        dropout: 0.5,
        variational: VariationalDropout { input: 0.5, recurrent: 0.5 },
        zoneout,
        ..Sizes::new(3, Directions::Both, (5, 3))
    };
    let backward = Sizes { direction: Direction::Backward, ..Sizes::new(1, Directions::One, (6, 4)) };
    let shapes =
        [Sizes::new(1, Directions::One, (5, 3)), backward, Sizes::new(2, Directions::One, (4, 5)), dropped];
    for sizes in shapes {
        let SequenceShape { steps, batch } = sizes.shape;
        let lengths = (0..batch).map(|at| 1 + (at * 2) % steps).collect();
        for lengths in [None, Some(lengths)] {
            for layout in [SequenceLayout::TimeMajor, SequenceLayout::BatchMajor] {
                let sizes = Sizes { lengths: lengths.clone(), layout, ..sizes.clone() };
                each_level(|_| {
                    assert_same::<C, f32>(&sizes);
                    assert_same::<C, f64>(&sizes);
                });
            }
        }
    }
}

#[test]
fn stack_infers_as_it_goes_forward() {
    infers_as_it_goes_forward::<Lstm>(Zoneout { output: 0.3, cell: 0.2 });
    infers_as_it_goes_forward::<Gru>(Zoneout { output: 0.3, cell: 0.0 });
    infers_as_it_goes_forward::<Rnn>(Zoneout::default());
}

/// Sequences of several windows, of which some end and some begin in the middle of one.
#[test]
fn stack_infers_window_by_window() {
    let batch = 48;
    for direction in [Direction::Forward, Direction::Backward] {
        for lengths in [None, Some((0..batch).map(|at| 1 + 7 * at).collect())] {
            let sizes = Sizes {
                direction,
                lengths,
                inputs: 3,
                hidden: 40,
                ..Sizes::new(1, Directions::One, (330, batch))
            };
            // Far more rows than are projected together, so less scratch than of the whole.
            let stack = sizes.stack::<Lstm>();
            let whole = stack.infer_scratch_len::<f32>(sizes.shape.into());
            let half = SequenceShape { steps: 165, batch };
            assert!(whole < 2 * stack.infer_scratch_len::<f32>(half.into()), "windows of {sizes:?}");
            each_pool(|_| {
                assert_same::<Lstm, f32>(&sizes);
                assert_same::<Gru, f32>(&sizes);
                assert_same::<Rnn, f32>(&sizes);
            });
        }
    }
}

#[test]
fn stack_infers_nothing_where_there_is_nothing() -> Result<(), Error> {
    let sizes = Sizes::new(1, Directions::One, (0, 3));
    let given = Given::<f32>::new::<Gru>(&sizes);
    let packed = sizes.stack::<Gru>().pack(&given.weights.iter().map(borrow).collect::<Vec<_>>())?;
    let mut state = given.state[0].clone();
    let mut scratch = vec![f32::NAN; sizes.stack::<Gru>().infer_scratch_len::<f32>(sizes.shape.into())];
    sizes.stack::<Gru>().infer(sizes.shape.into(), &[], &packed, &mut state, &mut scratch, &mut [])?;
    assert_eq!(state, given.state[0]);
    Ok(())
}

#[test]
fn stack_infer_names_the_bad_argument() {
    let sizes = Sizes { hidden: 4, ..Sizes::new(2, Directions::Both, (3, 2)) };
    let (stack, given) = (sizes.stack::<Gru>(), Given::<f32>::new::<Gru>(&sizes));
    let packed = stack.pack(&given.weights.iter().map(borrow).collect::<Vec<_>>()).unwrap();
    let batch = SequenceBatch::from(sizes.shape);
    let lens = [30, 32, stack.infer_scratch_len::<f32>(batch), 48];
    for (wrong, expected) in ["x", "state", "scratch", "y"].into_iter().enumerate() {
        let mut buffers = lens.map(|len| vec![7.0_f32; len]);
        buffers[wrong].pop();
        let [x, h, scratch, y] = &mut buffers;
        assert_eq!(name(stack.infer(batch, x, &packed, h, scratch, y)), expected);
        assert!(buffers.iter().flatten().all(|&value| value == 7.0), "written although refused");
    }
    let mut buffers = lens.map(|len| vec![7.0_f32; len]);
    let [x, h, scratch, y] = &mut buffers;
    let other = Lengths::new(SequenceShape { steps: 4, batch: 2 }, &[1, 2]).unwrap();
    let of_another = SequenceBatch { lengths: Some(&other), ..batch };
    assert_eq!(name(stack.infer(of_another, x, &packed, h, scratch, y)), "lengths");
    let one = Stack { layers: 1, ..stack };
    assert_eq!(name(one.infer(batch, x, &packed, h, scratch, y)), "weights");
    let huge = SequenceShape { steps: usize::MAX, batch: 2 };
    assert_eq!(stack.infer_scratch_len::<f32>(huge.into()), usize::MAX);
}
