//! The LSTM with layer norm inside: sums of any scale come to its gates at one, at every step.
//!
//! Ba, Kiros & Hinton, "Layer normalization", 2016, equations 20 to 22: both projections are normalised over all four gates
//! together, each with a gain, and the cell on its way to the output. Of the two biases of the norms of a step and the bias
//! behind them only the sum counts: they are the layer's two biases.

pub(crate) mod kernel;
pub mod reference;

use super::gradients::Terms;
use super::layer::{Backward, Forward, Layer, Pass};
use super::sequence::{Biases, Form, Sizes, part, part_mut, row_block};
use super::{Direction, LstmState, PackedRecurrent, SequenceShape, SequenceValues};
use crate::element::compiled_once;
use crate::parallel::{self, Rows};
use crate::shape::check_range;
use crate::simd::{self, Active};
use crate::{Element, Error, linear};

/// Terms of a unit in the gradients of the parameters: 4 of the biases, 4 of each projection's gain, the cell's two.
const TERMS: usize = 14;

/// A layer of layer-normalised LSTM cells over whole sequences.
///
/// ```text
/// norm(a) = (a − mean(a)) / √(variance(a) + eps)
/// [i, f, g, o] = γ_x·norm(x·W_ihᵀ) + b_ih + γ_h·norm(h·W_hhᵀ) + b_hh
/// c' = σ(f)·c + σ(i)·tanh(g)
/// h' = σ(o)·tanh(γ_c·norm(c') + β_c)
/// ```
///
/// The mean and the variance are those of a row: of all gates together, and of the units of the cell. γ and β are
/// [`RecurrentWeights::norm`](super::RecurrentWeights::norm).
///
/// The tape has 9 elements a unit, step and sequence, and 16 more a unit and sequence.
///
/// # Examples
/// ```
/// use steadygrad::recurrent::{Layer, LayerNormLstm, LstmState, RecurrentWeights, SequenceShape};
///
/// let lstm = LayerNormLstm { inputs: 1, hidden: 2, ..LayerNormLstm::default() };
/// let shape = SequenceShape { steps: 1, batch: 1 };
/// let mut norm = [1.0_f64; 20];
/// norm[18..].fill(0.0); // the bias of the cell
/// let weights = RecurrentWeights {
///     input: &[0.0; 8],
///     recurrent: &[0.0; 16],
///     norm: Some(&norm),
///     ..RecurrentWeights::default()
/// };
/// let packed = lstm.pack(weights)?;
/// let (mut h, mut c, mut y) = ([0.0; 2], [6.0, 2.0], [0.0; 2]);
/// let mut tape = vec![0.0; lstm.tape_len(shape)?];
/// let mut scratch = vec![0.0; lstm.scratch_len::<f64>(shape)];
/// let state = LstmState { h: &mut h, c: &mut c };
/// lstm.forward(shape, &[1.0], &packed, state, &mut tape, &mut scratch, &mut y)?;
/// // All sums are 0, so all gates are open by half; the cell, 3 and 1, has mean 2 and deviation 1.
/// assert_eq!(c, [3.0, 1.0]);
/// assert!((y[0] - 0.5 * 1.0_f64.tanh()).abs() < 1e-5 && y[1] == -y[0]);
/// # Ok::<(), steadygrad::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerNormLstm {
    /// Features of a step of the input.
    pub inputs: usize,
    /// Units, which are the features of the output.
    pub hidden: usize,
    /// Which way it goes through the sequence; [`Direction::Forward`] by default.
    pub direction: Direction,
    /// Added to the variance, at least 0 and finite; 1e-5 by default. With 0, a row whose values are all the same gives NaN, as
    /// that of an initial output of zeros.
    pub eps: f64,
}

impl Default for LayerNormLstm {
    fn default() -> Self {
        Self { inputs: 0, hidden: 0, direction: Direction::Forward, eps: 1e-5 }
    }
}

impl Layer for LayerNormLstm {
    type State<'a, T: 'a> = LstmState<'a, T>;

    fn slices<'a, T: 'a>(state: LstmState<'a, T>) -> [&'a mut [T]; 2] {
        [state.h, state.c]
    }
}

