//! Weights laid out for the products around a cell, and those products.

use alloc::vec::Vec;

use super::sequence::Direction;
use super::sequence::{RecurrentGradients, SequenceShape, Sizes, Walk, part, part_mut};
use crate::linear::{Compiled, Factor, GemmShape, MatrixLayout, PackedMatrix, Product, Start};
use crate::shape::{check_len, check_range};
use crate::{Element, Epilogue, Error};

/// Rows whose input is projected before their steps are taken, or as many as a row has inputs where that is more: few
/// enough that the gates stay in cache until then, and enough that reading the weights is not what takes the time.
const ROWS_AHEAD: usize = 128;

/// The weights of a layer with as many `gates` as its cell has: 1, 3 of a GRU (r, z, n), 4 of an LSTM (i, f, g, o), in the
/// order of `PyTorch`.
#[derive(Clone, Copy, Debug)]
pub struct RecurrentWeights<'a, T> {
    /// `gates · hidden` rows of `inputs`: `PyTorch`'s `weight_ih`.
    pub input: &'a [T],
    /// `gates · hidden` rows of `hidden`: `weight_hh`.
    pub recurrent: &'a [T],
    /// `gates · hidden`, or none: `bias_ih`.
    pub input_bias: Option<&'a [T]>,
    /// `gates · hidden`, or none: `bias_hh`.
    pub recurrent_bias: Option<&'a [T]>,
}

/// Weights laid out for the products of all steps, forward and backward; made once after each update.
#[derive(Debug)]
pub struct PackedRecurrent<T> {
    sizes: Sizes,
    input: PackedMatrix<T>,
    recurrent: PackedMatrix<T>,
    input_backward: PackedMatrix<T>,
    recurrent_backward: PackedMatrix<T>,
    biases: Biases,
    /// Of the projection of the input.
    input_bias: Vec<T>,
    recurrent_bias: Vec<T>,
}

/// Which biases the projection of the input has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Biases {
    /// Its own; the recurrent one goes with each step.
    Apart,
    /// The sum of both.
    Joined,
}

impl<T: Element> PackedRecurrent<T> {
    pub(super) fn new(sizes: Sizes, biases: Biases, weights: RecurrentWeights<'_, T>) -> Result<Self, Error> {
        check_weights(sizes, weights)?;
        let width = sizes.width();
        let RecurrentWeights { input, recurrent, .. } = weights;
        let forward = |k, data| PackedMatrix::new(k, width, MatrixLayout::transposed(k, width), data);
        let backward = |n, data| PackedMatrix::new(width, n, MatrixLayout::dense(width, n), data);
        let mut packed = Self {
            sizes,
            input: forward(sizes.inputs, input)?,
            recurrent: forward(sizes.outputs, recurrent)?,
            input_backward: backward(sizes.inputs, input)?,
            recurrent_backward: backward(sizes.outputs, recurrent)?,
            biases,
            input_bias: alloc::vec![T::zero(); width],
            recurrent_bias: alloc::vec![T::zero(); width],
        };
        packed.set_biases(weights);
        Ok(packed)
    }

    /// Takes other weights of the same layer; allocates nothing.
    ///
    /// # Errors
    /// [`Error::Length`] where a slice does not fit the layer; then it holds what it held.
    pub fn repack(&mut self, weights: RecurrentWeights<'_, T>) -> Result<(), Error> {
        check_weights(self.sizes, weights)?;
        self.take(weights)
    }

    /// [`repack`](Self::repack) of weights that were checked.
    pub(super) fn take(&mut self, weights: RecurrentWeights<'_, T>) -> Result<(), Error> {
        let width = self.width();
        let RecurrentWeights { input, recurrent, .. } = weights;
        self.input.repack(MatrixLayout::transposed(self.sizes.inputs, width), input)?;
        self.recurrent.repack(MatrixLayout::transposed(self.sizes.outputs, width), recurrent)?;
        self.input_backward.repack(MatrixLayout::dense(width, self.sizes.inputs), input)?;
        self.recurrent_backward.repack(MatrixLayout::dense(width, self.sizes.outputs), recurrent)?;
        self.set_biases(weights);
        Ok(())
    }

