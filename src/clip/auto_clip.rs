//! Clipping by a percentile of the norms seen so far.
//!
//! Seetharaman, Wichern, Pardo & Le Roux, "`AutoClip`: adaptive gradient clipping for source separation networks", 2020.

use super::{ClipNorm, ClipReport, NonFinite};
use crate::shape::check_range;
use crate::stats::NormPartial;
use crate::{Element, Error};

/// The norms of the last steps, in memory that the caller owns.
#[derive(Debug, PartialEq)]
pub struct NormHistory<'a> {
    /// The norms in its first half, which is as many steps as are remembered, and room to order them in the other.
    pub buffer: &'a mut [f64],
    /// Norms remembered so far, those that others have replaced since among them; 0 at first.
    pub seen: u64,
}

/// Clips by the norm that a share of the last steps stayed under: a limit that follows the training.
///
/// ```text
/// norm  = ‖g‖₂ over all tensors
/// limit = percentile of norm and of the norms of the steps before
/// g     = norm ≤ limit ? g : limit/norm · g
/// ```
///
/// The percentile interpolates linearly between the two nearest norms, as `NumPy`'s does.
///
/// # Examples
/// ```
/// use steadygrad::clip::{AutoClip, NormHistory};
///
/// let median = AutoClip { percentile: 50.0, ..AutoClip::default() };
/// let mut buffer = [0.0; 2 * 100]; // the last hundred steps
/// let mut history = NormHistory { buffer: &mut buffer, seen: 0 };
/// median.clip(&mut history, &mut [&mut [1.0_f32, 0.0]])?;
/// let mut steep = [0.0_f32, 5.0];
/// let report = median.clip(&mut history, &mut [&mut steep])?;
/// assert_eq!((report.norm, steep), (5.0, [0.0, 3.0])); // between 1 and 5
/// # Ok::<(), steadygrad::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AutoClip {
    /// Share of the norms that are not clipped, in percent, in [0, 100]; 10 by default, as in the paper.
    pub percentile: f64,
    /// What to do with NaN and infinities; [`NonFinite::Error`] by default. Their norms are not remembered.
    pub non_finite: NonFinite,
}

impl Default for AutoClip {
    fn default() -> Self {
        Self { percentile: 10.0, non_finite: NonFinite::Error }
    }
}

impl AutoClip {
    /// Clips the gradients of a list of tensors by their common norm, and remembers it.
    ///
    /// | argument         | elements             | access                                                 |
    /// |------------------|----------------------|--------------------------------------------------------|
    /// | `history.buffer` | even, and at least 2 | read, and overwritten where the norm is finite         |
    /// | `grads`          | any of each tensor   | read; then read and overwritten where `scale` is not 1 |
    ///
    /// # Errors
    /// [`Error::OutOfRange`] where `percentile` is, [`Error::Length`] for `buffer`, and [`Error::NonFinite`] under that
    /// policy with the position of the first tensor that holds a NaN or an infinity; then nothing was written.
    pub fn clip<T: Element>(
        &self,
        history: &mut NormHistory<'_>,
        grads: &mut [&mut [T]],
    ) -> Result<ClipReport, Error> {
        let is_percentage = (0.0..=100.0).contains(&self.percentile);
        check_range("percentile", "between 0 and 100", is_percentage)?;
        let len = history.buffer.len();
        if len == 0 || !len.is_multiple_of(2) {
            return Err(Error::Length { argument: "buffer", expected: (len + 1).max(2), actual: len });
        }
        let mut partial = NormPartial::new(2.0)?;
        T::add_mut(&mut partial, grads);
        let norm = partial.norm();
        let max_norm = if norm.is_finite() {
            let window = len / 2;
            let (norms, room) = history.buffer.split_at_mut(window);
            norms[(history.seen % window as u64) as usize] = norm;
            history.seen = history.seen.saturating_add(1);
            let known = history.seen.min(window as u64) as usize;
            room[..known].copy_from_slice(&norms[..known]);
            percentile(&mut room[..known], self.percentile)
        } else {
            f64::INFINITY
        };
        ClipNorm { max_norm, non_finite: self.non_finite, ..ClipNorm::default() }.clip_to(&partial, grads)
    }
}

/// The percentile of at least one number; their order changes.
fn percentile(numbers: &mut [f64], percent: f64) -> f64 {
    let place = percent / 100.0 * (numbers.len() - 1) as f64;
    let below = num_traits::Float::floor(place);
    let (_, &mut low, above) = numbers.select_nth_unstable_by(below as usize, f64::total_cmp);
    let share = place - below;
    if share == 0.0 {
        return low;
    }
    let high = above.iter().copied().fold(f64::INFINITY, f64::min);
    low + share * (high - low)
}
