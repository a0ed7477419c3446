//! `diagnostics/activity_forward` and `diagnostics/change_forward`: every level beside the plain scalar loops.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use steadygrad::diagnostics::{Activity, Change};
use steadygrad::{Activation, Level, RowShape, reference};

const SHAPE: RowShape = RowShape { rows: 128, cols: 256 };

fn numbers(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i % 61) as f32 / 32.0 - 1.0).collect()
}

fn activity_forward(c: &mut Criterion) {
    let mut group = c.benchmark_group("diagnostics/activity_forward");
    let y = numbers(SHAPE.rows * SHAPE.cols);
    group.throughput(Throughput::Elements(y.len() as u64));
    let name = format!("{}x{}", SHAPE.rows, SHAPE.cols);
    for level in Level::available() {
        group.bench_function(BenchmarkId::new(level.name(), &name), |b| {
            let call = || Activity::of(SHAPE, Activation::Relu, black_box(&y)).unwrap();
            Level::scoped(level, || b.iter(call)).unwrap();
        });
    }
    group.bench_function(BenchmarkId::new("scalar", &name), |b| {
        let (y, region) = (&y[..], [0.0, f32::INFINITY]);
        b.iter(|| {
            let y = black_box(y);
            let counts =
                (reference::observe::flat(y, region), reference::observe::dead_units(SHAPE.cols, y, region));
            (reference::observe::norm(y), counts)
        });
    });
}

fn change_forward(c: &mut Criterion) {
    let mut group = c.benchmark_group("diagnostics/change_forward");
    let (before, after) = (numbers(65_536), numbers(65_537));
    let after = &after[1..];
    group.throughput(Throughput::Elements(before.len() as u64));
    for level in Level::available() {
        group.bench_function(BenchmarkId::new(level.name(), before.len()), |b| {
            let call = || Change::between(black_box(&before), black_box(after)).unwrap();
            Level::scoped(level, || b.iter(call)).unwrap();
        });
    }
    group.bench_function(BenchmarkId::new("scalar", before.len()), |b| {
        b.iter(|| reference::observe::change(black_box(&before), black_box(after)));
    });
}

criterion_group!(benches, activity_forward, change_forward);
criterion_main!(benches);
