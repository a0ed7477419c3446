//! What every cell's layer is to the functions around it: sizes, a state, and a pass over checked arguments.

use core::fmt::Debug;

use super::carry::Carry;
use super::gradients::Buffers;
use super::infer;
use super::packed::{PackedRecurrent, RecurrentWeights, scratch_len};
use super::sequence::{Direction, RecurrentGradients, SequenceShape, SequenceValues, Sizes, Walk};
use super::zoneout::Keep;
use crate::shape::{check_at_least, check_len};
use crate::{Element, Error};

/// A layer of recurrent cells over whole sequences, of which a [`Stack`](super::Stack) is made: [`Lstm`](super::Lstm),
/// [`LayerNormLstm`](super::LayerNormLstm), [`Gru`](super::Gru) or [`Rnn`](super::Rnn).
///
/// Tables say `hidden` for the features of the output; of an [`Lstm`](super::Lstm) with a projection they are those of the
/// projection. A batch of one step is the cell alone.
///
/// # Examples
/// ```
/// use steadygrad::recurrent::{Gru, Layer, RecurrentGradients, RecurrentWeights, SequenceShape, SequenceValues};
///
/// // One step of a cell: of zeros, half of the old output stays.
/// let (cell, step) = (Gru { inputs: 1, hidden: 1, ..Gru::default() }, SequenceShape { steps: 1, batch: 1 });
/// let weights = RecurrentWeights { input: &[0.0_f64; 3], recurrent: &[0.0; 3], ..RecurrentWeights::default() };
/// let packed = cell.pack(weights)?;
/// let mut tape = vec![0.0; cell.tape_len(step)?];
/// let mut scratch = vec![0.0; cell.scratch_len::<f64>(step)];
/// let (mut h, mut y) = ([0.5], [0.0]);
/// cell.forward(step, &[1.0], &packed, &mut h, &mut tape, &mut scratch, &mut y)?;
/// assert_eq!((h, y), ([0.25], [0.25]));
/// // And backward: half of the gradient goes to the old output.
/// let (values, mut dh) = (SequenceValues { x: &[1.0], y: &y, dy: &[1.0] }, [0.0]);
/// let mut bias = [0.0; 3];
/// let gradients = RecurrentGradients { input_bias: Some(&mut bias), ..RecurrentGradients::default() };
/// cell.backward(step, values, &packed, &mut tape, &mut dh, &mut scratch, gradients)?;
/// assert_eq!((dh, bias), ([0.5], [0.0, 0.125, 0.5])); // of r, z and n
/// # Ok::<(), steadygrad::Error>(())
/// ```
pub trait Layer: Copy + Debug + Pass {
    /// What is handed from step to step: [`LstmState`](super::LstmState), or the output alone as a slice.
    type State<'a, T: 'a>;

    /// The slices of a state: the output, and the cell where there is one.
    #[doc(hidden)]
    fn slices<'a, T: 'a>(state: Self::State<'a, T>) -> [&'a mut [T]; 2];

    /// The weights as [`forward`](Self::forward) and [`backward`](Self::backward) take them. After a step of the optimizer,
    /// [`PackedRecurrent::repack`] takes the new ones.
    ///
    /// # Errors
    /// [`Error::Length`] where a slice does not fit the layer, [`Error::Overflow`] where its length does not fit in `usize`.
    fn pack<T: Element>(&self, weights: RecurrentWeights<'_, T>) -> Result<PackedRecurrent<T>, Error> {
        PackedRecurrent::new(self.sizes(), weights)
    }

    /// Elements of a tape, which each layer states.
    ///
    /// # Errors
    /// [`Error::Overflow`] where they do not fit in `usize`.
    fn tape_len(&self, shape: SequenceShape) -> Result<usize, Error> {
        self.tape_elements(shape)
    }

    /// Elements that `scratch` needs at least: those of the largest product of a chunk of the sequence, which stops growing
    /// with the steps.
    #[must_use]
    fn scratch_len<T: Element>(&self, shape: SequenceShape) -> usize {
        scratch_len::<T>(shape, self.sizes())
    }

