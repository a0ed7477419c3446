//! Several layers of cells, in one direction or in both, over sequences of any lengths.

use alloc::vec::Vec;

use super::batch::SequenceBatch;
use super::carry::{Carry, StepMask};
use super::gradients::Buffers;
use super::layer::{Backward, Forward, Layer, check_state, state_widths};
use super::packed::{PackedRecurrent, RecurrentWeights, check_weights, scratch_len};
use super::rows::{Columns, States, collect, rows, spread};
use super::sequence::{Direction, RecurrentGradients, SequenceShape, SequenceValues, Sizes};
use super::zoneout::{Keep, Rate, Zoneout};
use crate::random::Philox;
use crate::regularize::{Dropout, MaskShape};
use crate::shape::{check_at_least, check_len, check_range};
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

/// Dropout with one mask of a sequence for all of its steps: what is dropped stays so, and memory is not worn away step by
/// step.
///
/// Gal & Ghahramani, "A theoretically grounded application of dropout in recurrent neural networks", 2016. What is kept is
/// multiplied by 1/(1 − p). A mask is drawn again at each step and by the backward, and never stored; with lengths, the longest
/// sequence has the first.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct VariationalDropout {
    /// Probability that a feature of a layer's input is dropped, the first layer's included, in [0, 1]; 0 by default. Both
    /// directions have the same.
    pub input: f64,
    /// Probability that a feature of the output is dropped on its way into the next step's product, in [0, 1]; 0 by default.
    /// All gates have the same; the output itself, and what a GRU keeps of it, stay whole.
    pub recurrent: f64,
}

