//! Autoencoders against the textbook, at every level, and the textbook against finite differences.

use steadygrad::pretrain::{
    Autoencoder, AutoencoderTensors, AutoencoderWeights, Corruption, Reconstruction, VisibleUnits,
};
use steadygrad::reference::{self, autoencoder as textbook, philox};
use steadygrad::{Activation, Element, Philox};

use super::machine::data;
use crate::common::{
    Tolerance, argument, assert_close, assert_equal_everywhere, assert_same_bits, each_level, numbers,
};

const STREAM: Philox = Philox { key: 9, counter: 4 };

/// A net with its parameters, or gradients in their place.
#[derive(Clone, Debug)]
struct Net<T> {
    op: Autoencoder,
    weights: Vec<T>,
    decoder: Option<Vec<T>>,
    hidden_bias: Vec<T>,
    output_bias: Vec<T>,
}

impl<T: Element> Net<T> {
    fn new(op: Autoencoder, is_tied: bool) -> Self {
        let (inputs, hidden) = (op.inputs, op.hidden);
        Self {
            op,
            weights: numbers(1, inputs * hidden, 0.3),
            decoder: (!is_tied).then(|| numbers(2, inputs * hidden, 0.3)),
            hidden_bias: numbers(3, hidden, 0.3),
            output_bias: numbers(4, inputs, 0.3),
        }
    }

    fn filled(&self, value: T) -> Self {
        let like = |x: &Vec<T>| vec![value; x.len()];
        Self {
            op: self.op,
            weights: like(&self.weights),
            decoder: self.decoder.as_ref().map(like),
            hidden_bias: like(&self.hidden_bias),
            output_bias: like(&self.output_bias),
        }
    }

    fn widened(&self) -> Net<f64> {
        let wide = |x: &Vec<T>| x.iter().map(|&x| x.to_f64()).collect::<Vec<_>>();
        Net {
            op: self.op,
            weights: wide(&self.weights),
            decoder: self.decoder.as_ref().map(wide),
            hidden_bias: wide(&self.hidden_bias),
            output_bias: wide(&self.output_bias),
        }
    }

    fn weights(&self) -> AutoencoderWeights<'_, T> {
        let Self { weights, decoder, hidden_bias, output_bias, .. } = self;
        AutoencoderWeights { weights, decoder: decoder.as_deref(), hidden_bias, output_bias }
    }

    fn tensors(&mut self) -> AutoencoderTensors<'_, T> {
        let Self { weights, decoder, hidden_bias, output_bias, .. } = self;
        AutoencoderTensors { weights, decoder: decoder.as_deref_mut(), hidden_bias, output_bias }
    }

    fn all(&self) -> Vec<T> {
        let decoder = self.decoder.as_deref().unwrap_or_default();
        [&self.weights[..], decoder, &self.hidden_bias, &self.output_bias].concat()
    }

    /// The element `i` of [`all`](Self::all).
    fn at(&mut self, mut i: usize) -> &mut T {
        let Self { weights, decoder, hidden_bias, output_bias, .. } = self;
        for part in [weights, decoder.get_or_insert_default(), hidden_bias, output_bias] {
            if i < part.len() {
                return &mut part[i];
            }
            i -= part.len();
        }
        panic!("no such parameter")
    }
}

