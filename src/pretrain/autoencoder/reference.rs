//! An autoencoder's loss and gradient, one row at a time.

use num_traits::Float;

/// Parameters: W is `hidden` rows of `inputs`, the decoder `inputs` rows of `hidden`, or Wᵀ where there is none.
#[derive(Clone, Copy, Debug)]
pub struct Parameters<'a, T> {
    /// W.
    pub weights: &'a [T],
    /// D, or none where it is Wᵀ.
    pub decoder: Option<&'a [T]>,
    /// b: one a hidden unit.
    pub hidden_bias: &'a [T],
    /// c: one an input.
    pub output_bias: &'a [T],
}

/// Gradients of [`Parameters`], added to.
#[derive(Debug)]
pub struct Gradients<'a, T> {
    /// dW, with what a decoder that is Wᵀ adds.
    pub weights: &'a mut [T],
    /// dD.
    pub decoder: Option<&'a mut [T]>,
    /// db.
    pub hidden_bias: &'a mut [T],
    /// dc.
    pub output_bias: &'a mut [T],
}

impl<T: Float> Parameters<'_, T> {
    fn decoder(&self, input: usize, hidden: usize) -> T {
        let (inputs, units) = (self.output_bias.len(), self.hidden_bias.len());
        self.decoder.map_or_else(|| self.weights[hidden * inputs + input], |d| d[input * units + hidden])
    }

    fn row(&self, j: usize) -> &[T] {
        &self.weights[j * self.output_bias.len()..][..self.output_bias.len()]
    }

    /// zⱼ = Wⱼ·x̃ + bⱼ
    pub fn hidden_input(&self, x: &[T], j: usize) -> T {
        self.row(j).iter().zip(x).fold(self.hidden_bias[j], |sum, (&w, &x)| sum + w * x)
    }

    /// yᵢ = Dᵢ·h + cᵢ
    pub fn output(&self, h: &[T], i: usize) -> T {
        h.iter().enumerate().fold(self.output_bias[i], |sum, (j, &h)| sum + self.decoder(i, j) * h)
    }

    /// ‖Wⱼ‖²
    pub fn square(&self, j: usize) -> T {
        self.row(j).iter().fold(T::zero(), |sum, &w| sum + w * w)
    }
}

/// Σⱼ (hⱼ(1 − hⱼ))²‖Wⱼ‖² = ‖∂h/∂x̃‖² of a sigmoid
pub fn contraction<T: Float>(parameters: Parameters<'_, T>, h: &[T]) -> T {
    h.iter().enumerate().fold(T::zero(), |sum, (j, &h)| {
        let slope = h * (T::one() - h);
        sum + slope * slope * parameters.square(j)
    })
}

/// Σᵢ l(yᵢ, xᵢ) + λ‖∂h/∂x̃‖², where y = D·f(W·x̃ + b) + c and x̃ is the corrupted x.
pub fn loss<T: Float>(
    parameters: Parameters<'_, T>,
    (x, corrupted): (&[T], &[T]),
    f: impl Fn(T) -> T,
    l: impl Fn(T, T) -> T,
    lambda: T,
) -> T {
    let units = 0..parameters.hidden_bias.len();
    let h: alloc::vec::Vec<T> = units.map(|j| f(parameters.hidden_input(corrupted, j))).collect();
    let error = (0..x.len()).fold(T::zero(), |sum, i| sum + l(parameters.output(&h, i), x[i]));
    if lambda == T::zero() { error } else { error + lambda * contraction(parameters, &h) }
}

/// Adds the gradient of [`loss`]: `df` is (z, dh) ↦ dh·f′(z), `dl` is l's derivative by y.
pub fn backward<T: Float>(
    parameters: Parameters<'_, T>,
    (x, corrupted): (&[T], &[T]),
    (f, df): (impl Fn(T) -> T, impl Fn(T, T) -> T),
    dl: impl Fn(T, T) -> T,
    lambda: T,
    gradients: Gradients<'_, T>,
) {
    let (inputs, units) = (x.len(), parameters.hidden_bias.len());
    let Gradients { weights: dw, mut decoder, hidden_bias: db, output_bias: dc } = gradients;
    let two = T::one() + T::one();
    let z: alloc::vec::Vec<T> = (0..units).map(|j| parameters.hidden_input(corrupted, j)).collect();
    let h: alloc::vec::Vec<T> = z.iter().map(|&z| f(z)).collect();
    let dy: alloc::vec::Vec<T> = (0..inputs).map(|i| dl(parameters.output(&h, i), x[i])).collect();
    for i in 0..inputs {
        dc[i] = dc[i] + dy[i];
        for j in 0..units {
            match &mut decoder {
                Some(dd) => dd[i * units + j] = dd[i * units + j] + dy[i] * h[j],
                None => dw[j * inputs + i] = dw[j * inputs + i] + dy[i] * h[j],
            }
        }
    }
    for j in 0..units {
        let dh = (0..inputs).fold(T::zero(), |sum, i| sum + dy[i] * parameters.decoder(i, j));
        let slope = h[j] * (T::one() - h[j]);
        let of_contraction = two * lambda * slope * slope;
        let dz = df(z[j], dh) + of_contraction * (T::one() - two * h[j]) * parameters.square(j);
        db[j] = db[j] + dz;
        for i in 0..inputs {
            let w = parameters.weights[j * inputs + i];
            dw[j * inputs + i] = dw[j * inputs + i] + dz * corrupted[i] + of_contraction * w;
        }
    }
}
