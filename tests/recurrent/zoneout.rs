//! Zoneout: an LSTM by its scalar formulas with the masks of the same counters.

use rand::SeedableRng;
use steadygrad::recurrent::{
    Gru, Layer, LayerNormLstm, Lstm, LstmState, LstmVariant, RecurrentInit, RecurrentWeights, Rnn,
    SequenceBatch, SequenceShape, Stack, Zoneout,
};
use steadygrad::reference::{lstm, zoneout};
use steadygrad::regularize::{Dropout, MaskShape};
use steadygrad::{Element, Error, Philox};

use super::textbook::dot;
use crate::common::{each_level, each_pool, numbers};

const SHAPE: SequenceShape = SequenceShape { steps: 5, batch: 3 };
const INPUTS: usize = 2;
const HIDDEN: usize = 19;
const ZONEOUT: Zoneout = Zoneout { output: 0.3, cell: 0.6 };
const STREAM: Philox = Philox { key: 3, counter: 8 };

/// 0 where a value stays what it was, 1 where it becomes the new one.
fn masks(p: f64, counter: u64, is_training: bool) -> Vec<f64> {
    let mut masks = vec![1.0; SHAPE.steps * SHAPE.batch * HIDDEN];
    if !is_training {
        return vec![1.0 - p; masks.len()];
    }
    let stream = Philox { counter: STREAM.counter + counter, ..STREAM };
    Dropout { p }.forward_in_place(MaskShape::elements(masks.len()), stream, &mut masks).unwrap();
    masks.iter().map(|mask| f64::from(u8::from(*mask > 0.0))).collect()
}

fn given<T: Element>() -> [Vec<T>; 6] {
    let [rows, state] = [SHAPE.steps * SHAPE.batch, SHAPE.batch * HIDDEN];
    let lens = [rows * INPUTS, state, state, 4 * HIDDEN * INPUTS, 4 * HIDDEN * HIDDEN, 4 * HIDDEN];
    core::array::from_fn(|at| numbers(at as u64 + 1, lens[at], 0.3))
}

/// Outputs and final states.
fn run<T: Element>([x, h, c, input, recurrent, bias]: &[Vec<T>; 6], is_training: bool) -> [Vec<T>; 3] {
    let lstm = Lstm { inputs: INPUTS, hidden: HIDDEN, ..Lstm::default() };
    let stack = Stack { zoneout: ZONEOUT, ..Stack::new(lstm) };
    let weights =
        RecurrentWeights { input, recurrent, input_bias: Some(bias), ..RecurrentWeights::default() };
    let batch = SequenceBatch { dropout: Some(STREAM).filter(|_| is_training), ..SHAPE.into() };
    let packed = stack.pack(&[weights]).unwrap();
    let mut tape = vec![T::nan(); stack.tape_len(batch).unwrap()];
    let mut scratch = vec![T::nan(); stack.scratch_len::<T>(batch)];
    let (mut h, mut c) = (h.clone(), c.clone());
    let mut y = vec![T::nan(); SHAPE.steps * h.len()];
    let state = LstmState { h: &mut h, c: &mut c };
    stack.forward(batch, x, &packed, state, &mut tape, &mut scratch, &mut y).unwrap();
    [y, h, c]
}

fn textbook([x, h0, c0, w, u, b]: &[Vec<f64>; 6], is_training: bool) -> [Vec<f64>; 3] {
    let (of_output, of_cell) = (masks(ZONEOUT.output, 3, is_training), masks(ZONEOUT.cell, 4, is_training));
    let (mut h, mut c, mut y) = (h0.clone(), c0.clone(), Vec::new());
    for step in 0..SHAPE.steps {
        let before = h.clone();
        for at in 0..SHAPE.batch * HIDDEN {
            let (sequence, unit) = (at / HIDDEN, at % HIDDEN);
            let x = &x[(step * SHAPE.batch + sequence) * INPUTS..][..INPUTS];
            let own = &before[sequence * HIDDEN..][..HIDDEN];
            let sum = |gate: usize| {
                let row = gate * HIDDEN + unit;
                dot(&w[row * INPUTS..][..INPUTS], x) + dot(&u[row * HIDDEN..][..HIDDEN], own) + b[row]
            };
            let gates = lstm::gates(lstm::Gates { i: sum(0), f: sum(1), g: sum(2), o: sum(3) });
            let (new_c, new_h) = lstm::forward(gates, c[at]);
            let place = step * SHAPE.batch * HIDDEN + at;
            h[at] = zoneout::forward(of_output[place], new_h, before[at]);
            c[at] = zoneout::forward(of_cell[place], new_c, c[at]);
        }
        y.extend_from_slice(&h);
    }
    [y, h, c]
}

