//! Recurrent layers: sequences forward, and backward through time.
//!
//! Sequences are time × batch × feature, the last contiguous; a [`Stack`] also takes batch × time × feature. Weights are packed once after each of their updates
//! ([`PackedRecurrent`]); the inputs of some steps are projected by one product while those are near, and each step adds
//! the product of the state before it.
//!
//! [`Lstm`], [`LayerNormLstm`], [`Gru`] and [`Rnn`] are one layer in one direction; a [`Stack`] is several layers of one of them, in one direction
//! or in both, over sequences that may have [`Lengths`] of their own.

mod carry;
mod gradients;
pub mod gru;
mod layer;
pub mod layer_norm_lstm;
mod lengths;
pub mod lstm;
mod packed;
pub mod rnn;
mod rows;
mod sequence;
mod stack;
mod weights;

pub use gru::{Gru, GruGates, GruReset};
pub use layer::Layer;
pub use layer_norm_lstm::LayerNormLstm;
pub use lengths::Lengths;
pub use lstm::{Lstm, LstmGates, LstmState, LstmVariant};
pub use packed::{PackedRecurrent, RecurrentWeights};
pub use rnn::{Rnn, RnnActivation};
pub use sequence::{Direction, RecurrentGradients, SequenceShape, SequenceValues};
pub use stack::{
    Directions, PackedStack, SequenceBatch, SequenceLayout, Stack, StackGradients, VariationalDropout,
};
pub use weights::{KerasWeights, LayerWeights, OnnxWeights, RecurrentInit};
