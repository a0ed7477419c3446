//! `loss/<stem>_<direction>`: every level beside the plain scalar loop.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use steadygrad::loss::{
    BinaryCrossEntropyWithLogits, CrossEntropy, NegativeLogLikelihood, PointwiseLoss, Reduction, Softmax,
    Targets,
};
use steadygrad::{Level, RowShape, reference};

const SHAPE: RowShape = RowShape { rows: 64, cols: 1000 };
const INPUT: &str = "64x1000";
const ELEMENTS: usize = SHAPE.rows * SHAPE.cols;

/// The inputs that every loss takes its own of.
struct Inputs {
    x: Vec<f32>,
    targets: Vec<f32>,
    classes: Vec<i64>,
}

fn inputs() -> Inputs {
    let wave = |i: usize| ((i * 2_654_435_761) % 4093) as f32 / 4093.0;
    Inputs {
        x: (0..ELEMENTS).map(|i| 8.0 * wave(i) - 4.0).collect(),
        targets: (0..ELEMENTS).map(|i| wave(i + 7)).collect(),
        classes: (0..SHAPE.rows).map(|row| (row * 77 % SHAPE.cols) as i64).collect(),
    }
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

fn cross_entropy_backward(c: &mut Criterion) {
    let Inputs { x, classes, .. } = inputs();
    let (loss, targets) = (CrossEntropy::default(), Targets::Classes(&classes));
    let mut v = vec![0.0; SHAPE.cols];
    rows(
        c,
        "loss/cross_entropy_backward",
        |dx| {
            black_box(loss.forward_backward(SHAPE, black_box(&x), targets, None, dx).unwrap());
        },
        |dx| {
            for ((x, dx), &class) in x.chunks(SHAPE.cols).zip(dx.chunks_mut(SHAPE.cols)).zip(&classes) {
                v.fill(0.0);
                v[class as usize] = 1.0;
                black_box(reference::cross_entropy::forward(x, &v));
                reference::cross_entropy::backward(x, &v, dx);
            }
        },
    );
}

fn softmax_forward(c: &mut Criterion) {
    let Inputs { x, .. } = inputs();
    rows(
        c,
        "loss/softmax_forward",
        |y| Softmax::Probabilities.forward(SHAPE, black_box(&x), y).unwrap(),
        |y| {
            for (x, y) in x.chunks(SHAPE.cols).zip(y.chunks_mut(SHAPE.cols)) {
                reference::softmax::softmax_forward(x, y);
            }
        },
    );
}

fn softmax_backward(c: &mut Criterion) {
    let Inputs { x, targets, .. } = inputs();
    let mut y = vec![0.0; ELEMENTS];
    Softmax::Probabilities.forward(SHAPE, &x, &mut y).unwrap();
    rows(
        c,
        "loss/softmax_backward",
        |dx| Softmax::Probabilities.backward_from_output(SHAPE, black_box(&y), &targets, dx).unwrap(),
        |dx| {
            let rows = y.chunks(SHAPE.cols).zip(targets.chunks(SHAPE.cols));
            for ((y, dy), dx) in rows.zip(dx.chunks_mut(SHAPE.cols)) {
                reference::softmax::softmax_backward(y, dy, dx);
            }
        },
    );
}

fn pointwise_backward(c: &mut Criterion) {
    let Inputs { x, targets, .. } = inputs();
    for (name, loss) in [
        ("squared", PointwiseLoss::Squared),
        ("huber", PointwiseLoss::Huber { delta: 1.0 }),
        ("sigmoid_squared", PointwiseLoss::SigmoidSquared),
    ] {
        rows(
            c,
            &format!("loss/pointwise_backward/{name}"),
            |dx| {
                black_box(loss.forward_backward(Reduction::Mean, black_box(&x), &targets, dx).unwrap());
            },
            |dx| {
                let mut sum = 0.0;
                for ((dx, &x), &t) in dx.iter_mut().zip(&x).zip(&targets) {
                    sum += reference::pointwise::forward(loss, x, t);
                    *dx = reference::pointwise::backward(loss, x, t) / ELEMENTS as f32;
                }
                black_box(sum);
            },
        );
    }
}

fn binary_cross_entropy_with_logits_backward(c: &mut Criterion) {
    let Inputs { x, targets, .. } = inputs();
    let loss = BinaryCrossEntropyWithLogits::default();
    rows(
        c,
        "loss/binary_cross_entropy_with_logits_backward",
        |dx| {
            black_box(loss.forward_backward(SHAPE, black_box(&x), &targets, None, dx).unwrap());
        },
        |dx| {
            let mut sum = 0.0;
            for ((dx, &x), &t) in dx.iter_mut().zip(&x).zip(&targets) {
                sum += reference::binary_cross_entropy_with_logits::forward(x, t, 1.0);
                *dx = reference::binary_cross_entropy_with_logits::backward(x, t, 1.0) / ELEMENTS as f32;
            }
            black_box(sum);
        },
    );
}

fn negative_log_likelihood_backward(c: &mut Criterion) {
    let Inputs { x, classes, .. } = inputs();
    let loss = NegativeLogLikelihood::default();
    rows(
        c,
        "loss/negative_log_likelihood_backward",
        |dx| {
            black_box(loss.forward_backward(SHAPE, black_box(&x), &classes, None, dx).unwrap());
        },
        |dx| {
            for (dx, &class) in dx.chunks_mut(SHAPE.cols).zip(&classes) {
                reference::negative_log_likelihood::backward(class as usize, 1.0, dx);
            }
        },
    );
}

criterion_group!(
    benches,
    cross_entropy_backward,
    softmax_forward,
    softmax_backward,
    pointwise_backward,
    binary_cross_entropy_with_logits_backward,
    negative_log_likelihood_backward
);
criterion_main!(benches);