    fn set_biases(&mut self, weights: RecurrentWeights<'_, T>) {
        let pairs =
            [(&mut self.input_bias, weights.input_bias), (&mut self.recurrent_bias, weights.recurrent_bias)];
        for (kept, bias) in pairs {
            match bias {
                Some(bias) => kept.copy_from_slice(bias),
                None => kept.fill(T::zero()),
            }
        }
        if self.biases == Biases::Joined {
            for (sum, &other) in self.input_bias.iter_mut().zip(&self.recurrent_bias) {
                *sum = *sum + other;
            }
        }
    }

    /// `Ok` where these are the weights of that layer.
    pub(super) fn check(&self, sizes: Sizes) -> Result<(), Error> {
        check_range("weights", "packed for a layer of these sizes", self.sizes == sizes)
    }

    pub(super) fn sizes(&self) -> Sizes {
        self.sizes
    }

    fn width(&self) -> usize {
        self.sizes.width()
    }

    /// `gates = x·W_ihᵀ + b_ih` of the next steps from `turn` on, where that is due; with `b_hh` where the cell adds both.
    pub(super) fn project_ahead(
        &self,
        walk: Walk<'_>,
        turn: usize,
        x: &[T],
        scratch: &mut [T],
        gates: &mut [T],
    ) {
        let SequenceShape { steps, batch } = walk.shape;
        let ahead = self.sizes.inputs.max(ROWS_AHEAD).div_ceil(batch);
        if !turn.is_multiple_of(ahead) {
            return;
        }
        let (first, last) = (walk.rows(turn), walk.rows(steps.min(turn + ahead) - 1));
        let rows = first.start.min(last.start)..first.end.max(last.end);
        let shape = GemmShape::dense(rows.len(), self.width(), self.sizes.inputs);
        let start = Start::Bias(&self.input_bias);
        let (x, gates) = (part(x, self.sizes.inputs, &rows), part_mut(gates, self.width(), &rows));
        multiply(shape, x, Factor::Packed(&self.input), start, scratch, gates);
    }

    /// `gates += h·W_hhᵀ` of one step, for cells that add both projections.
    pub(super) fn add_step(&self, batch: usize, h: &[T], scratch: &mut [T], gates: &mut [T]) {
        self.step(batch, h, Start::Scaled(T::one()), scratch, gates);
    }

    /// `gates = h·W_hhᵀ + b_hh` of one step.
    pub(super) fn project_step(&self, batch: usize, h: &[T], scratch: &mut [T], gates: &mut [T]) {
        self.step(batch, h, Start::Bias(&self.recurrent_bias), scratch, gates);
    }

    fn step(&self, batch: usize, h: &[T], start: Start<'_, T>, scratch: &mut [T], gates: &mut [T]) {
        let shape = GemmShape::dense(batch, self.width(), self.sizes.outputs);
        multiply(shape, h, Factor::Packed(&self.recurrent), start, scratch, gates);
    }

    /// `dh = beta·dh + dgates·W_hh` of one step.
    pub(super) fn step_backward(&self, batch: usize, dgates: &[T], beta: T, scratch: &mut [T], dh: &mut [T]) {
        let shape = GemmShape::dense(batch, self.sizes.outputs, self.width());
        multiply(shape, dgates, Factor::Packed(&self.recurrent_backward), Start::Scaled(beta), scratch, dh);
    }

    /// The gradients of a whole sequence from those of its gates.
    pub(super) fn gradients(
        &self,
        walk: Walk<'_>,
        Terms { x, y, h0, input, recurrent }: Terms<'_, T>,
        buffers: Buffers<'_, T>,
        gradients: RecurrentGradients<'_, T>,
    ) {
        let Buffers { scratch, before, dx_start } = buffers;
        let (rows, width, one) = (walk.len(), self.width(), Start::Scaled(T::one()));
        if rows == 0 {
            return;
        }
        if let Some(dx) = gradients.x {
            let shape = GemmShape::dense(rows, self.sizes.inputs, width);
            let (b, start) = (Factor::Packed(&self.input_backward), Start::Scaled(dx_start));
            multiply(shape, input, b, start, scratch, dx);
        }
        if let Some(dw) = gradients.input {
            multiply(outer(width, self.sizes.inputs, rows), input, Factor::Strided(x), one, scratch, dw);
        }
        match (gradients.recurrent, walk.starts) {
            (Some(dw), None) => {
                // Every step but the first in turn has the output of another before it.
                let batch = walk.shape.batch;
                let (later, earlier, first) = match walk.direction {
                    Direction::Forward => (batch..rows, 0..rows - batch, 0..batch),
                    Direction::Backward => (0..rows - batch, batch..rows, rows - batch..rows),
                };
                let shape = outer(width, self.sizes.outputs, rows - batch);
                let h = Factor::Strided(part(y, self.sizes.outputs, &earlier));
                multiply(shape, part(recurrent, width, &later), h, one, scratch, &mut *dw);
                let shape = outer(width, self.sizes.outputs, batch);
                let h = Factor::Strided(h0);
                multiply(shape, part(recurrent, width, &first), h, one, scratch, dw);
            }
            (Some(dw), Some(_)) => {
                for turn in 0..walk.shape.steps {
                    for part in walk.parts(turn) {
                        let to = part_mut(before, self.sizes.outputs, &part.rows);
                        to.copy_from_slice(part.before(y, self.sizes.outputs, h0));
                    }
                }
                let shape = outer(width, self.sizes.outputs, rows);
                multiply(shape, recurrent, Factor::Strided(before), one, scratch, dw);
            }
            (None, _) => {}
        }
        match (gradients.input_bias, gradients.recurrent_bias) {
            (Some(db), also) if self.biases == Biases::Joined => {
                <T as Compiled>::column_sums(rows, input, db, also);
            }
            biases => {
                for (db, values) in [(biases.0, input), (biases.1, recurrent)] {
                    if let Some(db) = db {
                        <T as Compiled>::column_sums(rows, values, db, None);
                    }
                }
            }
        }
    }
}

