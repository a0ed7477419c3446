//! Outputs without a tape: a sequence as windows of some steps, each of which takes the memory of the one before.

use super::batch::SequenceBatch;
use super::carry::Carry;
use super::layer::{Forward, Layer, Pass};
use super::packed::{self, PackedRecurrent};
use super::rows::{Columns, States, collect, rows, spread};
use super::sequence::{SequenceShape, Sizes, Walk, part, part_mut};
use super::stack::{PackedStack, Stack};
use super::zoneout::Keep;
use crate::shape::check_at_least;
use crate::{Element, Error};

/// The shape of a window: as many steps as are projected together.
fn window(shape: SequenceShape, sizes: Sizes) -> SequenceShape {
    SequenceShape { steps: sizes.steps_ahead(shape).min(shape.steps), ..shape }
}

/// Elements of scratch: the tape of a window, and what its products need.
pub(super) fn scratch_len<L: Pass, T: Element>(layer: &L, shape: SequenceShape) -> usize {
    let window = window(shape, layer.sizes());
    let tape = layer.tape_elements(window).unwrap_or(usize::MAX);
    tape.saturating_add(packed::scratch_len::<T>(window, layer.sizes()))
}

/// The outputs of all steps, of checked arguments.
pub(super) fn forward<L: Pass, T: Element>(
    layer: &L,
    walk: Walk<'_>,
    x: &[T],
    weights: &PackedRecurrent<T>,
    ([h, c], keep): ([&mut [T]; 2], impl Fn() -> [Keep<'static, T>; 2]),
    scratch: &mut [T],
    y: &mut [T],
) {
    let sizes = layer.sizes();
    let most = window(walk.shape, sizes);
    let (tape, scratch) = scratch.split_at_mut(layer.tape_elements(most).unwrap_or(0));
    for first in (0..walk.shape.steps).step_by(most.steps.max(1)) {
        let (walk, rows) = walk.window(first..walk.shape.steps.min(first + most.steps));
        if rows.is_empty() {
            continue;
        }
        let tape_len = layer.tape_elements(walk.shape).unwrap_or(0);
        layer.forward_pass(Forward {
            walk,
            x: part(x, sizes.inputs, &rows),
            weights,
            state: [&mut *h, &mut *c],
            carry: Carry::default(),
            keep: keep(),
            tape: &mut tape[..tape_len],
            scratch: &mut *scratch,
            y: part_mut(y, sizes.outputs, &rows),
        });
    }
}

impl<L: Layer> Stack<L> {
    /// Elements that the `scratch` of [`infer`](Self::infer) needs at least; they grow with the steps where there are several
    /// layers, both directions, or rows move. It does not depend on what the lengths are.
    #[must_use]
    pub fn infer_scratch_len<T: Element>(&self, batch: SequenceBatch<'_>) -> usize {
        let layers = [0, 1].map(|index| {
            let layer = self.placed(index, self.layer.direction());
            scratch_len::<L, T>(&layer, batch.shape)
        });
        let products = layers[0].max(if self.layers > 1 { layers[1] } else { 0 });
        self.infer_parts(batch).into_iter().fold(products, usize::saturating_add)
    }

    /// Elements of scratch besides those of a layer: its states, what it reads, and what it writes, where those are not the
    /// caller's.
    fn infer_parts(&self, batch: SequenceBatch<'_>) -> [usize; 3] {
        let SequenceShape { steps, batch: sequences } = batch.shape;
        let (rows, sizes) = (steps.saturating_mul(sequences), self.sizes(0));
        let read = if batch.moves_rows() { sizes.inputs } else { 0 };
        let read = if self.layers > 1 { read.max(self.width()) } else { read };
        let is_direct = self.layers == 1 && self.writes_rows(batch);
        let written = if is_direct { 0 } else { self.width() };
        [self.state_len(batch), rows.saturating_mul(read), rows.saturating_mul(written)]
    }

    /// Whether the last layer's rows are those of the output.
    fn writes_rows(&self, batch: SequenceBatch<'_>) -> bool {
        self.directions.count() == 1 && !batch.moves_rows()
    }

    /// The outputs of all steps, and the final states of all layers, as [`forward`](Self::forward) has them at inference, to
    /// the bit, without a tape.
    ///
    /// | argument  | elements                                                     | access                       |
    /// |-----------|--------------------------------------------------------------|------------------------------|
    /// | `x`       | `steps · batch · inputs`, in the layout of the batch          | read, padding never          |
    /// | `weights` | packed                                                       | read                         |
    /// | `state`   | `layers · directions · batch · hidden` (each)                | read as the initial, overwritten with the final states |
    /// | `scratch` | at least [`infer_scratch_len`](Self::infer_scratch_len)      | overwritten                  |
    /// | `y`       | `steps · batch · directions · hidden`, as `x`                 | overwritten, padding with 0  |
    ///
    /// The `dropout` of the batch is not read: nothing is dropped, and zoneout takes its mean.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    ///
    /// # Examples
    /// ```
    /// use steadygrad::recurrent::{Gru, RecurrentWeights, SequenceShape, Stack};
    ///
    /// let stack = Stack::new(Gru { inputs: 1, hidden: 1, ..Gru::default() });
    /// let (zeros, shape) = ([0.0_f64; 3], SequenceShape { steps: 3, batch: 1 });
    /// let weights = RecurrentWeights { input: &zeros, recurrent: &zeros, ..RecurrentWeights::default() };
    /// let packed = stack.pack(&[weights])?;
    /// let mut scratch = vec![0.0; stack.infer_scratch_len::<f64>(shape.into())];
    /// let (mut state, mut y) = ([1.0], [0.0; 3]);
    /// stack.infer(shape.into(), &[0.0; 3], &packed, &mut state, &mut scratch, &mut y)?;
    /// assert_eq!((y, state), ([0.5, 0.25, 0.125], [0.125]));
    /// # Ok::<(), steadygrad::Error>(())
    /// ```
    pub fn infer<T: Element>(
        &self,
        batch: SequenceBatch<'_>,
        x: &[T],
        weights: &PackedStack<T>,
        state: L::State<'_, T>,
        scratch: &mut [T],
        y: &mut [T],
    ) -> Result<(), Error> {
        let (mut state, batch) = (L::slices(state), SequenceBatch { dropout: None, ..batch });
        self.check(batch, weights, (&state, L::STATE[0]))?;
        check_at_least("scratch", scratch.len(), self.infer_scratch_len::<T>(batch))?;
        self.check_rows(batch, ("x", x), ("y", y))?;
        if y.is_empty() {
            return Ok(());
        }
        let (rows, count, outputs) = (rows(batch), self.directions.count(), self.sizes(0).outputs);
        let [own_state, read, written] = self.infer_parts(batch);
        let (own_state, scratch) = scratch.split_at_mut(own_state);
        let (read, scratch) = scratch.split_at_mut(read);
        let (written, scratch) = scratch.split_at_mut(written);
        if batch.moves_rows() {
            let inputs = self.sizes(0).inputs;
            collect(batch.moved(), x, Columns::of(inputs, 0, 1), &mut read[..rows * inputs]);
        }
        for index in 0..self.layers {
            let last = index + 1 == self.layers;
            for (half, direction) in self.each_direction().enumerate() {
                let (layer, at) = (self.placed(index, direction), index * count + half);
                let mut sorted = States::sort(batch, at, self.sizes(0), &state, own_state);
                let own_x = index > 0 || batch.moves_rows();
                let x = if own_x { &read[..rows * layer.sizes().inputs] } else { x };
                let y = if last && self.writes_rows(batch) {
                    &mut *y
                } else {
                    &mut written[half * rows * outputs..][..rows * outputs]
                };
                let keep = || self.keep(batch, at, [&mut [], &mut []], &[]);
                let weights = &weights.layers[at];
                forward(&layer, batch.walk(direction), x, weights, (sorted.slices(), keep), scratch, y);
                sorted.put_back(&mut state);
            }
            if last && self.writes_rows(batch) {
                break;
            }
            if last && batch.lengths.is_some() {
                y.fill(T::zero());
            }
            let to = if last { &mut *y } else { &mut read[..rows * self.width()] };
            for (half, own_y) in written.chunks_exact(rows * outputs).take(count).enumerate() {
                spread(batch.moved().filter(|_| last), own_y, Columns::of(outputs, half, count), to);
            }
        }
        Ok(())
    }
}