impl Pass for LayerNormLstm {
    const STATE: [&'static [&'static str]; 2] = [&["state.h", "state.c"], &["dstate.h", "dstate.c"]];

    fn sizes(&self) -> Sizes {
        let form = Form { normalised: true, ..Form::plain(Biases::Inside) };
        Sizes { inputs: self.inputs, hidden: self.hidden, outputs: self.hidden, gates: 4, form }
    }

    fn direction(&self) -> Direction {
        self.direction
    }

    fn forget_gate(&self) -> Option<(usize, f64)> {
        Some((1, 1.0))
    }

    fn check(&self) -> Result<(), Error> {
        check_range("eps", "at least 0 and finite", self.eps >= 0.0 && self.eps.is_finite())
    }

    fn keeps(&self) -> [bool; 2] {
        [true, false]
    }

    fn placed(self, inputs: usize, direction: Direction) -> Self {
        Self { inputs, direction, ..self }
    }

    fn tape_elements(&self, shape: SequenceShape) -> Result<usize, Error> {
        let (values, states) = (shape.elements(self.hidden)?, shape.state(self.hidden)?);
        let sum = values.checked_mul(9).zip(states.checked_mul(2 + TERMS));
        let sum = sum.and_then(|(values, states)| values.checked_add(states));
        sum.ok_or(Error::Overflow { argument: "shape" })
    }

    fn forward_pass<T: Element>(&self, pass: Forward<'_, T>) {
        let Forward { walk, x, weights, state: [h, c], mut carry, keep: [keep, _], tape, scratch, y } = pass;
        let (hidden, width, parameters) = (self.hidden, 4 * self.hidden, Parameters::of(weights));
        let Tape { h0, c0, input, recurrent, cells, terms } = self.tape(walk.shape, tape);
        h0.copy_from_slice(h);
        c0.copy_from_slice(c);
        for turn in 0..walk.shape.steps {
            weights.project_ahead(walk, turn, x, scratch, input);
            for rows in walk.parts(turn) {
                let (h, h_before) = rows.with_before(y, hidden, h0);
                let (c, c_before) = rows.with_before(cells, hidden, c0);
                let recurrent = part_mut(recurrent, width, &rows.rows);
                let kept = carry.kept(&rows.sequences, h_before);
                weights.project_step(rows.rows.len(), kept, scratch, recurrent);
                let input = part_mut(input, width, &rows.rows);
                weights.project_now(rows.rows.len(), part(x, self.inputs, &rows.rows), scratch, input);
                let projections = (&*input, &*recurrent);
                let terms = part_mut(terms, TERMS * hidden, &rows.sequences);
                <T as Compiled>::forward(self.eps, parameters, projections, (c_before, c), h, terms);
            }
            keep.forward(walk, turn, y, h0);
            walk.keep_ended(turn, y, hidden, h);
            walk.keep_ended(turn, cells, hidden, c);
        }
    }

    fn backward_pass<T: Element>(&self, pass: Backward<'_, T>) {
        let Backward { walk, values, weights, tape, dstate: [dh, dc], mut buffers, .. } = pass;
        let Backward { keep: [mut keep, _], mut gradients, .. } = pass;
        let (hidden, width, parameters) = (self.hidden, 4 * self.hidden, Parameters::of(weights));
        let Tape { h0, c0, input, recurrent, cells, terms } = self.tape(walk.shape, tape);
        let biases = [gradients.input_bias.take(), gradients.recurrent_bias.take()];
        let mut of_terms = biases.map(|bias| (0, bias));
        let mut of_norm = (width, gradients.norm.take());
        for turn in (0..walk.shape.steps).rev() {
            for rows in walk.parts(turn) {
                let projections =
                    (part_mut(input, width, &rows.rows), part_mut(recurrent, width, &rows.rows));
                let cells = (rows.before(cells, hidden, c0), part(cells, hidden, &rows.rows));
                let dh = part_mut(dh, hidden, &rows.sequences);
                let dy = keep.backward(&rows, part(values.dy, hidden, &rows.rows), dh);
                let of_output = (dy, &*dh);
                let dc = part_mut(dc, hidden, &rows.sequences);
                let terms = part_mut(terms, TERMS * hidden, &rows.sequences);
                <T as Compiled>::backward(self.eps, parameters, projections, cells, of_output, dc, terms);
            }
            let rows = walk.rows(turn);
            for (from, gradient) in of_terms.iter_mut().chain([&mut of_norm]) {
                if let Some(gradient) = gradient {
                    let terms = (&terms[*from..], TERMS * hidden);
                    <T as linear::Compiled>::column_sums(rows.len(), terms, gradient, None);
                }
            }
            let dh = &mut dh[..rows.len() * hidden];
            let drecurrent = (rows.len(), part(recurrent, width, &rows));
            buffers.carry.step_backward(weights, drecurrent, buffers.scratch, dh);
            keep.add_kept(rows.len(), dh);
            let SequenceValues { x, y, .. } = values;
            let terms = Terms { x, y, h0, input, recurrent, candidate: &[] };
            weights.gradients_behind(walk, turn, terms, &mut buffers, &mut gradients);
        }
    }
}

