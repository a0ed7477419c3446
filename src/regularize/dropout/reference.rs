//! The formulas, one value at a time; [`philox::happens`](crate::reference::philox::happens) says what is dropped.

use num_traits::Float;

/// x·m: m is 0 where dropped, else 1/(1 − p). The backward is the same of dy.
pub fn forward<F: Float>(x: F, dropped: bool, p: F) -> F {
    let m = if dropped { F::zero() } else { F::one() / (F::one() - p) };
    x * m
}

/// α′ = λ·α of SELU: a dropped value of alpha dropout is −α′ before the affine map.
#[must_use]
pub fn alpha<F: Float>() -> F {
    F::from(1.758_099_340_847_376_6).unwrap_or_else(F::nan)
}

/// a = 1/√((α′²·p + 1)·(1 − p)).
pub fn alpha_scale<F: Float>(p: F) -> F {
    F::one() / ((alpha::<F>() * alpha::<F>() * p + F::one()) * (F::one() - p)).sqrt()
}

/// a·x + a·α′·p where kept, 0·x − a·α′·(1 − p) where dropped; 0·x for p = 1.
pub fn alpha_forward<F: Float>(x: F, dropped: bool, p: F) -> F {
    let (a, alpha) = (alpha_scale(p), alpha::<F>());
    match dropped {
        _ if p == F::one() => F::zero() * x,
        true => F::zero() * x - a * alpha * (F::one() - p),
        false => a * x + a * alpha * p,
    }
}

/// a·dy where kept, 0·dy where dropped.
pub fn alpha_backward<F: Float>(dy: F, dropped: bool, p: F) -> F {
    let m = if dropped { F::zero() } else { alpha_scale(p) };
    dy * m
}
