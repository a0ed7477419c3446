//! `act/<name>/n<elements>`: forward, backward, and backward from the output where PyTorch's takes it.

use std::hint::black_box;

use steadygrad::{Activation, Element};

use crate::timing::{Bench, Work, normal};

const NAMES: [(&str, Activation); 12] = [
    ("relu", Activation::Relu),
    ("leaky_relu", Activation::LeakyRelu { slope: 0.01 }),
    ("elu", Activation::Elu { alpha: 1.0 }),
    ("sigmoid", Activation::Sigmoid),
    ("tanh", Activation::Tanh),
    ("gelu", Activation::Gelu),
    ("gelu_tanh", Activation::GeluTanh),
    ("silu", Activation::Silu),
    ("softplus", Activation::Softplus { beta: 1.0, threshold: 20.0 }),
    ("mish", Activation::Mish),
    ("selu", Activation::Selu),
    ("hard_swish", Activation::HardSwish),
];

pub(crate) fn names() -> Vec<String> {
    let name = |n: usize| move |(name, _): &(&str, Activation)| format!("act/{name}/n{n}");
    [16, 4096, 262_144, 16_777_216].into_iter().flat_map(|n| NAMES[..10].iter().map(name(n))).collect()
}

pub(crate) fn run(bench: &Bench, parts: &[&str]) -> Option<()> {
    let [_, name, size] = *parts else { return None };
    let (_, activation) = NAMES.iter().find(|(known, _)| *known == name)?;
    let n = size.strip_prefix('n')?.parse().ok()?;
    let workload = parts.join("/");
    measure::<f32>(bench, &workload, *activation, n, "f32");
    if n == 262_144 {
        measure::<f64>(bench, &workload, *activation, n, "f64");
    }
    Some(())
}

fn measure<T: Element>(bench: &Bench, workload: &str, activation: Activation, n: usize, dtype: &str) {
    let (x, dy): (Vec<T>, Vec<T>) = (normal(n), normal(n));
    let mut out = vec![T::zero(); n];
    let bytes = n * size_of::<T>();
    bench.measure(workload, "fwd", dtype, Work { bytes: 2 * bytes, flops: 0 }, || {
        activation.forward(black_box(&x), black_box(&mut out)).unwrap();
    });
    let work = Work { bytes: 3 * bytes, flops: 0 };
    // As PyTorch: sigmoid and tanh keep their output.
    if matches!(activation, Activation::Sigmoid | Activation::Tanh) {
        let mut y = vec![T::zero(); n];
        activation.forward(&x, &mut y).unwrap();
        bench.measure(workload, "bwd", dtype, work, || {
            activation.backward_from_output(black_box(&y), black_box(&dy), black_box(&mut out)).unwrap();
        });
    } else {
        bench.measure(workload, "bwd", dtype, work, || {
            activation.backward(black_box(&x), black_box(&dy), black_box(&mut out)).unwrap();
        });
    }
}
