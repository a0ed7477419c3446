//! What was measured of layers.

use alloc::vec::Vec;

use super::{Activity, Change, FlatRegion, Magnitude};
use crate::{Element, Error, RowShape};

/// What was measured of a layer in a step; what was not is `None`, and not judged.
///
/// A later measurement replaces an earlier one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LayerFlow {
    /// Outputs of the layer's activation: how large, how many flat, how many units dead.
    pub activations: Option<Activity>,
    /// The loss's gradient at the layer's sums (or at its outputs, as long as it is the same for all layers).
    pub gradient: Option<Magnitude>,
    /// The gradient of the weights.
    pub weight_gradient: Option<Magnitude>,
    /// The weights, before a step.
    pub weights: Option<Magnitude>,
    /// What the step added to the weights.
    pub update: Option<Magnitude>,
}

impl LayerFlow {
    /// Measures the outputs `y` of an activation, samples by units: see [`Activity::of`].
    ///
    /// Leave out the last layer: a classifier's outputs shall be near 0 and 1.
    ///
    /// # Errors
    /// As [`Activity::of`]; then nothing was replaced.
    pub fn observe_activations<T: Element>(
        &mut self,
        shape: RowShape,
        region: impl Into<FlatRegion>,
        y: &[T],
    ) -> Result<(), Error> {
        self.activations = Some(Activity::of(shape, region, y)?);
        Ok(())
    }

    /// Measures the loss's gradient at the layer's sums.
    pub fn observe_gradient<T: Element>(&mut self, dz: &[T]) {
        self.gradient = Some(Magnitude::of(dz));
    }

    /// Measures the gradient of the weights.
    pub fn observe_weight_gradient<T: Element>(&mut self, dw: &[T]) {
        self.weight_gradient = Some(Magnitude::of(dw));
    }

    /// Measures the weights.
    pub fn observe_weights<T: Element>(&mut self, weights: &[T]) {
        self.weights = Some(Magnitude::of(weights));
    }

    /// Measures the weights and their update, from before and after a step.
    ///
    /// # Errors
    /// [`Error::Length`] for `after`; then nothing was replaced.
    pub fn observe_step<T: Element>(&mut self, before: &[T], after: &[T]) -> Result<(), Error> {
        self.record(&Change::between(before, after)?);
        Ok(())
    }

    /// Takes the change of the layer's weights, and their gradient where that was measured, from
    /// [`step_observed`](crate::optim::Optimizer::step_observed).
    pub fn record(&mut self, change: &Change) {
        (self.weights, self.update) = (Some(change.before), Some(change.update));
        self.weight_gradient = change.gradient.or(self.weight_gradient);
    }

    /// Norm of the update over that of the weights, where both were measured: about 1e-3 where training goes well.
    #[must_use]
    pub fn update_to_weight(&self) -> Option<f64> {
        Some(self.update?.norm / self.weights?.norm)
    }

    /// How many NaN and infinities were seen in all that was measured.
    #[must_use]
    pub fn non_finite(&self) -> u64 {
        let values = self.activations.map(|activity| activity.values);
        let all = [values, self.gradient, self.weight_gradient, self.weights, self.update];
        all.iter().flatten().map(|magnitude| magnitude.non_finite).sum()
    }
}

/// What was measured of a network, layer by layer from the input on.
///
/// # Examples
/// ```
/// use steadygrad::diagnostics::{Change, GradientFlow};
/// use steadygrad::linear::{Dense, DenseGradients};
/// use steadygrad::optim::{Gradients, Optimizer, Sgd};
///
/// let (layer, sgd) = (Dense { inputs: 2, outputs: 1 }, Sgd { lr: 0.5, ..Sgd::default() });
/// let (x, dz, mut weights, mut dw) = ([3.0_f32, 4.0], [2.0], [6.0, 8.0], [0.0; 2]);
/// let mut scratch = vec![0.0; layer.backward_scratch_len::<f32>(1)];
/// let mut flow = GradientFlow::new(1);
///
/// let gradients = DenseGradients { weights: Some(&mut dw), ..DenseGradients::default() };
/// layer.backward_observed(1, &x, &dz, &weights, &mut scratch, gradients, &mut flow.layers[0])?;
/// let mut changes = [Change::default()];
/// sgd.step_observed(1, &mut [&mut weights], Gradients::new(&[&dw]), &mut [], &mut changes)?;
/// flow.layers[0].record(&changes[0]);
///
/// assert_eq!(flow.layers[0].gradient.unwrap().norm, 2.0);
/// assert_eq!(flow.layers[0].weight_gradient.unwrap().norm, 10.0); // of (6, 8)
/// assert_eq!(flow.layers[0].update_to_weight(), Some(0.5)); // (−3, −4) to (6, 8)
/// # Ok::<(), steadygrad::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GradientFlow {
    /// The layers, from the input on.
    pub layers: Vec<LayerFlow>,
}

impl GradientFlow {
    /// Nothing measured of `layers` layers.
    #[must_use]
    pub fn new(layers: usize) -> Self {
        Self { layers: alloc::vec![LayerFlow::default(); layers] }
    }

    /// Forgets all measurements.
    pub fn clear(&mut self) {
        self.layers.fill(LayerFlow::default());
    }
}
