//! `optim/<optimizer>_step`: every level beside the plain scalar loop.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use steadygrad::Level;
use steadygrad::optim::{
    Adadelta, Adagrad, Adam, Gradients, Lamb, Lars, Lion, Momentum, NAdam, Optimizer, RAdam, RmsProp, Sgd,
    Spread, WeightDecay,
};
use steadygrad::reference::adam::{self, Coefficients};
use steadygrad::reference::optim::{coupled_decay, decoupled_decay};
use steadygrad::reference::sgd::{self, State};
use steadygrad::reference::{adadelta, adagrad, lamb, lars, lion, nadam, radam, rms_prop};

const LEN: usize = 65_536;

/// One of the steps that make up a run: RAdam's first ones are simpler.
const STEP: u64 = 100;

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
        State { p: *p, b: *b } = sgd::classical(State { p: *p, b: *b }, g, 1e-4, 0.9, 0.0, STEP);
    });
}

fn adam_step(c: &mut Criterion) {
    let adamw = Adam { lr: 1e-5, ..Adam::adamw() };
    let optimizers: &[(&str, &dyn Optimizer<f32>)] = &[
        ("adamw", &adamw),
        ("adam", &Adam { weight_decay: WeightDecay::NONE, ..adamw }),
        ("amsgrad", &Adam { amsgrad: true, ..adamw }),
    ];
    bench(c, "adam_step", optimizers, |g, p, [m, v, u]| {
        let state = adam::State { p: decoupled_decay(*p, 1e-5, 0.01), m: *m, v: *v, u: *u };
        adam::State { p: *p, m: *m, v: *v, u: *u } = adam::adam(state, g, WITH, STEP as i32);
    });
}

fn lion_step(c: &mut Criterion) {
    let op = Lion { lr: 1e-5, weight_decay: WeightDecay::Decoupled(0.01), ..Lion::default() };
    bench(c, "lion_step", &[("lion", &op)], |g, p, [m, ..]| {
        let state = lion::State { p: decoupled_decay(*p, 1e-5, 0.01), m: *m };
        lion::State { p: *p, m: *m } = lion::lion(state, g, 1e-5, 0.9, 0.99);
    });
}

fn lars_step(c: &mut Criterion) {
    let op = Lars { lr: 1e-2, weight_decay: 1e-4, ..Lars::default() };
    // A tensor of one element a time: its norms are magnitudes.
    let with = lars::Coefficients { lr: 1e-2, momentum: 0.9, trust: 1e-3, decay: 1e-4 };
    bench(c, "lars_step", &[("lars", &op)], |g, p, [v, ..]| {
        let mut state = [lars::State { w: *p, v: *v }];
        lars::lars(&mut state, &[g], with);
        [lars::State { w: *p, v: *v }] = state;
    });
}

fn lamb_step(c: &mut Criterion) {
    let op = Lamb { lr: 1e-5, weight_decay: 0.01, ..Lamb::default() };
    // A tensor of one element a time: its norms are magnitudes.
    bench(c, "lamb_step", &[("lamb", &op)], |g, p, [m, v, u]| {
        let mut state = [lamb::State { p: *p, m: *m, v: *v, u: *u }];
        lamb::lamb(&mut state, &[g], WITH, 0.01, [0.0, f32::INFINITY], STEP as i32);
        [lamb::State { p: *p, m: *m, v: *v, u: *u }] = state;
    });
}

fn rms_prop_step(c: &mut Criterion) {
    let op = RmsProp { lr: 1e-5, ..RmsProp::default() };
    let centred = RmsProp { spread: Spread::Variance, momentum: 0.9, ..op };
    let with = rms_prop::Coefficients { lr: 1e-5, alpha: 0.99, eps: 1e-8, momentum: 0.0 };
    bench(c, "rms_prop_step", &[("square", &op), ("centred_momentum", &centred)], |g, p, [v, ..]| {
        let state = rms_prop::State { p: *p, v: *v, a: 0.0, b: 0.0 };
        rms_prop::State { p: *p, v: *v, .. } = rms_prop::square(state, g, with);
    });
}

fn adagrad_step(c: &mut Criterion) {
    let op = Adagrad { lr: 1e-5, ..Adagrad::default() };
    bench(c, "adagrad_step", &[("adagrad", &op)], |g, p, [s, ..]| {
        adagrad::State { p: *p, s: *s } = adagrad::adagrad(adagrad::State { p: *p, s: *s }, g, 1e-5, 1e-10);
    });
}

fn adadelta_step(c: &mut Criterion) {
    let op = Adadelta { lr: 1e-5, ..Adadelta::default() };
    bench(c, "adadelta_step", &[("adadelta", &op)], |g, p, [v, u, _]| {
        let state = adadelta::State { p: *p, v: *v, u: *u };
        adadelta::State { p: *p, v: *v, u: *u } = adadelta::adadelta(state, g, 1e-5, 0.9, 1e-6);
    });
}

/// Coefficients of the relatives of Adam.
const WITH: Coefficients<f32> = Coefficients { lr: 1e-5, beta1: 0.9, beta2: 0.999, eps: 1e-8 };

fn nadam_step(c: &mut Criterion) {
    let op = NAdam { lr: 1e-5, ..NAdam::default() };
    bench(c, "nadam_step", &[("nadam", &op)], |g, p, [m, v, u]| {
        let state = adam::State { p: *p, m: *m, v: *v, u: *u };
        adam::State { p: *p, m: *m, v: *v, u: *u } = nadam::nadam(state, g, WITH, 4e-3, STEP as i32);
    });
}

fn radam_step(c: &mut Criterion) {
    let op = RAdam { lr: 1e-5, ..RAdam::default() };
    bench(c, "radam_step", &[("radam", &op)], |g, p, [m, v, u]| {
        let state = adam::State { p: *p, m: *m, v: *v, u: *u };
        adam::State { p: *p, m: *m, v: *v, u: *u } = radam::radam(state, g, WITH, STEP as i32);
    });
}

criterion_group!(
    benches,
    sgd_step,
    adam_step,
    lion_step,
    lars_step,
    lamb_step,
    rms_prop_step,
    adagrad_step,
    adadelta_step,
    nadam_step,
    radam_step
);
criterion_main!(benches);