/// Layers of the same cell, each fed by the outputs of the one below; PyTorch's `LSTM`, `GRU` or `RNN` with `num_layers`,
/// `bidirectional` and `dropout`, and its packed sequences.
///
/// Weights, gradients and states lie as PyTorch numbers them: layer by layer, and in each the forward half first.
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
    /// 0 by [`new`](Self::new).
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
    /// Of the weights of each layer and direction, accumulated; their `x` is `None`.
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

    /// Counters that a call draws masks from, [`SequenceBatch::dropout`] the first of them: the next call takes those behind.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] where `layers` is 0, [`Error::Overflow`] where the number does not fit in `u64`.
    ///
    /// # Examples
    /// ```
    /// use steadygrad::Philox;
    /// use steadygrad::recurrent::{Gru, Stack, VariationalDropout};
    ///
    /// let gru = Gru { inputs: 3, hidden: 5, ..Gru::default() };
    /// let variational = VariationalDropout { input: 0.2, recurrent: 0.2 };
    /// let stack = Stack { layers: 2, variational, ..Stack::new(gru) };
    /// let mut stream = Philox { key: 1, counter: 0 }; // of the first step of training
    /// stream.counter += stack.streams()?; // of the second
    /// assert_eq!(stream.counter, 10);
    /// # Ok::<(), steadygrad::Error>(())
    /// ```
    pub fn streams(&self) -> Result<u64, Error> {
        let halves = self.count()?.checked_mul(3);
        let all = halves.and_then(|halves| self.layers.checked_mul(2)?.checked_add(halves));
        all.and_then(|all| u64::try_from(all).ok()).ok_or(Error::Overflow { argument: "layers" })
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

    /// Elements of a tape: those of each layer and direction, their outputs, and the inputs of the layers above; with
    /// lengths, batch-major or with dropout of the input, those of the input too. It does not depend on what the lengths are.
    ///
    /// # Errors
    /// [`Error::Overflow`] where they do not fit in `usize`, [`Error::OutOfRange`] where `layers` is 0.
    pub fn tape_len(&self, batch: SequenceBatch<'_>) -> Result<usize, Error> {
        self.count()?;
        let overflow = Error::Overflow { argument: "shape" };
        let x = self.own_input(batch)?;
        let (first, last) = (self.part_len(batch.shape, 0)?, self.part_len(batch.shape, self.layers - 1)?);
        // All but the first and the last are of one size.
        let between = if self.layers > 2 { self.part_len(batch.shape, 1)? } else { 0 };
        let between = between.checked_mul(self.layers.saturating_sub(2)).ok_or(overflow)?;
        let ends = if self.layers == 1 { first } else { first.checked_add(last).ok_or(overflow)? };
        ends.checked_add(between).and_then(|sum| sum.checked_add(x)).ok_or(overflow)
    }

    /// Elements that `scratch` needs at least; it does not depend on what the lengths are.
    #[must_use]
    pub fn scratch_len<T: Element>(&self, batch: SequenceBatch<'_>) -> usize {
        let products = [0, 1].map(|index| scratch_len::<T>(batch.shape, self.sizes(index)));
        self.scratch_parts(batch).into_iter().fold(products[0].max(products[1]), usize::saturating_add)
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
    /// `usize`; then nothing was written.
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
        let [own_state, room, ..] = self.scratch_parts(batch);
        let (own_state, scratch) = scratch.split_at_mut(own_state);
        let (room, scratch) = scratch.split_at_mut(room);
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
                    scratch,
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

    /// The gradients through time and through the layers, from those of the outputs and of the final states.
    ///
    /// | argument    | elements                                                   | access                       |
    /// |-------------|------------------------------------------------------------|------------------------------|
    /// | `x`         | `steps · batch · inputs`                                   | read: that of the forward    |
    /// | `dy`        | `steps · batch · directions · hidden`                      | read: the gradient of the output, padding never |
    /// | `weights`   | packed                                                     | read: those of the forward   |
    /// | `tape`      | [`tape_len`](Self::tape_len)                               | read: that of the forward; overwritten |
    /// | `dstate`    | `layers · directions · batch · hidden` (each)              | read as the gradient of the final states, overwritten with that of the initial ones |
    /// | `scratch`   | at least [`scratch_len`](Self::scratch_len)                | overwritten                  |
    /// | `gradients` | as its fields say                                          | `x` overwritten, padding with 0, the others accumulated |
    ///
    /// # Errors
    /// As [`forward`](Self::forward), with the same `batch`.
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
            if let Some(dx) = dx {
                dx.fill(T::zero());
            }
            return Ok(());
        }
        let (rows, count, width) = (rows(batch), self.directions.count(), self.width());
        let outputs = self.sizes(0).outputs;
        let [own_state, room, apart, below, before, zone] = self.scratch_parts(batch);
        let (own_state, scratch) = scratch.split_at_mut(own_state);
        let (room, scratch) = scratch.split_at_mut(room);
        let (apart, scratch) = scratch.split_at_mut(apart);
        let (below, scratch) = scratch.split_at_mut(below);
        let (before, scratch) = scratch.split_at_mut(before);
        let (zone, scratch) = scratch.split_at_mut(zone);
        let cells = batch.shape.batch * self.sizes(0).hidden;
        let (kept_h, zone) = zone.split_at_mut(zone.len().min(batch.shape.batch * outputs));
        let (kept_c, zone) = zone.split_at_mut(zone.len().min(cells));
        let (new_cells, zeros) = zone.split_at_mut(zone.len().min(cells));
        zeros.fill(T::zero());
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
                        scratch: &mut *scratch,
                        before: &mut *before,
                        carry: Carry::new(self.recurrent_mask(batch, at), room, outputs),
                        // What the other half has left is added to.
                        dx_start: if half == 0 { T::zero() } else { T::one() },
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

    fn check_gradients<T>(
        &self,
        shape: SequenceShape,
        gradients: &StackGradients<'_, '_, T>,
    ) -> Result<(), Error> {
        if let Some(dx) = &gradients.x {
            check_len("gradients.x", dx.len(), shape.elements(self.sizes(0).inputs)?)?;
        }
        check_len("gradients.layers", gradients.layers.len(), self.count()?)?;
        for (index, layer) in gradients.layers.iter().enumerate() {
            check_range("gradients.layers", "without gradients of an input", layer.x.is_none())?;
            layer.check(0, self.sizes(index / self.directions.count()))?;
        }
        Ok(())
    }

    /// Everything but what differs between forward and backward.
    pub(super) fn check<T: Element>(
        &self,
        batch: SequenceBatch<'_>,
        weights: &PackedStack<T>,
        (state, names): (&[&mut [T]; 2], &[&'static str]),
    ) -> Result<(), Error> {
        let count = self.count()?;
        self.layer.check()?;
        let VariationalDropout { input, recurrent } = self.variational;
        let probabilities = [
            ("dropout", self.dropout),
            ("variational.input", input),
            ("variational.recurrent", recurrent),
            ("zoneout.output", self.zoneout.output),
            ("zoneout.cell", self.zoneout.cell),
        ];
        for (name, p) in probabilities {
            check_range(name, "in [0, 1]", (0.0..=1.0).contains(&p))?;
        }
        let [output, cell] = self.layer.keeps();
        if self.zoneout.output > 0.0 && !output || self.zoneout.cell > 0.0 && !cell {
            return Err(Error::Unsupported { operation: "zoneout of such a layer" });
        }
        let fits = batch.lengths.is_none_or(|lengths| lengths.shape() == batch.shape);
        check_range("lengths", "of a batch of this shape", fits)?;
        check_range("weights", "packed for a stack of these layers", weights.layers.len() == count)?;
        for (index, layer) in weights.layers.iter().enumerate() {
            layer.check(self.sizes(index / self.directions.count()))?;
        }
        let rows = count.checked_mul(batch.shape.batch).ok_or(Error::Overflow { argument: "shape" })?;
        check_state(names, state, rows, self.sizes(0))
    }

    fn check_memory<T: Element>(
        &self,
        batch: SequenceBatch<'_>,
        tape: &[T],
        scratch: &[T],
    ) -> Result<(), Error> {
        check_len("tape", tape.len(), self.tape_len(batch)?)?;
        check_at_least("scratch", scratch.len(), self.scratch_len::<T>(batch))
    }

    /// `Ok` where both, given with their names, have the rows of the batch: of its inputs and of its outputs.
    pub(super) fn check_rows<T>(
        &self,
        batch: SequenceBatch<'_>,
        (input, x): (&'static str, &[T]),
        (output, y): (&'static str, &[T]),
    ) -> Result<(), Error> {
        check_len(input, x.len(), batch.shape.elements(self.sizes(0).inputs)?)?;
        check_len(output, y.len(), batch.shape.elements(self.width())?)
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

    /// Whether the input of the layer above is another than the output of a single half.
    fn joins(&self) -> bool {
        self.directions == Directions::Both || self.dropout > 0.0 || self.variational.input > 0.0
    }

    /// Elements of the tape for the input as the first layer takes it, 0 where that is the caller's.
    fn own_input(&self, batch: SequenceBatch<'_>) -> Result<usize, Error> {
        let is_own = batch.moves_rows() || self.variational.input > 0.0;
        if is_own { batch.shape.elements(self.sizes(0).inputs) } else { Ok(0) }
    }

    /// Applies the mask of the input of layer `index` to all steps, forward or backward.
    fn drop_input<T: Element>(&self, batch: SequenceBatch<'_>, index: usize, rows: &mut [T]) {
        let Philox { key, counter } = match batch.dropout {
            Some(stream) if self.variational.input > 0.0 => stream,
            _ => return,
        };
        let stream = Philox { key, counter: counter.wrapping_add((self.layers + index) as u64) };
        let mask = StepMask { p: self.variational.input, stream };
        mask.apply_to_steps(batch.walk(Direction::Forward), self.sizes(index).inputs, rows);
    }

    /// The mask of the outputs of a layer and direction on their way to the next step.
    fn recurrent_mask(&self, batch: SequenceBatch<'_>, at: usize) -> Option<StepMask> {
        let p = self.variational.recurrent;
        let Philox { key, counter } = batch.dropout.filter(|_| p > 0.0)?;
        let counter = counter.wrapping_add((2 * self.layers + at) as u64);
        Some(StepMask { p, stream: Philox { key, counter } })
    }

    /// The dropout on the way up from layer `index`.
    fn mask(&self, batch: SequenceBatch<'_>, index: usize) -> Option<(Dropout, MaskShape, Philox)> {
        let Philox { key, counter } = batch.dropout.filter(|_| self.dropout > 0.0)?;
        let stream = Philox { key, counter: counter.wrapping_add(index as u64) };
        Some((Dropout { p: self.dropout }, MaskShape::elements(rows(batch) * self.width()), stream))
    }

    /// What of the outputs and of the cells of a layer and direction stays what it was.
    pub(super) fn keep<'a, T>(
        &self,
        batch: SequenceBatch<'_>,
        at: usize,
        [kept_h, kept_c]: [&'a mut [T]; 2],
        zeros: &'a [T],
    ) -> [Keep<'a, T>; 2] {
        let (count, sizes) = (self.layers * self.directions.count(), self.sizes(0));
        let rate = |p: f64, streams: usize| {
            let stream = batch.dropout.map(|Philox { key, counter }| {
                let counter = counter.wrapping_add((2 * self.layers + streams * count + at) as u64);
                Philox { key, counter }
            });
            Some(Rate { p, stream }).filter(|rate| rate.p > 0.0)
        };
        let (output, cell) = (rate(self.zoneout.output, 1), rate(self.zoneout.cell, 2));
        [
            Keep { rate: output, width: sizes.outputs, kept: kept_h, zeros },
            Keep { rate: cell, width: sizes.hidden, kept: kept_c, zeros },
        ]
    }

    /// Elements of the tape that belong to layer `index`.
    fn part_len(&self, shape: SequenceShape, index: usize) -> Result<usize, Error> {
        let outputs = shape.elements(self.layer.sizes().outputs)?;
        let half = self.placed(index, Direction::Forward).tape_elements(shape)?.checked_add(outputs);
        let halves = half.and_then(|half| half.checked_mul(self.directions.count()));
        let joined = if self.joins() && index + 1 < self.layers { shape.elements(self.width())? } else { 0 };
        halves.and_then(|halves| halves.checked_add(joined)).ok_or(Error::Overflow { argument: "shape" })
    }

    /// The tape and the output of each half, and the input of the layer above; of a checked part.
    fn part<'a, T>(&self, shape: SequenceShape, part: &'a mut [T]) -> Part<'a, T> {
        let outputs = shape.steps * shape.batch * self.layer.sizes().outputs;
        let tape = self.layer.tape_elements(shape).unwrap_or(0);
        let (first, rest) = part.split_at_mut(tape + outputs);
        let both = if self.directions == Directions::Both { tape + outputs } else { 0 };
        let (second, joined) = rest.split_at_mut(both);
        let halves = [first.split_at_mut(tape), second.split_at_mut(tape.min(both))];
        Part { halves, joined }
    }

    /// What layer `index` read, and its part of the tape.
    fn split_tape<'a, T: Copy>(
        &self,
        batch: SequenceBatch<'_>,
        index: usize,
        x: &'a [T],
        tape: &'a mut [T],
    ) -> Result<(&'a [T], &'a mut [T]), Error> {
        let (own_x, mut rest) = tape.split_at_mut(self.own_input(batch)?);
        if index == 0 {
            let own = rows(batch) * self.sizes(0).inputs;
            let input = if own_x.is_empty() { x } else { &own_x[..own] };
            return Ok((input, &mut rest[..self.part_len(batch.shape, 0)?]));
        }
        for below in 0..index - 1 {
            rest = rest.split_at_mut(self.part_len(batch.shape, below)?).1;
        }
        let (below, here) = rest.split_at_mut(self.part_len(batch.shape, index - 1)?);
        let Part { halves: [(_, own_y), _], joined } = self.part(batch.shape, below);
        let input = if self.joins() { joined } else { own_y };
        let here = &mut here[..self.part_len(batch.shape, index)?];
        Ok((&input[..rows(batch) * self.width()], here))
    }

    /// Elements of scratch besides those of the products: the states of a layer, the outputs of a step behind a mask, the gradient
    /// of the outputs of each half, that of the inputs, with lengths or a mask the outputs before each step, and what zoneout
    /// takes.
    pub(super) fn scratch_parts(&self, batch: SequenceBatch<'_>) -> [usize; 6] {
        let SequenceShape { steps, batch: sequences } = batch.shape;
        let (rows, sizes) = (steps.saturating_mul(sequences), self.sizes(0));
        let state = state_widths(sizes).into_iter().fold(0, usize::saturating_add);
        let above = if self.layers > 1 { self.width() } else { 0 };
        let below = if batch.moves_rows() { above.max(sizes.inputs) } else { above };
        let masked = self.variational.recurrent > 0.0;
        let before = if batch.lengths.is_some() || masked { sizes.outputs } else { 0 };
        let room = if masked { sizes.outputs } else { 0 };
        // What goes past a step of output and cell, the new cells, and zeros.
        let zone = [sizes.outputs, sizes.hidden, sizes.hidden, sizes.outputs.max(sizes.hidden)];
        let zone = zone.into_iter().filter(|_| self.zoneout != Zoneout::default());
        let zone = zone.fold(0, usize::saturating_add);
        [
            sequences.saturating_mul(state),
            sequences.saturating_mul(room),
            rows.saturating_mul(self.width()),
            rows.saturating_mul(below),
            rows.saturating_mul(before),
            sequences.saturating_mul(zone),
        ]
    }
}

/// The tape of a layer of a stack.
struct Part<'a, T> {
    /// Tape and output of each direction.
    halves: [(&'a mut [T], &'a mut [T]); 2],
    /// The input of the layer above, where it is not the output of a single half.
    joined: &'a mut [T],
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
    /// [`Error::Length`] where a slice does not fit its layer; then it holds what it held.
    pub fn repack(&mut self, weights: &[RecurrentWeights<'_, T>]) -> Result<(), Error> {
        check_len("weights", weights.len(), self.layers.len())?;
        for (layer, &weights) in self.layers.iter().zip(weights) {
            check_weights(layer.sizes(), weights)?;
        }
        self.layers.iter_mut().zip(weights).try_for_each(|(layer, &weights)| layer.take(weights))
    }
}
