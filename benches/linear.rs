//! `linear/gemm_forward`, `linear/dense_forward` and `linear/dense_backward`: every level beside the plain loops.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use steadygrad::linear::{Dense, DenseGradients, DenseWeights, Gemm, GemmShape};
use steadygrad::{Epilogue, Level, reference};

const LAYER: Dense = Dense { inputs: 256, outputs: 192 };
const BATCHES: [usize; 2] = [1, 64];

fn numbers(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i % 61) as f32 / 32.0 - 1.0).collect()
}

fn gemm_forward(c: &mut Criterion) {
    let mut group = c.benchmark_group("linear/gemm_forward");
    let n = 192;
    let shape = GemmShape::dense(n, n, n);
    let (a, b, mut out) = (numbers(n * n), numbers(n * n), vec![0.0; n * n]);
    let mut scratch = vec![0.0; shape.scratch_len::<f32>()];
    group.throughput(Throughput::Elements((n * n * n) as u64));
    for level in Level::available() {
        group.bench_function(BenchmarkId::new(level.name(), format!("{n}x{n}x{n}")), |bench| {
            Level::scoped(level, || {
                bench.iter(|| {
                    Gemm::default()
                        .forward(shape, black_box(&a), black_box(&b), &mut scratch, black_box(&mut out))
                        .unwrap();
                });
            })
            .unwrap();
        });
    }
    group.bench_function(BenchmarkId::new("scalar", format!("{n}x{n}x{n}")), |bench| {
        bench.iter(|| {
            reference::linear::gemm([n; 3], [1.0, 0.0], black_box(&a), black_box(&b), black_box(&mut out));
        });
    });
}

fn dense_forward(c: &mut Criterion) {
    let mut group = c.benchmark_group("linear/dense_forward");
    let Dense { inputs, outputs } = LAYER;
    let (w, b) = (numbers(outputs * inputs), numbers(outputs));
    let packed = LAYER.pack(&w).unwrap();
    for batch in BATCHES {
        let (x, mut y) = (numbers(batch * inputs), vec![0.0; batch * outputs]);
        let mut scratch = vec![0.0; LAYER.forward_scratch_len::<f32>(batch)];
        group.throughput(Throughput::Elements((batch * inputs * outputs) as u64));
        for level in Level::available() {
            group.bench_function(BenchmarkId::new(level.name(), format!("packed/{batch}")), |bench| {
                Level::scoped(level, || {
                    bench.iter(|| {
                        let weights = (black_box(&packed), Some(&b[..]));
                        LAYER
                            .forward_packed(
                                batch,
                                &x,
                                weights,
                                Epilogue::default(),
                                &mut scratch,
                                black_box(&mut y),
                            )
                            .unwrap();
                    });
                })
                .unwrap();
            });
            group.bench_function(BenchmarkId::new(level.name(), format!("unpacked/{batch}")), |bench| {
                Level::scoped(level, || {
                    bench.iter(|| {
                        let parameters = DenseWeights { weights: black_box(&w), bias: Some(&b) };
                        LAYER
                            .forward(
                                batch,
                                &x,
                                parameters,
                                Epilogue::default(),
                                &mut scratch,
                                black_box(&mut y),
                            )
                            .unwrap();
                    });
                })
                .unwrap();
            });
        }
        group.bench_function(BenchmarkId::new("scalar", batch), |bench| {
            let sizes = [batch, inputs, outputs];
            bench.iter(|| reference::linear::dense_forward(sizes, &x, black_box(&w), &b, black_box(&mut y)));
        });
    }
}

fn dense_backward(c: &mut Criterion) {
    let mut group = c.benchmark_group("linear/dense_backward");
    let (Dense { inputs, outputs }, batch) = (LAYER, BATCHES[1]);
    let (x, w, dy) = (numbers(batch * inputs), numbers(outputs * inputs), numbers(batch * outputs));
    let (mut dx, mut dw, mut db) = (vec![0.0; x.len()], vec![0.0; w.len()], vec![0.0; outputs]);
    let mut scratch = vec![0.0; LAYER.backward_scratch_len::<f32>(batch)];
    group.throughput(Throughput::Elements((2 * batch * inputs * outputs) as u64));
    for level in Level::available() {
        group.bench_function(BenchmarkId::new(level.name(), batch), |bench| {
            Level::scoped(level, || {
                bench.iter(|| {
                    let gradients = DenseGradients {
                        input: Some(&mut dx),
                        weights: Some(&mut dw),
                        bias: Some(&mut db),
                        ..DenseGradients::default()
                    };
                    LAYER.backward(batch, &x, black_box(&dy), &w, &mut scratch, gradients).unwrap();
                });
            })
            .unwrap();
        });
    }
    group.bench_function(BenchmarkId::new("scalar", batch), |bench| {
        let sizes = [batch, inputs, outputs];
        bench.iter(|| {
            reference::linear::dense_backward_input(sizes, black_box(&dy), &w, &mut dx);
            reference::linear::dense_backward_parameters(sizes, &x, &dy, &mut dw, &mut db);
        });
    });
}

criterion_group!(benches, gemm_forward, dense_forward, dense_backward);
criterion_main!(benches);
