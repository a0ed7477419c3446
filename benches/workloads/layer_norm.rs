//! `layer_norm/<rows>x<cols>` and `rms_norm/<rows>x<cols>`: forward, backward and both, with γ (and β).

use std::hint::black_box;

use steadygrad::norm::{Affine, LayerNorm, NormGradients, RmsNorm, SavedRows};
use steadygrad::{Element, RowShape};

use crate::timing::{Bench, Work, normal};

pub(crate) fn names() -> Vec<String> {
    ["layer_norm/4096x768", "rms_norm/4096x768"].map(String::from).to_vec()
}

pub(crate) fn run(bench: &Bench, parts: &[&str]) -> Option<()> {
    let [op, shape] = *parts else { return None };
    let (rows, cols) = shape.split_once('x')?;
    let shape = RowShape { rows: rows.parse().ok()?, cols: cols.parse().ok()? };
    measure::<f32>(bench, &parts.join("/"), op, shape, "f32");
    measure::<f64>(bench, &parts.join("/"), op, shape, "f64");
    Some(())
}

fn measure<T: Element>(bench: &Bench, workload: &str, op: &str, shape: RowShape, dtype: &str) {
    let elements = shape.rows * shape.cols;
    let (x, dy): (Vec<T>, Vec<T>) = (normal(elements), normal(elements));
    let (gamma, beta): (Vec<T>, Vec<T>) = (normal(shape.cols), normal(shape.cols));
    let (mut mean, mut rstd) = (vec![0.0; shape.rows], vec![1.0; shape.rows]);
    let (mut y, mut dx) = (vec![T::zero(); elements], vec![T::zero(); elements]);
    let (mut dgamma, mut dbeta) = (gamma.clone(), beta.clone());
    let (layer_norm, rms_norm) = (LayerNorm::default(), RmsNorm::default());
    let mut scratch = vec![0.0; layer_norm.backward_scratch_len(shape)];
    let affine = Affine { gamma: Some(&gamma), beta: (op == "layer_norm").then_some(&beta) };
    let mut forward = |mean: &mut [f64], rstd: &mut [f64]| {
        let (x, y) = (black_box(&x), black_box(&mut y));
        match op {
            "layer_norm" => layer_norm.forward(shape, x, affine, mean, rstd, y).unwrap(),
            _ => rms_norm.forward(shape, x, affine, rstd, y).unwrap(),
        }
    };
    let mut backward = |mean: &[f64], rstd: &[f64]| {
        let (gamma, x, dy) = (Some(&gamma[..]), black_box(&x), black_box(&dy));
        let mut gradients = NormGradients { input: &mut dx, gamma: Some(&mut dgamma), beta: None };
        if op == "layer_norm" {
            gradients.beta = Some(&mut dbeta);
            let saved = SavedRows { x, mean, rstd };
            layer_norm.backward(shape, dy, gamma, saved, &mut scratch, gradients).unwrap();
        } else {
            rms_norm.backward(shape, dy, gamma, (x, rstd), &mut scratch, gradients).unwrap();
        }
    };
    let work = |passes: usize| Work { bytes: passes * size_of::<T>() * elements, flops: 0 };
    bench.measure(workload, "fwd", dtype, work(2), || forward(&mut mean, &mut rstd));
    bench.measure(workload, "bwd", dtype, work(3), || backward(&mean, &rstd));
    bench.measure(workload, "fwd+bwd", dtype, work(5), || {
        forward(&mut mean, &mut rstd);
        backward(&mean, &rstd);
    });
}
