//! A batch that goes forward and backward through batch norm, and how its results are compared.

use steadygrad::norm::Affine;
use steadygrad::norm::batch_norm::{
    BackwardInputs, BatchStatistics, EpilogueBackward, Gradients, RunningStatistics, SavedStatistics,
};
use steadygrad::{Activation, BatchNorm, ChannelShape, Element, Epilogue};

use crate::common::{Guarded, assert_same_bits, numbers, tolerance};

pub(crate) const ACTIVATIONS: [Activation; 8] = [
    Activation::Identity,
    Activation::Relu,
    Activation::LeakyRelu { slope: 0.1 },
    Activation::Elu { alpha: 1.0 },
    Activation::Tanh,
    Activation::HardSigmoid,
    Activation::Gelu,
    Activation::Silu,
];

/// A batch with all that belongs to it.
#[derive(Clone, Debug)]
pub(crate) struct Batch<T> {
    pub(crate) shape: ChannelShape,
    pub(crate) x: Vec<T>,
    pub(crate) dy: Vec<T>,
    pub(crate) residual: Vec<T>,
    pub(crate) gamma: Vec<T>,
    pub(crate) beta: Vec<T>,
}

/// Everything that a forward writes, and everything that a backward does.
#[derive(Clone, Debug)]
pub(crate) struct Results<T> {
    pub(crate) y: Vec<T>,
    pub(crate) mean: Vec<f64>,
    pub(crate) rstd: Vec<f64>,
    pub(crate) running_mean: Vec<T>,
    pub(crate) running_variance: Vec<T>,
    pub(crate) dx: Vec<T>,
    pub(crate) dresidual: Vec<T>,
    pub(crate) dgamma: Vec<T>,
    pub(crate) dbeta: Vec<T>,
}

pub(crate) fn shape(outer: usize, channels: usize, inner: usize) -> ChannelShape {
    ChannelShape { outer, channels, inner }
}

impl<T: Element> Batch<T> {
    pub(crate) fn new(shape: ChannelShape) -> Self {
        let elements = shape.elements().unwrap();
        let (seed, channels) = (elements as u64, shape.channels);
        Self {
            shape,
            x: numbers::<T>(seed, elements, 2.0).into_iter().map(|x| x + T::one()).collect(),
            dy: numbers(seed + 1, elements, 1.0),
            residual: numbers(seed + 2, elements, 1.0),
            gamma: numbers(seed + 3, channels, 1.0),
            beta: numbers(seed + 4, channels, 1.0),
        }
    }

