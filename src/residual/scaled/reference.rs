//! The formulas, one value at a time.

use num_traits::Float;

/// x + scale·f.
pub fn forward<F: Float>(x: F, f: F, scale: F) -> F {
    x + scale * f
}

/// (df, dscale): scale·dy, and this element's part f·dy of the scale's gradient. dx is dy.
pub fn backward<F: Float>(f: F, scale: F, dy: F) -> (F, F) {
    (scale * dy, f * dy)
}
