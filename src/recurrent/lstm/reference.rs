//! The LSTM cell, one unit at a time.

use num_traits::Float;

use crate::math::reference::sigmoid;

/// The gates after their activations.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gates<T> {
    /// σ(i): how much of the candidate enters.
    pub i: T,
    /// σ(f): how much of the cell stays.
    pub f: T,
    /// tanh(g): the candidate.
    pub g: T,
    /// σ(o): how much of the cell shows.
    pub o: T,
}

/// The gates from what comes before their activations.
pub fn gates<T: Float>(before: Gates<T>) -> Gates<T> {
    let Gates { i, f, g, o } = before;
    Gates { i: sigmoid(i), f: sigmoid(f), g: g.tanh(), o: sigmoid(o) }
}

/// `(c', h') = (f·c + i·g, o·tanh c')`.
pub fn forward<T: Float>(gates: Gates<T>, c: T) -> (T, T) {
    let new = gates.f * c + gates.i * gates.g;
    (new, gates.o * new.tanh())
}

/// The gradients of what comes before the gates' activations, and of c, from those of h' and c'.
pub fn backward<T: Float>(gates: Gates<T>, c: T, new: T, dh: T, dc: T) -> (Gates<T>, T) {
    let Gates { i, f, g, o } = gates;
    let shown = new.tanh();
    let dc = dc + dh * o * (T::one() - shown * shown);
    let through = |y: T| y * (T::one() - y);
    let before = Gates {
        i: dc * g * through(i),
        f: dc * c * through(f),
        g: dc * i * (T::one() - g * g),
        o: dh * shown * through(o),
    };
    (before, dc * f)
}
