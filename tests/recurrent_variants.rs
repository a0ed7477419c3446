//! Variants of the cells: peepholes, coupled gates, projections, and a reset before the product. Whole sequences against
//! the textbook's formulas and their finite differences, gates against their references.

mod common;

use common::{each_level, numbers};
use steadygrad::recurrent::{
    Direction, Gru, GruReset, Layer, Lengths, Lstm, LstmGates, LstmState, LstmVariant, RecurrentGradients,
    RecurrentWeights, SequenceBatch, SequenceShape, Stack, StackGradients, VariationalDropout,
};
use steadygrad::reference::{gru, lstm};
use steadygrad::regularize::{Dropout, MaskShape};
use steadygrad::{Element, Error, Philox};

const STEPS: usize = 4;
const BATCH: usize = 3;
const INPUTS: usize = 3;
/// What masks are drawn from.
const STREAM: Philox = Philox { key: 9, counter: 5 };

/// A layer of a variant.
#[derive(Clone, Copy, Debug)]
enum Cell {
    Lstm(Lstm),
    Gru(Gru),
}

fn cells(hidden: usize) -> Vec<Cell> {
    let lstm = |variant, projection| {
        Cell::Lstm(Lstm { inputs: INPUTS, hidden, variant, projection, ..Lstm::default() })
    };
    vec![
        lstm(LstmVariant::Peephole, None),
        lstm(LstmVariant::Coupled, None),
        lstm(LstmVariant::Standard, Some(2)),
        lstm(LstmVariant::Peephole, Some(5)),
        Cell::Gru(Gru { inputs: INPUTS, hidden, reset: GruReset::Before, ..Gru::default() }),
    ]
}

impl Cell {
    fn hidden(self) -> usize {
        match self {
            Self::Lstm(op) => op.hidden,
            Self::Gru(op) => op.hidden,
        }
    }

    fn outputs(self) -> usize {
        match self {
            Self::Lstm(op) => op.projection.unwrap_or(op.hidden),
            Self::Gru(op) => op.hidden,
        }
    }

    fn gates(self) -> usize {
        match self {
            Self::Lstm(Lstm { variant: LstmVariant::Coupled, .. }) | Self::Gru(_) => 3,
            Self::Lstm(_) => 4,
        }
    }
}

/// Everything that goes in: x, dy, h, c, dh, dc, and input weights, recurrent weights, both biases, projection, peepholes.
type Given<T> = [Vec<T>; 12];

fn given<T: Element>(cell: Cell, shape: SequenceShape) -> Given<T> {
    let SequenceShape { steps, batch } = shape;
    let (hidden, outputs, width) = (cell.hidden(), cell.outputs(), cell.gates() * cell.hidden());
    let Cell::Lstm(op) = cell else {
        let lens = [steps * INPUTS, steps * outputs, outputs, 0, outputs, 0].map(|len| len * batch);
        return build(lens, [width * INPUTS, width * outputs, width, width, 0, 0]);
    };
    let projection = if op.projection.is_some() { outputs * hidden } else { 0 };
    let peephole = if op.variant == LstmVariant::Peephole { 3 * hidden } else { 0 };
    let lens = [steps * INPUTS, steps * outputs, outputs, hidden, outputs, hidden].map(|len| len * batch);
    build(lens, [width * INPUTS, width * outputs, width, width, projection, peephole])
}

fn build<T: Element>(data: [usize; 6], weights: [usize; 6]) -> Given<T> {
    let lens: Vec<usize> = data.into_iter().chain(weights).collect();
    core::array::from_fn(|at| numbers(at as u64 + 1, lens[at], 0.5))
}

