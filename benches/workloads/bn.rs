//! `bn/<shape>`, `bn_relu/<shape>` and `bn_add_relu/<shape>`: batch norm in training, alone and with what follows it.
//!
//! A shape is `<batch>x<channels>`, or `<batch>x<channels>x<height>x<width>` with `_cl` where channels come last.

use std::hint::black_box;

use steadygrad::norm::Affine;
use steadygrad::norm::batch_norm::{
    BackwardInputs, BatchStatistics, EpilogueBackward, Gradients, RunningStatistics, SavedStatistics,
};
use steadygrad::{Activation, BatchNorm, ChannelShape, Element, Epilogue};

use crate::timing::{Bench, Work, normal};

pub(crate) fn names() -> Vec<String> {
    let shapes = ["256x1024", "32x64x56x56", "32x64x56x56_cl", "32x256x14x14", "32x256x14x14_cl"];
    ["bn", "bn_relu", "bn_add_relu"]
        .iter()
        .flat_map(|op| shapes.map(|shape| format!("{op}/{shape}")))
        .collect()
}

fn shape_of(name: &str) -> Option<ChannelShape> {
    let (dimensions, last) = match name.strip_suffix("_cl") {
        Some(dimensions) => (dimensions, true),
        None => (name, false),
    };
    let sizes: Vec<usize> = dimensions.split('x').map(|size| size.parse().ok()).collect::<Option<_>>()?;
    let (&outer, &channels) = (sizes.first()?, sizes.get(1)?);
    let inner = sizes[2..].iter().product();
    Some(if last {
        ChannelShape { outer: outer * inner, channels, inner: 1 }
    } else {
        ChannelShape { outer, channels, inner }
    })
}

pub(crate) fn run(bench: &Bench, parts: &[&str]) -> Option<()> {
    let [op, name] = *parts else { return None };
    let shape = shape_of(name)?;
    let fused = match op {
        "bn" => None,
        "bn_relu" => Some(false),
        "bn_add_relu" => Some(true),
        _ => return None,
    };
    measure::<f32>(bench, &parts.join("/"), shape, fused, "f32");
    if parts.join("/") == "bn/256x1024" {
        measure::<f64>(bench, "bn/256x1024", shape, fused, "f64");
    }
    Some(())
}

/// `fused` is whether there is a residual, in the workloads that have an activation.
fn measure<T: Element>(bench: &Bench, workload: &str, shape: ChannelShape, fused: Option<bool>, dtype: &str) {
    let elements = shape.elements().expect("a small shape");
    let (x, dy, residual): (Vec<T>, Vec<T>, Vec<T>) = (normal(elements), normal(elements), normal(elements));
    let (gamma, beta): (Vec<T>, Vec<T>) = (normal(shape.channels), normal(shape.channels));
    let affine = Affine { gamma: Some(&gamma[..]), beta: Some(&beta[..]) };
    let residual = (fused == Some(true)).then_some(&residual[..]);
    let epilogue = Epilogue { residual, activation: fused.map(|_| Activation::Relu) };
    let norm = BatchNorm::default();
    let mut state = (vec![0.0; shape.channels], vec![0.0; shape.channels], normal::<T>(shape.channels));
    let (mut variance, mut batches) = (vec![T::one(); shape.channels], 0);
    let (mut y, mut dx) = (vec![T::zero(); elements], vec![T::zero(); elements]);
    let mut dresidual = residual.map(<[T]>::to_vec);
    let (mut dgamma, mut dbeta) = (gamma.clone(), beta.clone());
    let mut forward = |y: &mut [T]| {
        let (mean, rstd, running) = &mut state;
        let running = RunningStatistics { mean: running, variance: &mut variance, batches: &mut batches };
        let statistics = BatchStatistics { merged: None, mean, rstd, running: Some(running) };
        norm.forward(shape, black_box(&x), affine, epilogue, statistics, y).unwrap();
    };
    let mut backward = |y: &[T], mean: &[f64], rstd: &[f64]| {
        let epilogue = match residual {
            Some(_) => EpilogueBackward::FromOutput { activation: Activation::Relu, y },
            None => EpilogueBackward::FromInput(epilogue),
        };
        let inputs = BackwardInputs { x: black_box(&x), dy: black_box(&dy), affine, epilogue };
        dgamma.fill(T::zero());
        dbeta.fill(T::zero());
        let gradients = Gradients {
            input: Some(black_box(&mut dx)),
            residual: dresidual.as_deref_mut(),
            gamma: Some(&mut dgamma),
            beta: Some(&mut dbeta),
        };
        norm.backward(shape, inputs, SavedStatistics { mean, rstd }, gradients).unwrap();
    };
    // As `peers.py` counts the passes.
    let bytes = elements * size_of::<T>();
    let extra = usize::from(residual.is_some());
    let work = |passes: usize| Work { bytes: passes * bytes, flops: 0 };
    bench.measure(workload, "fwd", dtype, work(3 + extra), || forward(black_box(&mut y)));
    forward(&mut y);
    // The saved statistics do not change from call to call.
    let saved: Vec<steadygrad::stats::Moments> = {
        let mut moments = vec![steadygrad::stats::Moments::default(); shape.channels];
        steadygrad::stats::Moments::of_channels(shape, &x, &mut moments).unwrap();
        moments
    };
    let mean: Vec<f64> = saved.iter().map(|moments| moments.mean).collect();
    let rstd: Vec<f64> = saved.iter().map(|moments| 1.0 / (moments.variance() + norm.eps).sqrt()).collect();
    if fused.is_none() {
        bench.measure(workload, "bwd", dtype, work(5), || backward(black_box(&y), &mean, &rstd));
        return;
    }
    bench.measure(workload, "fwd+bwd", dtype, work(8 + 3 * extra), || {
        forward(black_box(&mut y));
        backward(&y, &mean, &rstd);
    });
}
