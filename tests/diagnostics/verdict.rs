//! Verdicts on networks that were built to be healthy, vanishing, exploding, saturated and dead.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use steadygrad::diagnostics::{GradientFlow, LayerFlow, Signal, Thresholds, Verdict};
use steadygrad::init::{self, Distribution, Fan, Lsuv};
use steadygrad::linear::{Dense, DenseGradients, DenseWeights};
use steadygrad::{Activation, Epilogue, Error, Init, RowShape};

use crate::common::numbers;

const DEPTH: usize = 20;
const WIDTH: usize = 64;
const BATCH: usize = 48;
/// Seeds that every kind of network is built with.
const SEEDS: u64 = 25;

/// A network of dense layers with an activation after all but the last.
struct Network {
    activation: Activation,
    weights: Vec<Vec<f32>>,
    bias: f32,
    /// A layer that is given the other bias, and that.
    odd: Option<(usize, f32)>,
}

const LAYER: Dense = Dense { inputs: WIDTH, outputs: WIDTH };
const SHAPE: RowShape = RowShape { rows: WIDTH, cols: WIDTH };

impl Network {
    fn new(seed: u64, activation: Activation, init: Init) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut weights = vec![vec![0.0; WIDTH * WIDTH]; DEPTH];
        weights.iter_mut().for_each(|weights| init.fill(SHAPE, &mut rng, weights).unwrap());
        Self { activation, weights, bias: 0.0, odd: None }
    }

    /// Everything a step measures, from one batch.
    fn flow(&self, seed: u64) -> GradientFlow {
        let mut flow = GradientFlow::new(DEPTH);
        let (mut inputs, mut sums) = (vec![numbers::<f32>(seed, BATCH * WIDTH, 0.85)], Vec::new());
        let len = LAYER.forward_scratch_len::<f32>(BATCH).max(LAYER.backward_scratch_len::<f32>(BATCH));
        let (mut scratch, shape) = (vec![0.0; len], RowShape { rows: BATCH, cols: WIDTH });
        for (layer, weights) in self.weights.iter().enumerate() {
            let bias = self.odd.filter(|&(odd, _)| odd == layer).map_or(self.bias, |(_, bias)| bias);
            let bias = [bias; WIDTH];
            let parameters = DenseWeights { weights, bias: Some(&bias) };
            let mut z = vec![0.0; BATCH * WIDTH];
            LAYER
                .forward(BATCH, &inputs[layer], parameters, Epilogue::default(), &mut scratch, &mut z)
                .unwrap();
            let mut y = z.clone();
            if layer + 1 < DEPTH {
                self.activation.forward_in_place(&mut y).unwrap();
                flow.layers[layer].observe_activations(shape, self.activation, &y).unwrap();
            }
            sums.push(z);
            inputs.push(y);
        }
        let mut dz: Vec<f32> = numbers(seed + 1000, BATCH * WIDTH, 1e-2);
        for layer in (0..DEPTH).rev() {
            let (mut dx, mut dw, mut db) = (vec![0.0; BATCH * WIDTH], vec![0.0; WIDTH * WIDTH], [0.0; WIDTH]);
            let gradients = DenseGradients {
                input: Some(&mut dx),
                weights: Some(&mut dw),
                bias: Some(&mut db),
                ..DenseGradients::default()
            };
            let (x, weights) = (&inputs[layer], &self.weights[layer]);
            LAYER
                .backward_observed(BATCH, x, &dz, weights, &mut scratch, gradients, &mut flow.layers[layer])
                .unwrap();
            flow.layers[layer].observe_weights(weights);
            if layer > 0 {
                self.activation.backward(&sums[layer - 1], &dx, &mut dz).unwrap();
            }
        }
        flow
    }
}

fn verdict(layers: &[LayerFlow]) -> Verdict {
    Thresholds::default().diagnose(layers).unwrap().verdict
}

fn normal(std: f64) -> Init {
    Init::Normal { mean: 0.0, std }
}

fn kaiming(gain: f64) -> Init {
    Init::Kaiming { gain, fan: Fan::In, distribution: Distribution::Normal }
}

/// The size of a layer's gradient over the last layer's.
fn left(flow: &GradientFlow, layer: usize) -> f64 {
    flow.layers[layer].gradient.unwrap().norm / flow.layers[DEPTH - 1].gradient.unwrap().norm
}

