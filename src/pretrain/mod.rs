//! Layer-wise pre-training: each layer learns from the output of the one before it, without labels, and then starts a
//! deep network that would not have learnt from scratch.
//!
//! Hinton, Osindero & Teh, "A fast learning algorithm for deep belief nets", 2006; Bengio et al., "Greedy layer-wise
//! training of deep networks", 2007. Weights are `hidden` rows of `visible` elements everywhere, and so are those of a
//! [`Dense`](crate::Dense) layer as they are.

pub mod autoencoder;
pub mod greedy;
pub mod rbm;

pub use autoencoder::{Autoencoder, AutoencoderTensors, AutoencoderWeights, Corruption, Reconstruction};
pub use greedy::{Decoder, EarlyStop, Greedy, LayerPlan, LayerRate, LayerWeights, Learner, Progress};
pub use rbm::{
    ContrastiveDivergence, Negative, Rbm, RbmState, RbmTensors, RbmWeights, Sparsity, VisibleUnits,
};

use crate::{Element, Error};

/// Whether every element is finite, and in [0, 1] where it stands for a probability.
fn check_data<T: Element>(data: &[T], are_probabilities: bool) -> Result<(), Error> {
    if let Some(index) = data.iter().position(|v| !v.is_finite()) {
        return Err(Error::NonFinite { argument: "data", index });
    }
    let fits = |&v: &T| v >= T::zero() && v <= T::one();
    if are_probabilities && !data.iter().all(fits) {
        return Err(Error::OutOfRange {
            argument: "data",
            requirement: "in [0, 1] for Bernoulli units and for the cross-entropy",
        });
    }
    Ok(())
}
