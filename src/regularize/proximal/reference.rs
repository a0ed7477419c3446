//! The formula, one value at a time.

use num_traits::Float;

/// sign(w)·max(|w| − step·l1, 0) / (1 + step·l2): the u that minimises ½(u − w)² + step·(l1·|u| + ½·l2·u²).
pub fn proximal<F: Float>(w: F, step: F, l1: F, l2: F) -> F {
    let threshold = step * l1;
    let soft = if w.abs() <= threshold { F::zero() } else { w - threshold.copysign(w) };
    soft / (F::one() + step * l2)
}