#[test]
fn verdict_of_healthy_networks() {
    let xavier = Init::Xavier { gain: 1.0, distribution: Distribution::Normal };
    let he = kaiming(init::gain(Activation::Relu).unwrap());
    for seed in 0..SEEDS {
        for (activation, init) in [
            (Activation::Relu, he),
            (Activation::Tanh, xavier),
            (Activation::Tanh, Init::Orthogonal { gain: 1.0 }),
            (Activation::LeakyRelu { slope: 0.01 }, he),
            (Activation::Selu, kaiming(1.0)),
            (Activation::Elu { alpha: 1.0 }, kaiming(1.2)),
            (Activation::Identity, Init::Orthogonal { gain: 1.0 }),
        ] {
            let flow = Network::new(seed, activation, init).flow(seed);
            let verdict = verdict(&flow.layers);
            assert_eq!(verdict, Verdict::Healthy, "{activation:?}, seed {seed}");
            assert_eq!(verdict.remedies(), &[]);
        }
    }
}

/// Weights that LSUV has scaled are healthy where nothing else is known of the activation.
#[test]
fn verdict_of_networks_scaled_on_their_data() {
    for seed in 0..SEEDS {
        for activation in [Activation::Gelu, Activation::Silu, Activation::Mish, Activation::Relu] {
            let mut network = Network::new(seed, activation, normal(5.0));
            let mut weights: Vec<&mut [f32]> = network.weights.iter_mut().map(Vec::as_mut_slice).collect();
            let x: Vec<f32> = numbers(seed + 7, 256 * WIDTH, 0.85);
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            Lsuv::default().fill_stack(&[LAYER; DEPTH], activation, &x, &mut rng, &mut weights).unwrap();
            let flow = network.flow(seed);
            assert_eq!(verdict(&flow.layers), Verdict::Healthy, "{activation:?}, seed {seed}");
        }
    }
}

#[test]
fn verdict_of_vanishing_networks() {
    for seed in 0..SEEDS {
        for (activation, init) in [
            (Activation::Sigmoid, normal(0.1)),
            (Activation::Sigmoid, Init::Xavier { gain: 1.0, distribution: Distribution::Uniform }),
            (Activation::Relu, normal(0.06)),
            (Activation::Tanh, normal(0.03)),
            (Activation::Identity, normal(0.06)),
        ] {
            let flow = Network::new(seed, activation, init).flow(seed);
            let Verdict::Vanishing { from_layer, signal: Signal::Gradients, factor } = verdict(&flow.layers)
            else {
                panic!("{:?}, {activation:?}, seed {seed}", verdict(&flow.layers));
            };
            assert!(left(&flow, from_layer) <= 1e-3 && left(&flow, from_layer + 1) > 1e-3);
            assert_eq!(factor, left(&flow, 0));
        }
    }
}

/// Layers of which only the activations are known.
#[test]
fn verdict_of_activations_alone() {
    for seed in 0..SEEDS {
        for (std, grows) in [(0.03, false), (0.6, true)] {
            let mut flow = Network::new(seed, Activation::Relu, normal(std)).flow(seed);
            flow.layers.iter_mut().for_each(|layer| layer.gradient = None);
            let rms = |layer: usize| flow.layers[layer].activations.unwrap().values.rms();
            match verdict(&flow.layers) {
                Verdict::Exploding { from_layer, signal: Signal::Activations, factor } if grows => {
                    assert!(rms(from_layer) >= 1e3 * rms(0) && rms(from_layer - 1) < 1e3 * rms(0));
                    assert!(factor >= 1e3);
                }
                Verdict::Vanishing { from_layer, signal: Signal::Activations, factor } if !grows => {
                    assert!(rms(from_layer) <= 1e-3 * rms(0) && rms(from_layer - 1) > 1e-3 * rms(0));
                    assert!(factor <= 1e-3);
                }
                other => panic!("{other:?}, deviation {std}, seed {seed}"),
            }
        }
    }
}

#[test]
fn verdict_of_exploding_networks() {
    for seed in 0..SEEDS {
        for (activation, init) in [
            (Activation::Relu, normal(0.6)),
            (Activation::LeakyRelu { slope: 0.1 }, normal(0.6)),
            (Activation::Elu { alpha: 1.0 }, normal(0.6)),
            (Activation::Identity, normal(0.4)),
        ] {
            let flow = Network::new(seed, activation, init).flow(seed);
            let Verdict::Exploding { from_layer, signal: Signal::Gradients, factor } = verdict(&flow.layers)
            else {
                panic!("{:?}, {activation:?}, seed {seed}", verdict(&flow.layers));
            };
            assert!(left(&flow, from_layer) >= 1e3 && left(&flow, from_layer + 1) < 1e3);
            assert!(factor >= left(&flow, 0) && factor.is_finite());
        }
    }
}