impl Net<f64> {
    fn parameters(&self) -> textbook::Parameters<'_, f64> {
        let Self { weights, decoder, hidden_bias, output_bias, .. } = self;
        textbook::Parameters { weights, decoder: decoder.as_deref(), hidden_bias, output_bias }
    }

    /// l(y, x) and its derivative by y.
    fn error(&self) -> (impl Fn(f64, f64) -> f64, impl Fn(f64, f64) -> f64) {
        let reconstruction = self.op.reconstruction;
        let softplus = |z: f64| z.max(0.0) + (-z.abs()).exp().ln_1p();
        let sigmoid = |z: f64| 1.0 / (1.0 + (-z).exp());
        let loss = move |y: f64, x: f64| match reconstruction {
            Reconstruction::CrossEntropy => softplus(y) - x * y,
            Reconstruction::SquaredError { activation } => {
                (reference::activation::forward(activation, y) - x).powi(2)
            }
        };
        let slope = move |y: f64, x: f64| match reconstruction {
            Reconstruction::CrossEntropy => sigmoid(y) - x,
            Reconstruction::SquaredError { activation } => {
                let off = reference::activation::forward(activation, y) - x;
                reference::activation::backward(activation, y, 2.0 * off)
            }
        };
        (loss, slope)
    }

    fn exact_loss(&self, x: &[f64], corrupted: &[f64]) -> f64 {
        let (inputs, f) = (self.op.inputs, self.op.activation);
        let rows = x.chunks(inputs).zip(corrupted.chunks(inputs));
        let curve = |z| reference::activation::forward(f, z);
        let sum: f64 = rows
            .map(|pair| textbook::loss(self.parameters(), pair, curve, self.error().0, self.op.contraction))
            .sum();
        sum / (x.len() / inputs) as f64
    }

    fn exact_gradient(&self, x: &[f64], corrupted: &[f64]) -> Self {
        let (inputs, f) = (self.op.inputs, self.op.activation);
        let curve =
            (|z| reference::activation::forward(f, z), |z, dh| reference::activation::backward(f, z, dh));
        let mut sum = self.filled(0.0);
        for pair in x.chunks(inputs).zip(corrupted.chunks(inputs)) {
            let Net { weights, decoder, hidden_bias, output_bias, .. } = &mut sum;
            let gradients =
                textbook::Gradients { weights, decoder: decoder.as_deref_mut(), hidden_bias, output_bias };
            let parameters = self.parameters();
            textbook::backward(parameters, pair, curve, self.error().1, self.op.contraction, gradients);
        }
        let rows = (x.len() / inputs) as f64;
        (0..sum.all().len()).for_each(|i| *sum.at(i) /= rows);
        if self.decoder.is_none() {
            sum.decoder = None;
        }
        sum
    }
}

fn ops(inputs: usize, hidden: usize) -> Vec<(Autoencoder, bool)> {
    let plain = Autoencoder::new(inputs, hidden);
    let squared = |activation| Reconstruction::SquaredError { activation };
    vec![
        (plain, true),
        (Autoencoder { corruption: Corruption::Masking { p: 0.3 }, ..plain }, false),
        (Autoencoder { contraction: 0.2, reconstruction: squared(Activation::Sigmoid), ..plain }, true),
        (Autoencoder { contraction: 0.2, corruption: Corruption::Gaussian { std: 0.5 }, ..plain }, false),
        (
            Autoencoder {
                activation: Activation::Tanh,
                reconstruction: squared(Activation::Identity),
                corruption: Corruption::Gaussian { std: 0.1 },
                ..plain
            },
            true,
        ),
        (
            Autoencoder {
                activation: Activation::Elu { alpha: 1.0 },
                reconstruction: squared(Activation::Tanh),
                ..plain
            },
            false,
        ),
    ]
}

fn wide<T: Element>(x: &[T]) -> Vec<f64> {
    x.iter().map(|&x| x.to_f64()).collect()
}

fn corrupted(corruption: Corruption, x: &[f64]) -> Vec<f64> {
    let Philox { key, counter } = STREAM;
    let elements = x.iter().enumerate();
    elements
        .map(|(i, &x)| match corruption {
            Corruption::None => x,
            Corruption::Masking { p } => {
                if philox::happens(key, counter, i as u64, p) {
                    0.0
                } else {
                    x
                }
            }
            Corruption::Gaussian { std } => x + std * philox::normal(key, counter, i as u64),
        })
        .collect()
}

