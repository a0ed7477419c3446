//! A step of one sequence, by the formulas of layer norm and of the LSTM.

use alloc::vec::Vec;

use num_traits::Float;

use crate::norm::layer_norm::reference::{
    layer_norm_backward, layer_norm_backward_parameters, layer_norm_forward, layer_norm_measure,
};
use crate::recurrent::lstm::reference::{self as lstm, Gates};

/// What a cell of `hidden` units learns besides its matrices.
#[derive(Clone, Copy, Debug)]
pub struct Parameters<'a, T> {
    /// The sum of both biases: `4 · hidden`.
    pub bias: &'a [T],
    /// Gain of the input's projection: `4 · hidden`.
    pub input: &'a [T],
    /// Gain of the recurrent projection: `4 · hidden`.
    pub recurrent: &'a [T],
    /// Gain of the cell.
    pub cell: &'a [T],
    /// Bias of the cell.
    pub cell_bias: &'a [T],
}

/// `γ·(x − mean)/deviation + β`.
fn norm<T: Float>(x: &[T], gamma: &[T], beta: &[T], eps: T) -> Vec<T> {
    let mut y = x.to_vec();
    layer_norm_forward(x, layer_norm_measure(x, eps), gamma, beta, &mut y);
    y
}

/// The gates of each unit, from both projections.
fn gates<T: Float>(input: &[T], recurrent: &[T], by: Parameters<'_, T>, eps: T) -> Vec<Gates<T>> {
    let none = alloc::vec![T::zero(); input.len()];
    let a = norm(input, by.input, by.bias, eps);
    let b = norm(recurrent, by.recurrent, &none, eps);
    let hidden = by.cell.len();
    let sum = |gate: usize, unit: usize| a[gate * hidden + unit] + b[gate * hidden + unit];
    let of = |unit| Gates { i: sum(0, unit), f: sum(1, unit), g: sum(2, unit), o: sum(3, unit) };
    (0..hidden).map(|unit| lstm::gates(of(unit))).collect()
}

/// `(c', h')` from both projections and c.
pub fn forward<T: Float>(
    input: &[T],
    recurrent: &[T],
    by: Parameters<'_, T>,
    eps: T,
    c: &[T],
) -> (Vec<T>, Vec<T>) {
    let gates = gates(input, recurrent, by, eps);
    let new: Vec<T> = gates.iter().zip(c).map(|(gates, &c)| lstm::forward(*gates, c).0).collect();
    let shown = norm(&new, by.cell, by.cell_bias, eps);
    let h = gates.iter().zip(shown).map(|(gates, shown)| gates.o * shown.tanh()).collect();
    (new, h)
}

/// What a step gives back.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradients<T> {
    /// Of the input's projection.
    pub input: Vec<T>,
    /// Of the recurrent projection.
    pub recurrent: Vec<T>,
    /// Of c.
    pub c: Vec<T>,
    /// Of each bias.
    pub bias: Vec<T>,
    /// Of the gains and the bias of the norms, in the order of the weights.
    pub norm: Vec<T>,
}

/// The gradients of a step from those of h' and c'.
pub fn backward<T: Float>(
    (input, recurrent): (&[T], &[T]),
    by: Parameters<'_, T>,
    eps: T,
    c: &[T],
    (dh, dc): (&[T], &[T]),
) -> Gradients<T> {
    let (hidden, one) = (c.len(), T::one());
    let gates = gates(input, recurrent, by, eps);
    let (new, _) = forward(input, recurrent, by, eps, c);
    let shown: Vec<T> = norm(&new, by.cell, by.cell_bias, eps).iter().map(|n| n.tanh()).collect();
    let dn: Vec<T> = (0..hidden).map(|u| dh[u] * gates[u].o * (one - shown[u] * shown[u])).collect();
    let zeros = |len: usize| alloc::vec![T::zero(); len];
    let (mut of_new, mut of_cell, mut of_cell_bias) = (zeros(hidden), zeros(hidden), zeros(hidden));
    let measured = layer_norm_measure(&new, eps);
    layer_norm_backward(&new, &dn, measured, by.cell, &mut of_new);
    layer_norm_backward_parameters(&new, &dn, measured, &mut of_cell, &mut of_cell_bias);

    let (mut bias, mut of_c) = (zeros(4 * hidden), zeros(hidden));
    for u in 0..hidden {
        // Without h, whose way to c goes through the norm.
        let (before, old) = lstm::backward(gates[u], c[u], new[u], T::zero(), dc[u] + of_new[u]);
        let o = dh[u] * shown[u] * gates[u].o * (one - gates[u].o);
        for (gate, d) in [before.i, before.f, before.g, o].into_iter().enumerate() {
            bias[gate * hidden + u] = d;
        }
        of_c[u] = old;
    }
    let through = |x: &[T], gamma: &[T]| {
        let (mut dx, mut dgamma, mut dbeta) = (zeros(x.len()), zeros(x.len()), zeros(x.len()));
        let measured = layer_norm_measure(x, eps);
        layer_norm_backward(x, &bias, measured, gamma, &mut dx);
        layer_norm_backward_parameters(x, &bias, measured, &mut dgamma, &mut dbeta);
        (dx, dgamma)
    };
    let (dinput, of_input) = through(input, by.input);
    let (drecurrent, of_recurrent) = through(recurrent, by.recurrent);
    let norm = [of_input, of_recurrent, of_cell, of_cell_bias].concat();
    Gradients { input: dinput, recurrent: drecurrent, c: of_c, bias, norm }
}
