//! `clip/clip_norm_forward`, `clip/clip_value_forward`, `clip/by_row`: every level beside the plain scalar loop.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use steadygrad::clip::{ClipAdaptive, ClipNorm, ClipPerSample, ClipValue};
use steadygrad::{Level, RowShape, reference};

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

/// One tensor of 256 rows, as units and as samples.
fn clip_by_row(c: &mut Criterion) {
    let mut group = c.benchmark_group("clip/by_row");
    group.throughput(Throughput::Elements(LEN as u64));
    let shape = RowShape { rows: 256, cols: LEN / 256 };
    let (params, mut grad, mut sum, mut norms) = (grad(), grad(), vec![0.0; shape.cols], vec![0.0; 256]);
    for level in Level::available() {
        group.bench_function(BenchmarkId::new(level.name(), "adaptive"), |b| {
            let clip = ClipAdaptive { ratio: 0.999, ..ClipAdaptive::default() };
            Level::scoped(level, || b.iter(|| clip.clip(shape, &params, black_box(&mut grad)).unwrap()))
                .unwrap();
        });
        group.bench_function(BenchmarkId::new(level.name(), "per_sample"), |b| {
            Level::scoped(level, || {
                b.iter(|| {
                    norms.fill(0.0);
                    ClipPerSample::add_norms(shape, black_box(&params), &mut norms).unwrap();
                    ClipPerSample::default().factors(&mut norms).unwrap();
                    ClipPerSample::add_clipped(shape, &params, &norms, &mut sum).unwrap();
                });
            })
            .unwrap();
        });
    }
}

criterion_group!(benches, clip_norm_forward, clip_value_forward, clip_by_row);
criterion_main!(benches);
