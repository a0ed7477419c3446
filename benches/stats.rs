//! `stats/norm_partial_forward` and `stats/moments_forward`: every level beside the plain scalar loop.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use steadygrad::stats::Moments;
use steadygrad::{ChannelShape, Level, reference, stats};

const LEN: usize = 65_536;

fn norm_partial_forward(c: &mut Criterion) {
    let mut group = c.benchmark_group("stats/norm_partial_forward");
    group.throughput(Throughput::Elements(LEN as u64));
    let x: Vec<f32> = (0..LEN).map(|i| (i % 1000) as f32 / 512.0 - 1.0).collect();
    for (name, p) in [("1", 1.0), ("2", 2.0), ("infinity", f64::INFINITY), ("3", 3.0)] {
        for level in Level::available() {
            group.bench_function(BenchmarkId::new(level.name(), format!("{name}/{LEN}")), |b| {
                Level::scoped(level, || b.iter(|| stats::norm(&[black_box(&x)], p).unwrap())).unwrap();
            });
        }
        group.bench_function(BenchmarkId::new("scalar", format!("{name}/{LEN}")), |b| {
            b.iter(|| reference::norm_partial::norm(black_box(&x), p));
        });
    }
}

fn moments_forward(c: &mut Criterion) {
    let mut group = c.benchmark_group("stats/moments_forward");
    group.throughput(Throughput::Elements(LEN as u64));
    let x: Vec<f32> = (0..LEN).map(|i| (i % 1000) as f32 / 512.0 - 1.0).collect();
    for (outer, channels, inner) in [(1, 1, LEN), (16, 4, 1024), (64, 1024, 1), (1024, 64, 1)] {
        let (shape, name) = (ChannelShape { outer, channels, inner }, format!("{outer}x{channels}x{inner}"));
        let mut moments = vec![Moments::default(); channels];
        for level in Level::available() {
            group.bench_function(BenchmarkId::new(level.name(), &name), |b| {
                let call = || Moments::of_channels(shape, black_box(&x), black_box(&mut moments)).unwrap();
                Level::scoped(level, || b.iter(call)).unwrap();
            });
        }
    }
    group.bench_function(BenchmarkId::new("scalar", format!("1x1x{LEN}")), |b| {
        b.iter(|| reference::moments::moments(black_box(&x)));
    });
}

criterion_group!(benches, norm_partial_forward, moments_forward);
criterion_main!(benches);
