//! Weights laid out for the products around a cell, and those products.

use alloc::vec::Vec;
use core::ops::Range;

use super::gradients::ROWS_TOGETHER;
use super::lanes::MOST_STEPS;
use super::sequence::{Biases, SequenceShape, Sizes, Walk, part, part_mut};
use crate::linear::{Compiled, Factor, GemmShape, MatrixLayout, PackedMatrix, Product, Start};
use crate::shape::{check_len, check_range};
use crate::{Element, Epilogue, Error};

/// Rows whose input is projected before their steps are taken, or as many as a row has inputs where that is more: enough
/// that reading the weights is not what takes the time.
const ROWS_AHEAD: usize = 128;
/// Sums that are projected ahead where those are more: 1 MiB of `f32`, which stay in cache until their steps.
const SUMS_AHEAD: usize = 1 << 18;

/// Inputs up to which a step projects its own: reading the weights for each costs next to nothing then, and sums that are made
/// ahead would be written to memory and read again.
const NARROW: usize = 16;

impl Sizes {
    /// How many steps are taken together so that they have about `rows` rows.
    fn steps_together(self, SequenceShape { steps, batch }: SequenceShape, rows: usize) -> usize {
        let blocks = steps.saturating_mul(batch) / self.inputs.max(rows);
        steps.div_ceil(blocks.max(1))
    }

    /// How many steps are projected together; of a checked shape.
    pub(super) fn steps_ahead(self, shape: SequenceShape) -> usize {
        self.steps_together(shape, self.rows_ahead())
    }

    fn rows_ahead(self) -> usize {
        ROWS_AHEAD.max(SUMS_AHEAD / self.width().max(1))
    }
}

/// The weights of a layer with as many `gates` as its cell has: 1, 3 of a GRU (r, z, n), 4 of an LSTM (i, f, g, o), in the
/// order of `PyTorch`.
#[derive(Clone, Copy, Debug)]
pub struct RecurrentWeights<'a, T> {
    /// `gates · hidden` rows of `inputs`: `PyTorch`'s `weight_ih`.
    pub input: &'a [T],
    /// `gates · hidden` rows of the features of the output: `weight_hh`.
    pub recurrent: &'a [T],
    /// `gates · hidden`, or none: `bias_ih`.
    pub input_bias: Option<&'a [T]>,
    /// `gates · hidden`, or none: `bias_hh`.
    pub recurrent_bias: Option<&'a [T]>,
    /// Of an LSTM with a projection, as many rows of `hidden`: `weight_hr`. Else none.
    pub projection: Option<&'a [T]>,
    /// Of an LSTM with peepholes, `3 · hidden`: what i, f and o see of the cell. Else none.
    pub peephole: Option<&'a [T]>,
    /// Of a layer-normalised LSTM, `10 · hidden`: gains of the input's projection and of the recurrent one, `4 · hidden` each,
    /// then gain and bias of the cell. Else none.
    pub norm: Option<&'a [T]>,
}

impl<T> Default for RecurrentWeights<'_, T> {
    fn default() -> Self {
        Self {
            input: &[],
            recurrent: &[],
            input_bias: None,
            recurrent_bias: None,
            projection: None,
            peephole: None,
            norm: None,
        }
    }
}

/// Weights laid out for the products of all steps, forward and backward; made once after each update.
#[derive(Debug)]
pub struct PackedRecurrent<T> {
    pub(super) sizes: Sizes,
    input: PackedMatrix<T>,
    recurrent: PackedMatrix<T>,
    pub(super) input_backward: PackedMatrix<T>,
    recurrent_backward: PackedMatrix<T>,
    /// Recurrent weights of the last gate, forward and backward, where its product is apart.
    candidate: Option<[PackedMatrix<T>; 2]>,
    /// The projection, forward and backward.
    projection: Option<[PackedMatrix<T>; 2]>,
    pub(super) peephole: Vec<T>,
    pub(super) norm: Vec<T>,
    /// Of the projection of the input, or of the cell.
    pub(super) input_bias: Vec<T>,
    recurrent_bias: Vec<T>,
}

