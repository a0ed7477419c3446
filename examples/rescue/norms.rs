//! What stands between a layer's sums and its activation: nothing, batch norm or layer norm.

use steadygrad::norm::batch_norm::{
    BackwardInputs, BatchStatistics, EpilogueBackward, FrozenStatistics, Gradients, RunningStatistics,
    SavedStatistics,
};
use steadygrad::norm::{Affine, BatchNorm, LayerNorm, NormGradients, SavedRows};
use steadygrad::{Activation, ChannelShape, Epilogue, Error, RowShape};

/// The norm of every hidden layer.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Norm {
    None,
    Batch,
    Layer,
}

/// Whether a pass is one to learn from: batch norm then takes the batch's own statistics.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Mode {
    Training,
    Testing,
}

/// What a layer's norm keeps from the forward to the backward, and from step to step.
pub(crate) struct State {
    norm: Norm,
    activation: Activation,
    width: usize,
    mean: Vec<f64>,
    rstd: Vec<f64>,
    running_mean: Vec<f32>,
    running_variance: Vec<f32>,
    batches: u64,
    /// Layer norm's output, which the activation's backward takes, and then its gradient.
    normalised: Vec<f32>,
    scratch: Vec<f64>,
}

impl State {
    /// For batches of at most `batch` rows of `width` values.
    pub(crate) fn new(norm: Norm, activation: Activation, batch: usize, width: usize) -> Self {
        let shape = RowShape { rows: batch, cols: width };
        Self {
            norm,
            activation,
            width,
            mean: vec![0.0; batch.max(width)],
            rstd: vec![0.0; batch.max(width)],
            running_mean: vec![0.0; width],
            running_variance: vec![1.0; width],
            batches: 0,
            normalised: vec![0.0; batch * width],
            scratch: vec![0.0; LayerNorm::default().backward_scratch_len(shape)],
        }
    }

    /// γ and β as they start; none without a norm.
    pub(crate) fn parameters(&self) -> [Vec<f32>; 2] {
        let count = if self.norm == Norm::None { 0 } else { self.width };
        [vec![1.0; count], vec![0.0; count]]
    }

    /// `y = f(norm(z))`.
    pub(crate) fn forward(
        &mut self,
        mode: Mode,
        [gamma, beta]: [&[f32]; 2],
        z: &[f32],
        y: &mut [f32],
    ) -> Result<(), Error> {
        let (activation, width, rows) = (self.activation, self.width, z.len() / self.width);
        let affine = Affine { gamma: Some(gamma), beta: Some(beta) };
        match self.norm {
            Norm::None => activation.forward(z, y),
            Norm::Batch => {
                let (norm, shape) =
                    (BatchNorm::default(), ChannelShape { outer: rows, channels: width, inner: 1 });
                let epilogue = Epilogue { activation: Some(activation), ..Epilogue::default() };
                if mode == Mode::Testing {
                    let (mean, variance) = (&self.running_mean, &self.running_variance);
                    return norm.infer(shape, z, affine, epilogue, FrozenStatistics { mean, variance }, y);
                }
                let running = RunningStatistics {
                    mean: &mut self.running_mean,
                    variance: &mut self.running_variance,
                    batches: &mut self.batches,
                };
                let (mean, rstd) = (&mut self.mean[..width], &mut self.rstd[..width]);
                let statistics = BatchStatistics { merged: None, mean, rstd, running: Some(running) };
                norm.forward(shape, z, affine, epilogue, statistics, y)
            }
            Norm::Layer => {
                let (mean, rstd) = (&mut self.mean[..rows], &mut self.rstd[..rows]);
                let normalised = &mut self.normalised[..z.len()];
                let shape = RowShape { rows, cols: width };
                LayerNorm::default().forward(shape, z, affine, mean, rstd, normalised)?;
                activation.forward(normalised, y)
            }
        }
    }

    /// `dz` from the gradient `dy` of what [`forward`](Self::forward) gave for `z`; adds the gradients of γ and β.
    pub(crate) fn backward(
        &mut self,
        [gamma, beta]: [&[f32]; 2],
        [dgamma, dbeta]: [&mut [f32]; 2],
        [z, dy]: [&[f32]; 2],
        dz: &mut [f32],
    ) -> Result<(), Error> {
        let (activation, width, rows) = (self.activation, self.width, z.len() / self.width);
        match self.norm {
            Norm::None => activation.backward(z, dy, dz),
            Norm::Batch => {
                let shape = ChannelShape { outer: rows, channels: width, inner: 1 };
                let affine = Affine { gamma: Some(gamma), beta: Some(beta) };
                let epilogue = EpilogueBackward::FromInput(Epilogue {
                    activation: Some(activation),
                    ..Epilogue::default()
                });
                let inputs = BackwardInputs { x: z, dy, affine, epilogue };
                let saved = SavedStatistics { mean: &self.mean[..width], rstd: &self.rstd[..width] };
                let gradients = Gradients {
                    input: Some(dz),
                    gamma: Some(dgamma),
                    beta: Some(dbeta),
                    ..Gradients::default()
                };
                BatchNorm::default().backward(shape, inputs, saved, gradients)
            }
            Norm::Layer => {
                let shape = RowShape { rows, cols: width };
                let saved = SavedRows { x: z, mean: &self.mean[..rows], rstd: &self.rstd[..rows] };
                let du = &mut self.normalised[..z.len()];
                dz.copy_from_slice(dy);
                activation.backward_in_place(du, dz)?;
                du.copy_from_slice(dz);
                let gradients = NormGradients { input: dz, gamma: Some(dgamma), beta: Some(dbeta) };
                LayerNorm::default().backward(shape, du, Some(gamma), saved, &mut self.scratch, gradients)
            }
        }
    }
}
