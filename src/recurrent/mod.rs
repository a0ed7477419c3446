//! Recurrent layers: sequences forward, and backward through time.
//!
//! Sequences are time × batch × feature, the last contiguous; a [`Stack`] also takes batch × time × feature. Weights are packed once after each of their updates
//! ([`PackedRecurrent`]); the inputs of some steps are projected by one product while those are near, and each step adds
//! the product of the state before it.
//!
//! [`Lstm`], [`LayerNormLstm`], [`Gru`] and [`Rnn`] are one layer in one direction; a [`Stack`] is several layers of one of them, in one direction
//! or in both, over sequences that may have [`Lengths`] of their own.
//!
//! # Memory
//!
//! Elements of a tape, a unit, step and sequence, besides those of the states of one step:
//!
//! | layer                                     | tape                                             |
//! |-------------------------------------------|--------------------------------------------------|
//! | [`Lstm`], with peepholes                  | 5                                                |
//! | coupled                                   | 4                                                |
//! | with a projection                         | one more, and one a feature of it                |
//! | [`LayerNormLstm`]                         | 9                                                |
//! | [`Gru`], reset before the product         | 6, 4                                             |
//! | [`Rnn`]                                   | 1                                                |
//! | in a [`Stack`]                            | one more, the output; and one where the next layer reads another than a single half of it: in both directions or with dropout |
//!
//! [`Layer::infer`] and [`Stack::infer`] have no tape: one of some steps is a part of their scratch, written again and again.
//!
//! A stack keeps the input too where rows move or features are dropped. Scratch is that of the largest product of a chunk of
//! steps, which stops growing with the sequence; in a stack, one element a unit, step and sequence of the last layer's
//! gradient more, one of the gradient below where there are several layers or rows move, and one of the outputs before
//! where there are lengths or a recurrent mask. What zoneout takes does not grow with the steps.
//!
//! ```
//! use steadygrad::recurrent::{Layer, Lstm, SequenceShape};
//!
//! let lstm = Lstm { inputs: 650, hidden: 650, ..Lstm::default() };
//! let shape = SequenceShape { steps: 35, batch: 20 };
//! let units = 20 * 650;
//! assert_eq!(lstm.tape_len(shape)?, 5 * 35 * units + 2 * units); // 9.2 MB of f32
//! assert!(lstm.scratch_len::<f32>(shape) < 2_000_000); // less than 8 MB more at the peak
//! # Ok::<(), steadygrad::Error>(())
//! ```

mod batch;
mod carry;
mod gradients;
pub mod gru;
mod infer;
mod lanes;
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
pub mod zoneout;

pub use batch::{SequenceBatch, SequenceLayout};
pub use gru::{Gru, GruGates, GruReset};
pub use layer::Layer;
pub use layer_norm_lstm::LayerNormLstm;
pub use lengths::Lengths;
pub use lstm::{Lstm, LstmGates, LstmState, LstmVariant};
pub use packed::{PackedRecurrent, RecurrentWeights};
pub use rnn::{Rnn, RnnActivation};
pub use sequence::{Direction, RecurrentGradients, SequenceShape, SequenceValues};
pub use stack::{Directions, PackedStack, Stack, StackGradients, VariationalDropout};
pub use weights::{KerasWeights, LayerWeights, OnnxWeights, RecurrentInit};
pub use zoneout::Zoneout;