impl<T: Element> PackedRecurrent<T> {
    pub(super) fn new(sizes: Sizes, weights: RecurrentWeights<'_, T>) -> Result<Self, Error> {
        check_weights(sizes, weights)?;
        let Sizes { inputs, hidden, outputs, .. } = sizes;
        let RecurrentWeights { input, recurrent, .. } = weights;
        let (together, candidate) = recurrent.split_at(sizes.together() * outputs);
        let forward = |k, n, data: &[T]| PackedMatrix::new(k, n, MatrixLayout::transposed(k, n), data);
        let backward = |k, n, data: &[T]| PackedMatrix::new(k, n, MatrixLayout::dense(k, n), data);
        // A factor of n rows of k, and what its gradient is multiplied by.
        let both = |n, k, data: &[T]| Ok::<_, Error>([forward(k, n, data)?, backward(n, k, data)?]);
        let [input, input_backward] = both(sizes.width(), inputs, input)?;
        let [recurrent, recurrent_backward] = both(sizes.together(), outputs, together)?;
        let candidate = if sizes.form.candidate_apart { Some(candidate) } else { None };
        let mut packed = Self {
            sizes,
            input,
            recurrent,
            input_backward,
            recurrent_backward,
            candidate: candidate.map(|data| both(hidden, outputs, data)).transpose()?,
            projection: weights.projection.map(|data| both(outputs, hidden, data)).transpose()?,
            peephole: alloc::vec![T::zero(); sizes.peephole_len()],
            norm: alloc::vec![T::zero(); sizes.norm_len()],
            input_bias: alloc::vec![T::zero(); sizes.width()],
            recurrent_bias: alloc::vec![T::zero(); sizes.width()],
        };
        packed.set_vectors(weights);
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
        let Sizes { inputs, hidden, outputs, .. } = self.sizes;
        let RecurrentWeights { input, recurrent, .. } = weights;
        let (together, candidate) = recurrent.split_at(self.sizes.together() * outputs);
        let all = [
            (Some([&mut self.input, &mut self.input_backward]), self.sizes.width(), inputs, Some(input)),
            (
                Some([&mut self.recurrent, &mut self.recurrent_backward]),
                self.sizes.together(),
                outputs,
                Some(together),
            ),
            (self.candidate.as_mut().map(<[_; 2]>::each_mut), hidden, outputs, Some(candidate)),
            (self.projection.as_mut().map(<[_; 2]>::each_mut), outputs, hidden, weights.projection),
        ];
        for (packed, n, k, data) in all {
            if let (Some([forward, backward]), Some(data)) = (packed, data) {
                forward.repack(MatrixLayout::transposed(k, n), data)?;
                backward.repack(MatrixLayout::dense(n, k), data)?;
            }
        }
        self.set_vectors(weights);
        Ok(())
    }

