//! `pretrain/…`: every level beside the plain scalar loop.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use steadygrad::pretrain::{
    Autoencoder, AutoencoderTensors, AutoencoderWeights, ContrastiveDivergence, Corruption, Rbm, RbmState,
    RbmTensors, RbmWeights, VisibleUnits,
};
use steadygrad::{Level, Philox, reference};

const VISIBLE: usize = 64;
const HIDDEN: usize = 256;
const BATCH: usize = 32;
const STREAM: Philox = Philox { key: 1, counter: 2 };

fn ramp(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i % 997) as f32 / 997.0).collect()
}

/// A row a level of `body`, and one of the scalar loop.
fn rows(c: &mut Criterion, name: &str, elements: usize, mut body: impl FnMut(), mut scalar: impl FnMut()) {
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Elements(elements as u64));
    let input = format!("{BATCH}x{VISIBLE}x{HIDDEN}");
    for level in Level::available() {
        group.bench_function(BenchmarkId::new(level.name(), &input), |b| {
            Level::scoped(level, || b.iter(&mut body)).unwrap();
        });
    }
    group.bench_function(BenchmarkId::new("scalar", &input), |b| b.iter(&mut scalar));
}

fn rbm(c: &mut Criterion) {
    let rbm = Rbm { visible: VISIBLE, hidden: HIDDEN, units: VisibleUnits::Bernoulli };
    let op = ContrastiveDivergence { lr: 1e-4, ..ContrastiveDivergence::new(rbm) };
    let [mut w, mut b, mut h, mut chain] =
        [VISIBLE * HIDDEN, VISIBLE, HIDDEN, BATCH * HIDDEN].map(|len| vec![0.0; len]);
    let v = ramp(BATCH * VISIBLE);
    let mut scratch = vec![0.0; op.scratch_len::<f32>(BATCH, BATCH)];
    let mut step = || {
        let parameters = RbmTensors { weights: &mut w, visible_bias: &mut b, hidden_bias: &mut h };
        let state = RbmState { chain: Some(&mut chain), ..RbmState::default() };
        op.step(BATCH, black_box(&v), STREAM, parameters, state, &mut scratch).unwrap();
    };
    let [w, c0, mut ascent] = [VISIBLE * HIDDEN, HIDDEN, VISIBLE * HIDDEN].map(|len| vec![0.0; len]);
    // The positive phase alone: a third of a step.
    let mut positive = || {
        for row in black_box(&v).chunks(VISIBLE) {
            let means: Vec<f32> = (0..HIDDEN).map(|j| reference::rbm::hidden_mean(row, &w, &c0, j)).collect();
            reference::rbm::add_statistics(row, &means, 1.0 / BATCH as f32, &mut ascent);
        }
    };
    rows(c, "pretrain/rbm_step", BATCH * VISIBLE, &mut step, &mut positive);

    let (b0, mut energies) = (ramp(VISIBLE), vec![0.0; BATCH]);
    let weights = RbmWeights { weights: &w, visible_bias: &b0, hidden_bias: &c0 };
    let mut scratch = vec![0.0; rbm.scratch_len::<f32>(BATCH)];
    let body = || rbm.free_energy(BATCH, black_box(&v), weights, &mut scratch, &mut energies).unwrap();
    rows(c, "pretrain/rbm_free_energy", BATCH * VISIBLE, body, || {
        for row in black_box(&v).chunks(VISIBLE) {
            black_box(reference::rbm::free_energy(row, &w, &b0, &c0));
        }
    });
}

fn autoencoder(c: &mut Criterion) {
    let net = Autoencoder {
        corruption: Corruption::Masking { p: 0.3 },
        contraction: 0.1,
        ..Autoencoder::new(VISIBLE, HIDDEN)
    };
    let (x, w) =
        (ramp(BATCH * VISIBLE), ramp(VISIBLE * HIDDEN).into_iter().map(|x| x - 0.5).collect::<Vec<_>>());
    let (b0, c0) = (vec![0.0; HIDDEN], vec![0.0; VISIBLE]);
    let weights = AutoencoderWeights { weights: &w, decoder: None, hidden_bias: &b0, output_bias: &c0 };
    let [mut dw, mut db, mut dc] = [w.len(), HIDDEN, VISIBLE].map(|len| vec![0.0; len]);
    let mut scratch = vec![0.0; net.scratch_len::<f32>(BATCH)];
    let body = || {
        let gradient = AutoencoderTensors {
            weights: &mut dw,
            decoder: None,
            hidden_bias: &mut db,
            output_bias: &mut dc,
        };
        let pair = (weights, gradient);
        net.forward_backward(BATCH, black_box(&x), STREAM, pair, &mut scratch).unwrap();
    };
    let parameters =
        reference::autoencoder::Parameters { weights: &w, decoder: None, hidden_bias: &b0, output_bias: &c0 };
    let [mut ew, mut eb, mut ec] = [w.len(), HIDDEN, VISIBLE].map(|len| vec![0.0; len]);
    rows(c, "pretrain/autoencoder_forward_backward", BATCH * VISIBLE, body, || {
        let sigmoid = |z: f32| 1.0 / (1.0 + (-z).exp());
        for row in black_box(&x).chunks(VISIBLE) {
            let gradients = reference::autoencoder::Gradients {
                weights: &mut ew,
                decoder: None,
                hidden_bias: &mut eb,
                output_bias: &mut ec,
            };
            let curve = (sigmoid, |z: f32, dh: f32| dh * sigmoid(z) * sigmoid(-z));
            let dl = |y: f32, x: f32| sigmoid(y) - x;
            reference::autoencoder::backward(parameters, (row, row), curve, dl, 0.1, gradients);
        }
    });
}

criterion_group!(benches, rbm, autoencoder);
criterion_main!(benches);
