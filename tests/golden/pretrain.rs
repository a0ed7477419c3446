//! Pre-training against scikit-learn's `BernoulliRBM`, and autoencoders against PyTorch's gradients.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use steadygrad::pretrain::{
    Autoencoder, AutoencoderTensors, AutoencoderWeights, ContrastiveDivergence, Rbm, RbmState, RbmTensors,
    RbmWeights, Reconstruction, VisibleUnits,
};
use steadygrad::{Activation, Element, Init, Philox, WeightShape};

use super::case::{Case, cases};
use crate::common::Tolerance;

pub(crate) fn check<T: Element>() {
    for case in cases("pretrain") {
        match case.op() {
            "autoencoder" => autoencoder::<T>(&case),
            "rbm_values" => values::<T>(&case),
            "rbm_learning" => learning::<T>(&case),
            op => panic!("nothing is called {op}"),
        }
    }
}

fn values<T: Element>(case: &Case) {
    let [batch, visible, hidden] = ["batch", "visible", "hidden"].map(|name| case.count(name));
    let rbm = Rbm { visible, hidden, units: VisibleUnits::Bernoulli };
    let [v, w, b, c] = ["v", "weights", "visible_bias", "hidden_bias"].map(|name| case.input::<T>(name));
    let weights = RbmWeights { weights: &w, visible_bias: &b, hidden_bias: &c };
    let mut scratch = vec![T::nan(); rbm.scratch_len::<T>(batch)];
    let (mut means, mut energies) = (vec![T::nan(); batch * hidden], vec![f64::NAN; batch]);
    rbm.hidden_means(batch, &v, weights, &mut scratch, &mut means).expect("valid");
    rbm.free_energy(batch, &v, weights, &mut scratch, &mut energies).expect("valid");
    // Sums of 64 terms of a few units each, whose factors are rounded to the type.
    let tolerance = Tolerance { ulp: 64.0, epsilons: 64.0 };
    case.compare_within("means", &means, &case.expected("means"), tolerance);
    let in_type: Vec<T> = energies.into_iter().map(T::from_f64).collect();
    case.compare_within("energies", &in_type, &case.expected("energies"), tolerance);
    for (row, expected) in v.chunks(visible).zip(case.expected("pseudo_likelihood")) {
        let value = rbm.pseudo_likelihood(1, row, weights, &mut scratch).expect("valid");
        let tolerance = Tolerance { ulp: 256.0, epsilons: 0.0 };
        case.compare_within("pseudo_likelihood", &[T::from_f64(value)], &[expected], tolerance);
    }
}

/// The digits as scikit-learn has them, pixels from 0 to 1.
fn digits<T: Element>() -> Vec<T> {
    let text = include_str!("../../examples/data/digits.txt");
    let pixels = text.lines().flat_map(|line| line[2..].chars());
    pixels.map(|pixel| T::from_f64(f64::from(pixel.to_digit(17).expect("0 to g")) / 16.0)).collect()
}

