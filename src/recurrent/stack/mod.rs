//! Several layers of cells, in one direction or in both, over sequences of any lengths.

mod checks;
mod masks;
mod memory;

use alloc::vec::Vec;

pub use masks::VariationalDropout;
use memory::{Part, Scratch};

use super::batch::SequenceBatch;
use super::carry::Carry;
use super::gradients::Buffers;
use super::layer::{Backward, Forward, Layer};
use super::packed::{PackedRecurrent, RecurrentWeights, check_weights};
use super::rows::{Columns, States, collect, rows, spread};
use super::sequence::{Direction, RecurrentGradients, SequenceValues, Sizes};
use super::zoneout::Zoneout;
use crate::shape::{check_len, check_range};
use crate::{Element, Error};

/// Which ways the layers of a stack go through a sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Directions {
    /// That of [`Stack::layer`].
    #[default]
    One,
    /// Forward and backward, the outputs side by side: those of the forward half first.
    Both,
}

impl Directions {
    pub(super) fn count(self) -> usize {
        match self {
            Self::One => 1,
            Self::Both => 2,
        }
    }
}

/// Layers of the same cell, each fed by the outputs of the one below; PyTorch's `LSTM`, `GRU` or `RNN` with `num_layers`,
/// `bidirectional` and `dropout`, and its packed sequences.
///
/// Weights, gradients and states lie as PyTorch numbers them: layer by layer, and in each the forward half first. Tables say
/// `hidden` for the features of a layer's output, which of an [`Lstm`](super::Lstm) with a projection are those of the projection;
/// its cells have those of the layer.
///
/// With [`Lengths`](super::Lengths), a sequence ends with its own last step: there the backward half begins, and the final
/// state is what it is there. Padding costs nothing: it is never read, whatever its bits; the output there is 0, and so is
/// its gradient. Each sequence has the bits that it has alone.
///
/// # Examples
/// ```
/// use steadygrad::recurrent::{Directions, Gru, Lengths, RecurrentWeights, SequenceBatch, SequenceShape, Stack};
///
/// let gru = Gru { inputs: 1, hidden: 1, ..Gru::default() };
/// let stack = Stack { layers: 2, directions: Directions::Both, ..Stack::new(gru) };
/// let shape = SequenceShape { steps: 3, batch: 2 };
/// // Of zeros, a half of the old output stays at each step.
/// let zeros = [0.0_f64; 6];
/// let weights = |inputs: usize| RecurrentWeights {
///     input: &zeros[..3 * inputs],
///     recurrent: &zeros[..3],
///     ..RecurrentWeights::default()
/// };
/// let packed = stack.pack(&[weights(1), weights(1), weights(2), weights(2)])?;
/// let lengths = Lengths::new(shape, &[1, 3])?;
/// let batch = SequenceBatch { lengths: Some(&lengths), ..shape.into() };
/// let (x, mut state, mut y) = ([0.0; 3 * 2], [1.0; 4 * 2], [f64::NAN; 3 * 2 * 2]);
/// let mut tape = vec![0.0; stack.tape_len(batch)?];
/// let mut scratch = vec![0.0; stack.scratch_len::<f64>(batch)];
/// stack.forward(batch, &x, &packed, &mut state, &mut tape, &mut scratch, &mut y)?;
/// assert_eq!(state[..2], [0.5, 0.125]); // the forward half of the first layer: one step, three steps
/// assert_eq!(y[..4], [0.5, 0.5, 0.5, 0.125]); // the first step of both sequences, forward and backward
/// assert_eq!(y[4..6], [0.0, 0.0]); // padding
/// # Ok::<(), steadygrad::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stack<L> {
    /// The first layer; the others take what is below them.
    pub layer: L,
    /// How many, at least 1; 1 by [`new`](Self::new).
    pub layers: usize,
    /// Which ways they go; [`Directions::One`] by [`new`](Self::new).
    pub directions: Directions,
    /// Probability that an output of a layer but the last is dropped on its way up, in [0, 1], each step by a draw of its own;
    /// 0 by [`new`](Self::new). As the two below, it only acts where [`SequenceBatch::dropout`] gives the draws.
    pub dropout: f64,
    /// Dropout whose masks stay for all steps; none by [`new`](Self::new).
    pub variational: VariationalDropout,
    /// Units that keep their value for a step; none by [`new`](Self::new).
    pub zoneout: Zoneout,
}

