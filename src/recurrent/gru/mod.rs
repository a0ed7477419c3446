//! Gated recurrent units: two gates, and an output that is its own memory.
//!
//! Cho et al., "Learning phrase representations using RNN encoder-decoder", 2014, with the reset gate after the product, as
//! cuDNN and `PyTorch` have it, or before it, as there.

mod gates;
pub(crate) mod kernel;
mod pass;
pub mod reference;

pub use gates::GruGates;

use super::Direction;
use super::layer::Layer;
use crate::element::compiled_once;

/// Gates of the cell, the candidate among them.
const GATES: usize = 3;

/// Where the reset gate acts on what the candidate sees of the old output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum GruReset {
    /// On its projection: `r·(h·W_hnᵀ + b_hn)`, of `PyTorch`, cuDNN and Keras by default.
    #[default]
    After,
    /// On the output itself: `(r·h)·W_hnᵀ + b_hn`, of the paper and of ONNX by default. Each step takes two products.
    Before,
}

/// A layer of GRU cells over whole sequences; `PyTorch`'s `GRU` of one layer and one direction.
///
/// ```text
/// r = σ(x·W_irᵀ + b_ir + h·W_hrᵀ + b_hr)
/// z = σ(x·W_izᵀ + b_iz + h·W_hzᵀ + b_hz)
/// n = tanh(x·W_inᵀ + b_in + r·(h·W_hnᵀ + b_hn))
/// h' = (h − n)·z + n
/// ```
///
/// The tape has 6 elements a unit, step and sequence, 4 with [`GruReset::Before`], and the initial state, then twice.
///
/// With [`GruReset::Before`], `n = tanh(x·W_inᵀ + b_in + (r·h)·W_hnᵀ + b_hn)`.
///
/// # Examples
/// ```
/// use steadygrad::recurrent::{Gru, Layer, RecurrentWeights, SequenceShape};
///
/// let gru = Gru { inputs: 1, hidden: 1, ..Gru::default() };
/// let shape = SequenceShape { steps: 2, batch: 1 };
/// // z = 1: the output stays what it was.
/// let weights = RecurrentWeights {
///     input: &[0.0_f64; 3],
///     recurrent: &[0.0; 3],
///     input_bias: Some(&[0.0, 50.0, 0.0]),
///     recurrent_bias: None,
///     ..RecurrentWeights::default()
/// };
/// let packed = gru.pack(weights)?;
/// let (mut h, mut y) = ([0.75], [0.0; 2]);
/// let mut tape = vec![0.0; gru.tape_len(shape)?];
/// let mut scratch = vec![0.0; gru.scratch_len::<f64>(shape)];
/// gru.forward(shape, &[1.0, 2.0], &packed, &mut h, &mut tape, &mut scratch, &mut y)?;
/// assert_eq!((h, y), ([0.75], [0.75; 2]));
/// # Ok::<(), steadygrad::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Gru {
    /// Features of a step of the input.
    pub inputs: usize,
    /// Units, which are the features of the output.
    pub hidden: usize,
    /// Which way it goes through the sequence; [`Direction::Forward`] by default.
    pub direction: Direction,
    /// Where the reset gate acts; [`GruReset::After`] by default.
    pub reset: GruReset,
}

impl Layer for Gru {
    type State<'a, T: 'a> = &'a mut [T];

    fn slices<'a, T: 'a>(state: &'a mut [T]) -> [&'a mut [T]; 2] {
        [state, &mut []]
    }
}

compiled_once! {
    fn forward(hidden: usize, gates: &mut [Self], recurrent: &[Self], before: &[Self], h: &mut [Self])
        = gates::forward_all;
    fn backward(
        hidden: usize,
        gates: (&mut [Self], &mut [Self]),
        before: &[Self],
        dy: &[Self],
        dh: &mut [Self],
    ) = gates::backward_all;
    fn reset(hidden: usize, gates: &mut [Self], before: &[Self], reset: &mut [Self]) = gates::reset_all;
    fn forward_reset(hidden: usize, gates: &mut [Self], before: &[Self], h: &mut [Self]) = gates::forward_reset_all;
    fn candidate_backward(hidden: usize, gates: &mut [Self], before: &[Self], dy: &[Self], dh: &mut [Self])
        = gates::candidate_backward_all;
    fn reset_backward(hidden: usize, gates: &mut [Self], before: &[Self], dreset: &[Self], dh: &mut [Self])
        = gates::reset_backward_all;
}
