//! Recurrent layers against their scalar cells, through time: every level, direction and size.

mod common;
mod recurrent {
    mod gradient_mode;
    mod layer_norm_lstm;
    mod memory;
    mod zoneout;
}

use core::ops::Range;

use common::{assert_same_bits, each_level, each_pool, numbers};
use steadygrad::recurrent::{
    Direction, Gru, GruGates, Layer, Lstm, LstmGates, LstmState, PackedRecurrent, RecurrentGradients,
    RecurrentWeights, Rnn, RnnActivation, SequenceShape, SequenceValues,
};
use steadygrad::{Element, Error, Level, reference};

/// Which cell a layer has.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cell {
    Tanh,
    Relu,
    Lstm,
    Gru,
}

const CELLS: [Cell; 4] = [Cell::Tanh, Cell::Relu, Cell::Lstm, Cell::Gru];
const DIRECTIONS: [Direction; 2] = [Direction::Forward, Direction::Backward];

impl Cell {
    fn gates(self) -> usize {
        match self {
            Self::Tanh | Self::Relu => 1,
            Self::Lstm => 4,
            Self::Gru => 3,
        }
    }
}

/// A layer and everything that goes in.
#[derive(Clone, Debug)]
struct Case<T> {
    cell: Cell,
    direction: Direction,
    shape: SequenceShape,
    inputs: usize,
    hidden: usize,
    x: Vec<T>,
    /// Input weights, recurrent weights, input bias, recurrent bias.
    weights: [Vec<T>; 4],
    /// Output and cell before the first step.
    state: [Vec<T>; 2],
    dy: Vec<T>,
    dstate: [Vec<T>; 2],
}

/// Everything that comes out.
#[derive(Clone, Debug, PartialEq)]
struct Outcome<T> {
    y: Vec<T>,
    state: [Vec<T>; 2],
    dx: Vec<T>,
    dweights: [Vec<T>; 4],
    dstate: [Vec<T>; 2],
}

impl<T: Element> Case<T> {
    fn new(cell: Cell, direction: Direction, shape: SequenceShape, inputs: usize, hidden: usize) -> Self {
        let SequenceShape { steps, batch } = shape;
        let width = cell.gates() * hidden;
        let spread = 0.7 / (hidden as f64).sqrt();
        Self {
            cell,
            direction,
            shape,
            inputs,
            hidden,
            x: numbers(1, steps * batch * inputs, 0.5),
            weights: [
                numbers(2, width * inputs, spread),
                numbers(3, width * hidden, spread),
                numbers(4, width, 0.3),
                numbers(5, width, 0.3),
            ],
            state: [numbers(6, batch * hidden, 0.5), numbers(7, batch * hidden, 0.5)],
            dy: numbers(8, steps * batch * hidden, 0.5),
            dstate: [numbers(9, batch * hidden, 0.5), numbers(10, batch * hidden, 0.5)],
        }
    }

