//! `recurrent/lstm_…`, `recurrent/gru_…`, `recurrent/rnn_…`: a sequence forward and backward, every level.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use steadygrad::recurrent::{
    Gru, Lstm, LstmState, PackedRecurrent, RecurrentGradients, RecurrentWeights, Rnn, SequenceShape,
    SequenceValues,
};
use steadygrad::{Error, Level};

const SHAPE: SequenceShape = SequenceShape { steps: 16, batch: 16 };
const INPUTS: usize = 64;
const HIDDEN: usize = 64;

fn ramp(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i % 1000) as f32 / 5000.0 - 0.1).collect()
}

/// What each cell gives to the loop: its forward and its backward.
struct Layer<F, B> {
    name: &'static str,
    gates: usize,
    tape: usize,
    scratch: usize,
    packed: PackedRecurrent<f32>,
    forward: F,
    backward: B,
}

fn weights<const GATES: usize, P>(pack: impl Fn(RecurrentWeights<'_, f32>) -> Result<P, Error>) -> P {
    let (input, recurrent) = (ramp(GATES * HIDDEN * INPUTS), ramp(GATES * HIDDEN * HIDDEN));
    pack(RecurrentWeights {
        input: &input,
        recurrent: &recurrent,
        input_bias: None,
        recurrent_bias: None,
        ..RecurrentWeights::default()
    })
    .unwrap()
}

type Buffers<'a> = (&'a mut [f32], &'a mut [f32], &'a mut [f32]);

fn measure<F, B>(c: &mut Criterion, layer: Layer<F, B>)
where
    F: Fn(&[f32], &PackedRecurrent<f32>, [&mut [f32]; 2], Buffers<'_>) + Sync,
    B: Fn(SequenceValues<'_, f32>, &PackedRecurrent<f32>, [&mut [f32]; 2], Buffers<'_>, &mut [f32]) + Sync,
{
    let mut group = c.benchmark_group(format!("recurrent/{}", layer.name));
    let (units, rows) = (SHAPE.batch * HIDDEN, SHAPE.steps * SHAPE.batch);
    let (x, dy) = (ramp(rows * INPUTS), ramp(rows * HIDDEN));
    let (mut tape, mut scratch, mut y) = (ramp(layer.tape), ramp(layer.scratch), ramp(rows * HIDDEN));
    let (mut dx, mut dw) = (ramp(rows * INPUTS), ramp(layer.gates * HIDDEN * INPUTS));
    for level in Level::available() {
        group.bench_function(BenchmarkId::new(level.name(), "forward_backward"), |b| {
            Level::scoped(level, || {
                b.iter(|| {
                    let (mut h, mut c) = (vec![0.0; units], vec![0.0; units]);
                    let buffers = (&mut tape[..], &mut scratch[..], &mut y[..]);
                    (layer.forward)(black_box(&x), &layer.packed, [&mut h, &mut c], buffers);
                    let values = SequenceValues { x: &x, y: &y, dy: &dy };
                    let buffers = (&mut tape[..], &mut scratch[..], &mut dx[..]);
                    (layer.backward)(values, &layer.packed, [&mut h, &mut c], buffers, &mut dw);
                });
            })
            .unwrap();
        });
    }
}

fn lstm(c: &mut Criterion) {
    let op = Lstm { inputs: INPUTS, hidden: HIDDEN, ..Lstm::default() };
    let layer = Layer {
        name: "lstm_forward_backward",
        gates: 4,
        tape: op.tape_len(SHAPE).unwrap(),
        scratch: op.scratch_len::<f32>(SHAPE),
        packed: weights::<4, _>(|weights| op.pack(weights)),
        forward: |x: &[f32],
                  w: &PackedRecurrent<f32>,
                  [h, c]: [&mut [f32]; 2],
                  (tape, scratch, y): Buffers<'_>| {
            op.forward(SHAPE, x, w, LstmState { h, c }, tape, scratch, y).unwrap();
        },
        backward: |values: SequenceValues<'_, f32>,
                   w: &PackedRecurrent<f32>,
                   [h, c]: [&mut [f32]; 2],
                   (tape, scratch, dx): Buffers<'_>,
                   dw: &mut [f32]| {
            let gradients =
                RecurrentGradients { x: Some(dx), input: Some(dw), ..RecurrentGradients::default() };
            op.backward(SHAPE, values, w, tape, LstmState { h, c }, scratch, gradients).unwrap();
        },
    };
    measure(c, layer);
}

fn gru(c: &mut Criterion) {
    let op = Gru { inputs: INPUTS, hidden: HIDDEN, ..Gru::default() };
    let layer = Layer {
        name: "gru_forward_backward",
        gates: 3,
        tape: op.tape_len(SHAPE).unwrap(),
        scratch: op.scratch_len::<f32>(SHAPE),
        packed: weights::<3, _>(|weights| op.pack(weights)),
        forward: |x: &[f32],
                  w: &PackedRecurrent<f32>,
                  [h, _]: [&mut [f32]; 2],
                  (tape, scratch, y): Buffers<'_>| {
            op.forward(SHAPE, x, w, h, tape, scratch, y).unwrap();
        },
        backward: |values: SequenceValues<'_, f32>,
                   w: &PackedRecurrent<f32>,
                   [h, _]: [&mut [f32]; 2],
                   (tape, scratch, dx): Buffers<'_>,
                   dw: &mut [f32]| {
            let gradients =
                RecurrentGradients { x: Some(dx), input: Some(dw), ..RecurrentGradients::default() };
            op.backward(SHAPE, values, w, tape, h, scratch, gradients).unwrap();
        },
    };
    measure(c, layer);
}

fn rnn(c: &mut Criterion) {
    let op = Rnn { inputs: INPUTS, hidden: HIDDEN, ..Rnn::default() };
    let layer = Layer {
        name: "rnn_forward_backward",
        gates: 1,
        tape: op.tape_len(SHAPE).unwrap(),
        scratch: op.scratch_len::<f32>(SHAPE),
        packed: weights::<1, _>(|weights| op.pack(weights)),
        forward: |x: &[f32],
                  w: &PackedRecurrent<f32>,
                  [h, _]: [&mut [f32]; 2],
                  (tape, scratch, y): Buffers<'_>| {
            op.forward(SHAPE, x, w, h, tape, scratch, y).unwrap();
        },
        backward: |values: SequenceValues<'_, f32>,
                   w: &PackedRecurrent<f32>,
                   [h, _]: [&mut [f32]; 2],
                   (tape, scratch, dx): Buffers<'_>,
                   dw: &mut [f32]| {
            let gradients =
                RecurrentGradients { x: Some(dx), input: Some(dw), ..RecurrentGradients::default() };
            op.backward(SHAPE, values, w, tape, h, scratch, gradients).unwrap();
        },
    };
    measure(c, layer);
}

criterion_group!(benches, lstm, gru, rnn);
criterion_main!(benches);
