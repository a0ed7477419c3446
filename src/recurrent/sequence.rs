//! What all recurrences share: shapes, the order of steps, and what goes in and out.

use core::ops::Range;

use crate::parallel::PARALLEL_BLOCK;
use crate::shape::check_len;
use crate::{Element, Error, GradientMode};

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

/// The widths of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    pub(super) inputs: usize,
    pub(super) hidden: usize,
    /// Features of the output, which goes into the next step.
    pub(super) outputs: usize,
    pub(super) gates: usize,
    pub(super) form: Form,
}

/// Which weights a layer has besides those of its gates, and how they are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) biases: Biases,
    /// Whether the output is a projection of the units.
    pub(super) projected: bool,
    /// Whether gates see the cell.
    pub(super) peephole: bool,
    /// Whether sums and the cell are normalised.
    pub(super) normalised: bool,
    /// Whether the last gate takes another product than the others.
    pub(super) candidate_apart: bool,
}

impl Form {
    /// Gates only.
    pub(super) fn plain(biases: Biases) -> Self {
        Self { biases, projected: false, peephole: false, normalised: false, candidate_apart: false }
    }
}

/// Where biases are added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Biases {
    /// Each by its own projection.
    Apart,
    /// The sum of both by that of the input.
    Joined,
    /// The sum of both by the cell, behind its norms.
    Inside,
}

impl Sizes {
    /// Of all gates; that of packed weights fits in `usize`.
    pub(super) fn width(self) -> usize {
        self.gates * self.hidden
    }

    /// Elements of the projection, 0 where there is none.
    pub(super) fn projection_len(self) -> usize {
        if self.form.projected { self.outputs * self.hidden } else { 0 }
    }

    /// Elements of the peephole weights, 0 where there are none.
    pub(super) fn peephole_len(self) -> usize {
        if self.form.peephole { 3 * self.hidden } else { 0 }
    }

    /// Elements of the weights of norms, 0 where there are none.
    pub(super) fn norm_len(self) -> usize {
        if self.form.normalised { 10 * self.hidden } else { 0 }
    }

    /// Gates whose product takes the output of the step before.
    pub(super) fn together(self) -> usize {
        self.width() - if self.form.candidate_apart { self.hidden } else { 0 }
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

/// How a layer goes through the steps of a batch: from which rows to which.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walk<'a> {
    pub(super) shape: SequenceShape,
    pub(super) direction: Direction,
    /// Where sequences have lengths of their own: the first row of each step of the longest, and the end of the last, from where
    /// the first lies on. They are sorted, the longest first, so that those of a step are the first ones of the batch.
    pub(super) starts: Option<&'a [usize]>,
}

/// Rows of a step whose rows before lie side by side too.
#[derive(Clone, Debug)]
pub(super) struct Part {
    /// Rows of the step, of all rows.
    pub(super) rows: Range<usize>,
    /// The sequences they belong to.
    pub(super) sequences: Range<usize>,
    /// The first of their rows of the step before; `None` where the sequences begin.
    before: Option<usize>,
}

impl Part {
    /// The rows of this part, to be written, and those before, or those of `initial`.
    pub(super) fn with_before<'a, T>(
        &self,
        data: &'a mut [T],
        width: usize,
        initial: &'a [T],
    ) -> (&'a mut [T], &'a [T]) {
        let before = self.before.map(|before| before..before + self.rows.len());
        let initial = part(initial, width, &self.sequences);
        now_and_before(data, width, (&self.rows, before.as_ref()), initial)
    }

    /// The rows before, or those of `initial`.
    pub(super) fn before<'a, T>(&self, data: &'a [T], width: usize, initial: &'a [T]) -> &'a [T] {
        match self.before {
            Some(before) => part(data, width, &(before..before + self.rows.len())),
            None => part(initial, width, &self.sequences),
        }
    }
}

