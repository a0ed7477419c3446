//! `norm/batch_norm_forward` and `norm/batch_norm_backward`: every level beside the plain scalar loop.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use steadygrad::norm::Affine;
use steadygrad::norm::batch_norm::{BackwardInputs, BatchStatistics, Gradients, SavedStatistics};
use steadygrad::reference::batch_norm as reference;
use steadygrad::{BatchNorm, ChannelShape, Epilogue, Level};

const LEN: usize = 65_536;

fn shapes() -> [(ChannelShape, String); 2] {
    [(64, 1024, 1), (16, 4, 1024)].map(|(outer, channels, inner)| {
        (ChannelShape { outer, channels, inner }, format!("{outer}x{channels}x{inner}"))
    })
}

fn numbers() -> Vec<f32> {
    (0..LEN).map(|i| (i % 1000) as f32 / 512.0 - 1.0).collect()
}

fn batch_norm_forward(c: &mut Criterion) {
    let mut group = c.benchmark_group("norm/batch_norm_forward");
    group.throughput(Throughput::Elements(LEN as u64));
    let (x, mut y) = (numbers(), vec![0.0; LEN]);
    for (shape, name) in shapes() {
        let (mut mean, mut rstd) = (vec![0.0; shape.channels], vec![0.0; shape.channels]);
        for level in Level::available() {
            group.bench_function(BenchmarkId::new(level.name(), &name), |b| {
                let call = || {
                    let statistics =
                        BatchStatistics { merged: None, mean: &mut mean, rstd: &mut rstd, running: None };
                    let (x, y) = (black_box(&x), black_box(&mut y));
                    BatchNorm::default()
                        .forward(shape, x, Affine::default(), Epilogue::default(), statistics, y)
                        .unwrap();
                };
                Level::scoped(level, || b.iter(call)).unwrap();
            });
        }
    }
    group.bench_function(BenchmarkId::new("scalar", "one channel"), |b| {
        b.iter(|| {
            let statistics = reference::statistics(black_box(&x), 1e-5);
            for (y, &x) in y.iter_mut().zip(&x) {
                *y = reference::forward(x, statistics, (1.0, 0.0));
            }
            black_box(&mut y);
        });
    });
}

fn batch_norm_backward(c: &mut Criterion) {
    let mut group = c.benchmark_group("norm/batch_norm_backward");
    group.throughput(Throughput::Elements(LEN as u64));
    let (x, mut dx) = (numbers(), vec![0.0; LEN]);
    for (shape, name) in shapes() {
        let (mean, rstd) = (vec![0.0; shape.channels], vec![1.0; shape.channels]);
        for level in Level::available() {
            group.bench_function(BenchmarkId::new(level.name(), &name), |b| {
                let call = || {
                    let (x, dx) = (black_box(&x), black_box(&mut dx));
                    let inputs =
                        BackwardInputs { x, dy: x, affine: Affine::default(), epilogue: Default::default() };
                    let gradients = Gradients { input: Some(dx), ..Gradients::default() };
                    let saved = SavedStatistics { mean: &mean, rstd: &rstd };
                    BatchNorm::default().backward(shape, inputs, saved, gradients).unwrap();
                };
                Level::scoped(level, || b.iter(call)).unwrap();
            });
        }
    }
    group.bench_function(BenchmarkId::new("scalar", "one channel"), |b| {
        b.iter(|| reference::backward_input(black_box(&x), &x, (0.0, 1.0), 1.0, black_box(&mut dx)));
    });
}

criterion_group!(benches, batch_norm_forward, batch_norm_backward);
criterion_main!(benches);
