//! Backpropagation through time by the scalar cells, held by finite differences, and the layers against it.

use steadygrad::recurrent::{Direction, SequenceShape};
use steadygrad::{Element, reference};

use super::subject::{CELLS, Case, Cell, DIRECTIONS, Outcome};
use crate::common::each_level;

/// `Σ row · x`.
pub(crate) fn dot(row: &[f64], x: &[f64]) -> f64 {
    row.iter().zip(x).map(|(a, b)| a * b).sum()
}

/// Backpropagation through time as in a textbook: one sequence, one step, one unit at a time, by the scalar cells.
pub(crate) fn textbook(case: &Case<f64>) -> Outcome<f64> {
    let &Case { cell, shape: SequenceShape { steps, batch }, inputs, hidden, .. } = case;
    let [w, u, b, v] = &case.weights;
    let gates = cell.gates();
    let mut y = vec![0.0; steps * batch * hidden];
    let mut dx = vec![0.0; case.x.len()];
    let mut dweights = case.weights.clone().map(|weights| vec![1.0; weights.len()]);
    let ([mut state_h, mut state_c], [mut state_dh, mut state_dc]) =
        (case.state.clone(), case.dstate.clone());
    let order: Vec<usize> = match case.direction {
        Direction::Forward => (0..steps).collect(),
        Direction::Backward => (0..steps).rev().collect(),
    };
    for sequence in 0..batch {
        let own = sequence * hidden..(sequence + 1) * hidden;
        let (mut h, mut c) = (state_h[own.clone()].to_vec(), state_c[own.clone()].to_vec());
        // Of each step: h and c before it, both projections, c after it.
        let mut tape = Vec::new();
        for &step in &order {
            let x = &case.x[(step * batch + sequence) * inputs..][..inputs];
            let of = |gate: usize| {
                let input = dot(&w[gate * inputs..][..inputs], x) + b[gate];
                (input, dot(&u[gate * hidden..][..hidden], &h) + v[gate])
            };
            let projections: Vec<(f64, f64)> = (0..gates * hidden).map(of).collect();
            let (before_h, before_c) = (h.clone(), c.clone());
            for unit in 0..hidden {
                (h[unit], c[unit]) =
                    cell_forward(cell, &projections, unit, hidden, before_h[unit], before_c[unit]);
            }
            y[(step * batch + sequence) * hidden..][..hidden].copy_from_slice(&h);
            tape.push((before_h, before_c, projections, c.clone(), h.clone()));
        }
        state_h[own.clone()].copy_from_slice(&h);
        state_c[own.clone()].copy_from_slice(&c);
        let (mut dh, mut dc) = (state_dh[own.clone()].to_vec(), state_dc[own.clone()].to_vec());
        for (&step, (before_h, before_c, projections, c, h)) in order.iter().zip(&tape).rev() {
            let row = step * batch + sequence;
            let (mut dinput, mut drecurrent) = (vec![0.0; gates * hidden], vec![0.0; gates * hidden]);
            let mut direct = vec![0.0; hidden];
            for unit in 0..hidden {
                let dh = dh[unit] + case.dy[row * hidden + unit];
                let mut put = |gate: usize, input: f64, recurrent: f64| {
                    (dinput[gate * hidden + unit], drecurrent[gate * hidden + unit]) = (input, recurrent);
                };
                match cell {
                    Cell::Tanh => {
                        let d = reference::rnn::tanh_backward(h[unit], dh);
                        put(0, d, d);
                    }
                    Cell::Relu => {
                        let d = reference::rnn::relu_backward(h[unit], dh);
                        put(0, d, d);
                    }
                    Cell::Lstm => {
                        let gates = lstm_gates(projections, unit, hidden);
                        let (d, old) =
                            reference::lstm::backward(gates, before_c[unit], c[unit], dh, dc[unit]);
                        dc[unit] = old;
                        for (gate, d) in [d.i, d.f, d.g, d.o].into_iter().enumerate() {
                            put(gate, d, d);
                        }
                    }
                    Cell::Gru => {
                        let (gates, n) = gru_gates(projections, unit, hidden);
                        let (input, recurrent, old) = reference::gru::backward(gates, n, before_h[unit], dh);
                        direct[unit] = old;
                        put(0, input.r, recurrent.r);
                        put(1, input.z, recurrent.z);
                        put(2, input.n, recurrent.n);
                    }
                }
            }
            for gate in 0..gates * hidden {
                for k in 0..inputs {
                    dx[row * inputs + k] += dinput[gate] * w[gate * inputs + k];
                    dweights[0][gate * inputs + k] += dinput[gate] * case.x[row * inputs + k];
                }
                for k in 0..hidden {
                    direct[k] += drecurrent[gate] * u[gate * hidden + k];
                    dweights[1][gate * hidden + k] += drecurrent[gate] * before_h[k];
                }
                dweights[2][gate] += dinput[gate];
                dweights[3][gate] += drecurrent[gate];
            }
            dh = direct;
        }
        state_dh[own.clone()].copy_from_slice(&dh);
        state_dc[own].copy_from_slice(&dc);
    }
    Outcome { y, state: [state_h, state_c], dx, dweights, dstate: [state_dh, state_dc] }
}

