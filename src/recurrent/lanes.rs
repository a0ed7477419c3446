//! Several steps of some of the sequences: a thread takes its own through them all and waits for no other.

use core::ops::Range;

use super::packed::PackedRecurrent;
use super::sequence::{Direction, SequenceShape, Walk, now_and_before, part};
use crate::Element;
use crate::parallel::{self, Split};

/// Steps between two waits.
pub(super) const MOST_STEPS: usize = 16;
/// Sequences that are worth a thread: a tile of a product.
const LEAST_SEQUENCES: usize = 8;
/// Bytes of recurrent weights up to which each thread goes through all of them: half of its second-level cache. Larger ones
/// are read by all threads together, each its own part.
const MOST_WEIGHTS: usize = 1 << 20;
/// Multiply-adds of the steps from which a second thread is worth waking.
const LEAST_WORK: usize = 1 << 20;

/// Rows of steps in the order in which they are taken, to be cut between sequences.
#[derive(Debug)]
pub(super) struct Steps<S> {
    rows: [S; MOST_STEPS],
    width: usize,
}

impl<S: Split + Default> Steps<S> {
    /// Those of `chunk`, of `width` each.
    pub(super) fn new(chunk: &Chunk, mut data: S, width: usize) -> Self {
        let (count, step) = (chunk.steps, chunk.batch * width);
        let mut rows = core::array::from_fn(|_| S::default());
        for row in &mut rows[..count] {
            let (first, rest) = core::mem::take(&mut data).split_at(step);
            (*row, data) = (first, rest);
        }
        if chunk.direction == Direction::Backward {
            rows[..count].reverse();
        }
        Self { rows, width }
    }
}

impl<T> Steps<&mut [T]> {
    /// The rows of step `at`.
    pub(super) fn now(&mut self, at: usize) -> &mut [T] {
        self.rows[at]
    }

    /// The rows of step `at`, to be written, and those before, or `initial`.
    pub(super) fn with_before<'a>(&'a mut self, at: usize, initial: &'a [T]) -> (&'a mut [T], &'a [T]) {
        let (before, now) = self.rows.split_at_mut(at);
        (now[0], before.last().map_or(initial, |before| before))
    }
}

impl<'a, T> Steps<&'a [T]> {
    /// The rows of step `at`.
    pub(super) fn rows(&self, at: usize) -> &'a [T] {
        self.rows[at]
    }

    /// The rows before step `at`, or `initial`.
    pub(super) fn before(&self, at: usize, initial: &'a [T]) -> &'a [T] {
        at.checked_sub(1).map_or(initial, |before| self.rows[before])
    }
}

/// Cut between sequences; what has no elements stays so.
impl<S: Split + Default> Split for Steps<S> {
    fn len(&self) -> usize {
        self.rows[0].len() / self.width
    }
    fn split_at(mut self, mid: usize) -> (Self, Self) {
        let width = self.width;
        let rows = core::array::from_fn(|at| {
            let row = core::mem::take(&mut self.rows[at]);
            let mid = row.len().min(mid * width);
            let (first, second) = row.split_at(mid);
            self.rows[at] = first;
            second
        });
        (self, Self { rows, width })
    }
}

/// Steps that are taken without a wait, of sequences that all have them.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    pub(super) steps: usize,
    /// Rows of all its steps.
    pub(super) rows: Range<usize>,
    /// Rows of the step before; `None` where the sequences begin.
    before: Option<Range<usize>>,
    batch: usize,
    direction: Direction,
    /// Sequences of a thread.
    lane: usize,
}

impl Chunk {
    /// The rows of its steps, to be written, and those of the step before, or those of `initial`.
    pub(super) fn with_before<'a, T>(
        &self,
        data: &'a mut [T],
        width: usize,
        initial: &'a [T],
    ) -> (&'a mut [T], &'a [T]) {
        now_and_before(data, width, (&self.rows, self.before.as_ref()), initial)
    }

    /// The rows before its steps, or those of `initial`.
    pub(super) fn before<'a, T>(&self, data: &'a [T], width: usize, initial: &'a [T]) -> &'a [T] {
        self.before.as_ref().map_or(initial, |before| part(data, width, before))
    }

    /// Calls `f` on parts of `data` that are cut between sequences, with their number. The products of a step need no scratch:
    /// their weights are packed, and rows are read as they lie.
    pub(super) fn run<S: Split>(&self, data: S, f: impl Fn(usize, S) + Sync) {
        parallel::for_each(data, self.lane, |data| f(data.len(), data));
    }
}

impl<T: Element> PackedRecurrent<T> {
    /// The steps `turns` as a chunk, where threads had better share its sequences than the units of each step.
    pub(super) fn chunk(&self, walk: Walk<'_>, turns: Range<usize>) -> Option<Chunk> {
        let (sizes, SequenceShape { batch, .. }) = (self.sizes(), walk.shape);
        let (weights, threads) = (sizes.together() * sizes.outputs, parallel::threads());
        let (lane, steps) = (batch.div_ceil(threads).max(LEAST_SEQUENCES), turns.end - turns.start);
        let is_worth_it = weights.saturating_mul(batch).saturating_mul(steps) >= LEAST_WORK
            && weights * size_of::<T>() <= MOST_WEIGHTS
            && batch > lane;
        if walk.starts.is_some() || !is_worth_it {
            return None;
        }
        let (first, last) = (walk.rows(turns.start), walk.rows(turns.end - 1));
        Some(Chunk {
            rows: first.start.min(last.start)..first.end.max(last.end),
            before: turns.start.checked_sub(1).map(|before| walk.rows(before)),
            steps,
            batch,
            direction: walk.direction,
            lane,
        })
    }
}