    fn set_vectors(&mut self, weights: RecurrentWeights<'_, T>) {
        let pairs = [
            (&mut self.input_bias, weights.input_bias),
            (&mut self.recurrent_bias, weights.recurrent_bias),
            (&mut self.peephole, weights.peephole),
            (&mut self.norm, weights.norm),
        ];
        for (kept, given) in pairs {
            match given {
                Some(given) => kept.copy_from_slice(given),
                None => kept.fill(T::zero()),
            }
        }
        if self.sizes.form.biases != Biases::Apart {
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

    pub(super) fn width(&self) -> usize {
        self.sizes.width()
    }

    /// The steps from `turn` on that can be taken without a further projection.
    pub(super) fn turns_ahead(&self, walk: Walk<'_>, turn: usize) -> Range<usize> {
        let together = self.sizes.steps_ahead(walk.shape);
        let end = (turn / together + 1) * together;
        turn..end.min(turn + MOST_STEPS).min(walk.shape.steps)
    }

    /// The steps up to `end` that a backward can take before gradients are due.
    pub(super) fn turns_behind(&self, walk: Walk<'_>, end: usize) -> Range<usize> {
        let together = self.sizes.steps_together(walk.shape, ROWS_TOGETHER);
        let start = (end - 1) / together * together;
        start.max(end.saturating_sub(MOST_STEPS))..end
    }

    /// The rows of the steps from `turn` on that are taken together, where that is due.
    pub(super) fn together(&self, walk: Walk<'_>, turn: usize, rows: usize) -> Option<Range<usize>> {
        let SequenceShape { steps, .. } = walk.shape;
        let steps_together = self.sizes.steps_together(walk.shape, rows);
        if !turn.is_multiple_of(steps_together) {
            return None;
        }
        let (first, last) = (walk.rows(turn), walk.rows(steps.min(turn + steps_together) - 1));
        Some(first.start.min(last.start)..first.end.max(last.end))
    }

    /// `gates = x·W_ihᵀ + b_ih` of the next steps from `turn` on, where that is due and not done by
    /// [`project_now`](Self::project_now); with `b_hh` where the two are joined.
    pub(super) fn project_ahead(
        &self,
        walk: Walk<'_>,
        turn: usize,
        x: &[T],
        scratch: &mut [T],
        gates: &mut [T],
    ) {
        let Some(rows) = self.together(walk, turn, self.sizes.rows_ahead()).filter(|_| !self.is_narrow())
        else {
            return;
        };
        let (x, gates) = (part(x, self.sizes.inputs, &rows), part_mut(gates, self.width(), &rows));
        self.project(rows.len(), x, scratch, gates);
    }

    /// `gates = x·W_ihᵀ + b_ih` of rows of one step, where they have few inputs.
    pub(super) fn project_now(&self, batch: usize, x: &[T], scratch: &mut [T], gates: &mut [T]) {
        if self.is_narrow() {
            self.project(batch, x, scratch, gates);
        }
    }

    /// `gates = x·W_ihᵀ + b_ih`.
    pub(super) fn project(&self, rows: usize, x: &[T], scratch: &mut [T], gates: &mut [T]) {
        let shape = GemmShape::dense(rows, self.width(), self.sizes.inputs);
        multiply(shape, x, Factor::Packed(&self.input), self.start(&self.input_bias), scratch, gates);
    }

    fn is_narrow(&self) -> bool {
        self.sizes.inputs <= NARROW
    }

    /// `gates += h·W_hhᵀ` of one step, for cells that add both projections.
    pub(super) fn add_step(&self, batch: usize, h: &[T], scratch: &mut [T], gates: &mut [T]) {
        self.step(batch, h, Start::Scaled(T::one()), scratch, gates);
    }

    /// `gates = h·W_hhᵀ + b_hh` of one step.
    pub(super) fn project_step(&self, batch: usize, h: &[T], scratch: &mut [T], gates: &mut [T]) {
        self.step(batch, h, self.start(&self.recurrent_bias), scratch, gates);
    }

    /// What a projection begins with.
    fn start<'a>(&self, bias: &'a [T]) -> Start<'a, T> {
        match self.sizes.form.biases {
            Biases::Inside => Start::Scaled(T::zero()),
            Biases::Apart | Biases::Joined => Start::Bias(bias),
        }
    }

    fn step(&self, batch: usize, h: &[T], start: Start<'_, T>, scratch: &mut [T], gates: &mut [T]) {
        let shape = GemmShape::dense(batch, self.sizes.together(), self.sizes.outputs);
        let shape = GemmShape { c_stride: self.width(), ..shape };
        multiply(shape, h, Factor::Packed(&self.recurrent), start, scratch, gates);
    }

    /// `dh = beta·dh + dgates·W_hh` of one step, of all gates whose product takes h.
    pub(super) fn step_backward(&self, batch: usize, dgates: &[T], beta: T, scratch: &mut [T], dh: &mut [T]) {
        let shape = GemmShape::dense(batch, self.sizes.outputs, self.sizes.together());
        let shape = GemmShape { a: self.of_gates(), ..shape };
        multiply(shape, dgates, Factor::Packed(&self.recurrent_backward), Start::Scaled(beta), scratch, dh);
    }

