//! Sequences, stretches of time and truncated windows against the whole.

use steadygrad::recurrent::{Direction, SequenceShape};

use super::subject::{CELLS, Case};
use super::textbook::loss;
use crate::common::{assert_same_bits, each_level};

#[test]
fn recurrent_a_batch_equals_its_rows() {
    for cell in CELLS {
        let shape = SequenceShape { steps: 5, batch: 6 };
        let case = Case::<f32>::new(cell, Direction::Forward, shape, 9, 20);
        each_level(|_| {
            let whole = case.run();
            for sequence in 0..shape.batch {
                let row = |values: &[f32], width: usize| -> Vec<f32> {
                    let rows = values.chunks_exact(width).skip(sequence).step_by(shape.batch);
                    rows.flatten().copied().collect()
                };
                let alone = Case {
                    shape: SequenceShape { steps: 5, batch: 1 },
                    x: row(&case.x, 9),
                    state: case.state.each_ref().map(|state| row(state, 20)),
                    dy: row(&case.dy, 20),
                    dstate: case.dstate.each_ref().map(|state| row(state, 20)),
                    ..case.clone()
                };
                let alone = alone.run();
                assert_same_bits(&alone.y, &row(&whole.y, 20), || format!("{cell:?} {sequence}"));
                assert_same_bits(&alone.dx, &row(&whole.dx, 9), || format!("{cell:?} {sequence}"));
                assert_same_bits(&alone.dstate[0], &row(&whole.dstate[0], 20), || format!("{cell:?}"));
            }
        });
    }
}

#[test]
fn recurrent_a_sequence_equals_its_parts() {
    for cell in CELLS {
        let shape = SequenceShape { steps: 7, batch: 3 };
        let case = Case::<f64>::new(cell, Direction::Forward, shape, 4, 10);
        let whole = case.run();
        let first = case.window(0..3);
        let second = Case { state: first.run().state, ..case.window(3..7) };
        let second = second.run();
        let first = Case { dstate: second.dstate.clone(), ..first }.run();
        assert_same_bits(&[first.y, second.y].concat(), &whole.y, || format!("{cell:?}"));
        assert_same_bits(&[first.dx, second.dx].concat(), &whole.dx, || format!("{cell:?}"));
        assert_same_bits(&second.state[0], &whole.state[0], || format!("{cell:?}"));
        assert_same_bits(&first.dstate[0], &whole.dstate[0], || format!("{cell:?}"));
        for ((first, second), whole) in first.dweights.iter().zip(&second.dweights).zip(&whole.dweights) {
            for ((first, second), whole) in first.iter().zip(second).zip(whole) {
                // Both began at 1.
                assert!((first + second - 1.0 - whole).abs() < 1e-13, "{cell:?}");
            }
        }
    }
}

/// Windows of `length` steps: each starts from the state before it, and no gradient crosses from one to the next.
fn windows(case: &Case<f64>, length: usize) -> Vec<Case<f64>> {
    let mut state = case.state.clone();
    let cut = case.dstate.clone().map(|dstate| vec![0.0; dstate.len()]);
    let starts = (0..case.shape.steps).step_by(length);
    let windows = starts.map(|start| {
        let end = case.shape.steps.min(start + length);
        let dstate = if end == case.shape.steps { case.dstate.clone() } else { cut.clone() };
        let window = Case { state: state.clone(), dstate, ..case.window(start..end) };
        state = window.run().state;
        window
    });
    windows.collect()
}

#[test]
fn recurrent_truncated_through_time_takes_states_as_constants() {
    const STEP: f64 = 1e-5;
    for cell in CELLS {
        let case = Case::<f64>::new(cell, Direction::Forward, SequenceShape { steps: 5, batch: 2 }, 3, 4);
        // Of the recurrent weights, whose gradient runs through time.
        let gradient = |windows: &[Case<f64>]| -> Vec<f64> {
            let parts: Vec<_> = windows.iter().map(|window| window.run().dweights[1].clone()).collect();
            // Each began at 1.
            (0..parts[0].len()).map(|i| parts.iter().map(|part| part[i] - 1.0).sum()).collect()
        };
        let (whole, cut) = (gradient(&windows(&case, 5)), windows(&case, 2));
        let full: Vec<f64> = case.run().dweights[1].iter().map(|d| d - 1.0).collect();
        assert_same_bits(&whole, &full, || format!("{cell:?}: one window is all"));
        let truncated = gradient(&cut);
        assert!(whole.iter().zip(&truncated).any(|(whole, cut)| (whole - cut).abs() > 1e-4), "{cell:?}");
        for (i, gradient) in truncated.into_iter().enumerate() {
            let moved = |step: f64| -> f64 {
                let losses = cut.iter().map(|window| {
                    let mut window = window.clone();
                    window.weights[1][i] += step;
                    loss(&window)
                });
                losses.sum()
            };
            let difference = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
            let distance = (difference - gradient).abs();
            assert!(distance < 1e-7, "{cell:?} {i}: {gradient} is not {difference}");
        }
    }
}