/// Past the largest number: the first layer that is not finite, whatever came before the limit.
#[test]
fn verdict_of_networks_that_are_not_finite() {
    for seed in 0..SEEDS {
        let flow = Network::new(seed, Activation::Relu, normal(1e4)).flow(seed);
        let Verdict::Exploding { from_layer, signal: Signal::Activations, factor } = verdict(&flow.layers)
        else {
            panic!("{:?}, seed {seed}", verdict(&flow.layers));
        };
        let finite = |layer: usize| flow.layers[layer].activations.unwrap().values.non_finite == 0;
        assert!((0..from_layer).all(finite) && !finite(from_layer) && !factor.is_finite());

        // Only the gradients are not: the first on their way, which is from the last layer back.
        let mut healthy = Network::new(seed, Activation::Tanh, Init::Orthogonal { gain: 1.0 }).flow(seed);
        let sick = (seed as usize * 7) % (DEPTH - 1);
        for layer in 0..=sick {
            healthy.layers[layer].observe_gradient(&[f32::NAN, 1.0]);
        }
        let expected = sick;
        assert!(matches!(
            verdict(&healthy.layers),
            Verdict::Exploding { from_layer, signal: Signal::Gradients, .. } if from_layer == expected
        ));
        // Only a step was not.
        let mut healthy = Network::new(seed, Activation::Tanh, Init::Orthogonal { gain: 1.0 }).flow(seed);
        healthy.layers[sick].observe_step(&[1.0_f32], &[f32::INFINITY]).unwrap();
        assert!(matches!(
            verdict(&healthy.layers),
            Verdict::Exploding { from_layer, signal: Signal::Weights, .. } if from_layer == expected
        ));
    }
}

#[test]
fn verdict_of_saturated_networks() {
    for seed in 0..SEEDS {
        for (activation, std) in [
            (Activation::Tanh, 1.5),
            (Activation::Sigmoid, 3.0),
            (Activation::HardTanh { min: -1.0, max: 1.0 }, 1.5),
            (Activation::Softsign, 3.0),
        ] {
            let flow = Network::new(seed, activation, normal(std)).flow(seed);
            let Verdict::Saturated { from_layer, share } = verdict(&flow.layers) else {
                panic!("{:?}, {activation:?}, seed {seed}", verdict(&flow.layers));
            };
            assert_eq!(share, flow.layers[from_layer].activations.unwrap().flat_share());
            assert!(share >= 0.5);
            let flat = |layer: usize| flow.layers[layer].activations.unwrap().flat_share();
            assert!((0..from_layer).all(|layer| flat(layer) < 0.5));
        }
        // One layer whose biases push it to its end, in a network that is healthy otherwise.
        let mut network = Network::new(seed, Activation::Tanh, Init::Orthogonal { gain: 1.0 });
        let layer = seed as usize % (DEPTH - 1);
        network.odd = Some((layer, 6.0));
        let flow = network.flow(seed);
        assert!(
            matches!(verdict(&flow.layers), Verdict::Saturated { from_layer, .. } if from_layer == layer)
        );
    }
}

#[test]
fn verdict_of_dead_networks() {
    let he = kaiming(init::gain(Activation::Relu).unwrap());
    for seed in 0..SEEDS {
        for activation in [Activation::Relu, Activation::Elu { alpha: 1.0 }, Activation::Selu] {
            let mut network = Network::new(seed, activation, he);
            let layer = seed as usize % (DEPTH - 1);
            network.odd = Some((layer, -100.0));
            let flow = network.flow(seed);
            let Verdict::Dead { from_layer, share } = verdict(&flow.layers) else {
                panic!("{:?}, {activation:?}, seed {seed}", verdict(&flow.layers));
            };
            assert_eq!(from_layer, layer);
            assert!(share >= 0.9);
        }
        // All layers, by a bias that a step too long has left.
        let network = Network { bias: -50.0, ..Network::new(seed, Activation::Relu, he) };
        assert!(matches!(verdict(&network.flow(seed).layers), Verdict::Dead { from_layer: 0, share: 1.0 }));
    }
}

