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

/// What the gates i and f see of the cell before, and o of the cell after.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peephole<T> {
    /// Weight of i.
    pub i: T,
    /// Weight of f.
    pub f: T,
    /// Weight of o.
    pub o: T,
}

/// The gates, and `(c', h')`, where gates see the cell.
pub fn peephole_forward<T: Float>(before: Gates<T>, see: Peephole<T>, c: T) -> (Gates<T>, T, T) {
    let (i, f) = (sigmoid(before.i + see.i * c), sigmoid(before.f + see.f * c));
    let g = before.g.tanh();
    let new = f * c + i * g;
    let o = sigmoid(before.o + see.o * new);
    (Gates { i, f, g, o }, new, o * new.tanh())
}

/// As [`backward`], where gates see the cell.
pub fn peephole_backward<T: Float>(
    gates: Gates<T>,
    see: Peephole<T>,
    c: T,
    new: T,
    dh: T,
    dc: T,
) -> (Gates<T>, T) {
    let o = dh * new.tanh() * gates.o * (T::one() - gates.o);
    let (before, old) = backward(gates, c, new, dh, dc + o * see.o);
    (before, old + before.i * see.i + before.f * see.f)
}

/// The gates i, g, o from what comes before their activations, where what enters is forgotten: `f = 1 − i`.
pub fn coupled_gates<T: Float>([i, g, o]: [T; 3]) -> Gates<T> {
    let i = sigmoid(i);
    Gates { i, f: T::one() - i, g: g.tanh(), o: sigmoid(o) }
}

/// The gradients of what comes before i, g and o, and of c, where `f = 1 − i`.
pub fn coupled_backward<T: Float>(gates: Gates<T>, c: T, new: T, dh: T, dc: T) -> ([T; 3], T) {
    let (before, old) = backward(gates, c, new, dh, dc);
    // f is one minus i, and so is the derivative of their activations.
    ([before.i - before.f, before.g, before.o], old)
}
