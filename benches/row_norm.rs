//! `norm/<stem>_<direction>`: every level beside the plain scalar loop.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use steadygrad::norm::{Affine, GroupNorm, InstanceNorm, LayerNorm, NormGradients, RmsNorm, SavedRows};
use steadygrad::reference::{group_norm, layer_norm, rms_norm};
use steadygrad::{ChannelShape, Level, RowShape};

const SHAPE: RowShape = RowShape { rows: 64, cols: 768 };
const INPUT: &str = "64x768";
const ELEMENTS: usize = SHAPE.rows * SHAPE.cols;

/// As many elements, as samples of channels; the groups of each are as long as a row.
const OF_CHANNELS: ChannelShape = ChannelShape { outer: 8, channels: 48, inner: 128 };
const GROUPS: usize = 8;

/// Deterministic numbers between −2 and 2.
fn wave(len: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 2_654_435_761) % 4093) as f32 / 1023.25 - 2.0).collect()
}

/// A row a level of `op`, and one of the `scalar` loop.
fn rows(c: &mut Criterion, group: &str, mut op: impl FnMut(&mut [f32]), mut scalar: impl FnMut(&mut [f32])) {
    let mut group = c.benchmark_group(group);
    group.throughput(Throughput::Elements(ELEMENTS as u64));
    let mut out = vec![0.0; ELEMENTS];
    for level in Level::available() {
        group.bench_function(BenchmarkId::new(level.name(), INPUT), |b| {
            Level::scoped(level, || b.iter(|| op(black_box(&mut out)))).unwrap();
        });
    }
    group.bench_function(BenchmarkId::new("scalar", INPUT), |b| b.iter(|| scalar(black_box(&mut out))));
}

fn layer_norm_forward(c: &mut Criterion) {
    let (x, gamma, op) = (wave(ELEMENTS), wave(SHAPE.cols), LayerNorm::default());
    let (mut mean, mut rstd) = (vec![0.0; SHAPE.rows], vec![0.0; SHAPE.rows]);
    let affine = Affine { gamma: Some(&gamma), beta: Some(&gamma) };
    rows(
        c,
        "norm/layer_norm_forward",
        |y| op.forward(SHAPE, black_box(&x), affine, &mut mean, &mut rstd, y).unwrap(),
        |y| {
            for (x, y) in x.chunks(SHAPE.cols).zip(y.chunks_mut(SHAPE.cols)) {
                let measured = layer_norm::layer_norm_measure(x, 1e-5);
                layer_norm::layer_norm_forward(x, measured, &gamma, &gamma, y);
            }
        },
    );
}

fn layer_norm_backward(c: &mut Criterion) {
    let (x, gamma, op) = (wave(ELEMENTS), wave(SHAPE.cols), LayerNorm::default());
    let (mean, rstd) = (vec![0.1; SHAPE.rows], vec![0.9; SHAPE.rows]);
    let (mut dgamma, mut dbeta) = (gamma.clone(), gamma.clone());
    let (mut dgamma_scalar, mut dbeta_scalar) = (gamma.clone(), gamma.clone());
    let mut scratch = vec![0.0; op.backward_scratch_len(SHAPE)];
    rows(
        c,
        "norm/layer_norm_backward",
        |dx| {
            let saved = SavedRows { x: black_box(&x), mean: &mean, rstd: &rstd };
            let gradients = NormGradients { input: dx, gamma: Some(&mut dgamma), beta: Some(&mut dbeta) };
            op.backward(SHAPE, &x, Some(&gamma), saved, &mut scratch, gradients).unwrap();
        },
        |dx| {
            for (x, dx) in x.chunks(SHAPE.cols).zip(dx.chunks_mut(SHAPE.cols)) {
                layer_norm::layer_norm_backward(x, x, (0.1, 0.9), &gamma, dx);
                let (dgamma, dbeta) = (&mut dgamma_scalar, &mut dbeta_scalar);
                layer_norm::layer_norm_backward_parameters(x, x, (0.1, 0.9), dgamma, dbeta);
            }
        },
    );
}

fn rms_norm_forward(c: &mut Criterion) {
    let (x, gamma, op) = (wave(ELEMENTS), wave(SHAPE.cols), RmsNorm::default());
    let (mut rstd, zeros) = (vec![0.0; SHAPE.rows], vec![0.0; SHAPE.cols]);
    rows(
        c,
        "norm/rms_norm_forward",
        |y| {
            let gain = Affine { gamma: Some(&gamma), beta: None };
            op.forward(SHAPE, black_box(&x), gain, &mut rstd, y).unwrap();
        },
        |y| {
            for (x, y) in x.chunks(SHAPE.cols).zip(y.chunks_mut(SHAPE.cols)) {
                rms_norm::rms_norm_forward(x, rms_norm::rms_norm_measure(x, 1e-6), &gamma, &zeros, y);
            }
        },
    );
}

