//! What the formulas of several optimizers share, one parameter at a time.

use num_traits::Float;

/// `g + λ·p`.
pub fn coupled_decay<T: Float>(p: T, g: T, decay: T) -> T {
    g + decay * p
}

/// `p·(1 − lr·λ)`.
pub fn decoupled_decay<T: Float>(p: T, lr: T, decay: T) -> T {
    p * (T::one() - lr * decay)
}

/// `kept·a + (1 − kept)·x`.
pub fn average<T: Float>(a: T, x: T, kept: T) -> T {
    kept * a + (T::one() - kept) * x
}
