//! `rbm_pcd/digits<hidden>_b<batch>`: an epoch of scikit-learn's `BernoulliRBM` over the 1,797 digits.

use std::hint::black_box;

use steadygrad::pretrain::{ContrastiveDivergence, Rbm, RbmState, RbmTensors, VisibleUnits};
use steadygrad::{Element, Philox};

use crate::timing::{Bench, Work, normal};

/// Pixels of a digit.
const PIXELS: usize = 64;

pub(crate) fn names() -> Vec<String> {
    ["digits256_b10", "digits256_b100"].map(|name| format!("rbm_pcd/{name}")).to_vec()
}

pub(crate) fn run(bench: &Bench, parts: &[&str]) -> Option<()> {
    let [_, shape] = *parts else { return None };
    let (hidden, batch) = shape.strip_prefix("digits")?.split_once("_b")?;
    let (hidden, batch) = (hidden.parse().ok()?, batch.parse().ok()?);
    measure::<f32>(bench, &parts.join("/"), hidden, batch, "f32");
    measure::<f64>(bench, &parts.join("/"), hidden, batch, "f64");
    Some(())
}

fn digits<T: Element>() -> Vec<T> {
    let text = include_str!("../../examples/data/digits.txt");
    let pixels = text.lines().flat_map(|line| line[2..].chars());
    pixels.map(|pixel| T::from_f64(f64::from(pixel.to_digit(17).expect("0 to g")) / 16.0)).collect()
}

fn measure<T: Element>(bench: &Bench, workload: &str, hidden: usize, batch: usize, dtype: &str) {
    let data = digits::<T>();
    let rbm = Rbm { visible: PIXELS, hidden, units: VisibleUnits::Bernoulli };
    let op = ContrastiveDivergence { lr: 0.01, ..ContrastiveDivergence::new(rbm) };
    let initial: Vec<T> = normal::<T>(PIXELS * hidden).into_iter().map(|x| x * T::from_f64(0.01)).collect();
    let mut scratch = vec![T::zero(); op.scratch_len::<T>(batch, batch)];
    let [mut weights, mut visible_bias, mut hidden_bias, mut chain] =
        [PIXELS * hidden, PIXELS, hidden, batch * hidden].map(|len| vec![T::zero(); len]);
    // The positive, the negative visible and the negative hidden phase, and two outer products.
    let flops = 5 * 2 * data.len() * hidden;
    bench.measure(workload, "epoch", dtype, Work { bytes: 0, flops }, || {
        // `fit` starts anew.
        weights.copy_from_slice(&initial);
        for tensor in [&mut visible_bias, &mut hidden_bias, &mut chain] {
            tensor.fill(T::zero());
        }
        for (step, v) in black_box(&data).chunks(batch * PIXELS).enumerate() {
            let parameters = RbmTensors {
                weights: &mut weights,
                visible_bias: &mut visible_bias,
                hidden_bias: &mut hidden_bias,
            };
            let state = RbmState { chain: Some(&mut chain), ..RbmState::default() };
            let stream = Philox { key: 0, counter: step as u64 };
            op.step(v.len() / PIXELS, v, stream, parameters, state, &mut scratch).unwrap();
        }
        black_box(&weights);
    });
}
