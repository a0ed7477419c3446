//! The layer-normalised LSTM: through time against the textbook, which is held by finite differences.

use steadygrad::recurrent::{
    Direction, Layer, LayerNormLstm, Lengths, LstmState, RecurrentGradients, RecurrentInit, RecurrentWeights,
    SequenceBatch, SequenceShape, Stack, StackGradients,
};
use steadygrad::reference::layer_norm_lstm::{self, Parameters};
use steadygrad::{Element, Error};

use super::subject::DIRECTIONS;
use super::textbook::dot;
use crate::common::{assert_equal_everywhere, assert_same_bits, each_level, numbers};

/// x, dy, h, c, dh, dc; input weights, recurrent weights, input bias, recurrent bias, norm.
type Given<T> = [Vec<T>; 11];

/// y, h, c, dx, dh, dc, and the gradients of the weights from 1 on.
type Outcome<T> = [Vec<T>; 11];

/// Where what goes in has its gradient in what comes out.
const GRADIENTS: [(usize, usize); 8] = [(0, 3), (2, 4), (3, 5), (6, 6), (7, 7), (8, 8), (9, 9), (10, 10)];

/// A layer and what it goes over.
#[derive(Clone, Copy, Debug)]
struct Case {
    layer: LayerNormLstm,
    shape: SequenceShape,
}

impl Case {
    fn new((steps, batch, inputs, hidden): (usize, usize, usize, usize), direction: Direction) -> Self {
        let layer = LayerNormLstm { inputs, hidden, direction, ..LayerNormLstm::default() };
        Self { layer, shape: SequenceShape { steps, batch } }
    }

    fn given<T: Element>(&self) -> Given<T> {
        let SequenceShape { steps, batch } = self.shape;
        let LayerNormLstm { inputs, hidden, .. } = self.layer;
        let rows = steps * batch;
        let data =
            [rows * inputs, rows * hidden, batch * hidden, batch * hidden, batch * hidden, batch * hidden];
        let width = 4 * hidden;
        let weights = [width * inputs, width * hidden, width, width, 10 * hidden];
        let lens: Vec<usize> = data.into_iter().chain(weights).collect();
        core::array::from_fn(|at| numbers(at as u64 + 1, lens[at], 0.4))
    }
}

fn run<T: Element>(Case { layer, shape }: Case, lengths: Option<&[usize]>, given: &Given<T>) -> Outcome<T> {
    let [x, dy, h, c, dh, dc, input, recurrent, input_bias, recurrent_bias, norm] = given;
    let weights = RecurrentWeights {
        input,
        recurrent,
        input_bias: Some(input_bias),
        recurrent_bias: Some(recurrent_bias),
        norm: Some(norm),
        ..RecurrentWeights::default()
    };
    let stack = Stack::new(layer);
    let lengths = lengths.map(|lengths| Lengths::new(shape, lengths).unwrap());
    let batch = SequenceBatch { lengths: lengths.as_ref(), ..shape.into() };
    let mut packed = stack.pack(&[weights]).unwrap();
    packed.repack(&[weights]).unwrap();
    let mut tape = vec![T::nan(); stack.tape_len(batch).unwrap()];
    let mut scratch = vec![T::nan(); stack.scratch_len::<T>(batch)];
    let (mut y, mut dx) = (vec![T::nan(); dy.len()], vec![T::nan(); x.len()]);
    let [mut h, mut c, mut dh, mut dc] = [h, c, dh, dc].map(Clone::clone);
    let state = LstmState { h: &mut h, c: &mut c };
    stack.forward(batch, x, &packed, state, &mut tape, &mut scratch, &mut y).unwrap();
    let mut dweights = [input, recurrent, input_bias, recurrent_bias, norm].map(|w| vec![T::one(); w.len()]);
    let [d_input, d_recurrent, d_input_bias, d_recurrent_bias, d_norm] = &mut dweights;
    let mut layers = [RecurrentGradients {
        input: Some(d_input),
        recurrent: Some(d_recurrent),
        input_bias: Some(d_input_bias),
        recurrent_bias: Some(d_recurrent_bias),
        norm: Some(d_norm),
        ..RecurrentGradients::default()
    }];
    let gradients = StackGradients { x: Some(&mut dx), layers: &mut layers };
    let dstate = LstmState { h: &mut dh, c: &mut dc };
    scratch.fill(T::nan());
    stack.backward(batch, (x, dy), &packed, &mut tape, dstate, &mut scratch, gradients).unwrap();
    let [a, b, c_, d, e] = dweights;
    [y, h, c, dx, dh, dc, a, b, c_, d, e]
}

