//! What a stack asks of its arguments.

use super::{PackedStack, Stack, StackGradients, VariationalDropout};
use crate::recurrent::batch::SequenceBatch;
use crate::recurrent::layer::{Layer, check_state};
use crate::recurrent::sequence::SequenceShape;
use crate::shape::{check_at_least, check_len, check_range};
use crate::{Element, Error};

impl<L: Layer> Stack<L> {
    pub(super) fn check_gradients<T>(
        &self,
        shape: SequenceShape,
        gradients: &StackGradients<'_, '_, T>,
    ) -> Result<(), Error> {
        if let Some(dx) = &gradients.x {
            check_len("gradients.x", dx.len(), shape.elements(self.sizes(0).inputs)?)?;
        }
        check_len("gradients.layers", gradients.layers.len(), self.count()?)?;
        for (index, layer) in gradients.layers.iter().enumerate() {
            check_range("gradients.layers", "without gradients of an input", layer.x.is_none())?;
            layer.check(0, self.sizes(index / self.directions.count()))?;
        }
        Ok(())
    }

    /// Everything but what differs between forward and backward.
    pub(in crate::recurrent) fn check<T: Element>(
        &self,
        batch: SequenceBatch<'_>,
        weights: &PackedStack<T>,
        (state, names): (&[&mut [T]; 2], &[&'static str]),
    ) -> Result<(), Error> {
        let count = self.count()?;
        self.layer.check()?;
        let VariationalDropout { input, recurrent } = self.variational;
        let probabilities = [
            ("dropout", self.dropout),
            ("variational.input", input),
            ("variational.recurrent", recurrent),
            ("zoneout.output", self.zoneout.output),
            ("zoneout.cell", self.zoneout.cell),
        ];
        for (name, p) in probabilities {
            check_range(name, "in [0, 1]", (0.0..=1.0).contains(&p))?;
        }
        let [output, cell] = self.layer.keeps();
        if self.zoneout.output > 0.0 && !output || self.zoneout.cell > 0.0 && !cell {
            return Err(Error::Unsupported { operation: "zoneout of such a layer" });
        }
        let fits = batch.lengths.is_none_or(|lengths| lengths.shape() == batch.shape);
        check_range("lengths", "of a batch of this shape", fits)?;
        check_range("weights", "packed for a stack of these layers", weights.layers.len() == count)?;
        for (index, layer) in weights.layers.iter().enumerate() {
            layer.check(self.sizes(index / self.directions.count()))?;
        }
        let rows = count.checked_mul(batch.shape.batch).ok_or(Error::Overflow { argument: "shape" })?;
        check_state(names, state, rows, self.sizes(0))
    }

    pub(super) fn check_memory<T: Element>(
        &self,
        batch: SequenceBatch<'_>,
        tape: &[T],
        scratch: &[T],
    ) -> Result<(), Error> {
        check_len("tape", tape.len(), self.tape_len(batch)?)?;
        check_at_least("scratch", scratch.len(), self.scratch_len::<T>(batch))
    }

    /// `Ok` where both, given with their names, have the rows of the batch: of its inputs and of its outputs.
    pub(in crate::recurrent) fn check_rows<T>(
        &self,
        batch: SequenceBatch<'_>,
        (input, x): (&'static str, &[T]),
        (output, y): (&'static str, &[T]),
    ) -> Result<(), Error> {
        check_len(input, x.len(), batch.shape.elements(self.sizes(0).inputs)?)?;
        check_len(output, y.len(), batch.shape.elements(self.width())?)
    }
}