    fn weights(&self) -> RecurrentWeights<'_, T> {
        let [input, recurrent, input_bias, recurrent_bias] = &self.weights;
        RecurrentWeights {
            input,
            recurrent,
            input_bias: Some(input_bias),
            recurrent_bias: Some(recurrent_bias),
            ..RecurrentWeights::default()
        }
    }

    fn lstm(&self) -> Lstm {
        Lstm { inputs: self.inputs, hidden: self.hidden, direction: self.direction, ..Lstm::default() }
    }

    fn gru(&self) -> Gru {
        Gru { inputs: self.inputs, hidden: self.hidden, direction: self.direction, ..Gru::default() }
    }

    fn rnn(&self) -> Rnn {
        let activation = if self.cell == Cell::Relu { RnnActivation::Relu } else { RnnActivation::Tanh };
        Rnn { inputs: self.inputs, hidden: self.hidden, activation, direction: self.direction }
    }

    fn pack(&self) -> PackedRecurrent<T> {
        match self.cell {
            Cell::Lstm => self.lstm().pack(self.weights()),
            Cell::Gru => self.gru().pack(self.weights()),
            _ => self.rnn().pack(self.weights()),
        }
        .unwrap()
    }

    /// Forward and backward by the crate. Every buffer that is to be overwritten starts as NaN.
    fn run(&self) -> Outcome<T> {
        self.run_with(&self.pack())
    }

    fn run_with(&self, packed: &PackedRecurrent<T>) -> Outcome<T> {
        let shape = self.shape;
        let (tape, scratch) = match self.cell {
            Cell::Lstm => (self.lstm().tape_len(shape), self.lstm().scratch_len::<T>(shape)),
            Cell::Gru => (self.gru().tape_len(shape), self.gru().scratch_len::<T>(shape)),
            _ => (self.rnn().tape_len(shape), self.rnn().scratch_len::<T>(shape)),
        };
        let (mut tape, mut scratch) = (vec![T::nan(); tape.unwrap()], vec![T::nan(); scratch]);
        let mut y = vec![T::nan(); self.dy.len()];
        let mut dx = vec![T::nan(); self.x.len()];
        let mut dweights = self.weights.clone().map(|weights| vec![T::one(); weights.len()]);
        let ([mut h, mut c], [mut dh, mut dc]) = (self.state.clone(), self.dstate.clone());
        let (x, w, t, s) = (&self.x, packed, &mut tape, &mut scratch);
        match self.cell {
            Cell::Lstm => self.lstm().forward(shape, x, w, LstmState { h: &mut h, c: &mut c }, t, s, &mut y),
            Cell::Gru => self.gru().forward(shape, x, w, &mut h, t, s, &mut y),
            _ => self.rnn().forward(shape, x, w, &mut h, t, s, &mut y),
        }
        .unwrap();
        for (inferred, forward) in self.infer_with(packed).iter().zip([&y, &h, &c]) {
            assert_same_bits(inferred, forward, || "inference".into());
        }
        let [input, recurrent, input_bias, recurrent_bias] = &mut dweights;
        let gradients = RecurrentGradients {
            x: Some(&mut dx),
            input: Some(input),
            recurrent: Some(recurrent),
            input_bias: Some(input_bias),
            recurrent_bias: Some(recurrent_bias),
            ..RecurrentGradients::default()
        };
        let values = SequenceValues { x, y: &y, dy: &self.dy };
        match self.cell {
            Cell::Lstm => {
                let dstate = LstmState { h: &mut dh, c: &mut dc };
                self.lstm().backward(shape, values, w, t, dstate, s, gradients)
            }
            Cell::Gru => self.gru().backward(shape, values, w, t, &mut dh, s, gradients),
            _ => self.rnn().backward(shape, values, w, t, &mut dh, s, gradients),
        }
        .unwrap();
        Outcome { y, state: [h, c], dx, dweights, dstate: [dh, dc] }
    }

    /// Output and final state without a tape.
    fn infer_with(&self, packed: &PackedRecurrent<T>) -> [Vec<T>; 3] {
        let shape = self.shape;
        let scratch = match self.cell {
            Cell::Lstm => self.lstm().infer_scratch_len::<T>(shape),
            Cell::Gru => self.gru().infer_scratch_len::<T>(shape),
            _ => self.rnn().infer_scratch_len::<T>(shape),
        };
        let (mut scratch, mut y) = (vec![T::nan(); scratch], vec![T::nan(); self.dy.len()]);
        let [mut h, mut c] = self.state.clone();
        let (x, s) = (&self.x, &mut scratch);
        match self.cell {
            Cell::Lstm => self.lstm().infer(shape, x, packed, LstmState { h: &mut h, c: &mut c }, s, &mut y),
            Cell::Gru => self.gru().infer(shape, x, packed, &mut h, s, &mut y),
            _ => self.rnn().infer(shape, x, packed, &mut h, s, &mut y),
        }
        .unwrap();
        [y, h, c]
    }

    /// Some steps of it, with the same states.
    fn window(&self, steps: Range<usize>) -> Self {
        let part = |values: &[T], width: usize| {
            let step = self.shape.batch * width;
            values[steps.start * step..steps.end * step].to_vec()
        };
        Self {
            shape: SequenceShape { steps: steps.len(), ..self.shape },
            x: part(&self.x, self.inputs),
            dy: part(&self.dy, self.hidden),
            ..self.clone()
        }
    }

    fn to_f64(&self) -> Case<f64> {
        let wide = |values: &[T]| values.iter().map(|&value| value.to_f64()).collect::<Vec<f64>>();
        Case {
            cell: self.cell,
            direction: self.direction,
            shape: self.shape,
            inputs: self.inputs,
            hidden: self.hidden,
            x: wide(&self.x),
            weights: self.weights.each_ref().map(|values| wide(values)),
            state: self.state.each_ref().map(|values| wide(values)),
            dy: wide(&self.dy),
            dstate: self.dstate.each_ref().map(|values| wide(values)),
        }
    }
}

