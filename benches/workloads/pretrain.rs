//! `rbm_pcd/digits<hidden>_b<batch>`: an epoch of scikit-learn's `BernoulliRBM` over the 1,797 digits.
//! `autoencoder/digits<hidden>_b<batch>`: a training step of a denoising autoencoder of tied weights, with Adam.

use std::hint::black_box;

use steadygrad::optim::{Adam, Gradients, Optimizer};
use steadygrad::pretrain::{
    Autoencoder, AutoencoderTensors, AutoencoderWeights, ContrastiveDivergence, Corruption, Rbm, RbmState,
    RbmTensors, VisibleUnits,
};
use steadygrad::{Element, Philox};

use crate::timing::{Bench, Work, normal};

/// Pixels of a digit.
const PIXELS: usize = 64;

pub(crate) fn names() -> Vec<String> {
    ["digits256_b10", "digits256_b100"].map(|name| format!("rbm_pcd/{name}")).to_vec()
}

/// Hidden units and rows of a batch.
fn parse(parts: &[&str]) -> Option<(usize, usize)> {
    let [_, shape] = *parts else { return None };
    let (hidden, batch) = shape.strip_prefix("digits")?.split_once("_b")?;
    Some((hidden.parse().ok()?, batch.parse().ok()?))
}

pub(crate) fn run(bench: &Bench, parts: &[&str]) -> Option<()> {
    let (hidden, batch) = parse(parts)?;
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
        steadygrad::keep_awake(|| {
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
        });
        black_box(&weights);
    });
}

pub(crate) fn autoencoder_names() -> Vec<String> {
    ["digits256_b10", "digits256_b100"].map(|name| format!("autoencoder/{name}")).to_vec()
}

pub(crate) fn run_autoencoder(bench: &Bench, parts: &[&str]) -> Option<()> {
    let (hidden, batch) = parse(parts)?;
    measure_autoencoder::<f32>(bench, &parts.join("/"), hidden, batch, "f32");
    measure_autoencoder::<f64>(bench, &parts.join("/"), hidden, batch, "f64");
    Some(())
}

fn measure_autoencoder<T: Element>(bench: &Bench, workload: &str, hidden: usize, batch: usize, dtype: &str) {
    let data = digits::<T>();
    let net = Autoencoder { corruption: Corruption::Masking { p: 0.3 }, ..Autoencoder::new(PIXELS, hidden) };
    let lens = [PIXELS * hidden, hidden, PIXELS];
    let [mut w, mut b, mut c] = lens.map(|len| vec![T::zero(); len]);
    w.copy_from_slice(&normal::<T>(PIXELS * hidden));
    w.iter_mut().for_each(|w| *w = *w * T::from_f64(0.05));
    let [mut dw, mut db, mut dc] = lens.map(|len| vec![T::zero(); len]);
    let [mut first, mut second] = [(); 2].map(|()| lens.map(|len| vec![T::zero(); len]));
    let (mut scratch, mut step) = (vec![T::zero(); net.scratch_len::<T>(batch)], 0);
    // Two products forward, two of inputs and two of weights backward, less the gradient of the input.
    let flops = 5 * 2 * batch * PIXELS * hidden;
    let starts = data.len() / PIXELS - batch;
    bench.measure(workload, "step", dtype, Work { bytes: 0, flops }, || {
        step += 1;
        let rows = &data[step as usize * batch % starts * PIXELS..][..batch * PIXELS];
        for gradient in [&mut dw, &mut db, &mut dc] {
            gradient.fill(T::zero());
        }
        let weights = AutoencoderWeights { weights: &w, decoder: None, hidden_bias: &b, output_bias: &c };
        let gradient = AutoencoderTensors {
            weights: &mut dw,
            decoder: None,
            hidden_bias: &mut db,
            output_bias: &mut dc,
        };
        let stream = Philox { key: 0, counter: step };
        let loss = net.forward_backward(batch, rows, stream, (weights, gradient), &mut scratch).unwrap();
        let [mut first, mut second] =
            [&mut first, &mut second].map(|state| state.each_mut().map(|tensor| &mut tensor[..]));
        let gradients: [&[T]; 3] = [&dw, &db, &dc];
        let state: &mut [&mut [&mut [T]]] = &mut [&mut first, &mut second];
        Adam::default().step(step, &mut [&mut w, &mut b, &mut c], Gradients::new(&gradients), state).unwrap();
        black_box(loss);
    });
}
