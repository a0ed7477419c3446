//! Recurrent layers against PyTorch's: outputs, final states and all gradients, each direction of a bidirectional layer.

use steadygrad::Element;
use steadygrad::recurrent::{
    Direction, Gru, Layer, Lstm, LstmState, RecurrentGradients, RecurrentWeights, Rnn, RnnActivation,
    SequenceShape, SequenceValues,
};

use super::case::{Case, cases};

pub(crate) fn check<T: Element>() {
    for case in cases("recurrent") {
        layer::<T>(&case);
    }
}

fn layer<T: Element>(case: &Case) {
    let shape = SequenceShape { steps: case.count("steps"), batch: case.count("batch") };
    let (inputs, hidden) = (case.count("inputs"), case.count("hidden"));
    let direction = if case.flag("backward") { Direction::Backward } else { Direction::Forward };
    let lstm = Lstm { inputs, hidden, direction, ..Lstm::default() };
    let gru = Gru { inputs, hidden, direction, ..Gru::default() };
    let is_relu = case.op() == "rnn" && case.word("nonlinearity") == "relu";
    let activation = if is_relu { RnnActivation::Relu } else { RnnActivation::Tanh };
    let rnn = Rnn { inputs, hidden, activation, direction };

    let (x, dy): (Vec<T>, Vec<T>) = (case.input("x"), case.input("dy"));
    let (input, recurrent): (Vec<T>, Vec<T>) = (case.input("input"), case.input("recurrent"));
    let biases: [Option<Vec<T>>; 2] = ["input_bias", "recurrent_bias"].map(|name| case.optional_input(name));
    let weights = RecurrentWeights {
        input: &input,
        recurrent: &recurrent,
        input_bias: biases[0].as_deref(),
        recurrent_bias: biases[1].as_deref(),
        ..RecurrentWeights::default()
    };
    let (packed, tape, scratch) = match case.op() {
        "lstm" => (lstm.pack(weights), lstm.tape_len(shape), lstm.scratch_len::<T>(shape)),
        "gru" => (gru.pack(weights), gru.tape_len(shape), gru.scratch_len::<T>(shape)),
        _ => (rnn.pack(weights), rnn.tape_len(shape), rnn.scratch_len::<T>(shape)),
    };
    let (packed, mut tape, mut scratch) =
        (packed.unwrap(), vec![T::nan(); tape.unwrap()], vec![T::nan(); scratch]);

    let mut y = vec![T::nan(); dy.len()];
    let mut h: Vec<T> = case.input("state0");
    let mut c: Vec<T> = case.optional_input("state1").unwrap_or_default();
    let (t, s) = (&mut tape, &mut scratch);
    match case.op() {
        "lstm" => lstm.forward(shape, &x, &packed, LstmState { h: &mut h, c: &mut c }, t, s, &mut y),
        "gru" => gru.forward(shape, &x, &packed, &mut h, t, s, &mut y),
        _ => rnn.forward(shape, &x, &packed, &mut h, t, s, &mut y),
    }
    .unwrap();
    case.compare("y", &y);
    case.compare("state0", &h);
    if !c.is_empty() {
        case.compare("state1", &c);
    }

    let mut dh: Vec<T> = case.input("dstate0");
    let mut dc: Vec<T> = case.optional_input("dstate1").unwrap_or_default();
    let zeros = |len: usize| vec![T::zero(); len];
    let (mut dinput, mut drecurrent) = (zeros(input.len()), zeros(recurrent.len()));
    let (mut dinput_bias, mut drecurrent_bias) = (zeros(input.len() / inputs), zeros(input.len() / inputs));
    let gradients = RecurrentGradients {
        x: None,
        input: Some(&mut dinput),
        recurrent: Some(&mut drecurrent),
        input_bias: Some(&mut dinput_bias),
        recurrent_bias: Some(&mut drecurrent_bias),
        ..RecurrentGradients::default()
    };
    let values = SequenceValues { x: &x, y: &y, dy: &dy };
    match case.op() {
        "lstm" => {
            lstm.backward(shape, values, &packed, t, LstmState { h: &mut dh, c: &mut dc }, s, gradients)
        }
        "gru" => gru.backward(shape, values, &packed, t, &mut dh, s, gradients),
        _ => rnn.backward(shape, values, &packed, t, &mut dh, s, gradients),
    }
    .unwrap();
    case.compare("input", &dinput);
    case.compare("recurrent", &drecurrent);
    if case.flag("bias") {
        case.compare("input_bias", &dinput_bias);
        case.compare("recurrent_bias", &drecurrent_bias);
    }
    case.compare("dstate0", &dh);
    if !dc.is_empty() {
        case.compare("dstate1", &dc);
    }
}