fn matches_reference<T: Element>() {
    let given = given::<T>();
    let wide = given.each_ref().map(|values| values.iter().map(|&v: &T| v.to_f64()).collect());
    for is_training in [true, false] {
        let exact = textbook(&wide, is_training);
        each_level(|level| {
            for (actual, exact) in run(&given, is_training).iter().zip(&exact) {
                for (&actual, exact) in actual.iter().zip(exact) {
                    let distance = (actual.to_f64() - exact).abs() / T::epsilon().to_f64();
                    assert!(distance < 32.0, "{actual:?} is not {exact}: {is_training} {level}");
                }
            }
        });
    }
}

#[test]
fn zoneout_matches_reference() {
    matches_reference::<f32>();
    matches_reference::<f64>();
}

#[test]
fn zoneout_reference_backward_is_the_derivative() {
    for m in [0.0, 0.25, 1.0] {
        let (new, before) = zoneout::backward(m, 3.0_f64);
        let slope = |step: [f64; 2]| {
            3.0 * (zoneout::forward(m, 2.0 + step[0], 5.0 + step[1]) - zoneout::forward(m, 2.0, 5.0))
        };
        assert!((new - slope([1.0, 0.0])).abs() < 1e-12 && (before - slope([0.0, 1.0])).abs() < 1e-12);
    }
}

#[test]
fn zoneout_same_bits_in_any_pool() {
    let given = given::<f32>();
    let expected = run(&given, true);
    each_pool(|threads| assert_eq!(run(&given, true), expected, "{threads} threads"));
}

/// One step of a stack of one layer.
fn forward<L: Layer>(
    layer: L,
    zoneout: Zoneout,
    state: for<'a> fn(&'a mut [f32], &'a mut [f32]) -> L::State<'a, f32>,
) -> Result<(), Error> {
    let (stack, shape) = (Stack { zoneout, ..Stack::new(layer) }, SequenceShape { steps: 1, batch: 1 });
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    let weights = RecurrentInit::default().draw(&layer, &mut rng)?;
    let packed = stack.pack(&[weights.borrow()])?;
    let mut tape = vec![0.0; stack.tape_len(shape.into())?];
    let mut scratch = vec![0.0; stack.scratch_len::<f32>(shape.into())];
    let (mut h, mut c, mut y) = ([0.0], [0.0], [7.0]);
    let state = state(&mut h, &mut c);
    let result = stack.forward(shape.into(), &[1.0], &packed, state, &mut tape, &mut scratch, &mut y);
    assert!(result.is_ok() || y == [7.0], "written although refused");
    result
}

#[test]
fn zoneout_is_refused_where_it_cannot_be() {
    let (output, cell) = (Zoneout { output: 0.5, cell: 0.0 }, Zoneout { output: 0.0, cell: 0.5 });
    let plain = Lstm { inputs: 1, hidden: 1, ..Lstm::default() };
    let peephole = Lstm { variant: LstmVariant::Peephole, ..plain };
    let norm = LayerNormLstm { inputs: 1, hidden: 1, ..LayerNormLstm::default() };
    let gru = Gru { inputs: 1, hidden: 1, ..Gru::default() };
    let rnn = Rnn { inputs: 1, hidden: 1, ..Rnn::default() };
    assert_eq!(forward(plain, ZONEOUT, |h, c| LstmState { h, c }), Ok(()));
    assert_eq!(forward(peephole, output, |h, c| LstmState { h, c }), Ok(()));
    assert_eq!(forward(norm, output, |h, c| LstmState { h, c }), Ok(()));
    assert_eq!(forward(gru, output, |h, _| h), Ok(()));
    for refused in [
        forward(peephole, cell, |h, c| LstmState { h, c }),
        forward(norm, cell, |h, c| LstmState { h, c }),
        forward(gru, cell, |h, _| h),
        forward(rnn, output, |h, _| h),
    ] {
        assert!(matches!(refused, Err(Error::Unsupported { .. })), "{refused:?}");
    }
    for p in [-0.1, 1.5, f64::NAN] {
        let refused = forward(plain, Zoneout { output: p, ..cell }, |h, c| LstmState { h, c });
        assert!(matches!(refused, Err(Error::OutOfRange { argument: "zoneout.output", .. })));
        let refused = forward(plain, Zoneout { cell: p, ..output }, |h, c| LstmState { h, c });
        assert!(matches!(refused, Err(Error::OutOfRange { argument: "zoneout.cell", .. })));
    }
}
