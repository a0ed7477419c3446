//! Recurrent layers: the cells of any bits against their references, and whole layers that keep their promises.

use steadygrad::recurrent::{
    Direction, Directions, Gru, GruGates, Layer, LayerNormLstm, Lengths, Lstm, LstmGates, LstmState,
    LstmVariant, PackedRecurrent, RecurrentGradients, RecurrentWeights, Rnn, RnnActivation, SequenceBatch,
    SequenceLayout, SequenceShape, Stack, StackGradients, VariationalDropout, Zoneout,
};
use steadygrad::{Level, Philox, reference};

use super::reader::{Bits, Reader, Tolerance, assert_close};

/// Decodes and checks one case.
pub(crate) fn run(data: &[u8]) {
    let mut reader = Reader::new(data);
    match reader.byte() % 10 {
        0 => lstm::<f32>(&mut reader),
        1 => lstm::<f64>(&mut reader),
        2 => gru::<f32>(&mut reader),
        3 => gru::<f64>(&mut reader),
        4 => rnn::<f32>(&mut reader),
        5 => rnn::<f64>(&mut reader),
        6 => stack::<f32>(&mut reader),
        7 => stack::<f64>(&mut reader),
        8 => layer_norm_lstm::<f32>(&mut reader),
        _ => layer_norm_lstm::<f64>(&mut reader),
    }
}

/// A few units of values between −1 and 1, and of what is added to them.
fn tolerance(scale: f64) -> Tolerance {
    Tolerance { relative: 64.0, absolute: 64.0 * (1.0 + scale.abs()) }
}

fn lstm<T: Bits>(reader: &mut Reader<'_>) {
    let (batch, hidden) = (reader.up_to(3), reader.up_to(40));
    let before: Vec<T> = reader.floats(batch * 4 * hidden);
    let c_before: Vec<T> = reader.ordinaries(batch * hidden);
    for level in Level::available() {
        let (mut gates, mut c, mut h) =
            (before.clone(), vec![T::nan(); batch * hidden], vec![T::nan(); batch * hidden]);
        let op = LstmGates { hidden, ..LstmGates::default() };
        Level::scoped(level, || op.forward(batch, &[], &mut gates, &c_before, &mut c, &mut h))
            .expect("an available level")
            .expect("matching lengths");
        for at in 0..batch * hidden {
            let of = |gate: usize| before[(at / hidden * 4 + gate) * hidden + at % hidden].to_f64();
            let exact = reference::lstm::Gates { i: of(0), f: of(1), g: of(2), o: of(3) };
            let old = c_before[at].to_f64();
            let (new, shown) = reference::lstm::forward(reference::lstm::gates(exact), old);
            assert_close((level, at), new, c[at], tolerance(old));
            assert_close((level, at), shown, h[at], tolerance(old));
        }
    }
    let shape = SequenceShape { steps: reader.up_to(3), batch };
    let op = Lstm { inputs: reader.up_to(5), hidden, direction: Direction::Backward, ..Lstm::default() };
    let x: Vec<T> = reader.ordinaries(shape.steps * batch * op.inputs);
    let packed = pack(reader, (op.inputs, hidden, 4), |weights| op.pack(weights));
    let (mut h, mut c) = (vec![T::zero(); batch * hidden], vec![T::zero(); batch * hidden]);
    let mut tape = vec![T::nan(); op.tape_len(shape).expect("a small shape")];
    let mut scratch = vec![T::nan(); op.scratch_len::<T>(shape)];
    let mut y = vec![T::nan(); shape.steps * batch * hidden];
    let state = LstmState { h: &mut h, c: &mut c };
    op.forward(shape, &x, &packed, state, &mut tape, &mut scratch, &mut y).expect("matching lengths");
    assert!(y.iter().all(|y| y.abs() <= T::one()), "an LSTM's output is between −1 and 1");
    let most = T::from_f64(shape.steps as f64);
    assert!(c.iter().all(|c| c.abs() <= most), "a cell grows by 1 a step at most");
}

