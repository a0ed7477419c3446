//! Recurrent layers: sequences forward, and backward through time.
//!
//! Sequences are time × batch × feature, the last contiguous. Weights are packed once after each of their updates
//! ([`PackedRecurrent`]); the inputs of all steps are projected by one product, and each step adds the product of the state
//! before it.
//!
//! Several layers, or both directions, are several calls: the output of one is the input of the next, and a
//! [`Direction::Backward`] layer reads the same sequence from its end.

pub mod gru;
pub mod lstm;
pub mod rnn;
mod sequence;

pub use gru::{Gru, GruGates};
pub use lstm::{Lstm, LstmGates, LstmState};
pub use rnn::{Rnn, RnnActivation};
pub use sequence::{
    Direction, PackedRecurrent, RecurrentGradients, RecurrentWeights, SequenceShape, SequenceValues,
};
