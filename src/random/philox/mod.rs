//! Philox4x32-10: random words as a function of a key and a counter.
//!
//! Salmon, Moraes, Dror & Shaw, "Parallel random numbers: as easy as 1, 2, 3", 2011. Ten rounds of two 32-bit products
//! and four XORs turn each counter into four words; no state goes from one to the next.

pub(crate) mod kernel;
pub mod reference;

use crate::parallel::{self, Offset, PARALLEL_BLOCK};
use crate::simd::{self, Active};

/// A stream of 2⁶⁴ random words, any of which is computed from its index alone.
///
/// Masks are drawn from it and never stored: a backward that is given the stream of its forward draws the same. The
/// words do not depend on the level, the number of threads or where a range starts.
///
/// ```text
/// word i = one of Philox4x32-10(counter: [16·⌊i/64⌋ + i mod 16, counter], key), number ⌊i/16⌋ mod 4
/// ```
///
/// # Examples
/// ```
/// use steadygrad::Philox;
///
/// let stream = Philox { key: 42, counter: 0 };
/// let mut words = [0; 100];
/// stream.fill(0, &mut words);
/// let mut again = [0; 10];
/// stream.fill(90, &mut again);
/// assert_eq!(words[90..], again);
/// assert_eq!(stream.word(99), words[99]);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Philox {
    /// The seed of a run.
    pub key: u64,
    /// Number of the draw in the run, such as step · layers + layer: each has its own words.
    pub counter: u64,
}

/// Words worth a second thread: each costs about as much as two elements of a product.
const BLOCK: usize = PARALLEL_BLOCK / 2;

impl Philox {
    /// The word at `index`.
    #[must_use]
    pub fn word(self, index: u64) -> u32 {
        reference::word(self.key, self.counter, index)
    }

    /// The words from `first` on, index 2⁶⁴ being 0 again.
    ///
    /// | argument | elements | access      |
    /// |----------|----------|-------------|
    /// | `words`  | any      | overwritten |
    pub fn fill(self, first: u64, words: &mut [u32]) {
        let active = Active::current();
        parallel::for_each(
            Offset { first: 0, data: words },
            BLOCK,
            |Offset { first: offset, data: words }| {
                let first = first.wrapping_add(offset as u64);
                simd::dispatch(active, kernel::Fill { stream: self, first, words });
            },
        );
    }
}
