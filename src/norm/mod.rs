//! Normalisation: values with mean 0 and variance 1, over rows, groups of channels or a batch, which neither explode nor
//! vanish from layer to layer; and weights of a given length, deviation or spectral norm, which make neither of them.

mod affine;
pub mod batch_norm;
pub mod group_norm;
pub mod layer_norm;
pub mod rms_norm;
pub(crate) mod rows;
pub mod spectral_norm;
pub mod weight_norm;

pub use affine::{Affine, NormGradients};
pub use batch_norm::BatchNorm;
pub use group_norm::{GroupNorm, InstanceNorm};
pub use layer_norm::{LayerNorm, SavedRows};
pub use rms_norm::RmsNorm;
pub use spectral_norm::{SavedSpectral, SpectralNorm, SpectralState};
pub use weight_norm::{WeightGradients, WeightNorm, WeightStandardization};
