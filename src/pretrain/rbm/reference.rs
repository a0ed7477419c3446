//! The machine's formulas, one unit or one row at a time; W is `hidden` rows of as many elements as `v`.

use num_traits::Float;

/// Σᵢ wᵢ·vᵢ + bias.
fn input<T: Float>(w: impl Iterator<Item = T>, v: &[T], bias: T) -> T {
    w.zip(v).fold(bias, |sum, (w, &v)| sum + w * v)
}

fn sigmoid<T: Float>(x: T) -> T {
    T::one() / (T::one() + (-x).exp())
}

fn softplus<T: Float>(x: T) -> T {
    x.max(T::zero()) + (-x.abs()).exp().ln_1p()
}

/// Wⱼ·v + cⱼ: what hidden unit `j` is given.
pub fn hidden_input<T: Float>(v: &[T], weights: &[T], hidden_bias: &[T], j: usize) -> T {
    input(weights[j * v.len()..].iter().copied(), v, hidden_bias[j])
}

/// P(hⱼ = 1 | v) = σ(Wⱼ·v + cⱼ)
pub fn hidden_mean<T: Float>(v: &[T], weights: &[T], hidden_bias: &[T], j: usize) -> T {
    sigmoid(hidden_input(v, weights, hidden_bias, j))
}

/// The mean of vᵢ given h where it is Gaussian: hᵀW·ᵢ + bᵢ.
pub fn visible_input<T: Float>(h: &[T], weights: &[T], visible_bias: &[T], i: usize) -> T {
    input(weights[i..].iter().copied().step_by(visible_bias.len()), h, visible_bias[i])
}

/// P(vᵢ = 1 | h) = σ(hᵀW·ᵢ + bᵢ)
pub fn visible_mean<T: Float>(h: &[T], weights: &[T], visible_bias: &[T], i: usize) -> T {
    sigmoid(visible_input(h, weights, visible_bias, i))
}

/// F(v) = −b·v − Σⱼ ln(1 + e^(Wⱼ·v + cⱼ))
pub fn free_energy<T: Float>(v: &[T], weights: &[T], visible_bias: &[T], hidden_bias: &[T]) -> T {
    let bias = input(visible_bias.iter().copied(), v, T::zero());
    (0..hidden_bias.len()).fold(-bias, |sum, j| sum - softplus(hidden_input(v, weights, hidden_bias, j)))
}

/// F(v) = ½‖v − b‖² − Σⱼ ln(1 + e^(Wⱼ·v + cⱼ)), of Gaussian visible units
pub fn free_energy_gaussian<T: Float>(v: &[T], weights: &[T], visible_bias: &[T], hidden_bias: &[T]) -> T {
    let two = T::one() + T::one();
    let square = v.iter().zip(visible_bias).fold(T::zero(), |sum, (&v, &b)| sum + (v - b) * (v - b));
    (0..hidden_bias.len())
        .fold(square / two, |sum, j| sum - softplus(hidden_input(v, weights, hidden_bias, j)))
}

/// Σᵢ ln P(vᵢ | the others) = Σᵢ ln σ(F(v with vᵢ flipped) − F(v))
pub fn pseudo_likelihood<T: Float>(v: &[T], weights: &[T], visible_bias: &[T], hidden_bias: &[T]) -> T {
    let energy = free_energy(v, weights, visible_bias, hidden_bias);
    (0..v.len()).fold(T::zero(), |sum, i| {
        let mut flipped = v.to_vec();
        flipped[i] = T::one() - v[i];
        sum - softplus(energy - free_energy(&flipped, weights, visible_bias, hidden_bias))
    })
}

/// gⱼᵢ += share · hⱼ·vᵢ: what a row adds to the ascent of the weights; share is 1/rows for data and −1/rows for what
/// the model made.
pub fn add_statistics<T: Float>(v: &[T], h: &[T], share: T, ascent: &mut [T]) {
    for (&h, ascent) in h.iter().zip(ascent.chunks_exact_mut(v.len())) {
        for (&v, ascent) in v.iter().zip(ascent) {
            *ascent = *ascent + share * h * v;
        }
    }
}

/// u = μ·u + g − λ·w
pub fn velocity<T: Float>(u: T, ascent: T, w: T, momentum: T, weight_decay: T) -> T {
    momentum * u + ascent - weight_decay * w
}

/// qⱼ = decay·qⱼ + (1 − decay)·mean of hⱼ over the batch
pub fn activity<T: Float>(q: T, mean: T, decay: T) -> T {
    decay * q + (T::one() - decay) * mean
}

/// hⱼ − cost·(qⱼ − target): what sparsity makes of the hidden means that meet the data
pub fn sparse<T: Float>(h: T, q: T, target: T, cost: T) -> T {
    h - cost * (q - target)
}