/// Outputs and final states: `[y, h, c]`.
fn textbook(cell: Cell, shape: SequenceShape, lengths: &[usize], given: &Given<f64>) -> [Vec<f64>; 3] {
    let [x, dy, h0, c0, _, _, w, u, b, v, projection, peephole] = given;
    let (hidden, outputs, width) = (cell.hidden(), cell.outputs(), cell.gates() * cell.hidden());
    let dot = |row: &[f64], x: &[f64]| row.iter().zip(x).map(|(a, b)| a * b).sum::<f64>();
    let mut y = vec![0.0; dy.len()];
    let (mut last_h, mut last_c) = (h0.clone(), c0.clone());
    for sequence in 0..shape.batch {
        let mut h = h0[sequence * outputs..][..outputs].to_vec();
        let mut c = c0.get(sequence * hidden..(sequence + 1) * hidden).unwrap_or_default().to_vec();
        for step in 0..lengths[sequence] {
            let row = step * shape.batch + sequence;
            let x = &x[row * INPUTS..][..INPUTS];
            let sum = |at: usize, h: &[f64]| {
                dot(&w[at * INPUTS..][..INPUTS], x) + b[at] + dot(&u[at * outputs..][..outputs], h) + v[at]
            };
            let sums: Vec<f64> = (0..width).map(|at| sum(at, &h)).collect();
            let mut units = vec![0.0; hidden];
            match cell {
                Cell::Lstm(op) => {
                    for unit in 0..hidden {
                        let of = |gate: usize| sums[gate * hidden + unit];
                        let gates = match op.variant {
                            LstmVariant::Coupled => lstm::coupled_gates([of(0), of(1), of(2)]),
                            LstmVariant::Standard => {
                                lstm::gates(lstm::Gates { i: of(0), f: of(1), g: of(2), o: of(3) })
                            }
                            LstmVariant::Peephole => {
                                let before = lstm::Gates { i: of(0), f: of(1), g: of(2), o: of(3) };
                                let see = |gate: usize| peephole[gate * hidden + unit];
                                let see = lstm::Peephole { i: see(0), f: see(1), o: see(2) };
                                lstm::peephole_forward(before, see, c[unit]).0
                            }
                        };
                        (c[unit], units[unit]) = lstm::forward(gates, c[unit]);
                    }
                    h = match op.projection {
                        Some(_) => projection.chunks(hidden).map(|row| dot(row, &units)).collect(),
                        None => units,
                    };
                }
                Cell::Gru(_) => {
                    let of = |gate: usize, unit: usize| sums[gate * hidden + unit];
                    let resets: Vec<[f64; 3]> =
                        (0..hidden).map(|unit| gru::reset([of(0, unit), of(1, unit)], h[unit])).collect();
                    let reset: Vec<f64> = resets.iter().map(|[_, _, reset]| *reset).collect();
                    for unit in 0..hidden {
                        let [r, z, _] = resets[unit];
                        let n = gru::candidate(sum(2 * hidden + unit, &reset));
                        units[unit] = gru::forward(gru::Gates { r, z, n }, h[unit]);
                    }
                    h = units;
                }
            }
            y[row * outputs..][..outputs].copy_from_slice(&h);
        }
        last_h[sequence * outputs..][..outputs].copy_from_slice(&h);
        if !c0.is_empty() {
            last_c[sequence * hidden..][..hidden].copy_from_slice(&c);
        }
    }
    [y, last_h, last_c]
}

/// `[y, h, c]` and the gradients `[dx, dh, dc, and those of all weights]` by the crate; weights' gradients start from 1.
fn run<T: Element>(
    cell: Cell,
    shape: SequenceShape,
    lengths: Option<&[usize]>,
    given: &Given<T>,
) -> [Vec<T>; 12] {
    run_with(VariationalDropout::default(), cell, shape, lengths, given)
}

fn run_with<T: Element>(
    variational: VariationalDropout,
    cell: Cell,
    shape: SequenceShape,
    lengths: Option<&[usize]>,
    given: &Given<T>,
) -> [Vec<T>; 12] {
    match cell {
        Cell::Lstm(layer) => {
            let stack = Stack { variational, ..Stack::new(layer) };
            run_stack(stack, shape, lengths, given, |h, c| LstmState { h, c })
        }
        Cell::Gru(layer) => {
            let stack = Stack { variational, ..Stack::new(layer) };
            run_stack(stack, shape, lengths, given, |h, _| h)
        }
    }
}