/// A verdict moves with its threshold, to either side of what was measured.
#[test]
fn verdict_follows_the_thresholds() {
    let flow = Network::new(1, Activation::Relu, normal(0.12)).flow(1);
    let (factor, mut gradients) = (left(&flow, 0), flow.clone());
    assert!(factor < 0.5);
    gradients.layers.iter_mut().for_each(|layer| layer.activations = None);
    let judge = |vanishing| {
        Thresholds { vanishing, ..Thresholds::default() }.diagnose(&gradients.layers).unwrap().verdict.name()
    };
    assert_eq!((judge(factor * 0.99), judge(factor * 1.01)), ("healthy", "vanishing"));
    let shares = flow.layers.iter().filter_map(|layer| Some(layer.activations?.dead_share()));
    let most = shares.fold(0.0, f64::max);
    let judge =
        |dead| Thresholds { dead, ..Thresholds::default() }.diagnose(&flow.layers).unwrap().verdict.name();
    assert_eq!(judge(most), "dead");
}

#[test]
fn verdict_of_nothing_is_healthy() {
    assert_eq!(verdict(&[]), Verdict::Healthy);
    assert_eq!(verdict(&[LayerFlow::default(); 3]), Verdict::Healthy);
    // No gradient at the last layer: there is nothing to hold the others against.
    let mut flow = GradientFlow::new(2);
    flow.layers[0].observe_gradient(&[1.0_f32]);
    flow.layers[1].observe_gradient(&[0.0_f32]);
    assert_eq!(verdict(&flow.layers), Verdict::Healthy);
    flow.clear();
    assert_eq!(flow, GradientFlow::new(2));
    // A dip that recovers went around.
    let mut flow = GradientFlow::new(3);
    for (layer, norm) in flow.layers.iter_mut().zip([1.0_f32, 1e-6, 1.0]) {
        layer.observe_gradient(&[norm]);
    }
    assert_eq!(verdict(&flow.layers), Verdict::Healthy);
}

#[test]
fn verdict_is_displayed_as_a_table() {
    let flow = Network::new(3, Activation::Sigmoid, normal(0.1)).flow(3);
    let text = Thresholds::default().diagnose(&flow.layers).unwrap().to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("layer") && lines[0].contains("gradient") && lines[0].contains("dead"));
    for layer in 0..DEPTH {
        assert_eq!(lines[1 + layer].split_whitespace().next(), Some(layer.to_string().as_str()));
        assert!(lines[1 + layer].contains(&format!("{:.1e}", flow.layers[layer].gradient.unwrap().norm)));
    }
    assert!(lines[DEPTH].contains('–'), "the last layer has no activation");
    assert!(lines[DEPTH + 2].starts_with("vanishing: "), "{text}");
    assert!(text.contains("steadygrad::init") && text.contains("steadygrad::residual"));
    // Every path of a remedy is one of the crate's.
    let saturated = Verdict::Saturated { from_layer: 0, share: 1.0 };
    let dead = Verdict::Dead { from_layer: 3, share: 0.95 };
    assert_eq!(dead.to_string(), "dead: 95 % of the units of layer 3 are off");
    for remedy in saturated.remedies().iter().chain(dead.remedies()) {
        let module = remedy.path.split("::").nth(1).unwrap();
        let root = include_str!("../../src/lib.rs");
        assert!(root.contains(&format!("pub mod {module};")) || root.contains(&format!("::{module};")));
    }
}

#[test]
fn verdict_names_the_bad_threshold() {
    let name = |thresholds: Thresholds| match thresholds.diagnose(&[]) {
        Err(Error::OutOfRange { argument, .. }) => argument,
        other => panic!("{other:?}"),
    };
    let default = Thresholds::default();
    for bad in [0.0, 1.0, f64::NAN] {
        assert_eq!(name(Thresholds { vanishing: bad, ..default }), "vanishing");
    }
    for bad in [1.0, f64::INFINITY, f64::NAN] {
        assert_eq!(name(Thresholds { exploding: bad, ..default }), "exploding");
    }
    for bad in [0.0, 1.5, f64::NAN] {
        assert_eq!(name(Thresholds { saturated: bad, ..default }), "saturated");
        assert_eq!(name(Thresholds { dead: bad, ..default }), "dead");
    }
}
