//! Initialisers of every kind, generators for them, and what is measured of their weights.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use steadygrad::init::{Distribution, Fan};
use steadygrad::linear::{Dense, DenseWeights};
use steadygrad::rand_core::{Infallible, TryRng};
use steadygrad::{Activation, Element, Epilogue, Init, RowShape, WeightShape};

use crate::common::Guarded;

pub(crate) const DISTRIBUTIONS: [Distribution; 3] =
    [Distribution::Uniform, Distribution::Normal, Distribution::TruncatedNormal];

pub(crate) fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// A generator whose numbers are given, all of which end in the middle of a unit step.
pub(crate) struct Given(pub(crate) Vec<u64>);

impl TryRng for Given {
    type Error = Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        unreachable!("weights take 64 bits")
    }
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.0.pop().expect("one draw a weight"))
    }
    fn try_fill_bytes(&mut self, _: &mut [u8]) -> Result<(), Infallible> {
        unreachable!("weights take 64 bits")
    }
}

pub(crate) fn drawn<T: Element>(init: Init, shape: impl Into<WeightShape>, seed: u64) -> Vec<T> {
    let shape = shape.into();
    let mut weights = Guarded::new(shape.elements().unwrap(), 3);
    init.fill(shape, &mut rng(seed), weights.slice()).unwrap();
    weights.checked().to_vec()
}

pub(crate) fn row(cols: usize) -> RowShape {
    RowShape { rows: 1, cols }
}

/// Every initialiser that works for any shape.
pub(crate) fn all() -> Vec<Init> {
    let mut all = vec![
        Init::Constant { value: 0.25 },
        Init::Uniform { low: -2.0, high: 0.5 },
        Init::Normal { mean: 1.0, std: 0.1 },
        Init::TruncatedNormal { mean: 0.0, std: 1.0, low: -0.5, high: 2.0 },
        Init::Orthogonal { gain: 1.0 },
    ];
    for distribution in DISTRIBUTIONS {
        all.push(Init::Xavier { gain: 1.0, distribution });
        all.push(Init::LeCun { distribution });
        all.extend([Fan::In, Fan::Out].map(|fan| Init::Kaiming { gain: 2.0, fan, distribution }));
    }
    all
}

/// Mean, standard deviation, skewness and kurtosis.
pub(crate) fn moments(x: &[f64]) -> [f64; 4] {
    let mean = |f: &dyn Fn(f64) -> f64| x.iter().map(|&x| f(x)).sum::<f64>() / x.len() as f64;
    let center = mean(&|x| x);
    let std = mean(&|x| (x - center).powi(2)).sqrt();
    [center, std, mean(&|x| ((x - center) / std).powi(3)), mean(&|x| ((x - center) / std).powi(4))]
}

/// Sums of every layer of a stack on `x`, with the crate's forward.
pub(crate) fn sums_of<T: Element>(
    layers: &[Dense],
    activation: Activation,
    weights: &[Vec<T>],
    x: &[T],
) -> Vec<Vec<T>> {
    let (mut given, mut all) = (x.to_vec(), Vec::new());
    for (layer, weights) in layers.iter().zip(weights) {
        let batch = given.len() / layer.inputs;
        let mut sums = vec![T::zero(); batch * layer.outputs];
        let mut scratch = vec![T::zero(); layer.forward_scratch_len::<T>(batch)];
        let parameters = DenseWeights { weights, bias: None };
        layer.forward(batch, &given, parameters, Epilogue::default(), &mut scratch, &mut sums).unwrap();
        given = sums.clone();
        activation.forward_in_place(&mut given).unwrap();
        all.push(sums);
    }
    all
}
