//! Statistics as values that merge: blocks, threads and machines combine by one rule.

mod exact_sum;
pub mod moments;
pub mod norm_partial;
pub(crate) mod unit_norm;

pub(crate) use exact_sum::scale_by_power;
pub use moments::Moments;
pub use norm_partial::{NormPartial, norm};
