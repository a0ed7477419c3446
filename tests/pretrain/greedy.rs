//! The driver: what it hands back, when it stops, and what it refuses.

use std::ops::ControlFlow;

use steadygrad::linear::DenseWeights;
use steadygrad::optim::{Adam, Momentum, Sgd};
use steadygrad::pretrain::{
    Autoencoder, AutoencoderTensors, AutoencoderWeights, ContrastiveDivergence, Corruption, Decoder,
    EarlyStop, Greedy, LayerPlan, LayerRate, LayerWeights, Learner, Progress, Reconstruction, Sparsity,
    VisibleUnits,
};
use steadygrad::{Activation, Element, Epilogue, Error, Philox, Rbm};

use super::machine::data;
use crate::common::{assert_equal_everywhere, numbers};

/// Weights and bias of each layer.
type Stack<T> = Vec<(Vec<T>, Vec<T>)>;

fn stack<T: Element>(sizes: &[usize]) -> Stack<T> {
    let layer = |size: &[usize]| (numbers(1, size[0] * size[1], 0.1), vec![T::zero(); size[1]]);
    sizes.windows(2).map(layer).collect()
}

fn tensors<T>(stack: &mut Stack<T>) -> Vec<LayerWeights<'_, T>> {
    stack.iter_mut().map(|(weights, bias)| LayerWeights { weights, bias }).collect()
}

fn rbm<'a, T: Element>(visible: usize, hidden: usize, epochs: usize) -> LayerPlan<'a, T> {
    let rbm = Rbm { visible, hidden, units: VisibleUnits::Bernoulli };
    let learner = Learner::Rbm { learning: ContrastiveDivergence::new(rbm), particles: 0 };
    LayerPlan { learner, epochs, batch: 10, early_stop: None }
}

const SGD: Sgd =
    Sgd { lr: 0.1, momentum: Momentum::None, weight_decay: steadygrad::optim::WeightDecay::NONE };

fn autoencoder<'a, T: Element>(inputs: usize, hidden: usize, epochs: usize) -> LayerPlan<'a, T> {
    let net = Autoencoder::new(inputs, hidden);
    let learner = Learner::Autoencoder { net, decoder: Decoder::Tied, optimizer: &SGD };
    LayerPlan { learner, epochs, batch: 10, early_stop: None }
}

/// Rows of four groups of pixels, each group all on or all off.
fn rows<T: Element>(count: usize) -> Vec<T> {
    let mut words = vec![0; count * 4];
    Philox { key: 3, counter: 3 }.fill(0, &mut words);
    words.iter().flat_map(|&word| [T::from_f64(f64::from(word & 1)); 4]).collect()
}

fn run<T: Element>(
    greedy: Greedy<'_, T>,
    data: &[T],
    stack: &mut Stack<T>,
) -> (Result<usize, Error>, Vec<Progress>) {
    let mut seen = Vec::new();
    let result = greedy.train(data, &mut tensors(stack), &mut |progress| {
        seen.push(progress);
        ControlFlow::Continue(())
    });
    (result, seen)
}

fn learns<T: Element>() {
    let data = rows::<T>(203);
    let rbm_with_all = {
        let LayerPlan { learner, .. } = rbm::<T>(16, 8, 0);
        let Learner::Rbm { learning, .. } = learner else { unreachable!("a machine") };
        let sparsity = Some(Sparsity { target: 0.3, cost: 0.01, decay: 0.9 });
        let learning = ContrastiveDivergence { momentum: 0.5, weight_decay: 1e-4, sparsity, ..learning };
        LayerPlan { learner: Learner::Rbm { learning, particles: 12 }, epochs: 40, ..rbm(16, 8, 0) }
    };
    let adam = Adam { lr: 0.01, amsgrad: true, ..Adam::default() };
    let net = Autoencoder {
        corruption: Corruption::Masking { p: 0.1 },
        contraction: 1e-3,
        ..Autoencoder::new(8, 6)
    };
    let learner = Learner::Autoencoder { net, decoder: Decoder::Untied, optimizer: &adam };
    let layers = [
        rbm_with_all,
        LayerPlan { learner, epochs: 30, batch: 10, early_stop: None },
        autoencoder(6, 5, 20),
        rbm(5, 4, 3),
    ];
    let mut stack = stack::<T>(&[16, 8, 6, 5, 4]);
    let before = stack.clone();
    let (done, seen) = run(Greedy { layers: &layers, seed: 1 }, &data, &mut stack);
    assert_eq!(done, Ok(4));
    let epochs: Vec<_> = seen.iter().map(|progress| (progress.layer, progress.epoch)).collect();
    let expected = [40, 30, 20, 3].into_iter().enumerate();
    let expected: Vec<_> =
        expected.flat_map(|(layer, epochs)| (0..epochs).map(move |epoch| (layer, epoch))).collect();
    assert_eq!(epochs, expected);
    assert!(seen[39].error < 0.5 * seen[0].error, "{} then {}", seen[0].error, seen[39].error);
    assert!(seen[69].error < seen[40].error && seen[89].error < seen[70].error);
    for ((weights, _), (before, _)) in stack.iter().zip(&before) {
        assert!(weights.iter().all(|w| w.is_finite()) && weights != before);
    }
}

