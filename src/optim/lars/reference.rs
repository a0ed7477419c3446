//! LARS, one tensor at a time: You, Gitman & Ginsburg 2017, arXiv 1708.03888, algorithm 1.

use num_traits::Float;

/// One parameter with its velocity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct State<T> {
    /// The parameter.
    pub w: T,
    /// The velocity.
    pub v: T,
}

/// What a step is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coefficients<T> {
    /// Learning rate.
    pub lr: T,
    /// μ.
    pub momentum: T,
    /// η.
    pub trust: T,
    /// λ.
    pub decay: T,
}

/// `√Σxᵢ²`.
pub fn norm<T: Float>(x: impl Iterator<Item = T>) -> T {
    x.fold(T::zero(), |sum, x| sum + x * x).sqrt()
}

/// `η·‖w‖ / (‖g‖ + λ·‖w‖)`, 1 where a norm is 0.
pub fn ratio<T: Float>(w: T, g: T, trust: T, decay: T) -> T {
    if w == T::zero() || g == T::zero() { T::one() } else { trust * w / (g + decay * w) }
}

/// `v = μ·v + lr·ratio·(g + λ·w); w = w − v`.
pub fn lars<T: Float>(tensor: &mut [State<T>], g: &[T], with: Coefficients<T>) {
    let Coefficients { lr, momentum, trust, decay } = with;
    let ratio = ratio(norm(tensor.iter().map(|at| at.w)), norm(g.iter().copied()), trust, decay);
    for (State { w, v }, &g) in tensor.iter_mut().zip(g) {
        *v = momentum * *v + lr * ratio * (g + decay * *w);
        *w = *w - *v;
    }
}