fn matches<T: Element>() {
    let around = (1..=35).map(|n| [n, 36 - n, 1 + n % 5]);
    for [inputs, hidden, batch] in around.chain([[64, 100, 10], [129, 127, 2]]) {
        for (op, is_tied) in ops(inputs, hidden) {
            let net = Net::<T>::new(op, is_tied);
            let (exact, x) = (net.widened(), data::<T>(VisibleUnits::Bernoulli, 5, batch * inputs));
            let noisy = corrupted(op.corruption, &wide(&x));
            let expected = exact.exact_gradient(&wide(&x), &noisy).all();
            let expected_loss = exact.exact_loss(&wide(&x), &noisy);
            let terms = 8.0 * (8 + inputs + hidden) as f64;
            let tolerance = Tolerance { ulp: 16.0, epsilons: terms };
            each_level(|level| {
                let context = || format!("{op:?}, tied {is_tied}, {batch} rows at {level}");
                let mut scratch = vec![T::nan(); op.scratch_len::<T>(batch)];
                // What a gradient holds is added to.
                let mut gradient = net.filled(T::one());
                let pair = (net.weights(), gradient.tensors());
                let loss = op.forward_backward(batch, &x, STREAM, pair, &mut scratch).unwrap();
                let alone = op.loss(batch, &x, STREAM, net.weights(), &mut scratch).unwrap();
                assert_eq!(loss.to_bits(), alone.to_bits(), "{}", context());
                let bound = T::epsilon().to_f64() * terms * (1.0 + inputs as f64);
                assert!((loss - expected_loss).abs() <= bound, "{loss} for {expected_loss}: {}", context());
                for (actual, expected) in gradient.all().into_iter().zip(&expected) {
                    assert_close(actual, expected + 1.0, tolerance, context);
                }

                let mut noise = vec![T::nan(); x.len()];
                op.corrupt(STREAM, &x, &mut noise).unwrap();
                for (&actual, &expected) in noise.iter().zip(&noisy) {
                    assert_close(actual, expected, Tolerance { ulp: 8.0, epsilons: 64.0 }, context);
                }
                let (mut h, mut r) = (vec![T::nan(); batch * hidden], vec![T::nan(); batch * inputs]);
                op.encode(batch, &x, net.weights(), &mut scratch, &mut h).unwrap();
                op.decode(batch, &h, net.weights(), &mut scratch, &mut r).unwrap();
                let parameters = exact.parameters();
                for (i, &actual) in h.iter().enumerate() {
                    let row = wide(&x[i / hidden * inputs..][..inputs]);
                    let z = parameters.hidden_input(&row, i % hidden);
                    assert_close(
                        actual,
                        reference::activation::forward(op.activation, z),
                        tolerance,
                        context,
                    );
                }
                for (i, &actual) in r.iter().enumerate() {
                    let y = parameters.output(&wide(&h[i / inputs * hidden..][..hidden]), i % inputs);
                    let curve = match op.reconstruction {
                        Reconstruction::CrossEntropy => Activation::Sigmoid,
                        Reconstruction::SquaredError { activation } => activation,
                    };
                    assert_close(actual, reference::activation::forward(curve, y), tolerance, context);
                }
            });
        }
    }
}

#[test]
fn autoencoder_matches_reference() {
    matches::<f32>();
    matches::<f64>();
}

#[test]
fn autoencoder_reference_matches_finite_differences() {
    let [inputs, hidden, batch] = [5, 4, 3];
    for (op, is_tied) in ops(inputs, hidden) {
        let net = Net::<f64>::new(op, is_tied);
        let x = data::<f64>(VisibleUnits::Bernoulli, 5, batch * inputs);
        let noisy = corrupted(op.corruption, &x);
        let gradient = net.exact_gradient(&x, &noisy).all();
        for (i, gradient) in gradient.into_iter().enumerate() {
            let moved = |by: f64| {
                let mut net = net.clone();
                *net.at(i) += by;
                if is_tied {
                    net.decoder = None;
                }
                net.exact_loss(&x, &noisy)
            };
            let numeric = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            assert!((gradient - numeric).abs() < 1e-8, "{gradient} for {numeric} at {i}: {op:?}");
        }
    }
}

#[test]
fn autoencoder_ignores_threads_and_level() {
    assert_equal_everywhere(|| {
        let ops = ops(120, 90).into_iter();
        ops.map(|(op, is_tied)| {
            let (net, x) = (Net::<f32>::new(op, is_tied), data(VisibleUnits::Bernoulli, 5, 300 * 120));
            let mut gradient = net.filled(0.0);
            let mut scratch = vec![f32::NAN; op.scratch_len::<f32>(300)];
            let pair = (net.weights(), gradient.tensors());
            let loss = op.forward_backward(300, &x, STREAM, pair, &mut scratch).unwrap();
            let mut all = gradient.all();
            all.extend([loss as f32, (loss - f64::from(loss as f32)) as f32]);
            all
        })
        .collect()
    });
}

#[test]
fn autoencoder_corruption_of_all_or_nothing() {
    let x: Vec<f32> = data(VisibleUnits::Bernoulli, 5, 200_000);
    let mut out = vec![f32::NAN; x.len()];
    let net = Autoencoder::new(1, 1);
    for (corruption, expected) in [
        (Corruption::None, x.clone()),
        (Corruption::Masking { p: 0.0 }, x.clone()),
        (Corruption::Masking { p: 1.0 }, vec![0.0; x.len()]),
        (Corruption::Gaussian { std: 0.0 }, x.clone()),
    ] {
        Autoencoder { corruption, ..net }.corrupt(STREAM, &x, &mut out).unwrap();
        assert_same_bits(&out, &expected, || format!("{corruption:?}"));
    }
    Autoencoder { corruption: Corruption::Masking { p: 0.25 }, ..net }
        .corrupt(STREAM, &vec![1.0_f32; x.len()], &mut out)
        .unwrap();
    let kept = out.iter().sum::<f32>() / x.len() as f32;
    // Five standard errors of a share of 0.75 among 200,000.
    assert!((kept - 0.75).abs() < 5.0 * (0.75_f32 * 0.25 / 2e5).sqrt(), "{kept}");
}