/// Backpropagation through time, one sequence and one step at a time, by the scalar cell.
fn textbook(Case { layer, shape }: Case, lengths: &[usize], given: &Given<f64>) -> Outcome<f64> {
    let LayerNormLstm { inputs, hidden, direction, eps } = layer;
    let [x, dy, h0, c0, dh0, dc0, w, u, b, v, norm] = given;
    let bias: Vec<f64> = b.iter().zip(v).map(|(b, v)| b + v).collect();
    let by = Parameters {
        bias: &bias,
        input: &norm[..4 * hidden],
        recurrent: &norm[4 * hidden..8 * hidden],
        cell: &norm[8 * hidden..9 * hidden],
        cell_bias: &norm[9 * hidden..],
    };
    let product =
        |m: &[f64], x: &[f64]| (0..4 * hidden).map(|r| dot(&m[r * x.len()..][..x.len()], x)).collect();
    let (mut y, mut dx) = (vec![0.0; dy.len()], vec![0.0; x.len()]);
    let [mut last_h, mut last_c, mut dh_out, mut dc_out] = [h0, c0, dh0, dc0].map(Clone::clone);
    let mut dweights = [w, u, b, v, norm].map(|weights| vec![1.0; weights.len()]);
    for sequence in 0..shape.batch {
        let own = sequence * hidden..(sequence + 1) * hidden;
        let (mut h, mut c) = (h0[own.clone()].to_vec(), c0[own.clone()].to_vec());
        let mut order: Vec<usize> = (0..lengths[sequence]).collect();
        if direction == Direction::Backward {
            order.reverse();
        }
        let mut tape = Vec::new();
        for &step in &order {
            let row = step * shape.batch + sequence;
            let projections: (Vec<f64>, Vec<f64>) =
                (product(w, &x[row * inputs..][..inputs]), product(u, &h));
            let (new_c, new_h) = layer_norm_lstm::forward(&projections.0, &projections.1, by, eps, &c);
            tape.push((
                row,
                projections,
                core::mem::replace(&mut h, new_h),
                core::mem::replace(&mut c, new_c),
            ));
            y[row * hidden..][..hidden].copy_from_slice(&h);
        }
        last_h[own.clone()].copy_from_slice(&h);
        last_c[own.clone()].copy_from_slice(&c);
        let (mut dh, mut dc) = (dh0[own.clone()].to_vec(), dc0[own.clone()].to_vec());
        for (row, projections, h, c) in tape.into_iter().rev() {
            dh.iter_mut().zip(&dy[row * hidden..]).for_each(|(dh, dy)| *dh += dy);
            let projections = (&projections.0[..], &projections.1[..]);
            let step = layer_norm_lstm::backward(projections, by, eps, &c, (&dh, &dc));
            dh.fill(0.0);
            for gate in 0..4 * hidden {
                for k in 0..inputs {
                    dx[row * inputs + k] += step.input[gate] * w[gate * inputs + k];
                    dweights[0][gate * inputs + k] += step.input[gate] * x[row * inputs + k];
                }
                for k in 0..hidden {
                    dh[k] += step.recurrent[gate] * u[gate * hidden + k];
                    dweights[1][gate * hidden + k] += step.recurrent[gate] * h[k];
                }
            }
            dc = step.c;
            for (sums, terms) in [(2, &step.bias), (3, &step.bias), (4, &step.norm)] {
                dweights[sums].iter_mut().zip(terms).for_each(|(sum, term)| *sum += term);
            }
        }
        dh_out[own.clone()].copy_from_slice(&dh);
        dc_out[own].copy_from_slice(&dc);
    }
    let [a, b, c, d, e] = dweights;
    [y, last_h, last_c, dx, dh_out, dc_out, a, b, c, d, e]
}

fn assert_near<T: Element>(actual: &Outcome<T>, exact: &Outcome<f64>, epsilons: f64, context: &str) {
    for (part, (actual, exact)) in actual.iter().zip(exact).enumerate() {
        let largest = exact.iter().fold(1.0_f64, |largest, value| largest.max(value.abs()));
        for (i, (&a, e)) in actual.iter().zip(exact).enumerate() {
            let distance = (a.to_f64() - e).abs() / largest / T::epsilon().to_f64();
            assert!(distance <= epsilons, "{part} {i}: {a:?} is not {e}, {distance:.1}: {context}");
        }
    }
}

