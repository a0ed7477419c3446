//! What all recurrences share: shapes, packed weights, the order of steps, and the products around a cell.

use alloc::vec::Vec;

use crate::linear::{Compiled, Factor, GemmShape, MatrixLayout, PackedMatrix, Product, Start};
use crate::parallel::PARALLEL_BLOCK;
use crate::shape::{check_len, check_range};
use crate::{Element, Epilogue, Error};

/// How many steps a sequence has, and how many sequences there are side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SequenceShape {
    /// Steps in time.
    pub steps: usize,
    /// Sequences.
    pub batch: usize,
}

impl SequenceShape {
    /// Rows of features: `steps · batch`.
    pub(super) fn rows(self) -> Result<usize, Error> {
        self.steps.checked_mul(self.batch).ok_or(Error::Overflow { argument: "shape" })
    }

    /// `steps · batch · width`.
    pub(super) fn elements(self, width: usize) -> Result<usize, Error> {
        self.rows()?.checked_mul(width).ok_or(Error::Overflow { argument: "shape" })
    }

    /// `batch · width`.
    pub(super) fn state(self, width: usize) -> Result<usize, Error> {
        self.batch.checked_mul(width).ok_or(Error::Overflow { argument: "shape" })
    }
}

/// In which order a layer goes through a sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the first step to the last.
    #[default]
    Forward,
    /// From the last step to the first: the other half of a bidirectional layer.
    Backward,
}

/// The order of the steps of a sequence, and blocks of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order {
    pub(super) steps: usize,
    pub(super) direction: Direction,
}

impl Order {
    /// The place in time of the step that comes as number `turn`.
    pub(super) fn at(self, turn: usize) -> usize {
        match self.direction {
            Direction::Forward => turn,
            Direction::Backward => self.steps - 1 - turn,
        }
    }

    /// The block of the step at `turn`, to be written, and that of the step before it, or `initial` for the first.
    pub(super) fn with_previous<'a, T>(
        self,
        data: &'a mut [T],
        width: usize,
        turn: usize,
        initial: &'a [T],
    ) -> (&'a mut [T], &'a [T]) {
        let now = self.at(turn);
        if turn == 0 {
            return (block_mut(data, width, now), initial);
        }
        let before = self.at(turn - 1);
        let (first, second) = data.split_at_mut(now.max(before) * width);
        if now > before {
            (&mut second[..width], block(first, width, before))
        } else {
            (block_mut(first, width, now), &second[..width])
        }
    }

    /// As [`with_previous`](Self::with_previous), only to read.
    pub(super) fn previous<'a, T>(
        self,
        data: &'a [T],
        width: usize,
        turn: usize,
        initial: &'a [T],
    ) -> &'a [T] {
        if turn == 0 { initial } else { block(data, width, self.at(turn - 1)) }
    }
}

/// Block `index` of blocks of `width`.
pub(super) fn block<T>(data: &[T], width: usize, index: usize) -> &[T] {
    &data[index * width..][..width]
}

/// Block `index` of blocks of `width`.
pub(super) fn block_mut<T>(data: &mut [T], width: usize, index: usize) -> &mut [T] {
    &mut data[index * width..][..width]
}

/// Rows of `hidden` units worth a task: some transcendental functions a unit.
pub(super) fn row_block(hidden: usize) -> usize {
    (PARALLEL_BLOCK / 8).div_ceil(hidden.max(1))
}

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
    inputs: usize,
    hidden: usize,
    gates: usize,
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
pub(super) enum Biases {
    /// Its own; the recurrent one goes with each step.
    Apart,
    /// The sum of both.
    Joined,
}