impl LayerNormLstm {
    fn tape<'a, T>(&self, shape: SequenceShape, tape: &'a mut [T]) -> Tape<'a, T> {
        let (state, values) = (shape.batch * self.hidden, shape.steps * shape.batch * self.hidden);
        let (h0, rest) = tape.split_at_mut(state);
        let (c0, rest) = rest.split_at_mut(state);
        let (input, rest) = rest.split_at_mut(4 * values);
        let (recurrent, rest) = rest.split_at_mut(4 * values);
        let (cells, terms) = rest.split_at_mut(values);
        Tape { h0, c0, input, recurrent, cells, terms }
    }
}

/// What a forward leaves for its backward.
struct Tape<'a, T> {
    h0: &'a mut [T],
    c0: &'a mut [T],
    /// The projection of the input, then its gradient.
    input: &'a mut [T],
    /// The projection of the old output, then its gradient.
    recurrent: &'a mut [T],
    cells: &'a mut [T],
    /// Of one step, the terms of the gradients of the parameters.
    terms: &'a mut [T],
}

/// What a cell learns besides its matrices, as [`reference::Parameters`].
#[derive(Clone, Copy, Debug)]
pub struct Parameters<'a, T> {
    bias: &'a [T],
    input: &'a [T],
    recurrent: &'a [T],
    cell: &'a [T],
    cell_bias: &'a [T],
}

impl<'a, T: Element> Parameters<'a, T> {
    fn of(weights: &'a PackedRecurrent<T>) -> Self {
        let (width, hidden) = (weights.width(), weights.sizes().hidden);
        let (input, norm) = weights.norm.split_at(width);
        let (recurrent, norm) = norm.split_at(width);
        let (cell, cell_bias) = norm.split_at(hidden);
        Self { bias: &weights.input_bias, input, recurrent, cell, cell_bias }
    }
}

compiled_once! {
    fn forward(
        eps: f64,
        parameters: Parameters<'_, Self>,
        projections: (&[Self], &[Self]),
        cells: (&[Self], &mut [Self]),
        h: &mut [Self],
        terms: &mut [Self],
    ) = forward_all;
    fn backward(
        eps: f64,
        parameters: Parameters<'_, Self>,
        projections: (&mut [Self], &mut [Self]),
        cells: (&[Self], &[Self]),
        of_output: (&[Self], &[Self]),
        dc: &mut [Self],
        terms: &mut [Self],
    ) = backward_all;
}

fn forward_all<T: Element>(
    eps: f64,
    parameters: Parameters<'_, T>,
    (input, recurrent): (&[T], &[T]),
    (before, c): (&[T], &mut [T]),
    h: &mut [T],
    terms: &mut [T],
) {
    let (active, hidden) = (Active::current(), parameters.cell.len());
    let gates = |data| Rows { data, width: 4 * hidden };
    let written = (Rows { data: c, width: hidden }, Rows { data: h, width: hidden });
    let terms = Rows { data: terms, width: TERMS * hidden };
    let rows = ((gates(input), gates(recurrent)), Rows { data: before, width: hidden }, (written, terms));
    parallel::for_each(rows, row_block(hidden), |((input, recurrent), before, ((c, h), terms))| {
        let step = kernel::Forward { eps, parameters, input, recurrent, before, c, h, terms };
        simd::dispatch(active, step);
    });
}

fn backward_all<T: Element>(
    eps: f64,
    parameters: Parameters<'_, T>,
    (input, recurrent): (&mut [T], &mut [T]),
    (before, c): (&[T], &[T]),
    (dy, dh): (&[T], &[T]),
    dc: &mut [T],
    terms: &mut [T],
) {
    let (active, hidden) = (Active::current(), parameters.cell.len());
    let read = |data| Rows { data, width: hidden };
    let written = |data, width| Rows { data, width };
    let projections = (written(input, 4 * hidden), written(recurrent, 4 * hidden));
    let given = ((read(before), read(c)), (read(dy), read(dh)));
    let rows = (projections, given, (written(dc, hidden), written(terms, TERMS * hidden)));
    parallel::for_each(rows, row_block(hidden), |((input, recurrent), given, (dc, terms))| {
        let ((before, c), (dy, dh)) = given;
        let step = kernel::Backward { eps, parameters, input, recurrent, before, c, dy, dh, dc, terms };
        simd::dispatch(active, step);
    });
}