fn lstm_gates(projections: &[(f64, f64)], unit: usize, hidden: usize) -> reference::lstm::Gates<f64> {
    let sum = |gate: usize| projections[gate * hidden + unit].0 + projections[gate * hidden + unit].1;
    reference::lstm::gates(reference::lstm::Gates { i: sum(0), f: sum(1), g: sum(2), o: sum(3) })
}

fn gru_gates(projections: &[(f64, f64)], unit: usize, hidden: usize) -> (reference::gru::Gates<f64>, f64) {
    let part = |gate: usize| projections[gate * hidden + unit];
    let input = reference::gru::Gates { r: part(0).0, z: part(1).0, n: part(2).0 };
    let recurrent = reference::gru::Gates { r: part(0).1, z: part(1).1, n: part(2).1 };
    (reference::gru::gates(input, recurrent), part(2).1)
}

/// The new output and cell of a unit.
fn cell_forward(
    cell: Cell,
    projections: &[(f64, f64)],
    unit: usize,
    hidden: usize,
    h: f64,
    c: f64,
) -> (f64, f64) {
    let sum = projections[unit].0 + projections[unit].1;
    match cell {
        Cell::Tanh => (reference::rnn::tanh(sum), c),
        Cell::Relu => (reference::rnn::relu(sum), c),
        Cell::Lstm => {
            let (c, h) = reference::lstm::forward(lstm_gates(projections, unit, hidden), c);
            (h, c)
        }
        Cell::Gru => (reference::gru::forward(gru_gates(projections, unit, hidden).0, h), c),
    }
}

/// Fails where two outcomes are further apart than `epsilons` of the type, relative to the largest value of their part.
fn assert_near<T: Element>(actual: &Outcome<T>, exact: &Outcome<f64>, epsilons: f64, context: &str) {
    fn parts<T>(outcome: &Outcome<T>) -> Vec<(&'static str, &[T])> {
        let Outcome { y, state: [h, c], dx, dweights: [w, u, b, v], dstate: [dh, dc] } = outcome;
        vec![
            ("y", y),
            ("h", h),
            ("c", c),
            ("dx", dx),
            ("input", w),
            ("recurrent", u),
            ("input bias", b),
            ("recurrent bias", v),
            ("dh", dh),
            ("dc", dc),
        ]
    }
    for ((name, actual), (_, exact)) in parts(actual).into_iter().zip(parts(exact)) {
        assert_eq!(actual.len(), exact.len());
        let largest = exact.iter().fold(1.0_f64, |largest, value| largest.max(value.abs()));
        for (i, (&actual, exact)) in actual.iter().zip(exact).enumerate() {
            let distance = (actual.to_f64() - exact).abs() / largest / T::epsilon().to_f64();
            assert!(
                distance <= epsilons,
                "{name} {i}: {actual:?} is not {exact:e}, {distance:.1}: {context}"
            );
        }
    }
}