#[test]
fn greedy_trains_layer_after_layer() {
    learns::<f32>();
    learns::<f64>();
}

/// A full-batch step of the second layer is one on the sigmoid outputs of a dense layer of the first one's weights.
#[test]
fn greedy_layer_learns_on_what_dense_gives() {
    let data = rows::<f64>(50);
    let mut trained = stack::<f64>(&[16, 8, 6]);
    let layers = [rbm(16, 8, 5), LayerPlan { batch: 50, ..autoencoder(8, 6, 1) }];
    let start = trained.clone();
    run(Greedy { layers: &layers, seed: 1 }, &data, &mut trained).0.unwrap();
    let dense = Rbm { visible: 16, hidden: 8, units: VisibleUnits::Bernoulli }.dense();
    let mut scratch = vec![0.0; dense.forward_scratch_len::<f64>(50)];
    let mut given = vec![f64::NAN; 50 * 8];
    let sigmoid = Epilogue { activation: Some(Activation::Sigmoid), residual: None };
    let weights = DenseWeights { weights: &trained[0].0, bias: Some(&trained[0].1) };
    dense.forward(50, &data, weights, sigmoid, &mut scratch, &mut given).unwrap();
    let net = Autoencoder::new(8, 6);
    let (w, b) = &start[1];
    let weights = AutoencoderWeights { weights: w, decoder: None, hidden_bias: b, output_bias: &[0.0; 8] };
    let (mut dw, mut db, mut dc) = (vec![0.0; 48], vec![0.0; 6], vec![0.0; 8]);
    let gradient =
        AutoencoderTensors { weights: &mut dw, decoder: None, hidden_bias: &mut db, output_bias: &mut dc };
    let mut scratch = vec![0.0; net.scratch_len::<f64>(50)];
    net.forward_backward(50, &given, Philox::default(), (weights, gradient), &mut scratch).unwrap();
    // The rows come in another order, so the sums round differently.
    for ((after, before), gradient) in trained[1].0.iter().zip(w).zip(&dw) {
        assert!((after - (before - 0.1 * gradient)).abs() < 1e-14);
    }
}

#[test]
fn greedy_ignores_threads_and_level() {
    assert_equal_everywhere(|| {
        let data = data::<f32>(VisibleUnits::Bernoulli, 1, 700 * 60);
        let layers =
            [LayerPlan { batch: 300, ..rbm(60, 50, 2) }, LayerPlan { batch: 300, ..autoencoder(50, 40, 2) }];
        let mut stack = stack::<f32>(&[60, 50, 40]);
        run(Greedy { layers: &layers, seed: 1 }, &data, &mut stack).0.unwrap();
        stack.into_iter().flat_map(|(weights, bias)| [weights, bias]).collect()
    });
}

#[test]
fn greedy_stops_early() {
    let data = rows::<f32>(100);
    let stop = |patience, improvement| Some(EarlyStop { patience, improvement });
    // An epoch that is not half of the best error is none: the first of both layers counts, the second and third do not.
    let layers = [
        LayerPlan { early_stop: stop(2, 0.5), ..rbm(16, 8, 100) },
        LayerPlan { early_stop: stop(1, 0.9), ..autoencoder(8, 6, 100) },
    ];
    let mut stack = stack::<f32>(&[16, 8, 6]);
    let (done, seen) = run(Greedy { layers: &layers, seed: 1 }, &data, &mut stack);
    assert_eq!(done, Ok(2));
    for layer in 0..2 {
        let errors: Vec<f64> = seen.iter().filter(|p| p.layer == layer).map(|p| p.error).collect();
        let EarlyStop { patience, improvement } = layers[layer].early_stop.unwrap();
        let (mut best, mut without) = (f64::INFINITY, 0);
        for (epoch, &error) in errors.iter().enumerate() {
            without = if error < best * (1.0 - improvement) { 0 } else { without + 1 };
            best = best.min(error);
            assert_eq!(without >= patience, epoch + 1 == errors.len(), "layer {layer}, epoch {epoch}");
        }
        assert!(errors.len() < 100);
    }
}

