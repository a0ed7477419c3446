//! `optim/<optimizer>_step`: every level beside the plain scalar loop.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use steadygrad::Level;
use steadygrad::optim::{Adam, Gradients, Momentum, Optimizer, Sgd, WeightDecay};
use steadygrad::reference::adam::{self, Coefficients};
use steadygrad::reference::sgd::{self, State};
use steadygrad::reference::weight_decay::{coupled_decay, decoupled_decay};

const LEN: usize = 65_536;

/// A tensor of parameters with its gradient and its state: gradients are the numbers, state their squares.
struct Tensors {
    param: Vec<f32>,
    grad: Vec<f32>,
    state: [Vec<f32>; 3],
}

impl Tensors {
    fn new() -> Self {
        let grad: Vec<f32> = (0..LEN).map(|i| (i % 1000) as f32 / 512.0 - 1.0).collect();
        let squares: Vec<f32> = grad.iter().map(|g| g * g + 0.25).collect();
        Self { param: grad.clone(), grad, state: [(); 3].map(|()| squares.clone()) }
    }
}

/// Every level of each optimizer, and the scalar loop.
fn bench(
    c: &mut Criterion,
    stem: &str,
    optimizers: &[(&str, &dyn Optimizer<f32>)],
    scalar: impl Fn(f32, &mut f32, [&mut f32; 3]),
) {
    let mut group = c.benchmark_group(format!("optim/{stem}"));
    group.throughput(Throughput::Elements(LEN as u64));
    let Tensors { mut param, grad, state: [mut a, mut b, mut d] } = Tensors::new();
    for (name, optimizer) in optimizers {
        for level in Level::available() {
            group.bench_function(BenchmarkId::new(level.name(), format!("{name}/{LEN}")), |bencher| {
                let lists = optimizer.state_names().len();
                Level::scoped(level, || {
                    bencher.iter(|| {
                        let grads: [&[f32]; 1] = [black_box(&grad)];
                        let state: &mut [&mut [&mut [f32]]] =
                            &mut [&mut [&mut a], &mut [&mut b], &mut [&mut d]];
                        optimizer
                            .step(2, &mut [&mut param], Gradients::new(&grads), &mut state[..lists])
                            .unwrap();
                    });
                })
                .unwrap();
            });
        }
    }
    group.bench_function(BenchmarkId::new("scalar", format!("{}/{LEN}", optimizers[0].0)), |bencher| {
        bencher.iter(|| {
            let state = a.iter_mut().zip(&mut b).zip(&mut d);
            for ((p, ((a, b), d)), &g) in param.iter_mut().zip(state).zip(black_box(&grad)) {
                scalar(g, p, [a, b, d]);
            }
        });
    });
}

fn sgd_step(c: &mut Criterion) {
    let rule = |momentum| Sgd { lr: 1e-4, momentum, weight_decay: WeightDecay::Coupled(1e-4) };
    let optimizers: &[(&str, &dyn Optimizer<f32>)] = &[
        ("momentum", &rule(Momentum::Classical { momentum: 0.9, dampening: 0.0 })),
        ("nesterov", &rule(Momentum::Nesterov { momentum: 0.9 })),
        ("plain", &rule(Momentum::None)),
    ];
    bench(c, "sgd_step", optimizers, |g, p, [b, ..]| {
        let g = coupled_decay(*p, g, 1e-4);
        State { p: *p, b: *b } = sgd::classical(State { p: *p, b: *b }, g, 1e-4, 0.9, 0.0, 2);
    });
}

fn adam_step(c: &mut Criterion) {
    let adamw = Adam { lr: 1e-5, ..Adam::adamw() };
    let optimizers: &[(&str, &dyn Optimizer<f32>)] = &[
        ("adamw", &adamw),
        ("adam", &Adam { weight_decay: WeightDecay::NONE, ..adamw }),
        ("amsgrad", &Adam { amsgrad: true, ..adamw }),
    ];
    let with = Coefficients { lr: 1e-5, beta1: 0.9, beta2: 0.999, eps: 1e-8 };
    bench(c, "adam_step", optimizers, |g, p, [m, v, u]| {
        let state = adam::State { p: decoupled_decay(*p, 1e-5, 0.01), m: *m, v: *v, u: *u };
        adam::State { p: *p, m: *m, v: *v, u: *u } = adam::adam(state, g, with, 2);
    });
}

criterion_group!(benches, sgd_step, adam_step);
criterion_main!(benches);
