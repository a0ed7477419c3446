//! Random bits that are a function of where they are used: nothing to store, nothing to keep in order.

pub mod philox;

pub use philox::Philox;
