//! SIMD kernels that keep gradients from exploding and from vanishing, for Rust code that trains networks on CPUs.
#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

pub mod activation;
mod element;
mod error;
pub mod loss;
pub mod math;
mod parallel;
pub mod shape;
mod simd;

pub use activation::Activation;
pub use activation::prelu::PRelu;
pub use element::Element;
pub use error::Error;
pub use shape::{ChannelShape, RowShape};
pub use simd::Level;

/// Every formula of the crate, one value at a time: the textbook that the kernels are checked against.
pub mod reference {
    pub use crate::activation::prelu::reference as prelu;
    pub use crate::activation::reference as activation;
    pub use crate::loss::binary_cross_entropy_with_logits::reference as binary_cross_entropy_with_logits;
    pub use crate::loss::cross_entropy::reference as cross_entropy;
    pub use crate::loss::negative_log_likelihood::reference as negative_log_likelihood;
    pub use crate::loss::pointwise::reference as pointwise;
    pub use crate::loss::softmax::reference as softmax;
    pub use crate::math::reference as math;
}
