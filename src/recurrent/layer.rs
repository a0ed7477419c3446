//! What every cell's layer is to the functions around it: sizes, a state, and a pass over checked arguments.

use core::fmt::Debug;

use super::gradients::Buffers;
use super::packed::{PackedRecurrent, RecurrentWeights, scratch_len};
use super::sequence::{Direction, RecurrentGradients, SequenceShape, SequenceValues, Sizes, Walk};
use crate::shape::{check_at_least, check_len};
use crate::{Element, Error};

/// A layer of recurrent cells: [`Lstm`](super::Lstm), [`Gru`](super::Gru) or [`Rnn`](super::Rnn), of which a
/// [`Stack`](super::Stack) is made.
pub trait Layer: Copy + Debug + Pass {
    /// What is handed from step to step: [`LstmState`](super::LstmState), or the output alone as a slice.
    type State<'a, T: 'a>;

    /// The slices of a state: the output, and the cell where there is one.
    #[doc(hidden)]
    fn slices<'a, T: 'a>(state: Self::State<'a, T>) -> [&'a mut [T]; 2];
}

/// The crate's side of a [`Layer`], which also seals it.
pub trait Pass {
    /// Names of the state's slices in errors, and of those of its gradient.
    const STATE: [&'static [&'static str]; 2];

    /// Its widths.
    fn sizes(&self) -> Sizes;
    /// Which way it goes.
    fn direction(&self) -> Direction;
    /// The gate whose bias keeps the cell, and with which sign.
    fn forget_gate(&self) -> Option<(usize, f64)> {
        None
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
    pub(super) gradients: RecurrentGradients<'a, T>,
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

/// Weights of a layer, packed.
pub(super) fn pack<L: Pass, T: Element>(
    layer: &L,
    weights: RecurrentWeights<'_, T>,
) -> Result<PackedRecurrent<T>, Error> {
    PackedRecurrent::new(layer.sizes(), weights)
}

fn walk<L: Pass>(layer: &L, shape: SequenceShape) -> Walk<'static> {
    Walk { shape, direction: layer.direction(), starts: None }
}

/// Checks a forward over sequences of one length, and runs it.
pub(super) fn forward<L: Pass, T: Element>(
    layer: &L,
    shape: SequenceShape,
    (x, y): (&[T], &mut [T]),
    weights: &PackedRecurrent<T>,
    state: [&mut [T]; 2],
    (tape, scratch): (&mut [T], &mut [T]),
) -> Result<(), Error> {
    let sizes = layer.sizes();
    weights.check(sizes)?;
    check_len("x", x.len(), shape.elements(sizes.inputs)?)?;
    check_state(L::STATE[0], &state, shape.batch, sizes)?;
    check_len("tape", tape.len(), layer.tape_elements(shape)?)?;
    check_at_least("scratch", scratch.len(), scratch_len::<T>(shape, sizes))?;
    check_len("y", y.len(), shape.elements(sizes.outputs)?)?;
    if !y.is_empty() {
        layer.forward_pass(Forward { walk: walk(layer, shape), x, weights, state, tape, scratch, y });
    }
    Ok(())
}

/// Checks a backward over sequences of one length, and runs it.
pub(super) fn backward<L: Pass, T: Element>(
    layer: &L,
    shape: SequenceShape,
    values: SequenceValues<'_, T>,
    weights: &PackedRecurrent<T>,
    (tape, scratch): (&mut [T], &mut [T]),
    dstate: [&mut [T]; 2],
    gradients: RecurrentGradients<'_, T>,
) -> Result<(), Error> {
    let sizes = layer.sizes();
    weights.check(sizes)?;
    values.check(shape, sizes)?;
    check_len("tape", tape.len(), layer.tape_elements(shape)?)?;
    check_state(L::STATE[1], &dstate, shape.batch, sizes)?;
    check_at_least("scratch", scratch.len(), scratch_len::<T>(shape, sizes))?;
    gradients.check(shape.elements(sizes.inputs)?, sizes)?;
    if values.y.is_empty() {
        if let Some(dx) = gradients.x {
            dx.fill(T::zero());
        }
        return Ok(());
    }
    let buffers = Buffers { scratch, before: &mut [], dx_start: T::zero() };
    let walk = walk(layer, shape);
    layer.backward_pass(Backward { walk, values, weights, tape, dstate, buffers, gradients });
    Ok(())
}