fn gru<T: Bits>(reader: &mut Reader<'_>) {
    let (batch, hidden) = (reader.up_to(3), reader.up_to(40));
    let (before, recurrent): (Vec<T>, Vec<T>) =
        (reader.ordinaries(batch * 3 * hidden), reader.ordinaries(batch * 3 * hidden));
    let h_before: Vec<T> = reader.ordinaries(batch * hidden);
    for level in Level::available() {
        let (mut gates, mut h) = (before.clone(), vec![T::nan(); batch * hidden]);
        let op = GruGates { hidden };
        Level::scoped(level, || op.forward(batch, &mut gates, &recurrent, &h_before, &mut h))
            .expect("an available level")
            .expect("matching lengths");
        for at in 0..batch * hidden {
            let place = |gate: usize| (at / hidden * 3 + gate) * hidden + at % hidden;
            let of = |values: &[T]| reference::gru::Gates {
                r: values[place(0)].to_f64(),
                z: values[place(1)].to_f64(),
                n: values[place(2)].to_f64(),
            };
            let old = h_before[at].to_f64();
            let exact = reference::gru::forward(reference::gru::gates(of(&before), of(&recurrent)), old);
            // Sums of up to 32 lose units of their size before they enter an activation.
            assert_close((level, at), exact, h[at], tolerance(32.0 * (1.0 + old.abs())));
        }
    }
    let shape = SequenceShape { steps: reader.up_to(3), batch };
    let op = Gru { inputs: reader.up_to(5), hidden, direction: Direction::Forward, ..Gru::default() };
    let x: Vec<T> = reader.ordinaries(shape.steps * batch * op.inputs);
    let packed = pack(reader, (op.inputs, hidden, 3), |weights| op.pack(weights));
    let mut h = vec![T::zero(); batch * hidden];
    let mut tape = vec![T::nan(); op.tape_len(shape).expect("a small shape")];
    let mut scratch = vec![T::nan(); op.scratch_len::<T>(shape)];
    let mut y = vec![T::nan(); shape.steps * batch * hidden];
    op.forward(shape, &x, &packed, &mut h, &mut tape, &mut scratch, &mut y).expect("matching lengths");
    let most = T::one() + T::epsilon() * T::from_f64(8.0);
    assert!(y.iter().all(|y| y.abs() <= most), "a GRU's output is between −1 and 1");
}

fn rnn<T: Bits>(reader: &mut Reader<'_>) {
    let shape = SequenceShape { steps: reader.up_to(3), batch: reader.up_to(3) };
    let op = Rnn {
        inputs: reader.up_to(5),
        hidden: reader.up_to(40),
        activation: reader.pick(&[RnnActivation::Tanh, RnnActivation::Relu]),
        direction: reader.pick(&[Direction::Forward, Direction::Backward]),
    };
    let x: Vec<T> = reader.ordinaries(shape.steps * shape.batch * op.inputs);
    let packed = pack(reader, (op.inputs, op.hidden, 1), |weights| op.pack(weights));
    let mut h = vec![T::zero(); shape.batch * op.hidden];
    let mut tape = vec![T::nan(); op.tape_len(shape).expect("a small shape")];
    let mut scratch = vec![T::nan(); op.scratch_len::<T>(shape)];
    let mut y = vec![T::nan(); shape.steps * shape.batch * op.hidden];
    op.forward(shape, &x, &packed, &mut h, &mut tape, &mut scratch, &mut y).expect("matching lengths");
    let in_range = |y: &T| match op.activation {
        RnnActivation::Tanh => y.abs() <= T::one(),
        RnnActivation::Relu => *y >= T::zero(),
    };
    assert!(y.iter().all(in_range), "{op:?}");
}