/// The gradients that the backward of a [`Stack`] shall compute; what is `None` costs nothing.
#[derive(Debug)]
pub struct StackGradients<'a, 'b, T> {
    /// Of the input: `steps · batch · inputs`, overwritten.
    pub x: Option<&'a mut [T]>,
    /// Of the weights of each layer and direction, each with a mode of its own; their `x` is `None`.
    pub layers: &'a mut [RecurrentGradients<'b, T>],
}

impl<L: Layer> Stack<L> {
    /// One layer, in its own direction, without dropout.
    pub fn new(layer: L) -> Self {
        Self {
            layer,
            layers: 1,
            directions: Directions::One,
            dropout: 0.0,
            variational: VariationalDropout::default(),
            zoneout: Zoneout::default(),
        }
    }

    /// The weights as [`forward`](Self::forward) and [`backward`](Self::backward) take them: one a layer and direction. After a
    /// step of the optimizer, [`PackedStack::repack`] takes the new ones.
    ///
    /// # Errors
    /// [`Error::Length`] where a slice does not fit its layer, or `weights` the number of layers and directions,
    /// [`Error::Overflow`] where a length does not fit in `usize`, [`Error::OutOfRange`] where `layers` is 0.
    pub fn pack<T: Element>(&self, weights: &[RecurrentWeights<'_, T>]) -> Result<PackedStack<T>, Error> {
        check_len("weights", weights.len(), self.count()?)?;
        let each = (0..weights.len())
            .map(|index| PackedRecurrent::new(self.sizes(index / self.directions.count()), weights[index]));
        Ok(PackedStack { layers: each.collect::<Result<Vec<_>, Error>>()? })
    }

    /// The outputs of all steps, and the final states of all layers.
    ///
    /// | argument  | elements                                                     | access                       |
    /// |-----------|--------------------------------------------------------------|------------------------------|
    /// | `x`       | `steps · batch · inputs`, in the layout of the batch          | read, padding never          |
    /// | `weights` | packed                                                       | read                         |
    /// | `state`   | `layers · directions · batch · hidden` (each)                | read as the initial, overwritten with the final states |
    /// | `tape`    | [`tape_len`](Self::tape_len)                                 | overwritten, for the backward |
    /// | `scratch` | at least [`scratch_len`](Self::scratch_len)                  | overwritten                  |
    /// | `y`       | `steps · batch · directions · hidden`, as `x`                 | overwritten, padding with 0  |
    ///
    /// # Errors
    /// [`Error::Length`] names the first argument whose length differs from the table, [`Error::OutOfRange`] `weights` of
    /// another stack, `lengths` of another batch, `layers` or a probability, [`Error::Overflow`] a product that does not fit in
    /// `usize`; [`Error::Unsupported`] is zoneout of what the layer does not keep. Then nothing was written.
    #[expect(clippy::too_many_arguments, reason = "each is its own memory, owned by the caller")]
    pub fn forward<T: Element>(
        &self,
        batch: SequenceBatch<'_>,
        x: &[T],
        weights: &PackedStack<T>,
        state: L::State<'_, T>,
        tape: &mut [T],
        scratch: &mut [T],
        y: &mut [T],
    ) -> Result<(), Error> {
        let mut state = L::slices(state);
        self.check(batch, weights, (&state, L::STATE[0]))?;
        self.check_memory(batch, tape, scratch)?;
        self.check_rows(batch, ("x", x), ("y", y))?;
        if y.is_empty() {
            return Ok(());
        }
        let (rows, count) = (rows(batch), self.directions.count());
        let outputs = self.sizes(0).outputs;
        let Scratch { state: own_state, room, products, .. } = self.split_scratch(batch, scratch);
        let (own_x, mut rest) = tape.split_at_mut(self.own_input(batch)?);
        let mut input = x;
        if !own_x.is_empty() {
            let own_x = &mut own_x[..rows * self.sizes(0).inputs];
            collect(batch.moved(), x, Columns::of(self.sizes(0).inputs, 0, 1), own_x);
            self.drop_input(batch, 0, own_x);
            input = own_x;
        }
        for index in 0..self.layers {
            let (part, above) = rest.split_at_mut(self.part_len(batch.shape, index)?);
            rest = above;
            let Part { mut halves, joined } = self.part(batch.shape, part);
            for (half, direction) in self.each_direction().enumerate() {
                let layer = self.placed(index, direction);
                let (tape, own_y) = &mut halves[half];
                let mut sorted = States::sort(batch, index * count + half, self.sizes(0), &state, own_state);
                layer.forward_pass(Forward {
                    walk: batch.walk(direction),
                    x: input,
                    weights: &weights.layers[index * count + half],
                    state: sorted.slices(),
                    carry: Carry::new(self.recurrent_mask(batch, index * count + half), room, outputs),
                    keep: self.keep(batch, index * count + half, [&mut [], &mut []], &[]),
                    tape,
                    scratch: products,
                    y: &mut own_y[..rows * outputs],
                });
                sorted.put_back(&mut state);
            }
            let last = index + 1 == self.layers;
            if last && batch.lengths.is_some() {
                y.fill(T::zero());
            }
            let to = if last { &mut *y } else { &mut *joined };
            let places = batch.moved().filter(|_| last);
            if last || self.joins() {
                for (half, (_, own_y)) in halves.iter().take(count).enumerate() {
                    spread(places, &own_y[..rows * outputs], Columns::of(outputs, half, count), to);
                }
            }
            input = if self.joins() {
                if !last {
                    let joined = &mut joined[..rows * self.width()];
                    if let Some(mask) = self.mask(batch, index) {
                        mask.0.forward_in_place(mask.1, mask.2, joined)?;
                    }
                    self.drop_input(batch, index + 1, joined);
                }
                joined
            } else {
                let [(_, own_y), _] = halves;
                own_y
            };
        }
        Ok(())
    }

    /// The gradients through time and through the layers, from those of the outputs and of the final states. `batch` is that of the
    /// forward, its dropout included, from which masks are drawn again.
    ///
    /// | argument    | elements                                                   | access                       |
    /// |-------------|------------------------------------------------------------|------------------------------|
    /// | `x`         | `steps · batch · inputs`                                   | read: that of the forward    |
    /// | `dy`        | `steps · batch · directions · hidden`                      | read: the gradient of the output, padding never |
    /// | `weights`   | packed                                                     | read: those of the forward   |
    /// | `tape`      | [`tape_len`](Self::tape_len)                               | read: that of the forward; overwritten |
    /// | `dstate`    | `layers · directions · batch · hidden` (each)              | read as the gradient of the final states, overwritten with that of the initial ones |
    /// | `scratch`   | at least [`scratch_len`](Self::scratch_len)                | overwritten                  |
    /// | `gradients` | as its fields say                                          | `x` overwritten, padding with 0, the others as their mode says |
    ///
    /// # Errors
    /// As [`forward`](Self::forward); [`Error::OutOfRange`] where an `x` of `gradients.layers` is not `None`.
    #[expect(clippy::too_many_arguments, reason = "each is its own memory, owned by the caller")]
    pub fn backward<T: Element>(
        &self,
        batch: SequenceBatch<'_>,
        (x, dy): (&[T], &[T]),
        weights: &PackedStack<T>,
        tape: &mut [T],
        dstate: L::State<'_, T>,
        scratch: &mut [T],
        gradients: StackGradients<'_, '_, T>,
    ) -> Result<(), Error> {
        let mut dstate = L::slices(dstate);
        self.check(batch, weights, (&dstate, L::STATE[1]))?;
        self.check_memory(batch, tape, scratch)?;
        let inputs = self.sizes(0).inputs;
        self.check_rows(batch, ("x", x), ("dy", dy))?;
        self.check_gradients(batch.shape, &gradients)?;
        let StackGradients { x: mut dx, layers: gradients } = gradients;
        if dy.is_empty() {
            gradients.iter_mut().for_each(RecurrentGradients::of_nothing);
            if let Some(dx) = dx {
                dx.fill(T::zero());
            }
            return Ok(());
        }
        let (rows, count, width) = (rows(batch), self.directions.count(), self.width());
        let outputs = self.sizes(0).outputs;
        let scratch = self.split_scratch(batch, scratch);
        let Scratch { state: own_state, room, dy: apart, below, before, .. } = scratch;
        let Scratch { kept: [kept_h, kept_c], new_cells, zeros, products, .. } = scratch;
        zeros.fill(T::zero());
        gradients.iter_mut().for_each(RecurrentGradients::prepare);
        let apart = &mut apart[..count * rows * outputs];
        for (half, apart) in apart.chunks_exact_mut(rows * outputs).enumerate() {
            collect(batch.moved(), dy, Columns::of(outputs, half, count), apart);
        }
        for index in (0..self.layers).rev() {
            let (inputs_of_layer, part) = self.split_tape(batch, index, x, tape)?;
            let Part { mut halves, .. } = self.part(batch.shape, part);
            for (half, direction) in self.each_direction().enumerate() {
                let layer = self.placed(index, direction);
                let (tape, own_y) = &mut halves[half];
                let at = index * count + half;
                let mut sorted = States::sort(batch, at, self.sizes(0), &dstate, own_state);
                let dx = match (index, &mut dx, batch.moves_rows()) {
                    (0, dx, false) => dx.as_deref_mut(),
                    (0, None, true) => None,
                    _ => Some(&mut below[..rows * layer.sizes().inputs]),
                };
                layer.backward_pass(Backward {
                    walk: batch.walk(direction),
                    values: SequenceValues {
                        x: inputs_of_layer,
                        y: &own_y[..rows * outputs],
                        dy: &apart[half * rows * outputs..][..rows * outputs],
                    },
                    weights: &weights.layers[at],
                    tape,
                    dstate: sorted.slices(),
                    buffers: Buffers {
                        scratch: &mut *products,
                        before: &mut *before,
                        carry: Carry::new(self.recurrent_mask(batch, at), room, outputs),
                        // What the other half has left is added to.
                        dx_start: if half == 0 { T::zero() } else { T::one() },
                        dw_start: gradients[at].mode.start(),
                    },
                    keep: self.keep(batch, at, [&mut *kept_h, &mut *kept_c], zeros),
                    new_cells: &mut *new_cells,
                    gradients: gradients[at].reborrow(dx),
                });
                sorted.put_back(&mut dstate);
            }
            if index > 0 {
                let below = &mut below[..rows * width];
                self.drop_input(batch, index, below);
                if let Some(mask) = self.mask(batch, index - 1) {
                    mask.0.backward_in_place(mask.1, mask.2, below)?;
                }
                for (half, apart) in apart.chunks_exact_mut(rows * outputs).enumerate() {
                    collect(None, below, Columns::of(outputs, half, count), apart);
                }
            }
        }
        let Some(dx) = dx else { return Ok(()) };
        if batch.moves_rows() {
            let below = &mut below[..rows * inputs];
            self.drop_input(batch, 0, below);
            dx.fill(T::zero());
            spread(Some(batch), below, Columns::of(inputs, 0, 1), dx);
        } else {
            self.drop_input(batch, 0, dx);
        }
        Ok(())
    }

    /// Layers times directions.
    fn count(&self) -> Result<usize, Error> {
        check_range("layers", "at least 1", self.layers > 0)?;
        self.layers.checked_mul(self.directions.count()).ok_or(Error::Overflow { argument: "layers" })
    }

    /// Features of the output.
    pub(super) fn width(&self) -> usize {
        // What saturates is refused as an overflow.
        self.layer.sizes().outputs.saturating_mul(self.directions.count())
    }

    /// The widths of layer `index`, in each direction.
    pub(super) fn sizes(&self, index: usize) -> Sizes {
        let sizes = self.layer.sizes();
        Sizes { inputs: if index == 0 { sizes.inputs } else { self.width() }, ..sizes }
    }

    pub(super) fn each_direction(&self) -> impl Iterator<Item = Direction> + use<L> {
        let both = [Direction::Forward, Direction::Backward];
        let one = [self.layer.direction(); 2];
        let chosen = if self.directions == Directions::Both { both } else { one };
        chosen.into_iter().take(self.directions.count())
    }

    pub(super) fn placed(&self, index: usize, direction: Direction) -> L {
        self.layer.placed(self.sizes(index).inputs, direction)
    }
}

/// The weights of a [`Stack`], packed; made once after each update.
#[derive(Debug)]
pub struct PackedStack<T> {
    pub(super) layers: Vec<PackedRecurrent<T>>,
}

impl<T: Element> PackedStack<T> {
    /// Takes other weights of the same layers; allocates nothing.
    ///
    /// # Errors
    /// [`Error::Length`] where a slice does not fit its layer, or `weights` their number; then it holds what it held.
    pub fn repack(&mut self, weights: &[RecurrentWeights<'_, T>]) -> Result<(), Error> {
        check_len("weights", weights.len(), self.layers.len())?;
        for (layer, &weights) in self.layers.iter().zip(weights) {
            check_weights(layer.sizes(), weights)?;
        }
        self.layers.iter_mut().zip(weights).try_for_each(|(layer, &weights)| layer.take(weights))
    }
}
