//! `sgdm/<list>` and `clip+sgdm/<list>`: see `lists.rs` for the lists.

use steadygrad::clip::ClipNorm;
use steadygrad::optim::{Gradients, Momentum, Optimizer, Sgd};

use crate::lists;
use crate::timing::{Bench, Work, normal};

pub(crate) fn names() -> Vec<String> {
    ["sgdm/resnet50", "clip+sgdm/resnet50", "clip+sgdm/list10000x64"].map(String::from).to_vec()
}

pub(crate) fn run(bench: &Bench, parts: &[&str]) -> Option<()> {
    let [op, list] = *parts else { return None };
    let lengths = lists::lengths(list)?;
    let elements: usize = lengths.iter().sum();
    let tensors = || -> Vec<Vec<f32>> { lengths.iter().map(|&len| normal(len)).collect() };
    let (mut params, grads, mut buffers) = (tensors(), tensors(), tensors());
    let mut params: Vec<&mut [f32]> = params.iter_mut().map(Vec::as_mut_slice).collect();
    let mut buffers: Vec<&mut [f32]> = buffers.iter_mut().map(Vec::as_mut_slice).collect();
    let grads: Vec<&[f32]> = grads.iter().map(Vec::as_slice).collect();
    let momentum = Momentum::Classical { momentum: 0.9, dampening: 0.0 };
    let sgd = Sgd { lr: 1e-4, momentum, ..Sgd::default() };
    let clip = ClipNorm::default();
    let workload = parts.join("/");
    // Gradient, parameter and buffer read, the last two written; and as PyTorch counts it, a clip of one.
    let measure = |passes: usize, call: &mut dyn FnMut()| {
        bench.measure(&workload, "step", "f32", Work { bytes: passes * 4 * elements, flops: 0 }, call);
    };
    match op {
        "sgdm" => measure(5, &mut || {
            sgd.step(2, &mut params, Gradients::new(&grads), &mut [&mut buffers]).unwrap();
        }),
        "clip+sgdm" => measure(6, &mut || {
            let scale = clip.measure(&grads).unwrap().scale;
            sgd.step(2, &mut params, Gradients { tensors: &grads, scale }, &mut [&mut buffers]).unwrap();
        }),
        _ => return None,
    }
    Some(())
}
