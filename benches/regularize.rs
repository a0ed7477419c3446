//! `regularize/…`: every level beside the plain scalar loop.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use steadygrad::regularize::{
    AlphaDropout, Dropout, ElasticNet, GroupLasso, MaskShape, MaxNorm, Orthogonality,
};
use steadygrad::{ChannelShape, Level, Philox, WeightShape, reference};

const LEN: usize = 65_536;
const SHAPE: WeightShape = WeightShape { outputs: 256, inputs: 256, field: 1 };
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

fn dropout(c: &mut Criterion) {
    let (x, mut y, mut z) = (ramp(), ramp(), ramp());
    let scalar = |z: &mut [f32]| {
        for (i, (z, &x)) in z.iter_mut().zip(black_box(&x)).enumerate() {
            *z = reference::dropout::forward(x, reference::philox::happens(1, 2, i as u64, 0.5), 0.5);
        }
    };
    let shapes = [
        ("elements", MaskShape::elements(LEN)),
        ("channels", MaskShape::channels(ChannelShape { outer: 16, channels: 64, inner: 64 })),
        ("time", MaskShape::time_major(64, 16, 64)),
    ];
    for (input, shape) in shapes {
        let body = || Dropout::default().forward(shape, STREAM, black_box(&x), &mut y).unwrap();
        rows(c, "regularize/dropout_forward", input, body, || scalar(&mut z));
    }
    let shape = MaskShape::elements(LEN);
    let body = || AlphaDropout::default().forward(shape, STREAM, black_box(&x), &mut y).unwrap();
    rows(c, "regularize/dropout_alpha_forward", "elements", body, || scalar(&mut z));
}

fn penalty_and_proximal(c: &mut Criterion) {
    let (weights, mut grad, mut scalar_grad, op) =
        (ramp(), ramp(), ramp(), ElasticNet { l1: 1e-9, l2: 1e-9 });
    let body = || {
        op.add_gradient(&[black_box(&weights)], &mut [&mut grad]).unwrap();
    };
    rows(c, "regularize/penalty_add_gradient", "65536", body, || {
        for (g, &w) in scalar_grad.iter_mut().zip(black_box(&weights)) {
            *g += reference::penalty::gradient(w, 1e-9, 1e-9);
        }
    });
    let (mut a, mut b) = (ramp(), ramp());
    rows(
        c,
        "regularize/proximal_step",
        "65536",
        || op.proximal(1.0, &mut [black_box(&mut a)]).unwrap(),
        || {
            black_box(&mut b)
                .iter_mut()
                .for_each(|w| *w = reference::proximal::proximal(*w, 1.0, 1e-9, 1e-9));
        },
    );
}

fn units(c: &mut Criterion) {
    let (weights, mut grad, mut scalar_grad) = (ramp(), ramp(), ramp());
    let op = GroupLasso { lambda: 1e-6 };
    let body = || {
        op.add_gradient(SHAPE, black_box(&weights), &mut grad).unwrap();
    };
    rows(c, "regularize/group_lasso_add_gradient", "256x256", body, || {
        for (w, g) in black_box(&weights).chunks(256).zip(scalar_grad.chunks_mut(256)) {
            reference::group_lasso::gradient(w, 1e-6, g);
        }
    });
    let (mut a, mut b) = (ramp(), ramp());
    let body = || {
        MaxNorm { max: 1e3 }.constrain(SHAPE, black_box(&mut a)).unwrap();
    };
    rows(c, "regularize/max_norm_constrain", "256x256", body, || {
        black_box(&mut b).chunks_mut(256).for_each(|w| reference::max_norm::constrain(w, 1e3));
    });
}

fn orthogonality(c: &mut Criterion) {
    let (weights, mut grad, mut scalar_grad, op) = (ramp(), ramp(), ramp(), Orthogonality { lambda: 1e-9 });
    let mut scratch = vec![0.0; op.scratch_len::<f32>(SHAPE).unwrap()];
    let body = || {
        op.add_gradient(SHAPE, black_box(&weights), &mut scratch, &mut grad).unwrap();
    };
    rows(c, "regularize/orthogonality_add_gradient", "256x256", body, || {
        reference::orthogonality::gradient(256, 256, black_box(&weights), 1e-9, &mut scalar_grad);
    });
}

criterion_group!(benches, dropout, penalty_and_proximal, units, orthogonality);
criterion_main!(benches);