    /// `n += h·W_hnᵀ` of the last of `gates`, where its product is apart.
    pub(super) fn add_candidate(&self, batch: usize, h: &[T], scratch: &mut [T], gates: &mut [T]) {
        if let Some([forward, _]) = &self.candidate {
            let shape = GemmShape::dense(batch, self.sizes.hidden, self.sizes.outputs);
            let shape = GemmShape { c_stride: self.width(), ..shape };
            let n = &mut gates[self.sizes.together()..];
            multiply(shape, h, Factor::Packed(forward), Start::Scaled(T::one()), scratch, n);
        }
    }

    /// `dh = dn·W_hn` of the last of `dgates`, where its product is apart.
    pub(super) fn candidate_backward(&self, batch: usize, dgates: &[T], scratch: &mut [T], dh: &mut [T]) {
        if let Some([_, backward]) = &self.candidate {
            let shape = GemmShape::dense(batch, self.sizes.outputs, self.sizes.hidden);
            let shape = GemmShape { a: self.of_gates(), ..shape };
            let dn = &dgates[self.sizes.together()..];
            multiply(shape, dn, Factor::Packed(backward), Start::Scaled(T::zero()), scratch, dh);
        }
    }

    /// `h = units·W_hrᵀ` of one step, where the output is projected.
    pub(super) fn project_output(&self, batch: usize, units: &[T], scratch: &mut [T], h: &mut [T]) {
        if let Some([forward, _]) = &self.projection {
            let shape = GemmShape::dense(batch, self.sizes.outputs, self.sizes.hidden);
            multiply(shape, units, Factor::Packed(forward), Start::Scaled(T::zero()), scratch, h);
        }
    }

    /// `dunits = dh·W_hr` of one step, where the output is projected.
    pub(super) fn output_backward(&self, batch: usize, dh: &[T], scratch: &mut [T], dunits: &mut [T]) {
        if let Some([_, backward]) = &self.projection {
            let shape = GemmShape::dense(batch, self.sizes.hidden, self.sizes.outputs);
            multiply(shape, dh, Factor::Packed(backward), Start::Scaled(T::zero()), scratch, dunits);
        }
    }

    /// Rows of some of the gates.
    fn of_gates(&self) -> MatrixLayout {
        MatrixLayout { stride: self.width(), ..MatrixLayout::dense(0, 0) }
    }
}

/// `C = start·C + Aᵀ·B` of rows of `m` and of `n`: the sum of their outer products.
pub(super) fn add_outer<T: Element>(
    (m, n): (usize, usize),
    (a, b): (&[T], &[T]),
    start: T,
    scratch: &mut [T],
    c: &mut [T],
) {
    let shape = outer(m, n, a.len().checked_div(m).unwrap_or(0));
    multiply(shape, a, Factor::Strided(b), Start::Scaled(start), scratch, c);
}

/// The product `Aᵀ·B` of `k` rows: the sum of their outer products.
pub(super) fn outer(m: usize, n: usize, k: usize) -> GemmShape {
    GemmShape { a: MatrixLayout::transposed(m, k), ..GemmShape::dense(m, n, k) }
}

pub(super) fn multiply<T: Element>(
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
    let Sizes { inputs, hidden, outputs, gates, .. } = sizes;
    let width = hidden.saturating_mul(gates);
    let products = [
        GemmShape::dense(rows, width, inputs),
        GemmShape::dense(batch, width, outputs),
        GemmShape::dense(batch, outputs, width),
        GemmShape::dense(rows, inputs, width),
        outer(width, inputs, rows),
        outer(width, outputs, rows),
        outer(width, outputs, batch),
        // Of a candidate or a projection.
        GemmShape::dense(batch, hidden, outputs),
        GemmShape::dense(batch, outputs, hidden),
        outer(outputs, hidden, rows),
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
    if sizes.form.projected {
        product(sizes.outputs, sizes.hidden)?;
    }
    check_len("weights.projection", weights.projection.map_or(0, <[T]>::len), sizes.projection_len())?;
    check_len("weights.peephole", weights.peephole.map_or(0, <[T]>::len), sizes.peephole_len())?;
    if sizes.form.normalised {
        product(10, sizes.hidden)?;
    }
    check_len("weights.norm", weights.norm.map_or(0, <[T]>::len), sizes.norm_len())
}