#[test]
fn greedy_ends_where_progress_says() {
    let data = rows::<f32>(50);
    let layers = [rbm(16, 8, 2), rbm(8, 6, 5), rbm(6, 4, 1)];
    let mut trained = stack::<f32>(&[16, 8, 6, 4]);
    let start = trained.clone();
    let mut calls = 0;
    let done =
        Greedy { layers: &layers, seed: 1 }.train(&data, &mut tensors(&mut trained), &mut |progress| {
            calls += 1;
            if progress.layer == 1 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
    assert_eq!((done, calls), (Ok(1), 3));
    assert_ne!(trained[1].0, start[1].0);
    assert_eq!(trained[2], start[2]);
}

#[test]
fn greedy_keeps_the_last_finite_weights() {
    let data = rows::<f32>(50);
    let plan = rbm::<f32>(8, 6, 5);
    let Learner::Rbm { learning, .. } = plan.learner else { unreachable!("a machine") };
    let wild = ContrastiveDivergence { lr: 3e38, ..learning };
    let wild = LayerPlan { learner: Learner::Rbm { learning: wild, particles: 0 }, ..plan };
    let mut trained = stack::<f32>(&[16, 8, 6, 4]);
    let start = trained.clone();
    let layers = [rbm(16, 8, 2), wild, rbm(6, 4, 1)];
    let (result, seen) = run(Greedy { layers: &layers, seed: 1 }, &data, &mut trained);
    assert_eq!(result, Err(Error::Diverged { layer: 1, epoch: 0 }));
    assert!(result.unwrap_err().to_string().contains("layer 1 diverged in epoch 0"));
    assert_eq!(seen.len(), 2);
    assert_ne!(trained[0].0, start[0].0);
    assert_eq!(trained[1..], start[1..]);

    // An autoencoder that grows: finite for some epochs, then not.
    let sgd = Sgd { lr: 2e4, ..SGD };
    let net = Autoencoder {
        activation: Activation::Identity,
        reconstruction: Reconstruction::SquaredError { activation: Activation::Identity },
        ..Autoencoder::new(16, 8)
    };
    let learner = Learner::Autoencoder { net, decoder: Decoder::Untied, optimizer: &sgd };
    let layers = [LayerPlan { learner, epochs: 50, batch: 50, early_stop: None }];
    let mut trained = stack::<f32>(&[16, 8]);
    let (result, seen) = run(Greedy { layers: &layers, seed: 1 }, &data, &mut trained);
    assert_eq!(result, Err(Error::Diverged { layer: 0, epoch: seen.len() }));
    assert!(!seen.is_empty() && trained[0].0.iter().all(|w| w.is_finite()));
}

/// Why a run is refused, after a look that nothing was written and nobody was called.
#[track_caller]
fn refused(layers: &[LayerPlan<'_, f64>], data: &[f64]) -> Error {
    let mut sizes = vec![16];
    sizes.extend([8, 6, 4].iter().take(layers.len()));
    let mut weights = stack::<f64>(&sizes);
    let before = weights.clone();
    let (result, seen) = run(Greedy { layers, seed: 1 }, data, &mut weights);
    assert_eq!((weights, seen), (before, Vec::new()));
    result.unwrap_err()
}

fn out_of_range(error: Error) -> &'static str {
    match error {
        Error::OutOfRange { argument, .. } | Error::Length { argument, .. } => argument,
        other => panic!("{other:?}"),
    }
}

#[test]
fn greedy_refuses_bad_data() {
    let layers = [rbm(16, 8, 1)];
    assert_eq!(refused(&layers, &[]), Error::Empty { dimension: "data" });
    assert_eq!(out_of_range(refused(&layers, &[0.5; 33])), "data");
    let mut bad = rows::<f64>(5);
    bad[37] = f64::NAN;
    assert_eq!(refused(&layers, &bad), Error::NonFinite { argument: "data", index: 37 });
    bad[37] = 1.5;
    assert_eq!(out_of_range(refused(&layers, &bad)), "data");
    assert_eq!(out_of_range(refused(&[autoencoder(16, 8, 1)], &bad)), "data");
    let rbm = Rbm { visible: 16, hidden: 8, units: VisibleUnits::Gaussian };
    let learning = ContrastiveDivergence { lr: 0.001, ..ContrastiveDivergence::new(rbm) };
    let plan = LayerPlan { learner: Learner::Rbm { learning, particles: 0 }, ..layers[0] };
    let (result, _) = run(Greedy { layers: &[plan], seed: 1 }, &bad, &mut stack(&[16, 8]));
    assert_eq!(result, Ok(1));
}

#[test]
fn greedy_refuses_bad_plans() {
    let data = rows::<f64>(5);
    let good = rbm(16, 8, 1);
    let error = refused(&[good, rbm(7, 6, 1)], &data);
    assert_eq!(error, Error::LayerSize { layer: 1, expected: 8, actual: 7 });
    assert_eq!(error.to_string(), "layer 1 takes 7 values, but the layer before it gives 8");
    assert_eq!(out_of_range(refused(&[LayerPlan { batch: 0, ..good }], &data)), "batch");
    let early_stop = Some(EarlyStop { patience: 0, improvement: 0.1 });
    assert_eq!(out_of_range(refused(&[LayerPlan { early_stop, ..good }], &data)), "patience");
    let early_stop = Some(EarlyStop { patience: 1, improvement: f64::NAN });
    assert_eq!(out_of_range(refused(&[LayerPlan { early_stop, ..good }], &data)), "improvement");
    let Learner::Rbm { learning, .. } = good.learner else { unreachable!("a machine") };
    let learning = ContrastiveDivergence { steps: 0, ..learning };
    let plan = LayerPlan { learner: Learner::Rbm { learning, particles: 0 }, ..good };
    assert_eq!(out_of_range(refused(&[good, LayerPlan { ..rbm(8, 6, 1) }, plan], &data)), "steps");
    let Learner::Rbm { learning, .. } = good.learner else { unreachable!("a machine") };
    let plan = LayerPlan { learner: Learner::Rbm { learning, particles: usize::MAX / 4 }, ..good };
    assert_eq!(refused(&[plan], &data), Error::Overflow { argument: "particles" });
    let sgd = Sgd { lr: f64::NAN, ..SGD };
    let net = Autoencoder::new(16, 8);
    let learner = Learner::Autoencoder { net, decoder: Decoder::Tied, optimizer: &sgd };
    assert_eq!(out_of_range(refused(&[LayerPlan { learner, ..good }], &data)), "lr");
    let empty = Rbm { visible: 0, hidden: 8, units: VisibleUnits::Bernoulli };
    let learning = ContrastiveDivergence::new(empty);
    let plan = LayerPlan { learner: Learner::Rbm { learning, particles: 0 }, ..good };
    assert_eq!(refused(&[plan], &data), Error::Empty { dimension: "visible" });
    // A layer of tanh gives numbers below 0.
    let net = Autoencoder { activation: Activation::Tanh, ..net };
    let learner = Learner::Autoencoder { net, decoder: Decoder::Tied, optimizer: &SGD };
    let tanh = LayerPlan { learner, ..good };
    assert_eq!(out_of_range(refused(&[tanh, rbm(8, 6, 1)], &data)), "layers");
    // Tensors that do not fit.
    let (result, _) = run(Greedy { layers: &[good], seed: 1 }, &data, &mut stack(&[16, 8, 6]));
    assert_eq!(out_of_range(result.unwrap_err()), "weights");
    let (result, _) = run(Greedy { layers: &[good], seed: 1 }, &data, &mut stack(&[16, 7]));
    assert_eq!(out_of_range(result.unwrap_err()), "weights");
    let mut short = stack(&[16, 8]);
    short[0].1.pop();
    let (result, _) = run(Greedy { layers: &[good], seed: 1 }, &data, &mut short);
    assert_eq!(out_of_range(result.unwrap_err()), "bias");
    // No layers: nothing to do, whatever the data.
    assert_eq!(run(Greedy { layers: &[], seed: 1 }, &[f64::NAN], &mut Vec::new()).0, Ok(0));
}

#[test]
fn layer_rate_counts_a_layers_own_steps() {
    let rate = LayerRate { factor: 0.5, from_step: 11 };
    assert_eq!(rate.at(10, 0.1), None);
    assert_eq!(rate.at(11, 0.1), Some((1, 0.05)));
    assert_eq!(rate.at(30, 0.1), Some((20, 0.05)));
    assert_eq!(LayerRate::FROZEN.at(u64::MAX, 0.1), None);
    assert_eq!(LayerRate::default().at(1, 0.1), Some((1, 0.1)));
    assert_eq!(LayerRate { from_step: 0, ..LayerRate::default() }.at(1, 0.1), Some((1, 0.1)));
    let mut rates = [LayerRate { factor: 3.0, from_step: 1 }; 3];
    LayerRate::discriminate(&mut rates, 0.5);
    assert_eq!(rates.map(|rate| rate.factor), [0.75, 1.5, 3.0]);
    LayerRate::unfreeze(&mut rates, u64::MAX);
    assert_eq!(rates.map(|rate| rate.from_step), [u64::MAX, u64::MAX, 1]);
}