    pub(crate) fn affine(&self) -> Affine<'_, T> {
        Affine { gamma: Some(&self.gamma), beta: Some(&self.beta) }
    }

    pub(crate) fn inputs(&self) -> BackwardInputs<'_, T> {
        BackwardInputs {
            x: &self.x,
            dy: &self.dy,
            affine: self.affine(),
            epilogue: EpilogueBackward::default(),
        }
    }

    /// Forward and backward, with buffers that show what was not written, and what was written beside them.
    pub(crate) fn run(&self, norm: BatchNorm, epilogue: Epilogue<'_, T>, from_output: bool) -> Results<T> {
        let outputs = [self.x.len() % 3, 1, self.x.len() % 2].map(|shift| Guarded::new(self.x.len(), shift));
        self.run_into(&self.x, outputs, norm, epilogue, from_output)
    }

    /// [`run`](Self::run) with an input, and with outputs, so many elements behind a cache line.
    pub(crate) fn run_at(
        &self,
        [input, output]: [usize; 2],
        norm: BatchNorm,
        epilogue: Epilogue<'_, T>,
        from_output: bool,
    ) -> Results<T> {
        let mut x = Guarded::aligned(self.x.len(), input);
        x.slice().copy_from_slice(&self.x);
        let outputs = [output; 3].map(|shift| Guarded::aligned(self.x.len(), shift));
        self.run_into(x.checked(), outputs, norm, epilogue, from_output)
    }

    fn run_into(
        &self,
        x: &[T],
        [mut y, mut dx, mut dresidual]: [Guarded<T>; 3],
        norm: BatchNorm,
        epilogue: Epilogue<'_, T>,
        from_output: bool,
    ) -> Results<T> {
        let (shape, channels) = (self.shape, self.shape.channels);
        let (mut mean, mut rstd) = (Guarded::<f64>::new(channels, 1), Guarded::<f64>::new(channels, 2));
        let mut running_mean = Guarded::of(&vec![T::zero(); channels], 3);
        let mut running_variance = Guarded::of(&vec![T::one(); channels], 0);
        let mut batches = 0;
        let running = RunningStatistics {
            mean: running_mean.slice(),
            variance: running_variance.slice(),
            batches: &mut batches,
        };
        let statistics =
            BatchStatistics { merged: None, mean: mean.slice(), rstd: rstd.slice(), running: Some(running) };
        norm.forward(shape, x, self.affine(), epilogue, statistics, y.slice()).unwrap();
        assert_eq!(batches, 1);

        let (mut dgamma, mut dbeta) = (Guarded::of(&self.beta, 1), Guarded::of(&self.gamma, 0));
        let gradients = Gradients {
            input: Some(dx.slice()),
            residual: Some(dresidual.slice()),
            gamma: Some(dgamma.slice()),
            beta: Some(dbeta.slice()),
        };
        let epilogue = match (from_output, epilogue.activation) {
            (true, Some(activation)) => EpilogueBackward::FromOutput { activation, y: y.checked() },
            _ => EpilogueBackward::FromInput(epilogue),
        };
        let saved = SavedStatistics { mean: mean.checked(), rstd: rstd.checked() };
        norm.backward(shape, BackwardInputs { x, epilogue, ..self.inputs() }, saved, gradients).unwrap();
        Results {
            y: y.checked().to_vec(),
            mean: mean.checked().to_vec(),
            rstd: rstd.checked().to_vec(),
            running_mean: running_mean.checked().to_vec(),
            running_variance: running_variance.checked().to_vec(),
            dx: dx.checked().to_vec(),
            dresidual: dresidual.checked().to_vec(),
            dgamma: dgamma.checked().to_vec(),
            dbeta: dbeta.checked().to_vec(),
        }
    }
}

pub(crate) fn norm_run<T: Element>(
    batch: &Batch<T>,
    norm: BatchNorm,
    epilogue: Epilogue<'_, T>,
) -> Results<T> {
    batch.run(norm, epilogue, false)
}

/// Fails where `actual` is further from `exact` than `rounding` epsilons of the type, and what sums of magnitude `sums`
/// lose in `f64`.
#[track_caller]
pub(crate) fn assert_near<T: Element>(
    actual: T,
    exact: f64,
    rounding: f64,
    sums: f64,
    context: impl Fn() -> String,
) {
    let bound = rounding * T::epsilon().to_f64() + tolerance::SUMS * sums;
    let near = (actual.to_f64() - exact).abs() <= bound;
    assert!(near, "{actual:?} is not near {exact}, the bound is {bound:e}: {}", context());
}

/// Fails where two results differ in any bit.
#[track_caller]
pub(crate) fn assert_same_results<T: Element>(a: &Results<T>, b: &Results<T>, context: impl Fn() -> String) {
    let of = |results: &Results<T>| {
        let Results { y, running_mean, running_variance, dx, dresidual, dgamma, dbeta, .. } = results.clone();
        [y, running_mean, running_variance, dx, dresidual, dgamma, dbeta]
    };
    for (part, (a, b)) in of(a).iter().zip(&of(b)).enumerate() {
        assert_same_bits(a, b, || format!("result {part}, {}", context()));
    }
    assert_same_bits(&a.mean, &b.mean, || format!("mean, {}", context()));
    assert_same_bits(&a.rstd, &b.rstd, || format!("rstd, {}", context()));
}
