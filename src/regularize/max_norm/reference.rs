//! The formula, one unit at a time.

use num_traits::Float;

/// w·max/‖w‖ for each weight where ‖w‖ > max.
pub fn constrain<F: Float>(w: &mut [F], max: F) {
    let norm = w.iter().fold(F::zero(), |sum, &w| sum + w * w).sqrt();
    if norm > max {
        w.iter_mut().for_each(|w| *w = *w * (max / norm));
    }
}