impl Walk<'_> {
    /// The place in time of the step that comes as number `turn`.
    fn at(self, turn: usize) -> usize {
        match self.direction {
            Direction::Forward => turn,
            Direction::Backward => self.shape.steps - 1 - turn,
        }
    }

    /// Rows of all steps; the shape was checked.
    pub(super) fn len(self) -> usize {
        self.starts.map_or(self.shape.steps * self.shape.batch, |starts| starts[starts.len() - 1] - starts[0])
    }

    /// The steps `turns` as a walk of their own, and where its rows are.
    pub(super) fn window(self, turns: Range<usize>) -> (Self, Range<usize>) {
        let (first, last) = (self.rows(turns.start), self.rows(turns.end - 1));
        let steps = turns.end - turns.start;
        let start = self.at(turns.start).min(self.at(turns.end - 1));
        let starts = self.starts.map(|starts| {
            let all = starts.len() - 1;
            &starts[start.min(all)..=(start + steps).min(all)]
        });
        let shape = SequenceShape { steps, ..self.shape };
        (Self { shape, starts, ..self }, first.start.min(last.start)..first.end.max(last.end))
    }

    /// Rows of the step that comes as number `turn`.
    pub(super) fn rows(self, turn: usize) -> Range<usize> {
        let (at, batch) = (self.at(turn), self.shape.batch);
        let start = |at: usize| match self.starts {
            // Steps after the last one have no rows.
            Some(starts) => starts[at.min(starts.len() - 1)] - starts[0],
            None => at * batch,
        };
        start(at)..start(at + 1)
    }

    /// The step that comes as number `turn`: the sequences that go on, and those that begin.
    pub(super) fn parts(self, turn: usize) -> impl Iterator<Item = Part> {
        let rows = self.rows(turn);
        let before = turn.checked_sub(1).map_or(0..0, |turn| self.rows(turn));
        let middle = before.len().min(rows.len());
        let part = |sequences: Range<usize>, before| Part {
            rows: rows.start + sequences.start..rows.start + sequences.end,
            sequences,
            before,
        };
        let parts = [part(0..middle, Some(before.start)), part(middle..rows.len(), None)];
        parts.into_iter().filter(|part| !part.rows.is_empty())
    }

    /// Copies the rows of sequences that end with the step that comes as number `turn` to `state`.
    pub(super) fn keep_ended<T: Copy>(self, turn: usize, data: &[T], width: usize, state: &mut [T]) {
        let rows = self.rows(turn);
        let next = if turn + 1 < self.shape.steps { self.rows(turn + 1).len() } else { 0 };
        let ended = next.min(rows.len())..rows.len();
        let from = part(data, width, &(rows.start + ended.start..rows.end));
        state[ended.start * width..ended.end * width].copy_from_slice(from);
    }
}

/// The rows `rows` of `width`.
pub(super) fn part<'a, T>(data: &'a [T], width: usize, rows: &Range<usize>) -> &'a [T] {
    &data[rows.start * width..rows.end * width]
}

/// The rows `rows` of `width`.
pub(super) fn part_mut<'a, T>(data: &'a mut [T], width: usize, rows: &Range<usize>) -> &'a mut [T] {
    &mut data[rows.start * width..rows.end * width]
}

/// The rows `now`, to be written, and the rows `before`, or `initial` where there are none.
pub(super) fn now_and_before<'a, T>(
    data: &'a mut [T],
    width: usize,
    (now, before): (&Range<usize>, Option<&Range<usize>>),
    initial: &'a [T],
) -> (&'a mut [T], &'a [T]) {
    let Some(before) = before else { return (part_mut(data, width, now), initial) };
    let cut = now.start.max(before.start);
    let (first, second) = data.split_at_mut(cut * width);
    let after = |rows: &Range<usize>| rows.start - cut..rows.end - cut;
    if cut == now.start {
        (part_mut(second, width, &after(now)), part(first, width, before))
    } else {
        (part_mut(first, width, now), part(second, width, &after(before)))
    }
}

/// Rows of `hidden` units worth a task: some transcendental functions a unit.
pub(super) fn row_block(hidden: usize) -> usize {
    (PARALLEL_BLOCK / 8).div_ceil(hidden.max(1))
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
    pub(super) fn check(&self, shape: SequenceShape, sizes: Sizes) -> Result<(), Error> {
        check_len("values.x", self.x.len(), shape.elements(sizes.inputs)?)?;
        check_len("values.y", self.y.len(), shape.elements(sizes.outputs)?)?;
        check_len("values.dy", self.dy.len(), shape.elements(sizes.outputs)?)
    }
}