fn matches_textbook<T: Element>() {
    for sizes in [(1, 1, 1, 2), (3, 2, 5, 7), (7, 1, 1, 16), (2, 5, 17, 33), (1, 20, 3, 65), (2, 1, 2, 1)] {
        for direction in DIRECTIONS {
            let case = Case::new(sizes, direction);
            let given = case.given::<T>();
            let wide = given.each_ref().map(|values| values.iter().map(|&v: &T| v.to_f64()).collect());
            let exact = textbook(case, &vec![sizes.0; sizes.1], &wide);
            // Where all of a row is nearly one value, its gradient is the difference of values up to 1/√eps as large.
            let epsilons = if sizes.3 < 3 { 4096.0 } else { 256.0 };
            each_level(|level| {
                assert_near(&run(case, None, &given), &exact, epsilons, &format!("{case:?} {level}"));
            });
        }
    }
}

#[test]
fn layer_norm_lstm_matches_reference_through_time() {
    matches_textbook::<f32>();
    matches_textbook::<f64>();
}

#[test]
fn layer_norm_lstm_of_any_lengths_matches_reference() {
    let case = Case::new((5, 4, 3, 9), Direction::Backward);
    let (given, lengths) = (case.given::<f64>(), [2, 5, 1, 4]);
    let exact = textbook(case, &lengths, &given);
    each_level(|level| assert_near(&run(case, Some(&lengths), &given), &exact, 256.0, level.name()));
}

#[test]
fn layer_norm_lstm_reference_gradients_match_finite_differences() {
    const STEP: f64 = 1e-5;
    let loss = |case: Case, given: &Given<f64>| -> f64 {
        let [y, h, c, ..] = textbook(case, &[4; 2], given);
        dot(&y, &given[1]) + dot(&h, &given[4]) + dot(&c, &given[5])
    };
    for direction in DIRECTIONS {
        let case = Case::new((4, 2, 3, 4), direction);
        let given = case.given::<f64>();
        let exact = textbook(case, &[4; 2], &given);
        for (from, to) in GRADIENTS {
            for i in 0..given[from].len() {
                let mut moved = given.clone();
                moved[from][i] += STEP;
                let above = loss(case, &moved);
                moved[from][i] -= 2.0 * STEP;
                let difference = (above - loss(case, &moved)) / (2.0 * STEP);
                let gradient = exact[to][i] - if to >= 6 { 1.0 } else { 0.0 };
                assert!((difference - gradient).abs() < 1e-6, "{from} {i}: {gradient} is not {difference}");
            }
        }
    }
}

/// Rows `sequence` of a batch of `batch`, each of `width`.
fn rows_of<T: Copy>(data: &[T], width: usize, batch: usize, sequence: usize) -> Vec<T> {
    data.chunks_exact(width).skip(sequence).step_by(batch).flatten().copied().collect()
}

#[test]
fn layer_norm_lstm_a_batch_equals_its_rows() {
    let case = Case::new((4, 3, 5, 20), Direction::Forward);
    let given = case.given::<f32>();
    let widths = [5, 20, 20, 20, 20, 20];
    each_level(|level| {
        let whole = run(case, None, &given);
        for sequence in 0..3 {
            let mut own = given.clone();
            for (own, width) in own.iter_mut().zip(widths) {
                *own = rows_of(own, width, 3, sequence);
            }
            let alone = run(Case::new((4, 1, 5, 20), Direction::Forward), None, &own);
            for (part, width) in [20, 20, 20, 5, 20, 20].into_iter().enumerate() {
                let whole = rows_of(&whole[part], width, 3, sequence);
                assert_same_bits(&alone[part], &whole, || format!("{part} of {sequence} at {level}"));
            }
        }
    });
}

#[test]
fn layer_norm_lstm_nan_stays_in_its_row() {
    let case = Case::new((3, 3, 5, 18), Direction::Forward);
    let given = case.given::<f32>();
    let mut planted = given.clone();
    planted[0][(3 + 1) * 5] = f32::NAN; // the second sequence, the second step
    each_level(|_| {
        let (clean, y) = (&run(case, None, &given)[0], &run(case, None, &planted)[0]);
        for (i, (y, clean)) in y.iter().zip(clean).enumerate() {
            let (step, sequence) = (i / 18 / 3, i / 18 % 3);
            let reached = sequence == 1 && step >= 1;
            assert!(if reached { y.is_nan() } else { y == clean }, "{i}: {y} beside {clean}");
        }
    });
}

