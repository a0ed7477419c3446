//! The GRU cell, one unit at a time.

use num_traits::Float;

use crate::math::reference::sigmoid;

/// The two gates and the candidate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gates<T> {
    /// σ(r): how much of the old output the candidate sees.
    pub r: T,
    /// σ(z): how much of the old output stays.
    pub z: T,
    /// tanh(n): the candidate.
    pub n: T,
}

/// The gates from the projections of the input and of the old output: `n = tanh(n_x + r·n_h)`.
pub fn gates<T: Float>(input: Gates<T>, recurrent: Gates<T>) -> Gates<T> {
    let r = sigmoid(input.r + recurrent.r);
    Gates { r, z: sigmoid(input.z + recurrent.z), n: (input.n + r * recurrent.n).tanh() }
}

/// `h' = (h − n)·z + n`.
pub fn forward<T: Float>(gates: Gates<T>, h: T) -> T {
    (h - gates.n) * gates.z + gates.n
}

/// The gradients of both projections, and of h but for what comes through its projection, from that of h'; `n` is the old
/// output's projection of the candidate.
pub fn backward<T: Float>(gates: Gates<T>, n: T, h: T, dh: T) -> (Gates<T>, Gates<T>, T) {
    let through = |y: T| y * (T::one() - y);
    let dn = dh * (T::one() - gates.z) * (T::one() - gates.n * gates.n);
    let (dr, dz) = (dn * n * through(gates.r), dh * (h - gates.n) * through(gates.z));
    (Gates { r: dr, z: dz, n: dn }, Gates { r: dr, z: dz, n: dn * gates.r }, dh * gates.z)
}

/// r, z and the old output that was reset, of a reset before the product.
pub fn reset<T: Float>([r, z]: [T; 2], h: T) -> [T; 3] {
    let r = sigmoid(r);
    [r, sigmoid(z), r * h]
}

/// The candidate from both its sums, of a reset before the product.
pub fn candidate<T: Float>(n: T) -> T {
    n.tanh()
}