fn matches_textbook<T: Element>(cell: Cell) {
    let sizes = [(1, 1, 1, 1), (3, 2, 5, 7), (7, 1, 1, 16), (2, 5, 17, 33), (4, 3, 0, 9), (1, 20, 3, 65)];
    for direction in DIRECTIONS {
        for (steps, batch, inputs, hidden) in sizes {
            let shape = SequenceShape { steps, batch };
            let case = Case::<T>::new(cell, direction, shape, inputs, hidden);
            let exact = textbook(&case.to_f64());
            each_level(|level| {
                assert_near(&case.run(), &exact, 64.0, &format!("{cell:?} {direction:?} {shape:?} {level}"));
            });
        }
    }
}

#[test]
fn lstm_matches_reference_through_time() {
    matches_textbook::<f32>(Cell::Lstm);
    matches_textbook::<f64>(Cell::Lstm);
}

#[test]
fn gru_matches_reference_through_time() {
    matches_textbook::<f32>(Cell::Gru);
    matches_textbook::<f64>(Cell::Gru);
}

#[test]
fn rnn_matches_reference_through_time() {
    for cell in [Cell::Tanh, Cell::Relu] {
        matches_textbook::<f32>(cell);
        matches_textbook::<f64>(cell);
    }
}

/// `Σ dy·y + Σ dstate·state`: a loss whose gradients are those of an outcome.
pub(crate) fn loss(case: &Case<f64>) -> f64 {
    let Outcome { y, state: [h, c], .. } = textbook(case);
    let cell = if case.cell == Cell::Lstm { dot(&c, &case.dstate[1]) } else { 0.0 };
    dot(&y, &case.dy) + dot(&h, &case.dstate[0]) + cell
}

#[test]
fn recurrent_reference_gradients_match_finite_differences() {
    const STEP: f64 = 1e-5;
    for cell in CELLS {
        for direction in DIRECTIONS {
            let shape = SequenceShape { steps: 4, batch: 2 };
            let case = Case::<f64>::new(cell, direction, shape, 3, 4);
            let exact = textbook(&case);
            type Values = fn(&mut Case<f64>) -> &mut Vec<f64>;
            let places: [(&str, Values, Vec<f64>); 7] = [
                ("x", |case| &mut case.x, exact.dx),
                ("input", |case| &mut case.weights[0], exact.dweights[0].iter().map(|d| d - 1.0).collect()),
                (
                    "recurrent",
                    |case| &mut case.weights[1],
                    exact.dweights[1].iter().map(|d| d - 1.0).collect(),
                ),
                (
                    "input bias",
                    |case| &mut case.weights[2],
                    exact.dweights[2].iter().map(|d| d - 1.0).collect(),
                ),
                (
                    "recurrent bias",
                    |case| &mut case.weights[3],
                    exact.dweights[3].iter().map(|d| d - 1.0).collect(),
                ),
                ("h", |case| &mut case.state[0], exact.dstate[0].clone()),
                ("c", |case| &mut case.state[1], exact.dstate[1].clone()),
            ];
            for (name, values, gradient) in places {
                // Only the LSTM has a cell.
                if name == "c" && cell != Cell::Lstm {
                    continue;
                }
                for (i, gradient) in gradient.into_iter().enumerate() {
                    let mut moved = case.clone();
                    values(&mut moved)[i] += STEP;
                    let above = loss(&moved);
                    values(&mut moved)[i] -= 2.0 * STEP;
                    let difference = (above - loss(&moved)) / (2.0 * STEP);
                    let distance = (difference - gradient).abs();
                    assert!(distance < 1e-7, "{cell:?} {name} {i}: {gradient} is not {difference}");
                }
            }
        }
    }
}
