//! Each layer learns alone, without labels, before the network learns as a whole: the sigmoid network that would vanish
//! from scratch starts where its layers already pass on what matters.
//!
//! At a depth of its own: stacked machines lose a little of the signal in each layer, and have lost most by the tenth.

use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use steadygrad::optim::Adam;
use steadygrad::pretrain::{
    Autoencoder, ContrastiveDivergence, Corruption, Decoder, Greedy, LayerPlan, LayerWeights, Learner,
    Negative, Rbm, VisibleUnits,
};
use steadygrad::{Error, Init, RowShape};

use crate::digits::{Digits, PIXELS};
use crate::network::TENSORS;
use crate::png;
use crate::remedies::{self, Remedy};
use crate::report::Row;
use crate::training::{self, Plan};

/// Passes over the images that a layer takes.
const EPOCHS: usize = 30;
/// Images of a step.
const BATCH: usize = 10;

/// How the layers learn before the network does.
#[derive(Clone, Copy, PartialEq)]
enum Before {
    Nothing,
    Machines,
    Autoencoders,
}

/// A trained row, and what its first layer looks for.
pub(crate) struct Pretrained {
    pub(crate) row: Row,
    /// The name of the picture of the first layer's weights before fine-tuning, and the weights.
    pub(crate) filters: Option<(&'static str, Vec<f32>)>,
}

/// The network from scratch, and started by each kind of pre-training.
pub(crate) fn rows(plan: Plan, digits: &Digits) -> Result<Vec<Pretrained>, Error> {
    let sick = remedies::all()[0];
    let rows = [
        (Before::Nothing, "from scratch: sigmoid, squared error, N(0, 0.1²)", None),
        (Before::Machines, "+ pre-trained by RBM", Some("rbm")),
        (Before::Autoencoders, "+ pre-trained by denoising autoencoder", Some("autoencoder")),
    ];
    let train = |(before, name, picture): (Before, _, Option<_>)| {
        let remedy = Remedy { name, ..sick };
        let start = pretrained(before, plan, digits)?;
        let filters = picture.map(|picture| (picture, start[0].clone()));
        let history = training::train_from(&start, remedy, plan, digits, || ())?;
        Ok(Pretrained { row: Row { remedy, history }, filters })
    };
    rows.into_iter().map(train).collect()
}

/// The tensors of the layers that have learnt, as a network has them; none where they have not.
fn pretrained(before: Before, plan: Plan, digits: &Digits) -> Result<Vec<Vec<f32>>, Error> {
    let adam = Adam { lr: 5e-3, ..Adam::default() };
    let learner = |inputs: usize| match before {
        Before::Nothing => None,
        Before::Machines => {
            let rbm = Rbm { visible: inputs, hidden: plan.width, units: VisibleUnits::Bernoulli };
            let learning = ContrastiveDivergence {
                momentum: 0.5,
                negative: Negative::Mean,
                ..ContrastiveDivergence::new(rbm)
            };
            Some(Learner::Rbm { learning, particles: 0 })
        }
        Before::Autoencoders => {
            let net = Autoencoder {
                corruption: Corruption::Masking { p: 0.1 },
                ..Autoencoder::new(inputs, plan.width)
            };
            Some(Learner::Autoencoder { net, decoder: Decoder::Tied, optimizer: &adam })
        }
    };
    let inputs = |layer: usize| if layer == 0 { PIXELS } else { plan.width };
    let layers: Vec<LayerPlan<'_, f32>> = (0..plan.depth)
        .filter_map(|layer| learner(inputs(layer)))
        .map(|learner| LayerPlan { learner, epochs: EPOCHS, batch: BATCH, early_stop: None })
        .collect();
    let mut rng = ChaCha8Rng::seed_from_u64(plan.seed);
    rng.set_stream(3);
    let mut tensors = Vec::new();
    for layer in 0..layers.len() {
        let mut weights = vec![0.0; plan.width * inputs(layer)];
        let shape = RowShape { rows: plan.width, cols: inputs(layer) };
        Init::Normal { mean: 0.0, std: 0.05 }.fill(shape, &mut rng, &mut weights)?;
        tensors.extend([weights, vec![0.0; plan.width], Vec::new(), Vec::new()]);
    }
    let (data, scale) = unit(&digits.train.images);
    let mut weights: Vec<LayerWeights<'_, f32>> = tensors
        .chunks_exact_mut(TENSORS)
        .map(|layer| match layer {
            [weights, bias, ..] => LayerWeights { weights, bias },
            _ => unreachable!("weights and bias"),
        })
        .collect();
    let greedy = Greedy { layers: &layers, seed: plan.seed };
    greedy.train(&data, &mut weights, &mut |_| ControlFlow::Continue(()))?;
    if let Some(first) = weights.first_mut() {
        scale.fold_into(first);
    }
    Ok(tensors)
}

/// How pixels in [0, 1] come from those of mean 0: `factor · x + shift`.
struct Scale {
    factor: f32,
    shift: f32,
}

/// Pixels as probabilities of ink.
fn unit(images: &[f32]) -> (Vec<f32>, Scale) {
    let (low, high) =
        images.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &x| (low.min(x), high.max(x)));
    let factor = 1.0 / (high - low);
    let unit = images.iter().map(|x| ((x - low) * factor).clamp(0.0, 1.0)).collect();
    (unit, Scale { factor, shift: -low * factor })
}

impl Scale {
    /// Makes a layer of such pixels one of pixels of mean 0: W·(factor·x + shift) + b = (factor·W)·x + (b + shift·W·1).
    fn fold_into(&self, layer: &mut LayerWeights<'_, f32>) {
        for (row, bias) in layer.weights.chunks_exact_mut(PIXELS).zip(layer.bias.iter_mut()) {
            *bias += self.shift * row.iter().sum::<f32>();
            row.iter_mut().for_each(|w| *w *= self.factor);
        }
    }
}

/// Pixels of the picture a weight, and between filters.
const ZOOM: usize = 6;
const GAP: usize = 2;
/// Pixels of an image in a row, and filters in one.
const SIDE: usize = 8;
const FILTERS_IN_A_ROW: usize = 8;

/// Draws each neuron's weights where its pixels are: white where ink excites it, black where ink inhibits.
pub(crate) fn draw_filters(path: &Path, weights: &[f32]) -> io::Result<()> {
    let cell = SIDE * ZOOM + GAP;
    let filters = weights.len() / PIXELS;
    let width = FILTERS_IN_A_ROW * cell + GAP;
    let mut pixels = vec![64; width * (filters.div_ceil(FILTERS_IN_A_ROW) * cell + GAP)];
    for (number, filter) in weights.chunks_exact(PIXELS).enumerate() {
        let largest = filter.iter().fold(f32::MIN_POSITIVE, |most, w| most.max(w.abs()));
        let (top, left) = (number / FILTERS_IN_A_ROW * cell + GAP, number % FILTERS_IN_A_ROW * cell + GAP);
        for y in 0..SIDE * ZOOM {
            for x in 0..SIDE * ZOOM {
                let w = filter[y / ZOOM * SIDE + x / ZOOM] / largest;
                pixels[(top + y) * width + left + x] = (127.5 * (1.0 + w)) as u8;
            }
        }
    }
    png::write(path, width, &pixels)
}
