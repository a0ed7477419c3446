//! `recurrent/lstm_…`, `recurrent/layer_norm_lstm_…`, `recurrent/gru_…`, `recurrent/rnn_…`: a sequence forward and backward, and
//! `recurrent/stack_…`: two layers in both directions, with dropout of each kind, padding and batch-major rows;
//! `recurrent/zoneout_…`; every level.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use steadygrad::recurrent::{
    Directions, Gru, Layer, LayerNormLstm, Lengths, Lstm, LstmState, RecurrentGradients, RecurrentWeights,
    Rnn, SequenceBatch, SequenceLayout, SequenceShape, Stack, StackGradients, VariationalDropout, Zoneout,
};
use steadygrad::{Level, Philox};

const SHAPE: SequenceShape = SequenceShape { steps: 16, batch: 16 };
const FEATURES: usize = 64;

fn ramp(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i % 1000) as f32 / 5000.0 - 0.1).collect()
}

/// Forward and backward of a stack whose layers have so many `gates`.
fn measure<L: Layer + Sync>(
    c: &mut Criterion,
    (group, input): (&str, &str),
    (stack, gates): (Stack<L>, usize),
    batch: SequenceBatch<'_>,
    state: for<'a> fn(&'a mut [f32], &'a mut [f32]) -> L::State<'a, f32>,
) {
    let halves = if stack.directions == Directions::Both { 2 } else { 1 };
    let (rows, width) = (SHAPE.steps * SHAPE.batch, gates * FEATURES);
    let weights: Vec<[Vec<f32>; 2]> = (0..stack.layers * halves)
        .map(|at| {
            [width * if at < halves { FEATURES } else { halves * FEATURES }, width * FEATURES].map(ramp)
        })
        .collect();
    let norm = vec![1.0; 10 * FEATURES];
    let is_normalised = group.contains("norm");
    let borrowed: Vec<_> = weights
        .iter()
        .map(|[input, recurrent]| RecurrentWeights {
            input,
            recurrent,
            norm: Some(&norm[..]).filter(|_| is_normalised),
            ..RecurrentWeights::default()
        })
        .collect();
    let packed = stack.pack(&borrowed).unwrap();
    let units = weights.len() * SHAPE.batch * FEATURES;
    let (x, dy) = (ramp(rows * FEATURES), ramp(rows * halves * FEATURES));
    let (mut y, mut dx) = (dy.clone(), x.clone());
    let (mut h, mut cells) = (vec![0.0; units], vec![0.0; units]);
    let mut tape = vec![0.0; stack.tape_len(batch).unwrap()];
    let mut scratch = vec![0.0; stack.scratch_len::<f32>(batch)];
    let mut dweights = weights.clone();
    let mut group = c.benchmark_group(group);
    group.throughput(Throughput::Elements((rows * FEATURES) as u64));
    for level in Level::available() {
        group.bench_function(BenchmarkId::new(level.name(), input), |b| {
            Level::scoped(level, || {
                b.iter(|| {
                    h.fill(0.0);
                    cells.fill(0.0);
                    let x = black_box(&x);
                    let initial = state(&mut h, &mut cells);
                    stack.forward(batch, x, &packed, initial, &mut tape, &mut scratch, &mut y).unwrap();
                    let mut layers: Vec<_> = dweights
                        .iter_mut()
                        .map(|[input, recurrent]| RecurrentGradients {
                            input: Some(input),
                            recurrent: Some(recurrent),
                            ..RecurrentGradients::default()
                        })
                        .collect();
                    let gradients = StackGradients { x: Some(&mut dx), layers: &mut layers };
                    let last = state(&mut h, &mut cells);
                    stack
                        .backward(batch, (x, &dy), &packed, &mut tape, last, &mut scratch, gradients)
                        .unwrap();
                });
            })
            .unwrap();
        });
    }
}

fn layers(c: &mut Criterion) {
    let (inputs, hidden, shape) = (FEATURES, FEATURES, "16x16x64");
    let lstm = Stack::new(Lstm { inputs, hidden, ..Lstm::default() });
    let name = ("recurrent/lstm_forward_backward", shape);
    measure(c, name, (lstm, 4), SHAPE.into(), |h, c| LstmState { h, c });
    let normalised = Stack::new(LayerNormLstm { inputs, hidden, ..LayerNormLstm::default() });
    let name = ("recurrent/layer_norm_lstm_forward_backward", shape);
    measure(c, name, (normalised, 4), SHAPE.into(), |h, c| LstmState { h, c });
    let gru = Stack::new(Gru { inputs, hidden, ..Gru::default() });
    measure(c, ("recurrent/gru_forward_backward", shape), (gru, 3), SHAPE.into(), |h, _| h);
    let rnn = Stack::new(Rnn { inputs, hidden, ..Rnn::default() });
    measure(c, ("recurrent/rnn_forward_backward", shape), (rnn, 1), SHAPE.into(), |h, _| h);
}

fn stacks(c: &mut Criterion) {
    let lstm = Lstm { inputs: FEATURES, hidden: FEATURES, ..Lstm::default() };
    let stack = Stack { layers: 2, directions: Directions::Both, ..Stack::new(lstm) };
    let plain = SequenceBatch { dropout: Some(Philox { key: 1, counter: 1 }), ..SHAPE.into() };
    let lengths: Vec<usize> = (0..SHAPE.batch).map(|at| 1 + at % SHAPE.steps).collect();
    let lengths = Lengths::new(SHAPE, &lengths).unwrap();
    let variational = VariationalDropout { input: 0.2, recurrent: 0.2 };
    let cases = [
        ("plain", stack, plain),
        ("dropout", Stack { dropout: 0.2, ..stack }, plain),
        ("variational", Stack { variational, ..stack }, plain),
        ("batch_major", stack, SequenceBatch { layout: SequenceLayout::BatchMajor, ..plain }),
        ("lengths", stack, SequenceBatch { lengths: Some(&lengths), ..plain }),
    ];
    let zoneout = Stack { zoneout: Zoneout { output: 0.1, cell: 0.5 }, ..Stack::new(lstm) };
    let name = ("recurrent/zoneout_forward_backward", "16x16x64");
    measure(c, name, (zoneout, 4), plain, |h, c| LstmState { h, c });
    for (name, stack, batch) in cases {
        let name = ("recurrent/stack_forward_backward", name);
        measure(c, name, (stack, 4), batch, |h, c| LstmState { h, c });
    }
}

criterion_group!(benches, layers, stacks);
criterion_main!(benches);
