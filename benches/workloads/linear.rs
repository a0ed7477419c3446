//! `linear/M<batch>N<outputs>K<inputs>`: forward with weights packed before and without, backward for the data and for
//! the weights. `gemm/<n>`: a square product.

use std::hint::black_box;

use steadygrad::linear::{Dense, DenseGradients, DenseWeights, Gemm, GemmShape};
use steadygrad::{Element, Epilogue};

use crate::timing::{Bench, Work, normal};

pub(crate) fn names() -> Vec<String> {
    ["M64N1024K1024", "M512N2048K512", "M20N2600K650", "M1024N1024K1024"]
        .map(|shape| format!("linear/{shape}"))
        .to_vec()
}

pub(crate) fn run(bench: &Bench, parts: &[&str]) -> Option<()> {
    let [_, shape] = *parts else { return None };
    let (batch, rest) = shape.strip_prefix('M')?.split_once('N')?;
    let (outputs, inputs) = rest.split_once('K')?;
    let layer = Dense { inputs: inputs.parse().ok()?, outputs: outputs.parse().ok()? };
    measure(bench, &parts.join("/"), layer, batch.parse().ok()?);
    Some(())
}

fn measure(bench: &Bench, workload: &str, layer: Dense, batch: usize) {
    let Dense { inputs, outputs } = layer;
    let (x, w, b): (Vec<f32>, Vec<f32>, Vec<f32>) =
        (normal(batch * inputs), normal(outputs * inputs), normal(outputs));
    let packed = layer.pack(&w).expect("a layer");
    let plain = Epilogue::default();
    let mut y = vec![0.0; batch * outputs];
    let mut scratch = vec![0.0; layer.forward_scratch_len::<f32>(batch)];
    let work = Work { bytes: 0, flops: 2 * batch * inputs * outputs };
    bench.measure(workload, "fwd", "f32", work, || {
        let weights = (black_box(&packed), Some(&b[..]));
        layer.forward_packed(batch, black_box(&x), weights, plain, &mut scratch, black_box(&mut y)).unwrap();
    });
    bench.measure(workload, "fwd_unpacked", "f32", work, || {
        let parameters = DenseWeights { weights: black_box(&w), bias: Some(&b) };
        layer.forward(batch, black_box(&x), parameters, plain, &mut scratch, black_box(&mut y)).unwrap();
    });
    let (mut dx, mut dw) = (vec![0.0; batch * inputs], vec![0.0; outputs * inputs]);
    let mut scratch = vec![0.0; layer.backward_scratch_len::<f32>(batch)];
    bench.measure(workload, "bwd_data", "f32", work, || {
        let gradients = DenseGradients { input: Some(black_box(&mut dx)), ..DenseGradients::default() };
        layer.backward(batch, &x, black_box(&y), black_box(&w), &mut scratch, gradients).unwrap();
    });
    bench.measure(workload, "bwd_weights", "f32", work, || {
        let gradients = DenseGradients { weights: Some(black_box(&mut dw)), ..DenseGradients::default() };
        layer.backward(batch, black_box(&x), black_box(&y), &w, &mut scratch, gradients).unwrap();
    });
}

pub(crate) fn gemm_names() -> Vec<String> {
    vec!["gemm/1024".to_string()]
}

pub(crate) fn run_gemm(bench: &Bench, parts: &[&str]) -> Option<()> {
    let [_, size] = *parts else { return None };
    let n = size.parse().ok()?;
    measure_gemm::<f32>(bench, &parts.join("/"), n, "f32");
    measure_gemm::<f64>(bench, &parts.join("/"), n, "f64");
    Some(())
}

fn measure_gemm<T: Element>(bench: &Bench, workload: &str, n: usize, dtype: &str) {
    let (a, b): (Vec<T>, Vec<T>) = (normal(n * n), normal(n * n));
    let mut c = vec![T::zero(); n * n];
    let shape = GemmShape::dense(n, n, n);
    let mut scratch = vec![T::zero(); shape.scratch_len::<T>()];
    bench.measure(workload, "fwd", dtype, Work { bytes: 0, flops: 2 * n * n * n }, || {
        Gemm::default()
            .forward(shape, black_box(&a), black_box(&b), &mut scratch, black_box(&mut c))
            .unwrap();
    });
}