fn run_stack<L: Layer, T: Element>(
    stack: Stack<L>,
    shape: SequenceShape,
    lengths: Option<&[usize]>,
    given: &Given<T>,
    state: for<'a> fn(&'a mut [T], &'a mut [T]) -> L::State<'a, T>,
) -> [Vec<T>; 12] {
    let [x, dy, h, c, dh, dc, input, recurrent, input_bias, recurrent_bias, projection, peephole] = given;
    let some = |values: &[T]| !values.is_empty();
    let weights = RecurrentWeights {
        input,
        recurrent,
        input_bias: Some(input_bias),
        recurrent_bias: Some(recurrent_bias),
        projection: Some(&projection[..]).filter(|values| some(values)),
        peephole: Some(&peephole[..]).filter(|values| some(values)),
        ..RecurrentWeights::default()
    };
    let lengths = lengths.map(|lengths| Lengths::new(shape, lengths).unwrap());
    let batch = SequenceBatch { lengths: lengths.as_ref(), dropout: Some(STREAM), ..shape.into() };
    let mut packed = stack.pack(&[weights]).unwrap();
    packed.repack(&[weights]).unwrap();
    let mut tape = vec![T::nan(); stack.tape_len(batch).unwrap()];
    let mut scratch = vec![T::nan(); stack.scratch_len::<T>(batch)];
    let (mut y, mut dx) = (vec![T::nan(); dy.len()], vec![T::nan(); x.len()]);
    let [mut h, mut c, mut dh, mut dc] = [h, c, dh, dc].map(Clone::clone);
    stack.forward(batch, x, &packed, state(&mut h, &mut c), &mut tape, &mut scratch, &mut y).unwrap();
    if stack.variational == VariationalDropout::default() {
        let mut scratch = vec![T::nan(); stack.infer_scratch_len::<T>(batch)];
        let ([mut h1, mut c1], mut y1) = ([&given[2], &given[3]].map(Clone::clone), vec![T::nan(); dy.len()]);
        stack.infer(batch, x, &packed, state(&mut h1, &mut c1), &mut scratch, &mut y1).unwrap();
        assert_eq!([&y1, &h1, &c1], [&y, &h, &c], "inference");
    }
    let mut dweights = [input, recurrent, input_bias, recurrent_bias, projection, peephole]
        .map(|weights| vec![T::one(); weights.len()]);
    let [d_input, d_recurrent, d_input_bias, d_recurrent_bias, d_projection, d_peephole] = &mut dweights;
    let mut layers = [RecurrentGradients {
        x: None,
        input: Some(d_input),
        recurrent: Some(d_recurrent),
        input_bias: Some(d_input_bias),
        recurrent_bias: Some(d_recurrent_bias),
        projection: Some(d_projection),
        peephole: Some(d_peephole),
        ..RecurrentGradients::default()
    }];
    let gradients = StackGradients { x: Some(&mut dx), layers: &mut layers };
    let dstate = state(&mut dh, &mut dc);
    stack.backward(batch, (x, dy), &packed, &mut tape, dstate, &mut scratch, gradients).unwrap();
    let [a, b, c_, d, e, f] = dweights;
    [y, h, c, dx, dh, dc, a, b, c_, d, e, f]
}

/// `Σ dy·y + Σ dh·h + Σ dc·c`.
fn loss(cell: Cell, shape: SequenceShape, lengths: &[usize], given: &Given<f64>) -> f64 {
    let outputs = textbook(cell, shape, lengths, given);
    let gradients = [&given[1], &given[4], &given[5]];
    outputs.iter().zip(gradients).map(|(y, dy)| y.iter().zip(dy).map(|(a, b)| a * b).sum::<f64>()).sum()
}

fn matches_textbook(names: &[&str]) {
    const STEP: f64 = 1e-5;
    let shape = SequenceShape { steps: STEPS, batch: BATCH };
    for cell in
        cells(4).into_iter().filter(|cell| names.iter().any(|name| format!("{cell:?}").contains(name)))
    {
        let given = given::<f64>(cell, shape);
        for lengths in [None, Some(&[3, 1, 4][..])] {
            let actual = run(cell, shape, lengths, &given);
            let all = lengths.unwrap_or(&[STEPS; BATCH]);
            let exact = textbook(cell, shape, all, &given);
            for (actual, exact) in actual.iter().zip(&exact) {
                for (a, e) in actual.iter().zip(exact) {
                    assert!((a - e).abs() < 1e-14, "{a} is not {e}: {cell:?} {lengths:?}");
                }
            }
            // The gradient of each thing that goes in, and where it is in what comes out.
            let places = [(0, 3), (2, 4), (3, 5), (6, 6), (7, 7), (8, 8), (9, 9), (10, 10), (11, 11)];
            for (from, to) in places {
                for i in 0..given[from].len() {
                    let mut moved = given.clone();
                    moved[from][i] += STEP;
                    let above = loss(cell, shape, all, &moved);
                    moved[from][i] -= 2.0 * STEP;
                    let difference = (above - loss(cell, shape, all, &moved)) / (2.0 * STEP);
                    let gradient = actual[to][i] - if to >= 6 { 1.0 } else { 0.0 };
                    let context = format!("{from} {i} of {cell:?} {lengths:?}");
                    assert!(
                        (difference - gradient).abs() < 1e-7,
                        "{gradient} is not {difference}: {context}"
                    );
                }
            }
        }
    }
}

#[test]
fn lstm_peephole_matches_reference_and_its_finite_differences() {
    matches_textbook(&["Peephole"]);
}

