//! What holds for every cell: closed forms, NaN, nothing at all, other weights, and bits in any pool.

use steadygrad::Level;
use steadygrad::recurrent::{Direction, SequenceShape};

use super::subject::{CELLS, Case, Cell, DIRECTIONS, Outcome};
use crate::common::{each_level, each_pool};

#[test]
fn recurrent_nan_stays_in_its_row() {
    for cell in CELLS {
        let shape = SequenceShape { steps: 4, batch: 3 };
        let mut case = Case::<f32>::new(cell, Direction::Forward, shape, 5, 18);
        let clean = case.run();
        // The second sequence, the second step.
        case.x[(3 + 1) * 5] = f32::NAN;
        each_level(|_| {
            let planted = case.run();
            for (i, (&y, &clean)) in planted.y.iter().zip(&clean.y).enumerate() {
                let (step, sequence) = (i / 18 / 3, i / 18 % 3);
                if sequence == 1 && step >= 1 {
                    assert!(y.is_nan(), "{cell:?}: a NaN was swallowed at {i}");
                } else {
                    assert!((y - clean).abs() < 1e-5, "{cell:?}: a NaN spread to {i}");
                }
            }
            for (i, (&dx, &clean)) in planted.dx.iter().zip(&clean.dx).enumerate() {
                let near = i / 5 % 3 == 1 || (dx - clean).abs() < 1e-5;
                assert!(near, "{cell:?}: a NaN spread to the gradient of input {i}");
            }
        });
    }
}

/// Of few units, threads share the sequences, in chunks of some steps; of many, the units of each step.
#[test]
fn recurrent_same_bits_in_any_pool_and_on_avx2_and_avx512() {
    for cell in CELLS {
        for (steps, batch, hidden) in [(3, 40, 150), (3, 3, 700), (35, 18, 130), (9, 17, 100)] {
            for direction in DIRECTIONS {
                let case = Case::<f32>::new(cell, direction, SequenceShape { steps, batch }, 64, hidden);
                let expected = case.run();
                each_pool(|threads| assert_eq!(case.run(), expected, "{cell:?} {threads} threads"));
                let fused: Vec<Level> =
                    Level::available().filter(|&level| level != Level::Portable).collect();
                for pair in fused.windows(2) {
                    let [first, second] =
                        [pair[0], pair[1]].map(|level| Level::scoped(level, || case.run()).unwrap());
                    assert_eq!(first, second, "{cell:?} {pair:?}");
                }
            }
        }
    }
}

#[test]
fn recurrent_nothing_is_fine() {
    for cell in CELLS {
        for (steps, batch, hidden) in [(0, 3, 4), (3, 0, 4), (3, 2, 0)] {
            let case = Case::<f32>::new(cell, Direction::Forward, SequenceShape { steps, batch }, 5, hidden);
            let outcome = case.run();
            assert_eq!(outcome.state[0], case.state[0]);
            assert_eq!(outcome.dstate[0], case.dstate[0]);
            assert!(outcome.dx.iter().all(|&dx| dx == 0.0));
            assert!(outcome.dweights.iter().flatten().all(|&dw| dw == 1.0));
        }
    }
}

/// Of zeros, all gates are open by half and all candidates 0.
#[test]
fn recurrent_of_zero_weights_has_its_closed_form() {
    for cell in CELLS {
        let shape = SequenceShape { steps: 4, batch: 2 };
        let case = Case::<f64>::new(cell, Direction::Forward, shape, 3, 5);
        let weights = case.weights.clone().map(|weights| vec![0.0; weights.len()]);
        let case = Case { weights, ..case };
        each_level(|_| {
            let Outcome { y, state: [h, c], dx, .. } = case.run();
            for (unit, (h0, c0)) in case.state[0].iter().zip(&case.state[1]).enumerate() {
                for step in 0..4 {
                    let halved = 0.5_f64.powi(step + 1);
                    let exact = match cell {
                        Cell::Lstm => 0.5 * (halved * c0).tanh(),
                        Cell::Gru => halved * h0,
                        Cell::Tanh | Cell::Relu => 0.0,
                    };
                    let y = y[step as usize * 10 + unit];
                    assert!((y - exact).abs() < 1e-15, "{cell:?}: {y} is not {exact}");
                }
                assert_eq!(h[unit], y[30 + unit]);
                assert!(cell != Cell::Lstm || (c[unit] - c0 / 16.0).abs() < 1e-15);
            }
            assert!(dx.iter().all(|&dx| dx == 0.0));
        });
    }
}

#[test]
fn recurrent_repacking_takes_other_weights() {
    for cell in CELLS {
        let shape = SequenceShape { steps: 2, batch: 2 };
        let case = Case::<f32>::new(cell, Direction::Forward, shape, 3, 6);
        let other = Case {
            weights: case.weights.clone().map(|w| w.iter().map(|w| w * 0.5).collect()),
            ..case.clone()
        };
        let mut packed = other.pack();
        packed.repack(case.weights()).unwrap();
        assert_eq!(case.run_with(&packed), case.run(), "{cell:?}");
        assert_ne!(case.run_with(&packed), other.run(), "{cell:?}");
    }
}
