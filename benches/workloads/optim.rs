//! `<optimizer>/<list>` and `clip+<optimizer>/<list>`: see `lists.rs` for the lists.

use steadygrad::optim::{Adam, Clipped, Gradients, Lamb, Lars, Lion, Momentum, Optimizer, Sgd};

use crate::lists;
use crate::timing::{Bench, Work, normal};

pub(crate) fn names() -> Vec<String> {
    ["sgdm", "adamw", "clip+sgdm", "clip+adamw"]
        .into_iter()
        .flat_map(|op| ["resnet50", "list10000x64"].map(|list| format!("{op}/{list}")))
        .collect()
}

/// The optimizer of a name, with the settings of `peers.py`.
fn optimizer(name: &str) -> Option<Box<dyn Optimizer<f32>>> {
    let momentum = Momentum::Classical { momentum: 0.9, dampening: 0.0 };
    Some(match name {
        "sgdm" => Box::new(Sgd { lr: 1e-4, momentum, ..Sgd::default() }),
        "adam" => Box::new(Adam { lr: 1e-5, ..Adam::default() }),
        "adamw" => Box::new(Adam { lr: 1e-5, ..Adam::adamw() }),
        "lion" => Box::new(Lion { lr: 1e-5, ..Lion::default() }),
        "lars" => Box::new(Lars { lr: 1e-2, weight_decay: 1e-4, ..Lars::default() }),
        "lamb" => Box::new(Lamb { lr: 1e-5, weight_decay: 0.01, ..Lamb::default() }),
        _ => return None,
    })
}

pub(crate) fn run(bench: &Bench, parts: &[&str]) -> Option<()> {
    let [op, list] = *parts else { return None };
    let optimizer = optimizer(op.strip_prefix("clip+").unwrap_or(op))?;
    let clips = op.starts_with("clip+");
    let lengths = lists::lengths(list)?;
    let elements: usize = lengths.iter().sum();
    let tensors = || -> Vec<Vec<f32>> { lengths.iter().map(|&len| normal(len)).collect() };
    let (mut params, grads) = (tensors(), tensors());
    // A mean of squares is positive.
    let squares =
        || -> Vec<Vec<f32>> { tensors().into_iter().map(|x| x.iter().map(|x| x * x).collect()).collect() };
    let mut state: Vec<Vec<Vec<f32>>> = optimizer.state_names().iter().map(|_| squares()).collect();
    let mut params: Vec<&mut [f32]> = params.iter_mut().map(Vec::as_mut_slice).collect();
    let grads: Vec<&[f32]> = grads.iter().map(Vec::as_slice).collect();
    let mut state: Vec<Vec<&mut [f32]>> =
        state.iter_mut().map(|list| list.iter_mut().map(Vec::as_mut_slice).collect()).collect();
    let mut state: Vec<&mut [&mut [f32]]> = state.iter_mut().map(Vec::as_mut_slice).collect();
    // Gradient read, parameter and state read and written; and as PyTorch counts it, a clip of one.
    let passes = 3 + 2 * state.len() + usize::from(clips);
    let grads = Gradients::new(&grads);
    let clipped = Clipped::new(&*optimizer, 1.0);
    let work = Work { bytes: passes * 4 * elements, flops: 0 };
    bench.measure(&parts.join("/"), "step", "f32", work, || {
        if clips {
            clipped.step(2, &mut params, grads, &mut state).unwrap();
        } else {
            optimizer.step(2, &mut params, grads, &mut state).unwrap();
        }
    });
    Some(())
}