#[test]
fn lstm_coupled_matches_reference_and_its_finite_differences() {
    matches_textbook(&["Coupled"]);
}

#[test]
fn lstm_projection_matches_reference_and_its_finite_differences() {
    matches_textbook(&["Some("]);
}

#[test]
fn gru_reset_before_matches_reference_and_its_finite_differences() {
    matches_textbook(&["Before"]);
}

/// Both types, every level and any width, against the textbook and against `f64`, which the finite differences hold.
#[test]
fn lstm_and_gru_variants_match_reference_at_every_level() {
    fn check<T: Element>() {
        for hidden in [1, 7, 16, 33, 65] {
            for cell in cells(hidden) {
                let shape = SequenceShape { steps: 3, batch: 2 };
                // Smaller weights keep units of many inputs out of saturation.
                let small =
                    |values: Vec<T>| values.into_iter().map(|value| value * T::from_f64(0.25)).collect();
                let narrow: Given<T> = given::<T>(cell, shape).map(small);
                let wide: Given<f64> =
                    narrow.each_ref().map(|values| values.iter().map(|&v: &T| v.to_f64()).collect());
                let exact = run(cell, shape, None, &wide);
                each_level(|level| {
                    let actual = run(cell, shape, None, &narrow);
                    for (part, (actual, exact)) in actual.iter().zip(&exact).enumerate() {
                        let largest = exact.iter().fold(1.0_f64, |largest, value| largest.max(value.abs()));
                        for (&a, e) in actual.iter().zip(exact) {
                            let distance = (a.to_f64() - e).abs() / largest / T::epsilon().to_f64();
                            assert!(distance <= 64.0, "{part}: {a:?} is not {e}: {cell:?} {level}");
                        }
                    }
                });
            }
        }
    }
    check::<f32>();
    check::<f64>();
}

/// What is dropped at all steps might as well be dropped from the columns of the matrices.
#[test]
fn recurrent_variants_drop_the_same_at_all_steps() {
    let variational = VariationalDropout { input: 0.4, recurrent: 0.5 };
    let shape = SequenceShape { steps: 5, batch: 1 };
    let plain = [Cell::Gru(Gru { inputs: INPUTS, hidden: 20, ..Gru::default() })];
    for cell in cells(20).into_iter().chain(plain) {
        let mask = |p: f64, counter: u64, features: usize| {
            let mut mask = vec![1.0; features];
            let stream = Philox { counter: STREAM.counter + counter, ..STREAM };
            Dropout { p }.forward_in_place(MaskShape::elements(features), stream, &mut mask).unwrap();
            mask
        };
        let of_input = mask(variational.input, 1, INPUTS);
        let of_output = mask(variational.recurrent, 2, cell.outputs());
        let given = given::<f64>(cell, shape);
        let mut masked = given.clone();
        for (weights, mask) in [(6, &of_input), (7, &of_output)] {
            for (at, weight) in masked[weights].iter_mut().enumerate() {
                *weight *= mask[at % mask.len()];
            }
        }
        let mut expected = run(cell, shape, None, &masked);
        for (gradient, mask) in [(6, &of_input), (7, &of_output)] {
            for (at, d) in expected[gradient].iter_mut().enumerate() {
                *d = 1.0 + (*d - 1.0) * mask[at % mask.len()];
            }
        }
        each_level(|level| {
            let actual = run_with(variational, cell, shape, None, &given);
            for (part, (actual, expected)) in actual.iter().zip(&expected).enumerate() {
                for (a, e) in actual.iter().zip(expected) {
                    let near = (a - e).abs() < 1e-12 * (1.0 + e.abs());
                    assert!(near, "{part}: {a} is not {e}: {cell:?} {level}");
                }
            }
        });
    }
}

