//! SIMD kernels that keep gradients from exploding and from vanishing, for Rust code that trains networks on CPUs.
#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

pub mod activation;
mod element;
mod error;
pub mod gradcheck;
pub mod init;
pub mod math;
mod parallel;
pub mod shape;
mod simd;

pub use activation::Activation;
pub use activation::prelu::PRelu;
pub use element::Element;
pub use error::Error;
pub use gradcheck::GradCheck;
pub use init::Init;
pub use rand_core;
pub use shape::{ChannelShape, RowShape, WeightShape};
pub use simd::Level;

/// Every formula of the crate, one value at a time: the textbook that the kernels are checked against.
pub mod reference {
    pub use crate::activation::prelu::reference as prelu;
    pub use crate::activation::reference as activation;
    pub use crate::math::reference as math;
}