impl<T: Element> PackedRecurrent<T> {
    pub(super) fn new(
        (inputs, hidden, gates): (usize, usize, usize),
        biases: Biases,
        weights: RecurrentWeights<'_, T>,
    ) -> Result<Self, Error> {
        let width = check_weights((inputs, hidden, gates), weights)?;
        let RecurrentWeights { input, recurrent, .. } = weights;
        let forward = |k, data| PackedMatrix::new(k, width, MatrixLayout::transposed(k, width), data);
        let backward = |n, data| PackedMatrix::new(width, n, MatrixLayout::dense(width, n), data);
        let mut packed = Self {
            inputs,
            hidden,
            gates,
            input: forward(inputs, input)?,
            recurrent: forward(hidden, recurrent)?,
            input_backward: backward(inputs, input)?,
            recurrent_backward: backward(hidden, recurrent)?,
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
        let width = check_weights((self.inputs, self.hidden, self.gates), weights)?;
        let RecurrentWeights { input, recurrent, .. } = weights;
        self.input.repack(MatrixLayout::transposed(self.inputs, width), input)?;
        self.recurrent.repack(MatrixLayout::transposed(self.hidden, width), recurrent)?;
        self.input_backward.repack(MatrixLayout::dense(width, self.inputs), input)?;
        self.recurrent_backward.repack(MatrixLayout::dense(width, self.hidden), recurrent)?;
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
    pub(super) fn check(&self, inputs: usize, hidden: usize, gates: usize) -> Result<(), Error> {
        let fits = (self.inputs, self.hidden, self.gates) == (inputs, hidden, gates);
        check_range("weights", "packed for a layer of these sizes", fits)
    }

    fn width(&self) -> usize {
        self.gates * self.hidden
    }

    /// `gates = x·W_ihᵀ + b_ih` of all steps, with `b_hh` where the cell adds both.
    pub(super) fn project(&self, rows: usize, x: &[T], scratch: &mut [T], gates: &mut [T]) {
        let shape = GemmShape::dense(rows, self.width(), self.inputs);
        let start = Start::Bias(&self.input_bias);
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
        let shape = GemmShape::dense(batch, self.width(), self.hidden);
        multiply(shape, h, Factor::Packed(&self.recurrent), start, scratch, gates);
    }

    /// `dh = beta·dh + dgates·W_hh` of one step.
    pub(super) fn step_backward(&self, batch: usize, dgates: &[T], beta: T, scratch: &mut [T], dh: &mut [T]) {
        let shape = GemmShape::dense(batch, self.hidden, self.width());
        multiply(shape, dgates, Factor::Packed(&self.recurrent_backward), Start::Scaled(beta), scratch, dh);
    }

    /// The gradients of a whole sequence from those of its gates: `input` those before the bias of the input, `recurrent`
    /// those before the recurrent bias.
    pub(super) fn gradients(
        &self,
        order: Order,
        batch: usize,
        (x, y, h0): (&[T], &[T], &[T]),
        (input, recurrent): (&[T], &[T]),
        scratch: &mut [T],
        gradients: RecurrentGradients<'_, T>,
    ) {
        let (rows, width, one) = (order.steps * batch, self.width(), Start::Scaled(T::one()));
        if rows == 0 {
            return;
        }
        if let Some(dx) = gradients.x {
            let shape = GemmShape::dense(rows, self.inputs, width);
            let (b, start) = (Factor::Packed(&self.input_backward), Start::Scaled(T::zero()));
            multiply(shape, input, b, start, scratch, dx);
        }
        if let Some(dw) = gradients.input {
            multiply(outer(width, self.inputs, rows), input, Factor::Strided(x), one, scratch, dw);
        }
        if let Some(dw) = gradients.recurrent {
            // Every step but the first in turn has the output of another before it.
            let (later, earlier, first) = match order.direction {
                Direction::Forward => (batch..rows, 0..rows - batch, 0..batch),
                Direction::Backward => (0..rows - batch, batch..rows, rows - batch..rows),
            };
            let part = |rows: core::ops::Range<usize>, width| rows.start * width..rows.end * width;
            let shape = outer(width, self.hidden, rows - batch);
            let h = Factor::Strided(&y[part(earlier, self.hidden)]);
            multiply(shape, &recurrent[part(later, width)], h, one, scratch, &mut *dw);
            let shape = outer(width, self.hidden, batch);
            multiply(shape, &recurrent[part(first, width)], Factor::Strided(h0), one, scratch, dw);
        }
        if let Some(db) = gradients.input_bias {
            <T as Compiled>::column_sums(rows, input, db);
        }
        if let Some(db) = gradients.recurrent_bias {
            <T as Compiled>::column_sums(rows, recurrent, db);
        }
    }
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
pub(super) fn scratch_len<T: Element>(
    shape: SequenceShape,
    (inputs, hidden, gates): (usize, usize, usize),
) -> usize {
    let (rows, batch) = (shape.steps.saturating_mul(shape.batch), shape.batch);
    let width = hidden.saturating_mul(gates);
    let products = [
        GemmShape::dense(rows, width, inputs),
        GemmShape::dense(batch, width, hidden),
        GemmShape::dense(batch, hidden, width),
        GemmShape::dense(rows, inputs, width),
        outer(width, inputs, rows),
        outer(width, hidden, rows),
        outer(width, hidden, batch),
    ];
    products.iter().map(GemmShape::scratch_len::<T>).max().unwrap_or(0)
}

/// Width of all gates, where every slice fits.
fn check_weights<T>(
    (inputs, hidden, gates): (usize, usize, usize),
    weights: RecurrentWeights<'_, T>,
) -> Result<usize, Error> {
    let product = |a: usize, b: usize| a.checked_mul(b).ok_or(Error::Overflow { argument: "weights" });
    let width = product(gates, hidden)?;
    check_len("weights.input", weights.input.len(), product(width, inputs)?)?;
    check_len("weights.recurrent", weights.recurrent.len(), product(width, hidden)?)?;
    for (name, bias) in
        [("weights.input_bias", weights.input_bias), ("weights.recurrent_bias", weights.recurrent_bias)]
    {
        if let Some(bias) = bias {
            check_len(name, bias.len(), width)?;
        }
    }
    Ok(width)
}

/// What a backward reads of its forward, and the gradient of its output.
#[derive(Clone, Copy, Debug)]
pub struct SequenceValues<'a, T> {
    /// The input: `steps · batch · inputs`.
    pub x: &'a [T],
    /// The output: `steps · batch · hidden`.
    pub y: &'a [T],
    /// Gradient of the output: `steps · batch · hidden`.
    pub dy: &'a [T],
}

impl<T> SequenceValues<'_, T> {
    pub(super) fn check(&self, shape: SequenceShape, inputs: usize, hidden: usize) -> Result<(), Error> {
        check_len("values.x", self.x.len(), shape.elements(inputs)?)?;
        check_len("values.y", self.y.len(), shape.elements(hidden)?)?;
        check_len("values.dy", self.dy.len(), shape.elements(hidden)?)
    }
}

/// The gradients that a backward shall compute; what is `None` costs nothing.
#[derive(Debug)]
pub struct RecurrentGradients<'a, T> {
    /// Of the input: `steps · batch · inputs`, overwritten.
    pub x: Option<&'a mut [T]>,
    /// Of [`RecurrentWeights::input`], accumulated.
    pub input: Option<&'a mut [T]>,
    /// Of [`RecurrentWeights::recurrent`], accumulated.
    pub recurrent: Option<&'a mut [T]>,
    /// Of [`RecurrentWeights::input_bias`], accumulated.
    pub input_bias: Option<&'a mut [T]>,
    /// Of [`RecurrentWeights::recurrent_bias`], accumulated.
    pub recurrent_bias: Option<&'a mut [T]>,
}

impl<T> Default for RecurrentGradients<'_, T> {
    fn default() -> Self {
        Self { x: None, input: None, recurrent: None, input_bias: None, recurrent_bias: None }
    }
}

impl<T> RecurrentGradients<'_, T> {
    pub(super) fn check(
        &self,
        shape: SequenceShape,
        (inputs, hidden, gates): (usize, usize, usize),
    ) -> Result<(), Error> {
        let width = gates * hidden;
        let expected = [
            ("gradients.x", &self.x, shape.elements(inputs)?),
            ("gradients.input", &self.input, width * inputs),
            ("gradients.recurrent", &self.recurrent, width * hidden),
            ("gradients.input_bias", &self.input_bias, width),
            ("gradients.recurrent_bias", &self.recurrent_bias, width),
        ];
        expected.into_iter().try_for_each(|(name, slice, len)| match slice {
            Some(slice) => check_len(name, slice.len(), len),
            None => Ok(()),
        })
    }
}
