//! Sequences of different lengths in one batch.

use alloc::vec::Vec;

use super::SequenceShape;
use crate::Error;
use crate::shape::{check_len, check_range};

/// How long each sequence of a padded batch is, in an order in which padding costs nothing; made once a batch, in any order.
///
/// # Examples
/// ```
/// use steadygrad::recurrent::{Lengths, SequenceShape};
///
/// let shape = SequenceShape { steps: 4, batch: 3 };
/// let lengths = Lengths::new(shape, &[2, 4, 3])?;
/// assert_eq!(lengths.rows(), 9);
/// assert!(Lengths::new(shape, &[2, 5, 3]).is_err()); // longer than the batch has steps
/// # Ok::<(), steadygrad::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lengths {
    shape: SequenceShape,
    /// The sequences, the longest first.
    order: Vec<usize>,
    /// Of each step of the longest the number of its first row where rows of padding are left out, and at last the number of
    /// rows.
    starts: Vec<usize>,
}

impl Lengths {
    /// Takes a length a sequence, each from 1 to the steps of the shape.
    ///
    /// # Errors
    /// [`Error::Length`] where there is not one a sequence, [`Error::OutOfRange`] where one is 0 or more than `steps`,
    /// [`Error::Overflow`] where `shape` does not fit in `usize`.
    pub fn new(shape: SequenceShape, lengths: &[usize]) -> Result<Self, Error> {
        let mut new = Self { shape, order: Vec::new(), starts: Vec::new() };
        new.set(shape, lengths)?;
        Ok(new)
    }

    /// Takes those of another batch; allocates nothing where it is not larger than any before.
    ///
    /// # Errors
    /// As [`new`](Self::new); then it holds what it held.
    pub fn set(&mut self, shape: SequenceShape, lengths: &[usize]) -> Result<(), Error> {
        shape.rows()?;
        check_len("lengths", lengths.len(), shape.batch)?;
        let in_range = lengths.iter().all(|length| (1..=shape.steps).contains(length));
        check_range("lengths", "from 1 to the steps of the shape", in_range)?;
        self.shape = shape;
        self.order.clear();
        self.order.extend(0..shape.batch);
        // Equal lengths in the order of the batch.
        self.order.sort_unstable_by_key(|&sequence| (usize::MAX - lengths[sequence], sequence));
        self.starts.clear();
        self.starts.push(0);
        let (mut active, mut rows) = (shape.batch, 0);
        let longest = self.order.first().map_or(0, |&sequence| lengths[sequence]);
        for step in 0..longest {
            while lengths[self.order[active - 1]] <= step {
                active -= 1;
            }
            rows += active;
            self.starts.push(rows);
        }
        Ok(())
    }

    /// Steps of all sequences together, padding left out.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.starts.last().copied().unwrap_or(0)
    }

    /// The batch that the lengths are of.
    #[must_use]
    pub fn shape(&self) -> SequenceShape {
        self.shape
    }

    pub(super) fn order(&self) -> &[usize] {
        &self.order
    }

    pub(super) fn starts(&self) -> &[usize] {
        &self.starts
    }

    /// How many sequences have such a step.
    pub(super) fn active(&self, step: usize) -> usize {
        self.starts.get(step + 1).map_or(0, |end| end - self.starts[step])
    }
}