/// A step at every level: within bounds, and NaN where there is one in the sequence.
fn layer_norm_lstm<T: Bits>(reader: &mut Reader<'_>) {
    let shape = SequenceShape { steps: 1, batch: reader.up_to(3) };
    let (inputs, hidden) = (reader.up_to(5), reader.up_to(40));
    let op = LayerNormLstm { inputs, hidden, direction: Direction::Backward, ..LayerNormLstm::default() };
    let (input, recurrent): (Vec<T>, Vec<T>) =
        (reader.ordinaries(4 * hidden * inputs), reader.ordinaries(4 * hidden * hidden));
    let (bias, norm): (Vec<T>, Vec<T>) = (reader.ordinaries(4 * hidden), reader.ordinaries(10 * hidden));
    let weights = RecurrentWeights {
        input: &input,
        recurrent: &recurrent,
        input_bias: Some(&bias),
        norm: Some(&norm),
        ..RecurrentWeights::default()
    };
    let x: Vec<T> = reader.floats(shape.batch * inputs);
    let h_before: Vec<T> = reader.ordinaries(shape.batch * hidden);
    let c_before: Vec<T> = reader.ordinaries(shape.batch * hidden);
    for level in Level::available() {
        let (mut h, mut c) = (h_before.clone(), c_before.clone());
        let mut y = vec![T::nan(); h.len()];
        let forward = || {
            let packed = op.pack(weights)?;
            let mut tape = vec![T::nan(); op.tape_len(shape)?];
            let mut scratch = vec![T::nan(); op.scratch_len::<T>(shape)];
            let state = LstmState { h: &mut h, c: &mut c };
            op.forward(shape, &x, &packed, state, &mut tape, &mut scratch, &mut y)
        };
        Level::scoped(level, forward).expect("an available level").expect("matching lengths");
        for (sequence, c) in c.chunks(hidden.max(1)).enumerate() {
            let own = &x[sequence * inputs..][..inputs];
            if own.iter().all(|x| x.abs() <= T::from_f64(16.0)) {
                let most = T::from_f64(17.0);
                assert!(c.iter().all(|c| c.abs() <= most), "a cell grows by 1 at most: {level}");
            } else if own.iter().any(|x| x.is_nan()) {
                assert!(c.iter().all(|c| c.is_nan()), "a NaN was swallowed: {level}");
            }
        }
    }
}

