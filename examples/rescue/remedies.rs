//! The rows of the table: two diseases, each remedy alone, and remedies together. A row is data; one loop trains them all.

use steadygrad::clip::{ClipAdaptive, ClipNorm, ClipValue};
use steadygrad::init::{Distribution, Fan};
use steadygrad::regularize::ElasticNet;
use steadygrad::{Activation, Init};

use crate::norms::Norm;

/// How the weights start.
#[derive(Clone, Copy)]
pub(crate) enum Weights {
    /// By a rule.
    Drawn(Init),
    /// Orthogonal, then scaled layer by layer on the images to learn from.
    Lsuv,
}

/// What the network is asked to minimise.
#[derive(Clone, Copy)]
pub(crate) enum Objective {
    /// Half the squared distance between the sigmoid of each output and 0 or 1.
    SquaredError,
    /// −ln of the softmax at the right class.
    CrossEntropy,
}

/// What is done to the gradients before a step.
#[derive(Clone, Copy)]
pub(crate) enum Clip {
    None,
    Value(ClipValue),
    Norm(ClipNorm),
    /// By each neuron's own weights.
    Adaptive(ClipAdaptive),
}

/// What a layer adds to.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Connection {
    /// Nothing: a layer's sums are those of its own weights.
    Plain,
    /// The sums of the layer before it, where they are as many.
    Residual,
}

/// What turns gradients into steps; each falls along a cosine to 0.
#[derive(Clone, Copy)]
pub(crate) enum Stepping {
    /// SGD with momentum.
    Sgd,
    /// AdamW, whose learning rate rises in a line over the first epochs.
    AdamWithWarmUp,
}

/// What a row sets out from.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Disease {
    Vanishing,
    Exploding,
}

/// A network and how it is trained.
#[derive(Clone, Copy)]
pub(crate) struct Remedy {
    pub(crate) name: &'static str,
    pub(crate) disease: Disease,
    pub(crate) activation: Activation,
    pub(crate) init: Weights,
    pub(crate) objective: Objective,
    pub(crate) norm: Norm,
    pub(crate) connection: Connection,
    pub(crate) clip: Clip,
    /// Of the weights, not the biases.
    pub(crate) penalty: ElasticNet,
    /// Share of a hidden layer's values that is dropped in training.
    pub(crate) dropout: f64,
    pub(crate) stepping: Stepping,
}

const XAVIER: Weights = Weights::Drawn(Init::Xavier { gain: 1.0, distribution: Distribution::Normal });
const HE: Weights = Weights::Drawn(Init::Kaiming {
    gain: std::f64::consts::SQRT_2,
    fan: Fan::In,
    distribution: Distribution::Normal,
});
const LEAKY_RELU: Activation = Activation::LeakyRelu { slope: 0.01 };
const ELU: Activation = Activation::Elu { alpha: 1.0 };
const CLIP_VALUE: Clip = Clip::Value(ClipValue { min: -0.01, max: 0.01 });
const L1: ElasticNet = ElasticNet { l1: 1e-3, l2: 0.0 };
const L2: ElasticNet = ElasticNet { l1: 0.0, l2: 1e-2 };

/// Every row, the disease before its remedies.
pub(crate) fn all() -> Vec<Remedy> {
    let clip_norm = Clip::Norm(ClipNorm { max_norm: 0.5, ..ClipNorm::default() });
    let adaptive = Clip::Adaptive(ClipAdaptive::default());
    let vanishing = Remedy {
        name: "vanishing: sigmoid, squared error, N(0, 0.1²)",
        disease: Disease::Vanishing,
        activation: Activation::Sigmoid,
        init: Weights::Drawn(Init::Normal { mean: 0.0, std: 0.1 }),
        objective: Objective::SquaredError,
        norm: Norm::None,
        connection: Connection::Plain,
        clip: Clip::None,
        penalty: ElasticNet::default(),
        dropout: 0.0,
        stepping: Stepping::Sgd,
    };
    let exploding = Remedy {
        name: "exploding: ReLU, cross-entropy, N(0, 0.4²)",
        disease: Disease::Exploding,
        activation: Activation::Relu,
        init: Weights::Drawn(Init::Normal { mean: 0.0, std: 0.4 }),
        objective: Objective::CrossEntropy,
        ..vanishing
    };
    let residual = Connection::Residual;
    vec![
        vanishing,
        Remedy { name: "+ Xavier init", init: XAVIER, ..vanishing },
        Remedy { name: "+ He init", init: HE, ..vanishing },
        Remedy { name: "+ LSUV", init: Weights::Lsuv, ..vanishing },
        Remedy { name: "+ ReLU", activation: Activation::Relu, ..vanishing },
        Remedy { name: "+ LeakyReLU", activation: LEAKY_RELU, ..vanishing },
        Remedy { name: "+ ELU", activation: ELU, ..vanishing },
        Remedy { name: "+ ELU, LSUV", activation: ELU, init: Weights::Lsuv, ..vanishing },
        Remedy { name: "+ cross-entropy", objective: Objective::CrossEntropy, ..vanishing },
        Remedy { name: "+ clip by value", clip: CLIP_VALUE, ..vanishing },
        Remedy { name: "+ clip by norm", clip: clip_norm, ..vanishing },
        Remedy { name: "+ AdamW with warm-up", stepping: Stepping::AdamWithWarmUp, ..vanishing },
        Remedy { name: "+ batch norm", norm: Norm::Batch, ..vanishing },
        Remedy { name: "+ layer norm", norm: Norm::Layer, ..vanishing },
        Remedy { name: "+ residual", connection: residual, ..vanishing },
        Remedy { name: "+ residual, batch norm", norm: Norm::Batch, connection: residual, ..vanishing },
        Remedy {
            name: "+ ELU, Xavier init, cross-entropy, clip by norm",
            activation: ELU,
            init: XAVIER,
            objective: Objective::CrossEntropy,
            clip: clip_norm,
            ..vanishing
        },
        exploding,
        Remedy { name: "+ Xavier init", init: XAVIER, ..exploding },
        Remedy { name: "+ He init", init: HE, ..exploding },
        Remedy { name: "+ LSUV", init: Weights::Lsuv, ..exploding },
        Remedy { name: "+ LeakyReLU", activation: LEAKY_RELU, ..exploding },
        Remedy { name: "+ ELU", activation: ELU, ..exploding },
        Remedy { name: "+ clip by value", clip: CLIP_VALUE, ..exploding },
        Remedy { name: "+ clip by norm", clip: clip_norm, ..exploding },
        Remedy { name: "+ adaptive clipping", clip: adaptive, ..exploding },
        Remedy { name: "+ L1 penalty", penalty: L1, ..exploding },
        Remedy { name: "+ L2 penalty", penalty: L2, ..exploding },
        Remedy { name: "+ dropout", dropout: 0.1, ..exploding },
        Remedy { name: "+ AdamW with warm-up", stepping: Stepping::AdamWithWarmUp, ..exploding },
        Remedy { name: "+ batch norm", norm: Norm::Batch, ..exploding },
        Remedy { name: "+ layer norm", norm: Norm::Layer, ..exploding },
        Remedy { name: "+ residual", connection: residual, ..exploding },
        Remedy { name: "+ residual, batch norm", norm: Norm::Batch, connection: residual, ..exploding },
        Remedy { name: "+ He init, clip by value", init: HE, clip: CLIP_VALUE, ..exploding },
        Remedy {
            name: "+ LeakyReLU, He init, clip by norm",
            activation: LEAKY_RELU,
            init: HE,
            clip: clip_norm,
            ..exploding
        },
    ]
}
