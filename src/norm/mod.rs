//! Normalisation: activations brought to mean 0 and variance 1, over rows, groups of channels or a batch.

mod affine;
pub mod layer_norm;
pub mod rms_norm;
mod rows;

pub use affine::{Affine, NormGradients};
pub use layer_norm::{LayerNorm, SavedRows};
pub use rms_norm::RmsNorm;
