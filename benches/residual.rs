//! `residual/…`: every level beside the plain scalar loop.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use steadygrad::residual::{Add, Highway, HighwayGradients, HighwayInputs, Scaled, StochasticDepth};
use steadygrad::{Activation, ChannelShape, Level, Philox, RowShape, reference};

const LEN: usize = 65_536;
const SHAPE: ChannelShape = ChannelShape { outer: 64, channels: 1024, inner: 1 };
const ROWS: RowShape = RowShape { rows: 64, cols: 1024 };
const STREAM: Philox = Philox { key: 1, counter: 2 };

fn ramp() -> Vec<f32> {
    (0..LEN).map(|i| (i % 1000) as f32 / 512.0 - 1.0).collect()
}

/// A row a level of `body`, and one of the scalar loop.
fn rows(c: &mut Criterion, name: &str, input: &str, mut body: impl FnMut(), mut scalar: impl FnMut()) {
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Elements(LEN as u64));
    for level in Level::available() {
        group.bench_function(BenchmarkId::new(level.name(), input), |b| {
            Level::scoped(level, || b.iter(&mut body)).unwrap();
        });
    }
    group.bench_function(BenchmarkId::new("scalar", input), |b| b.iter(&mut scalar));
}

fn add(c: &mut Criterion) {
    let (x, f, mut y, mut z, op) = (ramp(), ramp(), ramp(), ramp(), Add { activation: Activation::Relu });
    let body = || op.forward(black_box(&x), &f, &mut y).unwrap();
    rows(c, "residual/add_forward", "relu/65536", body, || {
        for ((z, &x), &f) in z.iter_mut().zip(black_box(&x)).zip(&f) {
            *z = reference::add::forward(x, f, |s: f32| s.max(0.0));
        }
    });
    let dy = ramp();
    let body = || op.backward(black_box(&x), &f, &dy, &mut y).unwrap();
    rows(c, "residual/add_backward", "relu/65536", body, || {
        for (i, z) in z.iter_mut().enumerate() {
            let derivative = |s: f32, dy: f32| if s > 0.0 { dy } else { 0.0 };
            *z = reference::add::backward(x[i], f[i], black_box(&dy)[i], derivative);
        }
    });
}

fn scaled(c: &mut Criterion) {
    let (x, f, mut y, mut z, scale) = (ramp(), ramp(), ramp(), ramp(), vec![0.5; 1024]);
    let body = || Scaled.forward(SHAPE, black_box(&x), &f, &scale, &mut y).unwrap();
    rows(c, "residual/scaled_forward", "64x1024", body, || {
        for (i, z) in z.iter_mut().enumerate() {
            *z = reference::scaled::forward(black_box(&x)[i], f[i], scale[i % 1024]);
        }
    });
    let (mut dscale, mut sums) = (vec![0.0; 1024], vec![0.0; 1024]);
    let body = || Scaled.backward(SHAPE, &f, &scale, black_box(&x), &mut y, &mut dscale).unwrap();
    rows(c, "residual/scaled_backward", "64x1024", body, || {
        for (i, z) in z.iter_mut().enumerate() {
            let (df, part) = reference::scaled::backward(f[i], scale[i % 1024], black_box(&x)[i]);
            *z = df;
            sums[i % 1024] += part;
        }
    });
}

fn stochastic_depth(c: &mut Criterion) {
    let (x, f, mut y, mut z, op) = (ramp(), ramp(), ramp(), ramp(), StochasticDepth { p: 0.25 });
    let body = || op.forward(ROWS, STREAM, black_box(&x), &f, &mut y).unwrap();
    rows(c, "residual/stochastic_depth_forward", "64x1024", body, || {
        for row in 0..64 {
            let dropped = reference::philox::happens(1, 2, row as u64, 0.25);
            for i in row * 1024..(row + 1) * 1024 {
                z[i] = reference::stochastic_depth::forward(black_box(&x)[i], f[i], dropped, 0.25);
            }
        }
    });
}

fn highway(c: &mut Criterion) {
    let [x, h, z, dy] = [(); 4].map(|()| ramp());
    let (inputs, mut y, mut out) = (HighwayInputs { x: &x, h: &h, z: &z }, ramp(), ramp());
    rows(
        c,
        "residual/highway_forward",
        "65536",
        || Highway.forward(inputs, black_box(&mut y)).unwrap(),
        || {
            for (i, out) in out.iter_mut().enumerate() {
                *out = reference::highway::forward(x[i], h[i], black_box(&z)[i]);
            }
        },
    );
    let [mut dx, mut dh, mut dz, mut other] = [(); 4].map(|()| ramp());
    let body = || {
        let gradients = HighwayGradients { x: &mut dx, h: &mut dh, z: &mut dz };
        Highway.backward(inputs, black_box(&dy), gradients).unwrap();
    };
    rows(c, "residual/highway_backward", "65536", body, || {
        for (i, out) in out.iter_mut().enumerate() {
            let gradients = reference::highway::backward(x[i], h[i], black_box(&z)[i], dy[i]);
            (*out, y[i], other[i]) = gradients;
        }
    });
}

criterion_group!(benches, add, scaled, stochastic_depth, highway);
criterion_main!(benches);
