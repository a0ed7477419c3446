//! The formulas, one value at a time.

use num_traits::Float;

/// x > 0 ? x : slope·x.
pub fn forward<F: Float>(x: F, slope: F) -> F {
    if x > F::zero() { x } else { slope * x }
}

/// (dx, dslope): dy·(x > 0 ? 1 : slope), and this element's part dy·(x > 0 ? 0 : x) of the slope's gradient.
pub fn backward<F: Float>(x: F, slope: F, dy: F) -> (F, F) {
    if x > F::zero() { (dy, F::zero()) } else { (slope * dy, x * dy) }
}