fn rms_norm_backward(c: &mut Criterion) {
    let (x, gamma, op) = (wave(ELEMENTS), wave(SHAPE.cols), RmsNorm::default());
    let (rstd, mut dgamma) = (vec![0.9; SHAPE.rows], gamma.clone());
    let (mut dgamma_scalar, mut dbeta_scalar) = (gamma.clone(), gamma.clone());
    let mut scratch = vec![0.0; op.backward_scratch_len(SHAPE)];
    rows(
        c,
        "norm/rms_norm_backward",
        |dx| {
            let gradients = NormGradients { input: dx, gamma: Some(&mut dgamma), beta: None };
            op.backward(SHAPE, &x, Some(&gamma), (black_box(&x), &rstd), &mut scratch, gradients).unwrap();
        },
        |dx| {
            for (x, dx) in x.chunks(SHAPE.cols).zip(dx.chunks_mut(SHAPE.cols)) {
                rms_norm::rms_norm_backward(x, x, 0.9, &gamma, dx);
                rms_norm::rms_norm_backward_parameters(x, x, 0.9, &mut dgamma_scalar, &mut dbeta_scalar);
            }
        },
    );
}

fn group_norm_forward(c: &mut Criterion) {
    let (x, gamma) = (wave(ELEMENTS), wave(OF_CHANNELS.channels));
    let op = GroupNorm { groups: GROUPS, ..GroupNorm::default() };
    let (mut mean, mut rstd) = (vec![0.0; SHAPE.rows], vec![0.0; SHAPE.rows]);
    let affine = Affine { gamma: Some(&gamma), beta: Some(&gamma) };
    rows(
        c,
        "norm/group_norm_forward",
        |y| op.forward(OF_CHANNELS, black_box(&x), affine, &mut mean, &mut rstd, y).unwrap(),
        |y| {
            for (x, y) in x.chunks(SHAPE.cols).zip(y.chunks_mut(SHAPE.cols)) {
                let measured = group_norm::group_norm_measure(x, 1e-5);
                group_norm::group_norm_forward(x, measured, (&gamma, &gamma), OF_CHANNELS.inner, y);
            }
        },
    );
}

fn group_norm_backward(c: &mut Criterion) {
    let (x, gamma) = (wave(ELEMENTS), wave(OF_CHANNELS.channels));
    let op = GroupNorm { groups: GROUPS, ..GroupNorm::default() };
    let (mean, rstd) = (vec![0.1; SHAPE.rows], vec![0.9; SHAPE.rows]);
    let (mut dgamma, mut dbeta) = (gamma.clone(), gamma.clone());
    let (mut dgamma_scalar, mut dbeta_scalar) = (gamma.clone(), gamma.clone());
    let mut scratch = vec![0.0; op.backward_scratch_len(OF_CHANNELS)];
    rows(
        c,
        "norm/group_norm_backward",
        |dx| {
            let saved = SavedRows { x: black_box(&x), mean: &mean, rstd: &rstd };
            let gradients = NormGradients { input: dx, gamma: Some(&mut dgamma), beta: Some(&mut dbeta) };
            op.backward(OF_CHANNELS, &x, Some(&gamma), saved, &mut scratch, gradients).unwrap();
        },
        |dx| {
            for (x, dx) in x.chunks(SHAPE.cols).zip(dx.chunks_mut(SHAPE.cols)) {
                let (measured, inner) = ((0.1, 0.9), OF_CHANNELS.inner);
                group_norm::group_norm_backward(x, x, measured, (&gamma, inner), dx);
                let parameters = (&mut dgamma_scalar[..], &mut dbeta_scalar[..]);
                group_norm::group_norm_backward_parameters(x, x, measured, inner, parameters);
            }
        },
    );
}

fn instance_norm_forward(c: &mut Criterion) {
    let (x, op, inner) = (wave(ELEMENTS), InstanceNorm::default(), OF_CHANNELS.inner);
    rows(
        c,
        "norm/instance_norm_forward",
        |y| op.infer(OF_CHANNELS, black_box(&x), Affine::default(), y).unwrap(),
        |y| {
            for (x, y) in x.chunks(inner).zip(y.chunks_mut(inner)) {
                let measured = group_norm::group_norm_measure(x, 1e-5);
                group_norm::group_norm_forward(x, measured, (&[1.0], &[0.0]), inner, y);
            }
        },
    );
}

criterion_group!(
    benches,
    layer_norm_forward,
    layer_norm_backward,
    rms_norm_forward,
    rms_norm_backward,
    group_norm_forward,
    group_norm_backward,
    instance_norm_forward
);
criterion_main!(benches);
