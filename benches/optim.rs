//! `optim/sgd_step`: every level beside the plain scalar loop.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use steadygrad::Level;
use steadygrad::optim::{Gradients, Momentum, Sgd, WeightDecay};
use steadygrad::reference::sgd::{self as reference, State};

const LEN: usize = 65_536;

fn sgd_step(c: &mut Criterion) {
    let mut group = c.benchmark_group("optim/sgd_step");
    group.throughput(Throughput::Elements(LEN as u64));
    let grad: Vec<f32> = (0..LEN).map(|i| (i % 1000) as f32 / 512.0 - 1.0).collect();
    let (mut param, mut buffer) = (grad.clone(), grad.clone());
    let rules = [
        ("plain", Momentum::None),
        ("momentum", Momentum::Classical { momentum: 0.9, dampening: 0.0 }),
        ("nesterov", Momentum::Nesterov { momentum: 0.9 }),
    ];
    for (name, momentum) in rules {
        let op = Sgd { lr: 1e-4, momentum, weight_decay: WeightDecay::Coupled(1e-4) };
        for level in Level::available() {
            group.bench_function(BenchmarkId::new(level.name(), format!("{name}/{LEN}")), |b| {
                Level::scoped(level, || {
                    b.iter(|| {
                        let grads: [&[f32]; 1] = [black_box(&grad)];
                        op.step(2, &mut [&mut param], Gradients::new(&grads), &mut [&mut buffer]).unwrap();
                    });
                })
                .unwrap();
            });
        }
    }
    group.bench_function(BenchmarkId::new("scalar", format!("momentum/{LEN}")), |b| {
        b.iter(|| {
            for ((p, b), &g) in param.iter_mut().zip(&mut buffer).zip(black_box(&grad)) {
                let g = reference::coupled_decay(*p, g, 1e-4);
                State { p: *p, b: *b } = reference::classical(State { p: *p, b: *b }, g, 1e-4, 0.9, 0.0, 2);
            }
        });
    });
}

criterion_group!(benches, sgd_step);
criterion_main!(benches);