/// Weights between −16 and 16, packed.
fn pack<T: Bits>(
    reader: &mut Reader<'_>,
    (inputs, hidden, gates): (usize, usize, usize),
    pack: impl Fn(RecurrentWeights<'_, T>) -> Result<PackedRecurrent<T>, steadygrad::Error>,
) -> PackedRecurrent<T> {
    let (input, recurrent): (Vec<T>, Vec<T>) =
        (reader.ordinaries(gates * hidden * inputs), reader.ordinaries(gates * hidden * hidden));
    let bias: Vec<T> = reader.ordinaries(gates * hidden);
    let input_bias = reader.byte().is_multiple_of(2).then_some(&bias[..]);
    pack(RecurrentWeights {
        input: &input,
        recurrent: &recurrent,
        input_bias,
        recurrent_bias: None,
        ..RecurrentWeights::default()
    })
    .expect("matching lengths")
}

/// A stack of any variant and lengths: within bounds, zero where there is padding, and refused where a length is.
fn stack<T: Bits>(reader: &mut Reader<'_>) {
    let lstm = Lstm {
        inputs: reader.up_to(4),
        hidden: reader.up_to(20),
        projection: None,
        variant: reader.pick(&[LstmVariant::Standard, LstmVariant::Peephole, LstmVariant::Coupled]),
        direction: reader.pick(&[Direction::Forward, Direction::Backward]),
    };
    let op = Stack {
        layers: 1 + reader.up_to(2),
        directions: reader.pick(&[Directions::One, Directions::Both]),
        dropout: f64::from(reader.byte()) / 255.0,
        variational: VariationalDropout {
            input: reader.pick(&[0.0, 0.5, 1.0]),
            recurrent: reader.pick(&[0.0, 0.5, 1.0]),
        },
        zoneout: Zoneout {
            output: reader.pick(&[0.0, 0.5, 1.0]),
            cell: if lstm.variant == LstmVariant::Peephole { 0.0 } else { reader.pick(&[0.0, 0.5, 1.0]) },
        },
        ..Stack::new(lstm)
    };
    let shape = SequenceShape { steps: reader.up_to(4), batch: reader.up_to(4) };
    let halves = if op.directions == Directions::Both { 2 } else { 1 };
    let gates = if lstm.variant == LstmVariant::Coupled { 3 } else { 4 };
    let peepholes = if lstm.variant == LstmVariant::Peephole { 3 } else { 0 };
    let lengths: Vec<usize> = (0..shape.batch).map(|_| reader.up_to(5)).collect();
    let refused = lengths.iter().any(|&length| length == 0 || length > shape.steps);
    let checked = Lengths::new(shape, &lengths);
    assert_eq!(checked.is_err(), refused, "{lengths:?} of {shape:?}");
    let weights: Vec<[Vec<T>; 3]> = (0..op.layers * halves)
        .map(|at| {
            let inputs = if at < halves { lstm.inputs } else { halves * lstm.hidden };
            [gates * lstm.hidden * inputs, gates * lstm.hidden * lstm.hidden, peepholes * lstm.hidden]
                .map(|len| reader.ordinaries(len))
        })
        .collect();
    let borrowed: Vec<_> = weights
        .iter()
        .map(|[input, recurrent, peephole]| RecurrentWeights {
            input,
            recurrent,
            peephole: (peepholes > 0).then_some(&peephole[..]),
            ..RecurrentWeights::default()
        })
        .collect();
    let packed = op.pack(&borrowed).expect("matching lengths");
    let lengths_or_none = checked.as_ref().ok();
    let dropout = Some(Philox { key: 1, counter: 0 });
    let layout = reader.pick(&[SequenceLayout::TimeMajor, SequenceLayout::BatchMajor]);
    let batch = SequenceBatch { shape, layout, lengths: lengths_or_none, dropout };
    let x: Vec<T> = reader.ordinaries(shape.steps * shape.batch * lstm.inputs);
    let states = op.layers * halves * shape.batch * lstm.hidden;
    let zeros = vec![T::zero(); states];
    let mut tape = vec![T::nan(); op.tape_len(batch).expect("a small shape")];
    let mut scratch = vec![T::nan(); op.scratch_len::<T>(batch)];
    let width = halves * lstm.hidden;
    let mut y = vec![T::nan(); shape.steps * shape.batch * width];
    let mut inferred = y.clone();
    let ([mut h, mut c], [mut last_h, mut last_c]) = ([zeros.clone(), zeros.clone()], [zeros.clone(), zeros]);
    let at_inference = SequenceBatch { dropout: None, ..batch };
    let state = LstmState { h: &mut h, c: &mut c };
    op.forward(at_inference, &x, &packed, state, &mut tape, &mut scratch, &mut y).expect("matching lengths");
    let mut room = vec![T::nan(); op.infer_scratch_len::<T>(batch)];
    let state = LstmState { h: &mut last_h, c: &mut last_c };
    op.infer(batch, &x, &packed, state, &mut room, &mut inferred).expect("matching lengths");
    assert!([&y, &h, &c] == [&inferred, &last_h, &last_c], "inference without a tape: {op:?}");
    y.fill(T::nan());
    tape.fill(T::nan());
    scratch.fill(T::nan());
    let (mut h, mut c) = (vec![T::zero(); states], vec![T::zero(); states]);
    let state = LstmState { h: &mut h, c: &mut c };
    op.forward(batch, &x, &packed, state, &mut tape, &mut scratch, &mut y).expect("matching lengths");
    let is_padding = |row: usize| {
        let (step, sequence) = match layout {
            SequenceLayout::TimeMajor => (row / shape.batch, row % shape.batch),
            SequenceLayout::BatchMajor => (row % shape.steps, row / shape.steps),
        };
        !refused && step >= lengths[sequence]
    };
    for (row, y) in y.chunks(width.max(1)).enumerate() {
        let padding = is_padding(row);
        let bound = if padding { T::zero() } else { T::one() };
        assert!(y.iter().all(|y| y.abs() <= bound), "an output beyond 1, or padding that is not 0: {op:?}");
    }
    let mut dx = vec![T::nan(); x.len()];
    let mut layers: Vec<_> = borrowed.iter().map(|_| RecurrentGradients::default()).collect();
    let gradients = StackGradients { x: Some(&mut dx), layers: &mut layers };
    let dstate = LstmState { h: &mut h, c: &mut c };
    op.backward(batch, (&x, &y), &packed, &mut tape, dstate, &mut scratch, gradients)
        .expect("matching lengths");
    for (row, dx) in dx.chunks(lstm.inputs.max(1)).enumerate() {
        let padding = is_padding(row);
        assert!(!padding || dx.iter().all(|&dx| dx == T::zero()), "a gradient of padding: {op:?}");
    }
}
