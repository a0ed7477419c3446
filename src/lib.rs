//! SIMD kernels that keep gradients from exploding and from vanishing, for Rust code that trains networks on CPUs.
//!
//! Call them from your own tensors: slices and a shape go in, a [`Result`] comes out. An operation is a small `Copy`
//! struct or enum of hyper-parameters with methods `forward` and `backward`; what backward needs lies in slices that
//! the caller owns.
//!
//! ```
//! use steadygrad::Activation;
//!
//! let activation = Activation::Elu { alpha: 1.0 };
//! let (x, dy) = ([-1.0_f64, 2.0], [1.0, 1.0]);
//! let (mut y, mut dx) = ([0.0; 2], [0.0; 2]);
//! activation.forward(&x, &mut y)?;
//! activation.backward(&x, &dy, &mut dx)?;
//! assert!((y[0] - ((-1.0_f64).exp() - 1.0)).abs() < 1e-15 && y[1] == 2.0);
//! assert!((dx[0] - (-1.0_f64).exp()).abs() < 1e-15 && dx[1] == 1.0);
//! # Ok::<(), steadygrad::Error>(())
//! ```
//!
//! # What holds everywhere
//!
//! - Input gradients are overwritten, parameter gradients are accumulated (`+=`); each argument table says which. Where
//!   gradients have a [`GradientMode`], it can say that those of parameters are overwritten too.
//! - On `Err` every output is untouched: all checks come before the first write.
//! - No elements, rows or tensors is `Ok`, with nothing done (gradients that are overwritten are zero); a dimension that is
//!   reduced over must not be 0 ([`Error::Empty`]).
//! - A result has the same bits for any number of threads, and on AVX2 and AVX-512; the portable level, which may lack
//!   fused multiply-add, is within the stated bounds.
//! - Work runs on rayon's current pool; small work stays on the caller's thread. Around a training step [`keep_awake`] spares
//!   the time that threads take to wake. Nothing is allocated in a forward, a backward or a step.
//! - NaN propagates, unless a page says otherwise.
//!
//! # Features
//!
//! - `rayon` (default): parallel kernels. Without it everything runs on the caller's thread.
//! - `std` (default): run-time detection of the instruction set, [`Level::scoped`](crate::Level) and
//!   `STEADYGRAD_LEVEL`. Without it the level is the one compiled for.
#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

pub mod activation;
mod channels;
pub mod clip;
pub mod diagnostics;
mod element;
mod epilogue;
mod error;
pub mod gradcheck;
mod gradient_mode;
pub mod init;
pub mod linear;
pub mod loss;
pub mod math;
pub mod norm;
pub mod optim;
mod parallel;
pub mod pretrain;
pub mod random;
pub mod recurrent;
pub mod regularize;
pub mod residual;
pub mod shape;
mod simd;
pub mod stats;
mod strips;
mod tensors;

pub use activation::Activation;
pub use activation::prelu::PRelu;
pub use element::Element;
pub use epilogue::Epilogue;
pub use error::Error;
pub use gradcheck::GradCheck;
pub use gradient_mode::GradientMode;
pub use init::Init;
pub use linear::{Dense, Gemm, PackedMatrix};
pub use norm::{
    BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RmsNorm, SpectralNorm, WeightNorm, WeightStandardization,
};
pub use parallel::keep_awake;
pub use pretrain::{Autoencoder, Rbm};
pub use rand_core;
pub use random::Philox;
pub use shape::{ChannelShape, RowShape, WeightShape};
pub use simd::Level;

/// Every formula of the crate, one value at a time: the textbook that the kernels are checked against.
pub mod reference {
    pub use crate::activation::prelu::reference as prelu;
    pub use crate::activation::reference as activation;
    pub use crate::clip::clip_norm::reference as clip_norm;
    pub use crate::clip::clip_value::reference as clip_value;
    pub use crate::diagnostics::observe::reference as observe;
    pub use crate::linear::reference as linear;
    pub use crate::loss::binary_cross_entropy_with_logits::reference as binary_cross_entropy_with_logits;
    pub use crate::loss::cross_entropy::reference as cross_entropy;
    pub use crate::loss::negative_log_likelihood::reference as negative_log_likelihood;
    pub use crate::loss::pointwise::reference as pointwise;
    pub use crate::loss::softmax::reference as softmax;
    pub use crate::math::reference as math;
    pub use crate::norm::batch_norm::reference as batch_norm;
    pub use crate::norm::group_norm::reference as group_norm;
    pub use crate::norm::layer_norm::reference as layer_norm;
    pub use crate::norm::rms_norm::reference as rms_norm;
    pub use crate::norm::spectral_norm::reference as spectral_norm;
    pub use crate::norm::weight_norm::reference as weight_norm;
    pub use crate::optim::adadelta::reference as adadelta;
    pub use crate::optim::adagrad::reference as adagrad;
    pub use crate::optim::adam::reference as adam;
    pub use crate::optim::lamb::reference as lamb;
    pub use crate::optim::lars::reference as lars;
    pub use crate::optim::lion::reference as lion;
    pub use crate::optim::nadam::reference as nadam;
    pub use crate::optim::radam::reference as radam;
    pub use crate::optim::reference as optim;
    pub use crate::optim::rms_prop::reference as rms_prop;
    pub use crate::optim::sgd::reference as sgd;
    pub use crate::pretrain::autoencoder::reference as autoencoder;
    pub use crate::pretrain::rbm::reference as rbm;
    pub use crate::random::philox::reference as philox;
    pub use crate::recurrent::gru::reference as gru;
    pub use crate::recurrent::layer_norm_lstm::reference as layer_norm_lstm;
    pub use crate::recurrent::lstm::reference as lstm;
    pub use crate::recurrent::rnn::reference as rnn;
    pub use crate::recurrent::zoneout::reference as zoneout;
    pub use crate::regularize::dropout::reference as dropout;
    pub use crate::regularize::group_lasso::reference as group_lasso;
    pub use crate::regularize::max_norm::reference as max_norm;
    pub use crate::regularize::orthogonality::reference as orthogonality;
    pub use crate::regularize::penalty::reference as penalty;
    pub use crate::regularize::proximal::reference as proximal;
    pub use crate::residual::add::reference as add;
    pub use crate::residual::highway::reference as highway;
    pub use crate::residual::scaled::reference as scaled;
    pub use crate::residual::stochastic_depth::reference as stochastic_depth;
    pub use crate::stats::moments::reference as moments;
    pub use crate::stats::norm_partial::reference as norm_partial;
}

/// The examples of the README run as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
