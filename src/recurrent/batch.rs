//! What a call of a stack goes over: shape, layout and lengths, and where each row lies.

use super::Lengths;
use super::sequence::{Direction, SequenceShape, Walk};
use crate::random::Philox;

/// How the sequences of a batch lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SequenceLayout {
    /// Time × batch × feature: the rows of a step side by side, as layers take them.
    #[default]
    TimeMajor,
    /// Batch × time × feature, PyTorch's `batch_first`: the rows of a sequence side by side. The input is copied to the tape in
    /// the order of steps; outputs and gradients are written where they belong, with the same bits.
    BatchMajor,
}

/// What a call of a [`Stack`](super::Stack) goes over.
#[derive(Clone, Copy, Debug)]
pub struct SequenceBatch<'a> {
    /// Steps and sequences.
    pub shape: SequenceShape,
    /// How x, y and their gradients lie; states have one row a sequence in both.
    pub layout: SequenceLayout,
    /// How long each sequence is; `None` where all have the steps of the shape.
    pub lengths: Option<&'a Lengths>,
    /// What masks are drawn from: this counter and further ones, [`Stack::streams`](super::Stack::streams) in all. `None` at inference: nothing is
    /// dropped.
    pub dropout: Option<Philox>,
}

/// Time-major, all sequences of full length, and no dropout.
impl From<SequenceShape> for SequenceBatch<'_> {
    fn from(shape: SequenceShape) -> Self {
        Self { shape, layout: SequenceLayout::TimeMajor, lengths: None, dropout: None }
    }
}

impl<'a> SequenceBatch<'a> {
    /// Whether rows lie elsewhere than where layers take them.
    pub(super) fn moves_rows(&self) -> bool {
        self.lengths.is_some() || self.layout == SequenceLayout::BatchMajor
    }

    /// Itself where rows lie elsewhere.
    pub(super) fn moved(self) -> Option<Self> {
        Some(self).filter(Self::moves_rows)
    }

    /// How a layer goes through it.
    pub(super) fn walk(self, direction: Direction) -> Walk<'a> {
        Walk { shape: self.shape, direction, starts: self.lengths.map(Lengths::starts) }
    }

    /// Where each row lies, step by step, padding left out.
    pub(super) fn places(self) -> impl Iterator<Item = usize> + use<'a> {
        let Self { shape: SequenceShape { steps, batch }, layout, lengths, .. } = self;
        let place = move |step: usize, rank: usize| {
            let sequence = lengths.map_or(rank, |lengths| lengths.order()[rank]);
            match layout {
                SequenceLayout::TimeMajor => step * batch + sequence,
                SequenceLayout::BatchMajor => sequence * steps + step,
            }
        };
        let active = move |step| lengths.map_or(batch, |lengths| lengths.active(step));
        (0..steps).flat_map(move |step| (0..active(step)).map(move |rank| place(step, rank)))
    }
}
