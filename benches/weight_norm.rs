//! `norm/<stem>_<direction>` of weights: every level beside the plain scalar loop.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use steadygrad::norm::{
    SavedSpectral, SpectralNorm, SpectralState, WeightGradients, WeightNorm, WeightStandardization,
};
use steadygrad::reference::{spectral_norm, weight_norm};
use steadygrad::{Level, WeightShape};

const SHAPE: WeightShape = WeightShape { outputs: 256, inputs: 1024, field: 1 };
const ELEMENTS: usize = 256 * 1024;

/// Deterministic numbers between −2 and 2.
fn wave(len: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 2_654_435_761) % 4093) as f32 / 1023.25 - 2.0).collect()
}

/// A row a level of `op`, and one of the `scalar` loop.
fn levels(
    c: &mut Criterion,
    group: &str,
    mut op: impl FnMut(&mut [f32]),
    mut scalar: impl FnMut(&mut [f32]),
) {
    let mut group = c.benchmark_group(group);
    group.throughput(Throughput::Elements(ELEMENTS as u64));
    let mut out = vec![0.0; ELEMENTS];
    for level in Level::available() {
        group.bench_function(BenchmarkId::new(level.name(), "256x1024"), |b| {
            Level::scoped(level, || b.iter(|| op(black_box(&mut out)))).unwrap();
        });
    }
    group.bench_function(BenchmarkId::new("scalar", "256x1024"), |b| b.iter(|| scalar(black_box(&mut out))));
}

fn weight_norm_forward(c: &mut Criterion) {
    let (v, gain) = (wave(ELEMENTS), wave(SHAPE.outputs));
    levels(
        c,
        "norm/weight_norm_forward",
        |w| WeightNorm.forward(SHAPE, black_box(&v), Some(&gain), w).unwrap(),
        |w| {
            for ((v, w), &gain) in v.chunks(SHAPE.inputs).zip(w.chunks_mut(SHAPE.inputs)).zip(&gain) {
                weight_norm::weight_norm_forward(v, gain, w);
            }
        },
    );
}

fn weight_norm_backward(c: &mut Criterion) {
    let (v, gain) = (wave(ELEMENTS), wave(SHAPE.outputs));
    let mut dgain = gain.clone();
    levels(
        c,
        "norm/weight_norm_backward",
        |dv| {
            let gradients = WeightGradients { weights: dv, gain: Some(&mut dgain) };
            WeightNorm.backward(SHAPE, &v, black_box(&v), Some(&gain), gradients).unwrap();
        },
        |dv| {
            for ((v, dv), &gain) in v.chunks(SHAPE.inputs).zip(dv.chunks_mut(SHAPE.inputs)).zip(&gain) {
                black_box(weight_norm::weight_norm_backward(v, v, gain, dv));
            }
        },
    );
}

fn weight_standardization_forward(c: &mut Criterion) {
    let (v, gain, op) = (wave(ELEMENTS), wave(SHAPE.outputs), WeightStandardization::default());
    levels(
        c,
        "norm/weight_standardization_forward",
        |w| op.forward(SHAPE, black_box(&v), Some(&gain), w).unwrap(),
        |w| {
            for ((v, w), &gain) in v.chunks(SHAPE.inputs).zip(w.chunks_mut(SHAPE.inputs)).zip(&gain) {
                let measured = weight_norm::weight_standardization_measure(v, 1e-5);
                weight_norm::weight_standardization_forward(v, measured, gain, w);
            }
        },
    );
}

fn weight_standardization_backward(c: &mut Criterion) {
    let (v, gain, op) = (wave(ELEMENTS), wave(SHAPE.outputs), WeightStandardization::default());
    let mut dgain = gain.clone();
    levels(
        c,
        "norm/weight_standardization_backward",
        |dv| {
            let gradients = WeightGradients { weights: dv, gain: Some(&mut dgain) };
            op.backward(SHAPE, &v, black_box(&v), Some(&gain), gradients).unwrap();
        },
        |dv| {
            for ((v, dv), &gain) in v.chunks(SHAPE.inputs).zip(dv.chunks_mut(SHAPE.inputs)).zip(&gain) {
                let measured = weight_norm::weight_standardization_measure(v, 1e-5);
                black_box(weight_norm::weight_standardization_backward(v, v, measured, gain, dv));
            }
        },
    );
}

fn spectral_norm_forward(c: &mut Criterion) {
    let (weights, op) = (wave(ELEMENTS), SpectralNorm::default());
    let (mut u, mut v) = (wave(SHAPE.outputs), wave(SHAPE.inputs));
    let (mut u_scalar, mut v_scalar) = (u.clone(), v.clone());
    let mut scratch = vec![0.0; op.scratch_len(SHAPE)];
    levels(
        c,
        "norm/spectral_norm_forward",
        |w| {
            let state = SpectralState { u: &mut u, v: &mut v };
            op.forward(SHAPE, black_box(&weights), state, &mut scratch, w).unwrap();
        },
        |w| {
            spectral_norm::spectral_norm_left(&weights, &v_scalar, 1e-12, &mut u_scalar);
            spectral_norm::spectral_norm_right(&weights, &u_scalar, 1e-12, &mut v_scalar);
            let sigma = spectral_norm::spectral_norm_sigma(&weights, &u_scalar, &v_scalar);
            spectral_norm::spectral_norm_forward(&weights, sigma, w);
        },
    );
}

fn spectral_norm_backward(c: &mut Criterion) {
    let (normalised, op) = (wave(ELEMENTS), SpectralNorm::default());
    let (u, v) = (wave(SHAPE.outputs), wave(SHAPE.inputs));
    levels(
        c,
        "norm/spectral_norm_backward",
        |dweights| {
            let saved = SavedSpectral { normalised: &normalised, u: &u, v: &v, sigma: 2.0 };
            op.backward(SHAPE, black_box(&normalised), saved, dweights).unwrap();
        },
        |dweights| {
            spectral_norm::spectral_norm_backward(&normalised, &normalised, (&u, &v, 2.0), dweights);
        },
    );
}

criterion_group!(
    benches,
    weight_norm_forward,
    weight_norm_backward,
    weight_standardization_forward,
    weight_standardization_backward,
    spectral_norm_forward,
    spectral_norm_backward
);
criterion_main!(benches);