    /// The outputs of all steps, and the final state.
    ///
    /// | argument  | elements                                        | access                                        |
    /// |-----------|-------------------------------------------------|-----------------------------------------------|
    /// | `x`       | `steps · batch · inputs`                        | read                                          |
    /// | `weights` | packed                                          | read                                          |
    /// | `state`   | `batch · hidden` each                           | read as the initial, overwritten with the final state |
    /// | `tape`    | [`tape_len`](Self::tape_len)                    | overwritten, for the backward                 |
    /// | `scratch` | at least [`scratch_len`](Self::scratch_len)     | overwritten                                   |
    /// | `y`       | `steps · batch · hidden`                        | overwritten                                   |
    ///
    /// A sequence cut in two, the state handed on, has the same bits as the whole, and a batch those of its rows. No steps
    /// leave the state as it is.
    ///
    /// # Errors
    /// [`Error::Length`] names the first argument whose length differs from the table, [`Error::OutOfRange`] `weights` of
    /// another layer, [`Error::Overflow`] a product that does not fit in `usize`; then nothing was written.
    #[expect(clippy::too_many_arguments, reason = "each is its own memory, owned by the caller")]
    fn forward<T: Element>(
        &self,
        shape: SequenceShape,
        x: &[T],
        weights: &PackedRecurrent<T>,
        state: Self::State<'_, T>,
        tape: &mut [T],
        scratch: &mut [T],
        y: &mut [T],
    ) -> Result<(), Error> {
        let (sizes, state) = (self.sizes(), Self::slices(state));
        check_inputs(self, shape, x, weights, &state)?;
        check_len("tape", tape.len(), self.tape_elements(shape)?)?;
        check_at_least("scratch", scratch.len(), scratch_len::<T>(shape, sizes))?;
        check_len("y", y.len(), shape.elements(sizes.outputs)?)?;
        if !y.is_empty() {
            let (carry, keep) = (Carry::default(), Default::default());
            self.forward_pass(Forward {
                walk: walk(self, shape),
                x,
                weights,
                state,
                carry,
                keep,
                tape,
                scratch,
                y,
            });
        }
        Ok(())
    }

    /// Elements that the `scratch` of [`infer`](Self::infer) needs at least: they stop growing with the steps.
    #[must_use]
    fn infer_scratch_len<T: Element>(&self, shape: SequenceShape) -> usize {
        infer::scratch_len::<Self, T>(self, shape)
    }

    /// The outputs of all steps, and the final state, as [`forward`](Self::forward) has them, to the bit, without a tape.
    ///
    /// | argument  | elements                                                | access                                        |
    /// |-----------|---------------------------------------------------------|-----------------------------------------------|
    /// | `x`       | `steps · batch · inputs`                                | read                                          |
    /// | `weights` | packed                                                  | read                                          |
    /// | `state`   | `batch · hidden` each                                   | read as the initial, overwritten with the final state |
    /// | `scratch` | at least [`infer_scratch_len`](Self::infer_scratch_len) | overwritten                                   |
    /// | `y`       | `steps · batch · hidden`                                | overwritten                                   |
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    ///
    /// # Examples
    /// ```
    /// use steadygrad::recurrent::{Layer, Rnn, RecurrentWeights, SequenceShape};
    ///
    /// let (rnn, shape) = (Rnn { inputs: 1, hidden: 1, ..Rnn::default() }, SequenceShape { steps: 3, batch: 1 });
    /// let weights = RecurrentWeights { input: &[1.0_f64], recurrent: &[0.0], ..RecurrentWeights::default() };
    /// let packed = rnn.pack(weights)?;
    /// let mut scratch = vec![0.0; rnn.infer_scratch_len::<f64>(shape)];
    /// let (mut h, mut y) = ([0.0], [0.0; 3]);
    /// rnn.infer(shape, &[0.0, 0.0, 1.0], &packed, &mut h, &mut scratch, &mut y)?;
    /// assert!(h == [y[2]] && (y[2] - 1.0_f64.tanh()).abs() < 1e-15);
    /// # Ok::<(), steadygrad::Error>(())
    /// ```
    fn infer<T: Element>(
        &self,
        shape: SequenceShape,
        x: &[T],
        weights: &PackedRecurrent<T>,
        state: Self::State<'_, T>,
        scratch: &mut [T],
        y: &mut [T],
    ) -> Result<(), Error> {
        let (sizes, state) = (self.sizes(), Self::slices(state));
        check_inputs(self, shape, x, weights, &state)?;
        check_at_least("scratch", scratch.len(), self.infer_scratch_len::<T>(shape))?;
        check_len("y", y.len(), shape.elements(sizes.outputs)?)?;
        if !y.is_empty() {
            let keep = Default::default;
            infer::forward(self, walk(self, shape), x, weights, (state, keep), scratch, y);
        }
        Ok(())
    }

    /// The gradients through time, from those of the outputs and of the final state.
    ///
    /// | argument    | elements                                    | access                                                   |
    /// |-------------|---------------------------------------------|----------------------------------------------------------|
    /// | `values`    | as its fields say                           | read                                                     |
    /// | `weights`   | packed                                      | read: those of the forward                               |
    /// | `tape`      | [`tape_len`](Self::tape_len)                | read: that of the forward; overwritten                   |
    /// | `dstate`    | `batch · hidden` each                       | read as the gradient of the final state, overwritten with that of the initial one |
    /// | `scratch`   | at least [`scratch_len`](Self::scratch_len) | overwritten                                              |
    /// | `gradients` | as its fields say                           | `x` overwritten, the others as their mode says           |
    ///
    /// Truncated backpropagation is zeros in `dstate` where the sequence is cut.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    #[expect(clippy::too_many_arguments, reason = "each is its own memory, owned by the caller")]
    fn backward<T: Element>(
        &self,
        shape: SequenceShape,
        values: SequenceValues<'_, T>,
        weights: &PackedRecurrent<T>,
        tape: &mut [T],
        dstate: Self::State<'_, T>,
        scratch: &mut [T],
        mut gradients: RecurrentGradients<'_, T>,
    ) -> Result<(), Error> {
        let (sizes, dstate) = (self.sizes(), Self::slices(dstate));
        self.check()?;
        weights.check(sizes)?;
        values.check(shape, sizes)?;
        check_len("tape", tape.len(), self.tape_elements(shape)?)?;
        check_state(Self::STATE[1], &dstate, shape.batch, sizes)?;
        check_at_least("scratch", scratch.len(), scratch_len::<T>(shape, sizes))?;
        gradients.check(shape.elements(sizes.inputs)?, sizes)?;
        if values.y.is_empty() {
            gradients.of_nothing();
            if let Some(dx) = gradients.x {
                dx.fill(T::zero());
            }
            return Ok(());
        }
        gradients.prepare();
        let (carry, dx_start, dw_start) = (Carry::default(), T::zero(), gradients.mode.start());
        let buffers = Buffers { scratch, before: &mut [], carry, dx_start, dw_start };
        self.backward_pass(Backward {
            walk: walk(self, shape),
            values,
            weights,
            tape,
            dstate,
            buffers,
            keep: Default::default(),
            new_cells: &mut [],
            gradients,
        });
        Ok(())
    }
}