/// The gradients that a backward shall compute; what is `None` costs nothing. Those of the weights are accumulated or overwritten
/// as `mode` says.
#[derive(Debug)]
pub struct RecurrentGradients<'a, T> {
    /// Of the input: `steps · batch · inputs`, overwritten.
    pub x: Option<&'a mut [T]>,
    /// Of [`RecurrentWeights::input`](super::RecurrentWeights::input).
    pub input: Option<&'a mut [T]>,
    /// Of [`RecurrentWeights::recurrent`](super::RecurrentWeights::recurrent).
    pub recurrent: Option<&'a mut [T]>,
    /// Of [`RecurrentWeights::input_bias`](super::RecurrentWeights::input_bias).
    pub input_bias: Option<&'a mut [T]>,
    /// Of [`RecurrentWeights::recurrent_bias`](super::RecurrentWeights::recurrent_bias).
    pub recurrent_bias: Option<&'a mut [T]>,
    /// As the weights.
    pub projection: Option<&'a mut [T]>,
    /// As the weights.
    pub peephole: Option<&'a mut [T]>,
    /// As the weights.
    pub norm: Option<&'a mut [T]>,
    /// What becomes of what the gradients of the weights hold; they are accumulated by default.
    pub mode: GradientMode,
}

impl<T> RecurrentGradients<'_, T> {
    /// The same for a shorter time, with that of another input.
    pub(super) fn reborrow<'b>(&'b mut self, x: Option<&'b mut [T]>) -> RecurrentGradients<'b, T> {
        RecurrentGradients {
            x,
            input: self.input.as_deref_mut(),
            recurrent: self.recurrent.as_deref_mut(),
            input_bias: self.input_bias.as_deref_mut(),
            recurrent_bias: self.recurrent_bias.as_deref_mut(),
            projection: self.projection.as_deref_mut(),
            peephole: self.peephole.as_deref_mut(),
            norm: self.norm.as_deref_mut(),
            mode: self.mode,
        }
    }
}

impl<T> Default for RecurrentGradients<'_, T> {
    fn default() -> Self {
        Self {
            x: None,
            input: None,
            recurrent: None,
            input_bias: None,
            recurrent_bias: None,
            projection: None,
            peephole: None,
            norm: None,
            mode: GradientMode::default(),
        }
    }
}

impl<T: Element> RecurrentGradients<'_, T> {
    /// Makes all but the matrices of the products, whose first sums overwrite them, ones to accumulate into.
    pub(super) fn prepare(&mut self) {
        let Self { input_bias, recurrent_bias, peephole, norm, mode, .. } = self;
        for gradient in [input_bias, recurrent_bias, peephole, norm] {
            mode.prepare(gradient.as_deref_mut());
        }
    }

    /// What they are where no sequence has a step.
    pub(super) fn of_nothing(&mut self) {
        self.prepare();
        for gradient in [&mut self.input, &mut self.recurrent, &mut self.projection] {
            self.mode.prepare(gradient.as_deref_mut());
        }
    }
}

impl<T> RecurrentGradients<'_, T> {
    /// `dx` is how many elements the gradient of the input has.
    pub(super) fn check(&self, dx: usize, sizes: Sizes) -> Result<(), Error> {
        let width = sizes.width();
        let expected = [
            ("gradients.x", &self.x, dx),
            ("gradients.input", &self.input, width * sizes.inputs),
            ("gradients.recurrent", &self.recurrent, width * sizes.outputs),
            ("gradients.input_bias", &self.input_bias, width),
            ("gradients.recurrent_bias", &self.recurrent_bias, width),
            ("gradients.projection", &self.projection, sizes.projection_len()),
            ("gradients.peephole", &self.peephole, sizes.peephole_len()),
            ("gradients.norm", &self.norm, sizes.norm_len()),
        ];
        expected.into_iter().try_for_each(|(name, slice, len)| match slice {
            Some(slice) => check_len(name, slice.len(), len),
            None => Ok(()),
        })
    }
}