#[test]
fn autoencoder_names_the_bad_argument() {
    let op = Autoencoder::new(4, 3);
    let (net, x) = (Net::<f64>::new(op, false), [0.5; 8]);
    let mut scratch = vec![0.0; op.scratch_len::<f64>(2)];
    let refused = |op: Autoencoder| {
        let mut gradient = net.filled(7.0);
        let mut scratch = vec![0.0; op.scratch_len::<f64>(2)];
        let pair = (net.weights(), gradient.tensors());
        let error = op.forward_backward(2, &x, STREAM, pair, &mut scratch).unwrap_err();
        assert!(gradient.all().iter().all(|&x| x == 7.0));
        argument(error)
    };
    assert_eq!(refused(Autoencoder { inputs: 0, ..op }), "inputs");
    assert_eq!(refused(Autoencoder { hidden: 0, ..op }), "hidden");
    for p in [-0.1, 1.1, f64::NAN] {
        assert_eq!(refused(Autoencoder { corruption: Corruption::Masking { p }, ..op }), "p");
    }
    for std in [-0.1, f64::INFINITY, f64::NAN] {
        assert_eq!(refused(Autoencoder { corruption: Corruption::Gaussian { std }, ..op }), "std");
        assert_eq!(refused(Autoencoder { contraction: std, ..op }), "contraction");
    }
    let tanh = Autoencoder { activation: Activation::Tanh, contraction: 0.1, ..op };
    assert_eq!(refused(tanh), "contraction");
    let activation = Activation::Elu { alpha: f64::NAN };
    assert_eq!(refused(Autoencoder { activation, ..op }), "alpha");
    let reconstruction = Reconstruction::SquaredError { activation };
    assert_eq!(refused(Autoencoder { reconstruction, ..op }), "alpha");

    let mut names = Vec::new();
    let good = net.weights();
    let mut refuse = |weights, x: &[f64]| {
        names.push(argument(op.loss(2, x, STREAM, weights, &mut scratch).unwrap_err()));
    };
    refuse(good, &x[1..]);
    refuse(AutoencoderWeights { weights: &x, ..good }, &x);
    refuse(AutoencoderWeights { decoder: Some(&x), ..good }, &x);
    refuse(AutoencoderWeights { hidden_bias: &x, ..good }, &x);
    refuse(AutoencoderWeights { output_bias: &x, ..good }, &x);
    let expected = ["x", "weights.weights", "weights.decoder", "weights.hidden_bias", "weights.output_bias"];
    assert_eq!(names, expected);
    assert_eq!(argument(op.loss(2, &x, STREAM, good, &mut []).unwrap_err()), "scratch");
    let mut gradient = net.filled(7.0);
    let tied = AutoencoderTensors { decoder: None, ..gradient.tensors() };
    let error = op.forward_backward(2, &x, STREAM, (good, tied), &mut scratch).unwrap_err();
    assert_eq!(argument(error), "gradient.decoder");
    let short = AutoencoderTensors { output_bias: &mut [], ..gradient.tensors() };
    let error = op.forward_backward(2, &x, STREAM, (good, short), &mut scratch).unwrap_err();
    assert_eq!(argument(error), "gradient.output_bias");
    assert!(gradient.all().iter().all(|&x| x == 7.0));
    let mut out = [f64::NAN; 5];
    let error = op.encode(2, &x, good, &mut scratch, &mut out).unwrap_err();
    assert_eq!(argument(error), "h");
    let error = op.decode(2, &x[..6], good, &mut scratch, &mut out).unwrap_err();
    assert_eq!(argument(error), "r");
    assert_eq!(argument(op.corrupt(STREAM, &x, &mut out).unwrap_err()), "corrupted");
    assert!(out.iter().all(|x| x.is_nan()));
    assert!(op.loss(0, &[], STREAM, good, &mut scratch).unwrap().is_nan());
}
