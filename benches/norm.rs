//! `norm/batch_norm_forward`, `norm/batch_norm_backward`: every level, channels first and last.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use steadygrad::norm::batch_norm::{
    Affine, BackwardInputs, BatchStatistics, EpilogueBackward, Gradients, SavedStatistics,
};
use steadygrad::{BatchNorm, ChannelShape, Epilogue, Level};

const CHANNELS: usize = 64;

/// The same elements in both layouts.
const SHAPES: [(&str, ChannelShape); 2] = [
    ("first", ChannelShape { outer: 8, channels: CHANNELS, inner: 256 }),
    ("last", ChannelShape { outer: 8 * 256, channels: CHANNELS, inner: 1 }),
];

fn ramp(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i % 1000) as f32 / 500.0 - 1.0).collect()
}

fn batch_norm_forward(c: &mut Criterion) {
    let mut group = c.benchmark_group("norm/batch_norm_forward");
    for (layout, shape) in SHAPES {
        let elements = shape.elements().unwrap();
        group.throughput(Throughput::Elements(elements as u64));
        let (x, gain, mut y) = (ramp(elements), ramp(CHANNELS), ramp(elements));
        let (mut mean, mut rstd) = (vec![0.0; CHANNELS], vec![1.0; CHANNELS]);
        for level in Level::available() {
            group.bench_function(BenchmarkId::new(level.name(), layout), |b| {
                Level::scoped(level, || {
                    b.iter(|| {
                        let affine = Affine { gain: Some(&gain), bias: Some(&gain) };
                        let statistics =
                            BatchStatistics { merged: None, mean: &mut mean, rstd: &mut rstd, running: None };
                        BatchNorm::default()
                            .forward(shape, black_box(&x), affine, Epilogue::default(), statistics, &mut y)
                            .unwrap();
                    });
                })
                .unwrap();
            });
        }
    }
}

fn batch_norm_backward(c: &mut Criterion) {
    let mut group = c.benchmark_group("norm/batch_norm_backward");
    for (layout, shape) in SHAPES {
        let elements = shape.elements().unwrap();
        group.throughput(Throughput::Elements(elements as u64));
        let (x, dy, gain, mut dx) = (ramp(elements), ramp(elements), ramp(CHANNELS), ramp(elements));
        let (mean, rstd) = (vec![0.0; CHANNELS], vec![1.0; CHANNELS]);
        let (mut dgain, mut dbias) = (ramp(CHANNELS), ramp(CHANNELS));
        for level in Level::available() {
            group.bench_function(BenchmarkId::new(level.name(), layout), |b| {
                Level::scoped(level, || {
                    b.iter(|| {
                        let affine = Affine { gain: Some(&gain), bias: Some(&gain) };
                        let epilogue = EpilogueBackward::default();
                        let inputs = BackwardInputs { x: black_box(&x), dy: &dy, affine, epilogue };
                        let gradients = Gradients {
                            input: Some(&mut dx),
                            residual: None,
                            gain: Some(&mut dgain),
                            bias: Some(&mut dbias),
                        };
                        let saved = SavedStatistics { mean: &mean, rstd: &rstd };
                        BatchNorm::default().backward(shape, inputs, saved, gradients).unwrap();
                    });
                })
                .unwrap();
            });
        }
    }
}

criterion_group!(benches, batch_norm_forward, batch_norm_backward);
criterion_main!(benches);
