//! Layer-wise pre-training: each layer learns from the output of the one before it, without labels, and then starts a
//! deep network that would not have learnt from scratch.
//!
//! Hinton, Osindero & Teh, "A fast learning algorithm for deep belief nets", 2006; Bengio et al., "Greedy layer-wise
//! training of deep networks", 2007. Weights are `hidden` rows of `visible` elements everywhere, and so are those of a
//! [`Dense`](crate::Dense) layer as they are.

pub mod rbm;

pub use rbm::{
    ContrastiveDivergence, Negative, Rbm, RbmState, RbmTensors, RbmWeights, Sparsity, VisibleUnits,
};
