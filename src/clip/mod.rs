//! Gradient clipping: no step further than a limit, however steep the loss was.
//!
//! Pascanu, Mikolov & Bengio, "On the difficulty of training recurrent neural networks", 2013. By norm, the direction is
//! kept; by value, it is not.

pub mod clip_norm;
pub mod clip_value;

pub use clip_norm::{ClipNorm, ClipReport, ClipRule, NonFinite};
pub use clip_value::ClipValue;
