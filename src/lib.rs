//! SIMD kernels that keep gradients from exploding and from vanishing, for Rust code that trains networks on CPUs.
#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

pub mod activation;
pub mod clip;
mod element;
mod error;
pub mod math;
pub mod optim;
mod parallel;
pub mod shape;
mod simd;
pub mod stats;
mod tensors;

pub use activation::Activation;
pub use element::Element;
pub use error::Error;
pub use shape::RowShape;
pub use simd::Level;

/// Every formula of the crate, one value at a time: the textbook that the kernels are checked against.
pub mod reference {
    pub use crate::activation::reference as activation;
    pub use crate::clip::clip_norm::reference as clip_norm;
    pub use crate::clip::clip_value::reference as clip_value;
    pub use crate::math::reference as math;
    pub use crate::optim::sgd::reference as sgd;
    pub use crate::stats::norm_partial::reference as norm_partial;
}
