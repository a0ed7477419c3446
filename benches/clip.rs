//! `clip/clip_norm_forward`, `clip/clip_value_forward`: every level beside the plain scalar loop.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use steadygrad::clip::{ClipNorm, ClipValue};
use steadygrad::{Level, reference};

const LEN: usize = 65_536;

fn grad() -> Vec<f32> {
    (0..LEN).map(|i| (i % 1000) as f32 / 512.0 - 1.0).collect()
}

fn clip_norm_forward(c: &mut Criterion) {
    let mut group = c.benchmark_group("clip/clip_norm_forward");
    group.throughput(Throughput::Elements(LEN as u64));
    let mut grad = grad();
    for level in Level::available() {
        for (name, part_of_norm) in [("under", 2.0), ("over", 0.99999)] {
            group.bench_function(BenchmarkId::new(level.name(), format!("{name}/{LEN}")), |b| {
                let mut norm = ClipNorm { max_norm: f64::INFINITY, ..ClipNorm::default() }
                    .clip_one(&mut grad)
                    .unwrap()
                    .norm;
                Level::scoped(level, || {
                    b.iter(|| {
                        let clip = ClipNorm { max_norm: norm * part_of_norm, ..ClipNorm::default() };
                        let report = clip.clip_one(black_box(&mut grad)).unwrap();
                        norm = report.norm * report.scale;
                    });
                })
                .unwrap();
            });
        }
    }
    group.bench_function(BenchmarkId::new("scalar", format!("over/{LEN}")), |b| {
        b.iter(|| {
            let norm = reference::norm_partial::norm_2(black_box(&grad));
            let scale = reference::clip_norm::scale(norm, norm * 0.999_99);
            reference::clip_norm::clip(&mut grad, scale);
        });
    });
}

fn clip_value_forward(c: &mut Criterion) {
    let mut group = c.benchmark_group("clip/clip_value_forward");
    group.throughput(Throughput::Elements(LEN as u64));
    let mut grad = grad();
    for level in Level::available() {
        group.bench_function(BenchmarkId::new(level.name(), LEN), |b| {
            let clip = ClipValue { min: -0.5, max: 0.5 };
            Level::scoped(level, || b.iter(|| clip.clip_one(black_box(&mut grad)).unwrap())).unwrap();
        });
    }
    group.bench_function(BenchmarkId::new("scalar", LEN), |b| {
        b.iter(|| {
            for g in black_box(&mut grad) {
                *g = reference::clip_value::clip(*g, -0.5, 0.5);
            }
        });
    });
}

criterion_group!(benches, clip_norm_forward, clip_value_forward);
criterion_main!(benches);
