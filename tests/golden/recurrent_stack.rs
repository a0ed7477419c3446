//! Stacks of recurrent layers against PyTorch's: several layers, both directions, packed sequences, projections, layer norm.

use steadygrad::Element;
use steadygrad::recurrent::{
    Directions, Gru, Layer, LayerNormLstm, Lengths, Lstm, LstmState, RecurrentGradients, RecurrentWeights,
    Rnn, SequenceBatch, SequenceShape, Stack, StackGradients,
};

use super::case::{Case, cases};
use crate::common::tolerance;

const NAMES: [&str; 6] = ["input", "recurrent", "input_bias", "recurrent_bias", "projection", "norm"];

pub(crate) fn check<T: Element>() {
    for case in cases("recurrent_stack") {
        let (inputs, hidden) = (case.count("inputs"), case.count("hidden"));
        let projection = Some(case.count("projection")).filter(|&features| features > 0);
        match case.op() {
            "lstm_stack" => {
                stack::<_, T>(&case, Lstm { inputs, hidden, projection, ..Lstm::default() }, |h, c| {
                    LstmState { h, c }
                })
            }
            "layer_norm_lstm_stack" => {
                let layer = LayerNormLstm { inputs, hidden, eps: case.float("eps"), ..Default::default() };
                stack::<_, T>(&case, layer, |h, c| LstmState { h, c })
            }
            "gru_stack" => stack::<_, T>(&case, Gru { inputs, hidden, ..Gru::default() }, |h, _| h),
            _ => stack::<_, T>(&case, Rnn { inputs, hidden, ..Rnn::default() }, |h, _| h),
        }
    }
}

fn stack<L: Layer, T: Element>(
    case: &Case,
    layer: L,
    state: for<'a> fn(&'a mut [T], &'a mut [T]) -> L::State<'a, T>,
) {
    let is_normalised = case.op().starts_with("layer_norm");
    let tolerance = if is_normalised { tolerance::GOLDEN_NORMS } else { tolerance::GOLDEN };
    let compare =
        |name: &str, actual: &[T]| case.compare_within(name, actual, &case.expected(name), tolerance);
    let shape = SequenceShape { steps: case.count("steps"), batch: case.count("batch") };
    let directions = if case.flag("both") { Directions::Both } else { Directions::One };
    let stack = Stack { layers: case.count("layers"), directions, ..Stack::new(layer) };
    let lengths = case.optional_indices("lengths").map(|lengths| {
        let lengths: Vec<usize> = lengths.into_iter().map(|length| length as usize).collect();
        Lengths::new(shape, &lengths).unwrap()
    });
    let batch = SequenceBatch { lengths: lengths.as_ref(), ..shape.into() };
    let count = stack.layers * if case.flag("both") { 2 } else { 1 };
    let weights: Vec<[Vec<T>; 6]> = (0..count)
        .map(|at| NAMES.map(|name| case.optional_input(&format!("{name}{at}")).unwrap_or_default()))
        .collect();
    let borrowed: Vec<_> = weights
        .iter()
        .map(|[input, recurrent, input_bias, recurrent_bias, projection, norm]| RecurrentWeights {
            input,
            recurrent,
            input_bias: Some(input_bias),
            recurrent_bias: Some(recurrent_bias),
            projection: Some(&projection[..]).filter(|weights| !weights.is_empty()),
            norm: Some(&norm[..]).filter(|weights| !weights.is_empty()),
            ..RecurrentWeights::default()
        })
        .collect();
    let packed = stack.pack(&borrowed).unwrap();
    let mut tape = vec![T::nan(); stack.tape_len(batch).unwrap()];
    let mut scratch = vec![T::nan(); stack.scratch_len::<T>(batch)];
    let (x, dy): (Vec<T>, Vec<T>) = (case.input("x"), case.input("dy"));
    let mut y = vec![T::nan(); dy.len()];
    let mut h: Vec<T> = case.input("state0");
    let mut c: Vec<T> = case.optional_input("state1").unwrap_or_default();
    stack.forward(batch, &x, &packed, state(&mut h, &mut c), &mut tape, &mut scratch, &mut y).unwrap();
    compare("y", &y);
    compare("state0", &h);
    if !c.is_empty() {
        compare("state1", &c);
    }

    let mut dh: Vec<T> = case.input("dstate0");
    let mut dc: Vec<T> = case.optional_input("dstate1").unwrap_or_default();
    let mut dx = vec![T::nan(); x.len()];
    let mut dweights: Vec<_> =
        weights.iter().map(|each| each.each_ref().map(|weights| vec![T::zero(); weights.len()])).collect();
    let mut layers: Vec<_> = dweights
        .iter_mut()
        .map(|[input, recurrent, input_bias, recurrent_bias, projection, norm]| RecurrentGradients {
            input: Some(input),
            recurrent: Some(recurrent),
            input_bias: Some(input_bias),
            recurrent_bias: Some(recurrent_bias),
            projection: Some(projection),
            norm: Some(norm),
            ..RecurrentGradients::default()
        })
        .collect();
    let gradients = StackGradients { x: Some(&mut dx), layers: &mut layers };
    let dstate = state(&mut dh, &mut dc);
    stack.backward(batch, (&x, &dy), &packed, &mut tape, dstate, &mut scratch, gradients).unwrap();
    compare("x", &dx);
    for (at, dweights) in dweights.iter().enumerate() {
        for (name, gradient) in NAMES.iter().zip(dweights).filter(|(_, gradient)| !gradient.is_empty()) {
            compare(&format!("{name}{at}"), gradient);
        }
    }
    compare("dstate0", &dh);
    if !dc.is_empty() {
        compare("dstate1", &dc);
    }
}