/// Persistent contrastive divergence over the digits in order, as scikit-learn's `fit`; the pseudo-likelihood of all.
fn learnt<T: Element>(case: &Case, seed: u64) -> f64 {
    let [hidden, batch, epochs] = ["hidden", "batch", "epochs"].map(|name| case.count(name));
    let rbm = Rbm { visible: 64, hidden, units: VisibleUnits::Bernoulli };
    let op = ContrastiveDivergence { lr: case.float("rate"), ..ContrastiveDivergence::new(rbm) };
    let data = digits::<T>();
    let mut weights = vec![T::zero(); 64 * hidden];
    let shape = WeightShape { outputs: hidden, inputs: 64, field: 1 };
    let init = Init::Normal { mean: 0.0, std: 0.01 };
    init.fill(shape, &mut ChaCha8Rng::seed_from_u64(seed), &mut weights).expect("valid");
    let (mut visible_bias, mut hidden_bias) = (vec![T::zero(); 64], vec![T::zero(); hidden]);
    let (mut chain, mut scratch) =
        (vec![T::zero(); batch * hidden], vec![T::zero(); op.scratch_len::<T>(batch, batch)]);
    let mut counter = 0;
    for _ in 0..epochs {
        for v in data.chunks(batch * 64) {
            let parameters = RbmTensors {
                weights: &mut weights,
                visible_bias: &mut visible_bias,
                hidden_bias: &mut hidden_bias,
            };
            let state = RbmState { chain: Some(&mut chain), ..RbmState::default() };
            let stream = Philox { key: seed, counter };
            op.step(v.len() / 64, v, stream, parameters, state, &mut scratch).expect("valid");
            counter += 1;
        }
    }
    let rows = data.len() / 64;
    let mut scratch = vec![T::zero(); rbm.scratch_len::<T>(rows)];
    let weights = RbmWeights { weights: &weights, visible_bias: &visible_bias, hidden_bias: &hidden_bias };
    rbm.pseudo_likelihood(rows, &data, weights, &mut scratch).expect("valid")
}

/// Ours is at most 5 % worse than scikit-learn's: means over three seeds each.
fn learning<T: Element>(case: &Case) {
    let theirs = case.expected("pseudo_likelihood");
    let theirs = theirs.iter().sum::<f64>() / theirs.len() as f64;
    let ours = (0..3).map(|seed| learnt::<T>(case, seed)).sum::<f64>() / 3.0;
    assert!(ours >= 1.05 * theirs, "{ours} beside {theirs}: {case:?}");
}

fn autoencoder<T: Element>(case: &Case) {
    let curve = |name: &str| match name {
        "sigmoid" => Activation::Sigmoid,
        "tanh" => Activation::Tanh,
        "relu" => Activation::Relu,
        "identity" => Activation::Identity,
        other => panic!("no activation is called {other}"),
    };
    let [batch, inputs, hidden] = ["batch", "inputs", "hidden"].map(|name| case.count(name));
    let reconstruction = match case.word("output") {
        "logits" => Reconstruction::CrossEntropy,
        output => Reconstruction::SquaredError { activation: curve(output) },
    };
    let net = Autoencoder {
        activation: curve(case.word("activation")),
        reconstruction,
        contraction: case.float("contraction"),
        ..Autoencoder::new(inputs, hidden)
    };
    let [x, w, b, c] = ["x", "weights", "hidden_bias", "output_bias"].map(|name| case.input::<T>(name));
    let d = case.optional_input::<T>("decoder");
    let weights = AutoencoderWeights { weights: &w, decoder: d.as_deref(), hidden_bias: &b, output_bias: &c };
    let [mut dw, mut db, mut dc] = [&w, &b, &c].map(|x| vec![T::zero(); x.len()]);
    let mut dd = d.as_ref().map(|d| vec![T::zero(); d.len()]);
    let gradient = AutoencoderTensors {
        weights: &mut dw,
        decoder: dd.as_deref_mut(),
        hidden_bias: &mut db,
        output_bias: &mut dc,
    };
    let mut scratch = vec![T::nan(); net.scratch_len::<T>(batch)];
    let pair = (weights, gradient);
    let loss = net.forward_backward(batch, &x, Philox::default(), pair, &mut scratch).expect("valid");
    // Sums of up to 9 products of at most about 2 in each of four layers.
    let tolerance = Tolerance { ulp: 64.0, epsilons: 64.0 };
    case.compare_within("loss", &[T::from_f64(loss)], &case.expected("loss"), tolerance);
    for (name, gradient) in [("dweights", dw), ("dhidden_bias", db), ("doutput_bias", dc)] {
        case.compare_within(name, &gradient, &case.expected(name), tolerance);
    }
    if let Some(dd) = dd {
        case.compare_within("ddecoder", &dd, &case.expected("ddecoder"), tolerance);
    }
}
