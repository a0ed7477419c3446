//! Long short-term memory: a cell that its forget gate keeps, so that gradients reach far back.
//!
//! Hochreiter & Schmidhuber, "Long short-term memory", 1997; the forget gate of Gers, Schmidhuber & Cummins, 2000; peepholes
//! of Gers & Schmidhuber, "Recurrent nets that time and count", 2000; the projection of Sak, Senior & Beaufays, 2014; coupled
//! gates of Greff et al., "LSTM: a search space odyssey", 2015.

mod gates;
pub(crate) mod kernel;
mod pass;
pub mod reference;

pub use gates::LstmGates;

use super::Direction;
use super::layer::Layer;
use crate::element::compiled_once;
use crate::simd::InOut;

/// Which gates a cell has, and what they see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LstmVariant {
    /// i, f, g, o.
    #[default]
    Standard,
    /// i, f, g, o, of which i and f see the cell before, and o the cell after, each unit its own, by weights p:
    /// `i = σ(… + p_i·c)`, `f = σ(… + p_f·c)`, `o = σ(… + p_o·c')`.
    Peephole,
    /// i, g, o: what enters is forgotten, `f = 1 − i`.
    Coupled,
}

impl LstmVariant {
    pub(super) fn gates(self) -> usize {
        match self {
            Self::Standard | Self::Peephole => 4,
            Self::Coupled => 3,
        }
    }
}

/// The state between two steps: of a batch `batch · hidden` elements each, of a projection `batch · projection` of h.
#[derive(Debug)]
pub struct LstmState<'a, T> {
    /// The output of the step before.
    pub h: &'a mut [T],
    /// The cell.
    pub c: &'a mut [T],
}

/// A layer of LSTM cells over whole sequences; `PyTorch`'s `LSTM` of one layer and one direction.
///
/// ```text
/// [i, f, g, o] = x·W_ihᵀ + b_ih + h·W_hhᵀ + b_hh
/// c' = σ(f)·c + σ(i)·tanh(g)
/// h' = σ(o)·tanh(c')             with a projection h' = (σ(o)·tanh(c'))·W_hrᵀ
/// ```
///
/// The tape has 5 elements a unit, step and sequence, 4 where gates are coupled, and the initial state; a projection adds one a
/// unit and one a feature of its own, and two units a sequence.
///
/// # Examples
/// ```
/// use steadygrad::recurrent::{Layer, Lstm, LstmState, RecurrentWeights, SequenceShape};
///
/// let lstm = Lstm { inputs: 1, hidden: 1, ..Lstm::default() };
/// let shape = SequenceShape { steps: 3, batch: 1 };
/// // An open forget gate, a closed input gate: the cell remembers.
/// let weights = RecurrentWeights {
///     input: &[0.0_f32; 4],
///     recurrent: &[0.0; 4],
///     input_bias: Some(&[-50.0, 50.0, 0.0, 50.0]),
///     recurrent_bias: None,
///     ..RecurrentWeights::default()
/// };
/// let packed = lstm.pack(weights)?;
/// let (mut h, mut c, mut y) = ([0.0], [0.5], [0.0; 3]);
/// let mut tape = vec![0.0; lstm.tape_len(shape)?];
/// let mut scratch = vec![0.0; lstm.scratch_len::<f32>(shape)];
/// let state = LstmState { h: &mut h, c: &mut c };
/// lstm.forward(shape, &[1.0, 2.0, 3.0], &packed, state, &mut tape, &mut scratch, &mut y)?;
/// assert_eq!(c, [0.5]);
/// assert!(y.iter().all(|y| (y - 0.5_f32.tanh()).abs() < 1e-6));
/// # Ok::<(), steadygrad::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Lstm {
    /// Features of a step of the input.
    pub inputs: usize,
    /// Units, which are the features of the output.
    pub hidden: usize,
    /// Which way it goes through the sequence; [`Direction::Forward`] by default.
    pub direction: Direction,
    /// Features that the output is projected to, `PyTorch`'s `proj_size`; none by default.
    pub projection: Option<usize>,
    /// Its gates; [`LstmVariant::Standard`] by default.
    pub variant: LstmVariant,
}

impl Layer for Lstm {
    type State<'a, T: 'a> = LstmState<'a, T>;

    fn slices<'a, T: 'a>(state: LstmState<'a, T>) -> [&'a mut [T]; 2] {
        [state.h, state.c]
    }
}

compiled_once! {
    fn forward(
        op: LstmGates,
        peephole: &[Self],
        gates: &mut [Self],
        before: &[Self],
        c: &mut [Self],
        h: &mut [Self],
    ) = gates::forward_all;
    fn backward(
        op: LstmGates,
        peephole: &[Self],
        gates: &mut [Self],
        cells: (&[Self], &[Self]),
        dh: (&[Self], &[Self]),
        dc: &mut [Self],
    ) = gates::backward_all;
    fn add(a: &[Self], to: InOut<'_, Self>) = gates::add_all;
    fn new_cells(op: LstmGates, gates: &[Self], before: &[Self], to: &mut [Self]) = gates::new_cells_all;
    fn seen(hidden: usize, gates: &mut [Self], cells: (&[Self], &[Self])) = gates::seen_all;
}