/// `Σ row · x`.
fn dot(row: &[f64], x: &[f64]) -> f64 {
    row.iter().zip(x).map(|(a, b)| a * b).sum()
}

/// Backpropagation through time as in a textbook: one sequence, one step, one unit at a time, by the scalar cells.
fn textbook(case: &Case<f64>) -> Outcome<f64> {
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
fn loss(case: &Case<f64>) -> f64 {
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

#[test]
fn lstm_gates_are_the_cell_alone() {
    let (batch, hidden) = (3, 37);
    let before: Vec<f32> = numbers(1, batch * 4 * hidden, 1.0);
    let c_before: Vec<f32> = numbers(2, batch * hidden, 1.0);
    let [dy, dh]: [Vec<f32>; 2] = [numbers(3, batch * hidden, 1.0), numbers(4, batch * hidden, 1.0)];
    let dc_after: Vec<f32> = numbers(5, batch * hidden, 1.0);
    each_level(|_| {
        let op = LstmGates { hidden, ..LstmGates::default() };
        let (mut gates, mut c, mut h) =
            (before.clone(), vec![f32::NAN; batch * hidden], vec![f32::NAN; batch * hidden]);
        op.forward(batch, &[], &mut gates, &c_before, &mut c, &mut h).unwrap();
        let mut dc = dc_after.clone();
        let mut dgates = gates.clone();
        op.backward(batch, &[], &mut dgates, (&c_before, &c), (&dy, &dh), &mut dc).unwrap();
        for at in 0..batch * hidden {
            let (row, unit) = (at / hidden, at % hidden);
            let of = |gates: &[f32], gate: usize| f64::from(gates[(row * 4 + gate) * hidden + unit]);
            let all = |gates: &[f32]| reference::lstm::Gates {
                i: of(gates, 0),
                f: of(gates, 1),
                g: of(gates, 2),
                o: of(gates, 3),
            };
            let exact = reference::lstm::gates(all(&before));
            let (new, shown) = reference::lstm::forward(exact, f64::from(c_before[at]));
            assert!((f64::from(c[at]) - new).abs() < 1e-6 && (f64::from(h[at]) - shown).abs() < 1e-6);
            let gradient = f64::from(dy[at]) + f64::from(dh[at]);
            let (d, old) = reference::lstm::backward(
                exact,
                f64::from(c_before[at]),
                new,
                gradient,
                f64::from(dc_after[at]),
            );
            let actual = all(&dgates);
            for (actual, exact) in [(actual.i, d.i), (actual.f, d.f), (actual.g, d.g), (actual.o, d.o)] {
                assert!((actual - exact).abs() < 4e-6, "{actual} is not {exact}");
            }
            assert!((f64::from(dc[at]) - old).abs() < 4e-6);
        }
    });
}

#[test]
fn gru_gates_are_the_cell_alone() {
    let (batch, hidden) = (3, 37);
    let [input, recurrent]: [Vec<f32>; 2] = [1, 2].map(|seed| numbers(seed, batch * 3 * hidden, 1.0));
    let [before, dy, dh_after]: [Vec<f32>; 3] = [3, 4, 5].map(|seed| numbers(seed, batch * hidden, 1.0));
    each_level(|_| {
        let op = GruGates { hidden };
        let (mut gates, mut h) = (input.clone(), vec![f32::NAN; batch * hidden]);
        op.forward(batch, &mut gates, &recurrent, &before, &mut h).unwrap();
        let (mut dgates, mut drecurrent, mut dh) = (gates.clone(), recurrent.clone(), dh_after.clone());
        op.backward(batch, (&mut dgates, &mut drecurrent), &before, &dy, &mut dh).unwrap();
        for at in 0..batch * hidden {
            let of = |values: &[f32]| {
                let part = |gate: usize| f64::from(values[(at / hidden * 3 + gate) * hidden + at % hidden]);
                reference::gru::Gates { r: part(0), z: part(1), n: part(2) }
            };
            let exact = reference::gru::gates(of(&input), of(&recurrent));
            let (old, gradient) = (f64::from(before[at]), f64::from(dy[at]) + f64::from(dh_after[at]));
            let (d, d_recurrent, d_old) = reference::gru::backward(exact, of(&recurrent).n, old, gradient);
            let (actual, actual_recurrent) = (of(&dgates), of(&drecurrent));
            let pairs = [
                (f64::from(h[at]), reference::gru::forward(exact, old)),
                (actual.r, d.r),
                (actual.z, d.z),
                (actual.n, d.n),
                (actual_recurrent.r, d_recurrent.r),
                (actual_recurrent.z, d_recurrent.z),
                (actual_recurrent.n, d_recurrent.n),
                (f64::from(dh[at]), d_old),
            ];
            for (actual, exact) in pairs {
                assert!((actual - exact).abs() < 4e-6, "{actual} is not {exact}");
            }
        }
    });
}

#[test]
fn recurrent_gates_name_the_bad_argument() {
    let (lstm, gru) = (LstmGates { hidden: 2, ..LstmGates::default() }, GruGates { hidden: 2 });
    let names = ["gates", "c_before", "c", "dy", "dh", "dc"];
    for (wrong, expected) in names.into_iter().enumerate() {
        let mut buffers = [8, 2, 2, 2, 2, 2].map(|len| vec![7.0_f32; len]);
        buffers[wrong].pop();
        let [gates, c_before, c, dy, dh, dc] = &mut buffers;
        let refused = lstm.backward(1, &[], gates, (c_before, c), (dy, dh), dc);
        assert_eq!(name(refused), expected);
        assert!(buffers.iter().flatten().all(|&value| value == 7.0), "written although refused");
    }
    let names = ["gates", "recurrent", "h_before", "dy", "dh"];
    for (wrong, expected) in names.into_iter().enumerate() {
        let mut buffers = [6, 6, 2, 2, 2].map(|len| vec![7.0_f32; len]);
        buffers[wrong].pop();
        let [gates, recurrent, h_before, dy, dh] = &mut buffers;
        assert_eq!(name(gru.backward(1, (gates, recurrent), h_before, dy, dh)), expected);
        assert!(buffers.iter().flatten().all(|&value| value == 7.0), "written although refused");
    }
    let huge = LstmGates { hidden: usize::MAX, ..LstmGates::default() };
    assert_eq!(name(huge.forward::<f32>(2, &[], &mut [], &[], &mut [], &mut [])), "gates");
}

fn name(result: Result<(), Error>) -> &'static str {
    match result.unwrap_err() {
        Error::OutOfRange { argument, .. }
        | Error::Length { argument, .. }
        | Error::Overflow { argument } => argument,
        error => panic!("{error:?}"),
    }
}

#[test]
fn recurrent_names_the_bad_argument() {
    let shape = SequenceShape { steps: 2, batch: 3 };
    let case = Case::<f32>::new(Cell::Lstm, Direction::Forward, shape, 4, 5);
    let (lstm, packed) = (case.lstm(), case.pack());
    let lens = [24, 15, 15, lstm.tape_len(shape).unwrap(), lstm.scratch_len::<f32>(shape), 30];
    let names = ["x", "state.h", "state.c", "tape", "scratch", "y"];
    for (wrong, expected) in names.into_iter().enumerate() {
        let mut buffers = lens.map(|len| vec![7.0_f32; len]);
        buffers[wrong].pop();
        let [x, h, c, tape, scratch, y] = &mut buffers;
        let state = LstmState { h, c };
        assert_eq!(name(lstm.forward(shape, x, &packed, state, tape, scratch, y)), expected);
        assert!(buffers.iter().flatten().all(|&value| value == 7.0), "written although refused");
    }
    let lens_of_inference = [24, 15, 15, lstm.infer_scratch_len::<f32>(shape), 30];
    for (wrong, expected) in ["x", "state.h", "state.c", "scratch", "y"].into_iter().enumerate() {
        let mut buffers = lens_of_inference.map(|len| vec![7.0_f32; len]);
        buffers[wrong].pop();
        let [x, h, c, scratch, y] = &mut buffers;
        assert_eq!(name(lstm.infer(shape, x, &packed, LstmState { h, c }, scratch, y)), expected);
        assert!(buffers.iter().flatten().all(|&value| value == 7.0), "written although refused");
    }
    let mut buffers = lens.map(|len| vec![7.0_f32; len]);
    let [x, h, c, tape, scratch, y] = &mut buffers;
    let other = Lstm { hidden: 6, ..lstm };
    let refused = other.forward(shape, x, &packed, LstmState { h, c }, tape, scratch, y);
    assert_eq!(name(refused), "weights");
    let huge = SequenceShape { steps: usize::MAX, batch: 2 };
    assert_eq!(name(lstm.tape_len(huge).map(drop)), "shape");
    let dy = [7.0; 30];
    for wrong in ["values.x", "values.y", "values.dy", "tape", "dstate.h", "dstate.c", "gradients.x"] {
        let mut dx = [7.0; 24];
        let cut = |name: &str, len: usize| if name == wrong { len - 1 } else { len };
        let values = SequenceValues {
            x: &x[..cut("values.x", 24)],
            y: &y[..cut("values.y", 30)],
            dy: &dy[..cut("values.dy", 30)],
        };
        let (tape_len, dx_len) = (cut("tape", tape.len()), cut("gradients.x", 24));
        let dstate = LstmState { h: &mut h[..cut("dstate.h", 15)], c: &mut c[..cut("dstate.c", 15)] };
        let gradients = RecurrentGradients { x: Some(&mut dx[..dx_len]), ..RecurrentGradients::default() };
        let refused =
            lstm.backward(shape, values, &packed, &mut tape[..tape_len], dstate, scratch, gradients);
        assert_eq!(name(refused), wrong);
        assert!(dx.iter().chain(&*h).all(|&value| value == 7.0), "written although refused");
    }
    let weights = case.weights();
    let short = RecurrentWeights { input: &weights.input[1..], ..weights };
    assert_eq!(name(lstm.pack(short).map(drop)), "weights.input");
    let short = RecurrentWeights { recurrent_bias: Some(&[0.0; 3]), ..weights };
    assert_eq!(name(lstm.pack(short).map(drop)), "weights.recurrent_bias");
    let short = RecurrentWeights { recurrent: &weights.recurrent[1..], ..weights };
    assert_eq!(name(lstm.pack(short).map(drop)), "weights.recurrent");
    let short = RecurrentWeights { input_bias: Some(&[0.0]), ..weights };
    assert_eq!(name(lstm.pack(short).map(drop)), "weights.input_bias");
    let mut seven = [7.0_f32; 4];
    assert_eq!(
        name(LstmGates { hidden: 1, ..LstmGates::default() }.forward(
            1,
            &[],
            &mut seven,
            &[0.0],
            &mut [],
            &mut [0.0]
        )),
        "c"
    );
    assert_eq!(name(GruGates { hidden: 1 }.forward(1, &mut seven, &[0.0; 3], &[0.0], &mut [0.0])), "gates");
    assert_eq!(seven, [7.0; 4]);
}

#[test]
fn gru_and_rnn_name_their_state() {
    fn refuses<L: for<'a> Layer<State<'a, f32> = &'a mut [f32]>>(layer: L, gates: usize) {
        let shape = SequenceShape { steps: 2, batch: 3 };
        let (input, recurrent) = (vec![0.0; gates * 5 * 4], vec![0.0; gates * 5 * 5]);
        let weights =
            RecurrentWeights { input: &input, recurrent: &recurrent, ..RecurrentWeights::default() };
        let packed = layer.pack(weights).unwrap();
        let mut tape = vec![7.0; layer.tape_len(shape).unwrap()];
        let mut scratch = vec![7.0; layer.scratch_len::<f32>(shape)];
        let (mut state, mut y) = ([7.0_f32; 14], [7.0_f32; 30]);
        let refused =
            layer.forward(shape, &[0.0; 24], &packed, &mut state[..], &mut tape, &mut scratch, &mut y);
        assert_eq!(name(refused), "state");
        let (values, gradients) = (SequenceValues { x: &[0.0; 24], y: &y, dy: &y }, Default::default());
        let refused =
            layer.backward(shape, values, &packed, &mut tape, &mut state[..], &mut scratch, gradients);
        assert_eq!(name(refused), "dstate");
        let written = [&state[..], &y, &tape, &scratch].concat();
        assert!(written.iter().all(|&value| value == 7.0), "written although refused");
    }
    refuses(Gru { inputs: 4, hidden: 5, ..Gru::default() }, 3);
    refuses(Rnn { inputs: 4, hidden: 5, ..Rnn::default() }, 1);
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