/// What the gradients of weights are made of: the sequences that the layer read and wrote, and the gradients of the gates,
/// `input` before the bias of the input, `recurrent` before the recurrent bias.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms<'a, T> {
    pub(super) x: &'a [T],
    pub(super) y: &'a [T],
    pub(super) h0: &'a [T],
    pub(super) input: &'a [T],
    pub(super) recurrent: &'a [T],
}

/// What a backward writes by the way.
#[derive(Debug)]
pub(super) struct Buffers<'a, T> {
    pub(super) scratch: &'a mut [T],
    /// The outputs before each step, where sequences have lengths of their own; else nothing.
    pub(super) before: &'a mut [T],
    /// The factor of what the gradient of the input holds: 0, or 1 to add.
    pub(super) dx_start: T,
}

/// `C = Aᵀ·B` of `k` rows: the sum of their outer products.
fn outer(m: usize, n: usize, k: usize) -> GemmShape {
    GemmShape { a: MatrixLayout::transposed(m, k), ..GemmShape::dense(m, n, k) }
}

fn multiply<T: Element>(
    shape: GemmShape,
    a: &[T],
    b: Factor<'_, T>,
    start: Start<'_, T>,
    scratch: &mut [T],
    c: &mut [T],
) {
    let (alpha, epilogue) = (T::one(), Epilogue::default());
    <T as Compiled>::multiply(Product { shape, alpha, a, b, start, epilogue, scratch, c });
}

/// Elements of scratch that every product of a sequence has room in.
pub(super) fn scratch_len<T: Element>(shape: SequenceShape, sizes: Sizes) -> usize {
    let (rows, batch) = (shape.steps.saturating_mul(shape.batch), shape.batch);
    let Sizes { inputs, hidden, outputs, gates } = sizes;
    let width = hidden.saturating_mul(gates);
    let products = [
        GemmShape::dense(rows, width, inputs),
        GemmShape::dense(batch, width, outputs),
        GemmShape::dense(batch, outputs, width),
        GemmShape::dense(rows, inputs, width),
        outer(width, inputs, rows),
        outer(width, outputs, rows),
        outer(width, outputs, batch),
    ];
    products.iter().map(GemmShape::scratch_len::<T>).max().unwrap_or(0)
}

/// `Ok` where every slice fits; then [`Sizes::width`] fits in `usize`.
pub(super) fn check_weights<T>(sizes: Sizes, weights: RecurrentWeights<'_, T>) -> Result<(), Error> {
    let product = |a: usize, b: usize| a.checked_mul(b).ok_or(Error::Overflow { argument: "weights" });
    let width = product(sizes.gates, sizes.hidden)?;
    check_len("weights.input", weights.input.len(), product(width, sizes.inputs)?)?;
    check_len("weights.recurrent", weights.recurrent.len(), product(width, sizes.outputs)?)?;
    for (name, bias) in
        [("weights.input_bias", weights.input_bias), ("weights.recurrent_bias", weights.recurrent_bias)]
    {
        if let Some(bias) = bias {
            check_len(name, bias.len(), width)?;
        }
    }
    Ok(())
}
