//! Normalisation: values with mean 0 and variance 1, which neither explode nor vanish from layer to layer.

pub mod batch_norm;

pub use batch_norm::BatchNorm;
