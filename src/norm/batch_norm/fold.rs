//! Batch norm as a part of the dense layer before it, for inference.

use super::{BackwardInputs, BatchNorm, FrozenStatistics, Gradients};
use crate::linear::{Dense, DenseWeights};
use crate::norm::Affine;
use crate::shape::check_len;
use crate::{ChannelShape, Element, Error};

impl BatchNorm {
    /// The weights and bias of a dense layer that does what a dense layer and then [`infer`](Self::infer) do.
    ///
    /// ```text
    /// s = γ/√(variance + eps)          W′ⱼ = sⱼ·Wⱼ          b′ⱼ = (bⱼ − meanⱼ)·sⱼ + βⱼ
    /// ```
    ///
    /// | argument               | elements           | access                                    |
    /// |------------------------|--------------------|-------------------------------------------|
    /// | `parameters.weights`   | `outputs · inputs` | read                                      |
    /// | `parameters.bias`      | `outputs`          | read                                      |
    /// | `affine.gamma`, `.beta` | `outputs`         | read                                      |
    /// | `statistics.mean`, `.variance` | `outputs`  | read                                      |
    /// | `folded`               | `outputs · inputs` and `outputs` | overwritten with W′ and b′  |
    ///
    /// A convolution's weights are those of a dense layer with `inputs · field` inputs.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] for `eps` or `momentum`, [`Error::Length`] names the first argument whose length differs from
    /// the table, [`Error::Overflow`] `shape` where `outputs · inputs` does; then nothing was written.
    ///
    /// # Examples
    /// ```
    /// use steadygrad::linear::{Dense, DenseWeights};
    /// use steadygrad::norm::{Affine, batch_norm::FrozenStatistics};
    /// use steadygrad::BatchNorm;
    ///
    /// let norm = BatchNorm { eps: 1.0, ..BatchNorm::default() };
    /// let statistics = FrozenStatistics { mean: &[1.0_f32], variance: &[3.0] };
    /// let affine = Affine { gamma: None, beta: Some(&[10.0]) };
    /// let parameters = DenseWeights { weights: &[4.0, 8.0], bias: Some(&[3.0]) };
    /// let (mut weights, mut bias) = ([0.0; 2], [0.0]);
    /// let layer = Dense { inputs: 2, outputs: 1 };
    /// norm.fold(layer, parameters, affine, statistics, (&mut weights, &mut bias))?;
    /// assert_eq!((weights, bias), ([2.0, 4.0], [11.0])); // s = 1/√(3 + 1), (3 − 1)·s + 10
    /// # Ok::<(), steadygrad::Error>(())
    /// ```
    pub fn fold<T: Element>(
        &self,
        layer: Dense,
        parameters: DenseWeights<'_, T>,
        affine: Affine<'_, T>,
        statistics: FrozenStatistics<'_, T>,
        folded: (&mut [T], &mut [T]),
    ) -> Result<(), Error> {
        let DenseWeights { weights, bias } = parameters;
        let shape = ChannelShape { outer: 1, channels: layer.outputs, inner: layer.inputs };
        check_len("parameters.weights", weights.len(), shape.elements()?)?;
        bias.map_or(Ok(()), |bias| check_len("parameters.bias", bias.len(), layer.outputs))?;
        check_len("folded.0", folded.0.len(), weights.len())?;
        check_len("folded.1", folded.1.len(), layer.outputs)?;
        // Scaled as a gradient through the norm is: an output is a channel, and its weights are the values of it.
        let inputs = BackwardInputs { x: weights, dy: weights, affine, epilogue: Default::default() };
        let gradients = Gradients { input: Some(folded.0), ..Gradients::default() };
        self.backward_frozen(shape, inputs, statistics, gradients)?;
        for (output, folded) in folded.1.iter_mut().enumerate() {
            let before = bias.map_or(0.0, |bias| bias[output].to_f64());
            let deviation = num_traits::Float::sqrt(statistics.variance[output].to_f64() + self.eps);
            let centered = before - statistics.mean[output].to_f64();
            *folded = T::from_f64(centered * affine.gamma(output) / deviation + affine.beta(output));
        }
        Ok(())
    }
}
