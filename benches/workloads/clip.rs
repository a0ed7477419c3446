//! `clip_norm/<list>`, `clip_norm_under/<list>` and `clip_value/<list>`: see `lists.rs` for the lists.

use steadygrad::clip::{ClipNorm, ClipValue};

use crate::lists;
use crate::timing::{Bench, Work, normal};

/// So far under the norm is the limit of a call: each one scales, and 100,000 of them leave the gradients normal.
const STEP_DOWN: f64 = 1.0 - 1e-5;

pub(crate) fn names() -> Vec<String> {
    ["resnet50", "one64M", "list10000x64"]
        .into_iter()
        .flat_map(|list| ["clip_norm", "clip_norm_under", "clip_value"].map(|op| format!("{op}/{list}")))
        .collect()
}

pub(crate) fn run(bench: &Bench, parts: &[&str]) -> Option<()> {
    let [op, list] = *parts else { return None };
    let mut tensors: Vec<Vec<f32>> = lists::lengths(list)?.into_iter().map(normal).collect();
    let mut grads: Vec<&mut [f32]> = tensors.iter_mut().map(Vec::as_mut_slice).collect();
    let elements: usize = grads.iter().map(|grad| grad.len()).sum();
    let workload = parts.join("/");
    let measure = |passes: usize, call: &mut dyn FnMut()| {
        bench.measure(&workload, "step", "f32", Work { bytes: passes * 4 * elements, flops: 0 }, call);
    };
    match op {
        "clip_norm" => {
            let clip = |max_norm: f64, grads: &mut [&mut [f32]]| {
                ClipNorm { max_norm, ..ClipNorm::default() }.clip(grads).unwrap()
            };
            let mut norm = clip(f64::INFINITY, &mut grads).norm;
            measure(3, &mut || {
                let report = clip(norm * STEP_DOWN, &mut grads);
                assert!(report.scale < 1.0, "every call scales");
                norm *= STEP_DOWN;
            });
        }
        "clip_norm_under" => {
            let clip = ClipNorm { max_norm: 1e9, ..ClipNorm::default() };
            measure(1, &mut || assert_eq!(clip.clip(&mut grads).unwrap().scale, 1.0));
        }
        "clip_value" => {
            let clip = ClipValue { min: -0.5, max: 0.5 };
            measure(2, &mut || clip.clip(&mut grads).unwrap());
        }
        _ => return None,
    }
    Some(())
}