#[test]
fn layer_norm_lstm_does_not_see_the_scale_of_its_matrices() {
    let mut case = Case::new((3, 2, 4, 9), Direction::Forward);
    case.layer.eps = 0.0;
    let given = case.given::<f64>();
    let mut scaled = given.clone();
    scaled[6].iter_mut().for_each(|w| *w *= 1e3);
    scaled[7].iter_mut().for_each(|w| *w *= 1e-3);
    let ([y, ..], [of_scaled, ..]) = (run(case, None, &given), run(case, None, &scaled));
    for (y, of_scaled) in y.iter().zip(&of_scaled) {
        assert!((y - of_scaled).abs() < 1e-12, "{y} became {of_scaled}");
    }
}

#[test]
fn layer_norm_lstm_same_bits_in_any_pool_and_on_avx2_and_avx512() {
    let case = Case::new((3, 40, 64, 150), Direction::Backward);
    let given = case.given::<f32>();
    assert_equal_everywhere(|| run(case, None, &given).to_vec());
}

#[test]
fn layer_norm_lstm_nothing_is_fine() {
    for sizes in [(0, 3, 5, 4), (3, 0, 5, 4), (3, 2, 5, 0)] {
        let case = Case::new(sizes, Direction::Forward);
        let given = case.given::<f32>();
        let outcome = run(case, None, &given);
        assert_eq!((&outcome[1], &outcome[4]), (&given[2], &given[4]));
        assert!(outcome[3].iter().all(|&dx| dx == 0.0) && outcome[10].iter().all(|&d| d == 1.0));
    }
}

#[test]
fn layer_norm_lstm_begins_with_gains_of_one_and_an_open_forget_gate() {
    use rand::SeedableRng;
    let layer = LayerNormLstm { inputs: 3, hidden: 2, ..LayerNormLstm::default() };
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    let weights = RecurrentInit::default().draw::<_, f32>(&layer, &mut rng).unwrap();
    assert_eq!(weights.norm, [[1.0; 18].as_slice(), &[0.0; 2]].concat());
    assert_eq!(weights.input_bias, [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
    assert!(layer.pack(weights.borrow()).is_ok());
}

#[test]
fn layer_norm_lstm_names_the_bad_argument() {
    fn name<T: core::fmt::Debug>(result: Result<T, Error>) -> &'static str {
        match result.unwrap_err() {
            Error::OutOfRange { argument, .. } | Error::Length { argument, .. } => argument,
            error => panic!("{error:?}"),
        }
    }
    let layer = LayerNormLstm { inputs: 1, hidden: 2, ..LayerNormLstm::default() };
    let weights = RecurrentWeights { input: &[0.0; 8], recurrent: &[0.0; 16], ..RecurrentWeights::default() };
    assert_eq!(name(layer.pack(weights)), "weights.norm");
    let weights = RecurrentWeights { norm: Some(&[1.0_f32; 20]), ..weights };
    let packed = layer.pack(weights).unwrap();
    let shape = SequenceShape { steps: 1, batch: 1 };
    let lens = [1, 2, 2, layer.tape_len(shape).unwrap(), layer.scratch_len::<f32>(shape), 2];
    let mut buffers = lens.map(|len| vec![7.0_f32; len]);
    let [x, h, c, tape, scratch, y] = &mut buffers;
    for eps in [-1.0, f64::NAN, f64::INFINITY] {
        let layer = LayerNormLstm { eps, ..layer };
        let refused = layer.forward(shape, x, &packed, LstmState { h, c }, tape, scratch, y);
        assert_eq!(name(refused), "eps");
        let refused = Stack::new(layer).pack(&[weights]).and_then(|packed| {
            let (stack, batch) = (Stack::new(layer), SequenceBatch::from(shape));
            let mut tape = vec![0.0; stack.tape_len(batch)?];
            let mut scratch = vec![0.0; stack.scratch_len::<f32>(batch)];
            stack.forward(batch, x, &packed, LstmState { h, c }, &mut tape, &mut scratch, y)
        });
        assert_eq!(name(refused), "eps");
    }
    let values = steadygrad::recurrent::SequenceValues { x, y, dy: &[7.0; 2] };
    let mut short = [7.0; 19];
    let gradients = RecurrentGradients { norm: Some(&mut short), ..RecurrentGradients::default() };
    let refused = layer.backward(shape, values, &packed, tape, LstmState { h, c }, scratch, gradients);
    assert_eq!(name(refused), "gradients.norm");
    assert!(buffers.iter().flatten().chain(&short).all(|&value| value == 7.0), "written although refused");
}