#[test]
fn lstm_gates_of_variants_match_reference() {
    let (batch, hidden) = (2, 37);
    for variant in [LstmVariant::Peephole, LstmVariant::Coupled] {
        let op = LstmGates { hidden, variant };
        let gates = if variant == LstmVariant::Coupled { 3 } else { 4 };
        let before: Vec<f64> = numbers(1, batch * gates * hidden, 1.0);
        let peephole: Vec<f64> = numbers(2, if gates == 4 { 3 * hidden } else { 0 }, 1.0);
        let c_before: Vec<f64> = numbers(3, batch * hidden, 1.0);
        let [dy, dh, dc_after]: [Vec<f64>; 3] = [4, 5, 6].map(|seed| numbers(seed, batch * hidden, 1.0));
        each_level(|level| {
            let (mut gates_now, mut c, mut h) =
                (before.clone(), vec![f64::NAN; batch * hidden], vec![f64::NAN; batch * hidden]);
            op.forward(batch, &peephole, &mut gates_now, &c_before, &mut c, &mut h).unwrap();
            let (mut dgates, mut dc) = (gates_now.clone(), dc_after.clone());
            op.backward(batch, &peephole, &mut dgates, (&c_before, &c), (&dy, &dh), &mut dc).unwrap();
            for at in 0..batch * hidden {
                let (row, unit) = (at / hidden, at % hidden);
                let of = |values: &[f64], gate: usize| values[(row * gates + gate) * hidden + unit];
                let gradient = dy[at] + dh[at];
                let (new, shown, expected, old) = if gates == 3 {
                    let all = lstm::coupled_gates([0, 1, 2].map(|gate| of(&before, gate)));
                    let (new, shown) = lstm::forward(all, c_before[at]);
                    let (d, old) = lstm::coupled_backward(all, c_before[at], new, gradient, dc_after[at]);
                    (new, shown, d.to_vec(), old)
                } else {
                    let sums = lstm::Gates {
                        i: of(&before, 0),
                        f: of(&before, 1),
                        g: of(&before, 2),
                        o: of(&before, 3),
                    };
                    let see = |gate: usize| peephole[gate * hidden + unit];
                    let see = lstm::Peephole { i: see(0), f: see(1), o: see(2) };
                    let (all, new, shown) = lstm::peephole_forward(sums, see, c_before[at]);
                    let (d, old) =
                        lstm::peephole_backward(all, see, c_before[at], new, gradient, dc_after[at]);
                    (new, shown, vec![d.i, d.f, d.g, d.o], old)
                };
                let near = |a: f64, e: f64| assert!((a - e).abs() < 1e-14, "{a} is not {e}: {level}");
                near(c[at], new);
                near(h[at], shown);
                near(dc[at], old);
                for (gate, expected) in expected.into_iter().enumerate() {
                    near(of(&dgates, gate), expected);
                }
            }
        });
    }
}

#[test]
fn lstm_variants_name_the_bad_argument() {
    fn name<T: std::fmt::Debug>(result: Result<T, Error>) -> &'static str {
        match result.unwrap_err() {
            Error::OutOfRange { argument, .. } | Error::Length { argument, .. } => argument,
            error => panic!("{error:?}"),
        }
    }
    let weights = RecurrentWeights { input: &[0.0_f32; 12], recurrent: &[0.0; 36], ..Default::default() };
    let lstm = Lstm { inputs: 1, hidden: 3, ..Lstm::default() };
    let projected = Lstm { projection: Some(2), ..lstm };
    let few = RecurrentWeights { recurrent: &[0.0; 24], ..weights };
    assert_eq!(name(projected.pack(few)), "weights.projection");
    assert_eq!(
        name(lstm.pack(RecurrentWeights { projection: Some(&[0.0; 6]), ..weights })),
        "weights.projection"
    );
    let peephole = Lstm { variant: LstmVariant::Peephole, ..lstm };
    assert_eq!(name(peephole.pack(weights)), "weights.peephole");
    assert_eq!(name(Lstm { variant: LstmVariant::Coupled, ..lstm }.pack(weights)), "weights.input");
    let gates = LstmGates { hidden: 1, variant: LstmVariant::Peephole };
    let mut seven = [7.0_f32; 6];
    let [all @ .., c, h] = &mut seven;
    assert_eq!(name(gates.forward(1, &[0.0], all, &[0.0], &mut [*c], &mut [*h])), "peephole");
    // Packed for the same sizes, but another reset.
    let gru = Gru { inputs: 1, hidden: 3, direction: Direction::Backward, ..Gru::default() };
    let packed = gru
        .pack(RecurrentWeights { input: &[0.0; 9], recurrent: &[0.0; 27], ..RecurrentWeights::default() })
        .unwrap();
    let shape = SequenceShape { steps: 1, batch: 1 };
    let before = Gru { reset: GruReset::Before, ..gru };
    let (mut state, mut y) = ([0.0; 3], [7.0; 3]);
    let mut tape = vec![0.0; before.tape_len(shape).unwrap()];
    let mut scratch = vec![0.0; before.scratch_len::<f32>(shape)];
    let refused = before.forward(shape, &[1.0], &packed, &mut state, &mut tape, &mut scratch, &mut y);
    assert_eq!((name(refused), y), ("weights", [7.0; 3]));
}
