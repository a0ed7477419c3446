//! The formulas, one value at a time; [`philox::happens`](crate::reference::philox::happens) says which rows are dropped.

use num_traits::Float;

/// x where the row's branch is dropped, else x + f/(1 − p).
pub fn forward<F: Float>(x: F, f: F, dropped: bool, p: F) -> F {
    if dropped { x } else { x + f / (F::one() - p) }
}

/// df: 0 where the row's branch is dropped, else dy/(1 − p). dx is dy.
pub fn backward<F: Float>(dy: F, dropped: bool, p: F) -> F {
    if dropped { F::zero() } else { dy / (F::one() - p) }
}
