//! What a stack drops and keeps: masks drawn again wherever they are needed.

use super::Stack;
use crate::recurrent::batch::SequenceBatch;
use crate::recurrent::carry::StepMask;
use crate::recurrent::layer::Layer;
use crate::recurrent::rows::rows;
use crate::recurrent::sequence::Direction;
use crate::recurrent::zoneout::{Keep, Rate};
use crate::regularize::{Dropout, MaskShape};
use crate::{Element, Error, Philox};

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

impl<L: Layer> Stack<L> {
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

    /// Applies the mask of the input of layer `index` to all steps, forward or backward.
    pub(super) fn drop_input<T: Element>(&self, batch: SequenceBatch<'_>, index: usize, rows: &mut [T]) {
        let Philox { key, counter } = match batch.dropout {
            Some(stream) if self.variational.input > 0.0 => stream,
            _ => return,
        };
        let stream = Philox { key, counter: counter.wrapping_add((self.layers + index) as u64) };
        let mask = StepMask { p: self.variational.input, stream };
        mask.apply_to_steps(batch.walk(Direction::Forward), self.sizes(index).inputs, rows);
    }

    /// The mask of the outputs of a layer and direction on their way to the next step.
    pub(super) fn recurrent_mask(&self, batch: SequenceBatch<'_>, at: usize) -> Option<StepMask> {
        let p = self.variational.recurrent;
        let Philox { key, counter } = batch.dropout.filter(|_| p > 0.0)?;
        let counter = counter.wrapping_add((2 * self.layers + at) as u64);
        Some(StepMask { p, stream: Philox { key, counter } })
    }

    /// The dropout on the way up from layer `index`.
    pub(super) fn mask(
        &self,
        batch: SequenceBatch<'_>,
        index: usize,
    ) -> Option<(Dropout, MaskShape, Philox)> {
        let Philox { key, counter } = batch.dropout.filter(|_| self.dropout > 0.0)?;
        let stream = Philox { key, counter: counter.wrapping_add(index as u64) };
        Some((Dropout { p: self.dropout }, MaskShape::elements(rows(batch) * self.width()), stream))
    }

    /// What of the outputs and of the cells of a layer and direction stays what it was.
    pub(in crate::recurrent) fn keep<'a, T>(
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
}