/// The crate's side of a [`Layer`], which also seals it.
pub trait Pass {
    /// Names of the state's slices in errors, and of those of its gradient.
    const STATE: [&'static [&'static str]; 2];

    /// Its widths.
    fn sizes(&self) -> Sizes;
    /// Which way it goes.
    fn direction(&self) -> Direction;
    /// Whether its settings are in their range.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] names the one that is not.
    fn check(&self) -> Result<(), Error> {
        Ok(())
    }
    /// The gate whose bias keeps the cell, and with which sign.
    fn forget_gate(&self) -> Option<(usize, f64)> {
        None
    }
    /// Whether its output and its cell can keep what they were.
    fn keeps(&self) -> [bool; 2] {
        [false; 2]
    }
    /// The same cell elsewhere in a stack.
    #[must_use]
    fn placed(self, inputs: usize, direction: Direction) -> Self;
    /// Elements of its tape.
    ///
    /// # Errors
    /// [`Error::Overflow`] where they do not fit in `usize`.
    fn tape_elements(&self, shape: SequenceShape) -> Result<usize, Error>;
    /// A forward of checked arguments.
    fn forward_pass<T: Element>(&self, pass: Forward<'_, T>);
    /// A backward of checked arguments.
    fn backward_pass<T: Element>(&self, pass: Backward<'_, T>);
}

/// The arguments of a forward.
#[derive(Debug)]
pub struct Forward<'a, T> {
    pub(super) walk: Walk<'a>,
    pub(super) x: &'a [T],
    pub(super) weights: &'a PackedRecurrent<T>,
    pub(super) state: [&'a mut [T]; 2],
    pub(super) carry: Carry<'a, T>,
    /// Of the output and of the cell.
    pub(super) keep: [Keep<'a, T>; 2],
    pub(super) tape: &'a mut [T],
    pub(super) scratch: &'a mut [T],
    pub(super) y: &'a mut [T],
}

/// The arguments of a backward.
#[derive(Debug)]
pub struct Backward<'a, T> {
    pub(super) walk: Walk<'a>,
    pub(super) values: SequenceValues<'a, T>,
    pub(super) weights: &'a PackedRecurrent<T>,
    pub(super) tape: &'a mut [T],
    pub(super) dstate: [&'a mut [T]; 2],
    pub(super) buffers: Buffers<'a, T>,
    /// Of the output and of the cell.
    pub(super) keep: [Keep<'a, T>; 2],
    /// As many elements as cells of a step, where cells keep what they were.
    pub(super) new_cells: &'a mut [T],
    pub(super) gradients: RecurrentGradients<'a, T>,
}

/// `Ok` where a layer can go over `x` from `state`.
fn check_inputs<L: Layer, T: Element>(
    layer: &L,
    shape: SequenceShape,
    x: &[T],
    weights: &PackedRecurrent<T>,
    state: &[&mut [T]; 2],
) -> Result<(), Error> {
    let sizes = layer.sizes();
    layer.check()?;
    weights.check(sizes)?;
    check_len("x", x.len(), shape.elements(sizes.inputs)?)?;
    check_state(L::STATE[0], state, shape.batch, sizes)
}

/// Widths of the slices of a state.
pub(super) fn state_widths(sizes: Sizes) -> [usize; 2] {
    [sizes.outputs, sizes.hidden]
}

/// `Ok` where the slices of a state fit `rows` rows.
pub(super) fn check_state<T>(
    names: &[&'static str],
    state: &[&mut [T]; 2],
    rows: usize,
    sizes: Sizes,
) -> Result<(), Error> {
    for ((name, slice), width) in names.iter().zip(state).zip(state_widths(sizes)) {
        let elements = rows.checked_mul(width).ok_or(Error::Overflow { argument: "shape" })?;
        check_len(name, slice.len(), elements)?;
    }
    Ok(())
}

fn walk<L: Pass>(layer: &L, shape: SequenceShape) -> Walk<'static> {
    Walk { shape, direction: layer.direction(), starts: None }
}
