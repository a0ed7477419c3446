//! `activation/activation_forward` and `…_backward`: every level beside the plain scalar loop.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use steadygrad::{Activation, ChannelShape, Level, PRelu, reference};

const ACTIVATIONS: [(&str, Activation); 5] = [
    ("relu", Activation::Relu),
    ("elu", Activation::Elu { alpha: 1.0 }),
    ("gelu", Activation::Gelu),
    ("tanh", Activation::Tanh),
    ("mish", Activation::Mish),
];
const LEN: usize = 4096;

fn activation_forward(c: &mut Criterion) {
    let mut group = c.benchmark_group("activation/activation_forward");
    group.throughput(Throughput::Elements(LEN as u64));
    let x: Vec<f32> = (0..LEN).map(|i| i as f32 / 512.0 - 4.0).collect();
    let mut y = vec![0.0; LEN];
    for (name, activation) in ACTIVATIONS {
        for level in Level::available() {
            group.bench_function(BenchmarkId::new(level.name(), format!("{name}/{LEN}")), |b| {
                Level::scoped(level, || {
                    b.iter(|| activation.forward(black_box(&x), black_box(&mut y)).unwrap());
                })
                .unwrap();
            });
        }
        group.bench_function(BenchmarkId::new("scalar", format!("{name}/{LEN}")), |b| {
            b.iter(|| {
                for (y, &x) in y.iter_mut().zip(black_box(&x)) {
                    *y = reference::activation::forward(activation, x);
                }
            });
        });
    }
}

fn activation_backward(c: &mut Criterion) {
    let mut group = c.benchmark_group("activation/activation_backward");
    group.throughput(Throughput::Elements(LEN as u64));
    let x: Vec<f32> = (0..LEN).map(|i| i as f32 / 512.0 - 4.0).collect();
    let dy = vec![1.5; LEN];
    let mut dx = vec![0.0; LEN];
    for (name, activation) in ACTIVATIONS {
        for level in Level::available() {
            group.bench_function(BenchmarkId::new(level.name(), format!("{name}/{LEN}")), |b| {
                Level::scoped(level, || {
                    b.iter(|| {
                        activation.backward(black_box(&x), black_box(&dy), black_box(&mut dx)).unwrap()
                    });
                })
                .unwrap();
            });
        }
        group.bench_function(BenchmarkId::new("scalar", format!("{name}/{LEN}")), |b| {
            b.iter(|| {
                for ((dx, &x), &dy) in dx.iter_mut().zip(black_box(&x)).zip(&dy) {
                    *dx = reference::activation::backward(activation, x, dy);
                }
            });
        });
    }
}

fn prelu_backward(c: &mut Criterion) {
    let mut group = c.benchmark_group("activation/prelu_backward");
    group.throughput(Throughput::Elements(LEN as u64));
    let shape = ChannelShape { outer: 4, channels: 16, inner: LEN / 64 };
    let x: Vec<f32> = (0..LEN).map(|i| (i % 1024) as f32 / 128.0 - 4.0).collect();
    let (slope, dy) = (vec![0.25; shape.channels], vec![1.5; LEN]);
    let (mut dx, mut dslope) = (vec![0.0; LEN], vec![0.0; shape.channels]);
    for level in Level::available() {
        group.bench_function(BenchmarkId::new(level.name(), "4x16x64"), |b| {
            Level::scoped(level, || {
                b.iter(|| {
                    PRelu.backward(shape, black_box(&x), &slope, &dy, &mut dx, &mut dslope).unwrap();
                });
            })
            .unwrap();
        });
    }
    group.bench_function(BenchmarkId::new("scalar", "4x16x64"), |b| {
        b.iter(|| {
            for (i, &x) in black_box(&x).iter().enumerate() {
                let channel = i / shape.inner % shape.channels;
                let (gradient, part) = reference::prelu::backward(x, slope[channel], dy[i]);
                dx[i] = gradient;
                dslope[channel] += part;
            }
        });
    });
}

criterion_group!(benches, activation_forward, activation_backward, prelu_backward);
criterion_main!(benches);
