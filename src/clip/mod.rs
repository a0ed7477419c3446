//! Gradient clipping: no step further than a limit, however steep the loss was.
//!
//! Pascanu, Mikolov & Bengio, "On the difficulty of training recurrent neural networks", 2013. By norm, the direction is
//! kept; by value, it is not.

pub mod adaptive;
pub mod auto_clip;
pub mod clip_norm;
pub mod clip_value;
pub mod per_sample;

pub use adaptive::ClipAdaptive;
pub use auto_clip::{AutoClip, NormHistory};
pub use clip_norm::{ClipNorm, ClipReport, ClipRule, NonFinite};
pub use clip_value::ClipValue;
pub use per_sample::ClipPerSample;
