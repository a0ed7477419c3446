//! A layer of recurrent cells, and a dense layer on its last output.

use rand_chacha::ChaCha8Rng;
use steadygrad::clip::{ClipNorm, NonFinite};
use steadygrad::init::{Distribution, Fan};
use steadygrad::linear::{Dense, DenseGradients, DenseWeights};
use steadygrad::recurrent::{
    Gru, Layer, LayerWeights, Lstm, LstmState, PackedStack, RecurrentGradients, RecurrentInit, Rnn,
    SequenceBatch, SequenceShape, Stack, StackGradients,
};
use steadygrad::{Epilogue, Error, GradientMode, Init, RowShape};

use crate::tasks::{BATCH, Batch, Task};

/// A cell whose state is made of an output and perhaps a cell's own memory.
pub(crate) trait Cell: Layer {
    fn state<'a>(h: &'a mut [f32], c: &'a mut [f32]) -> Self::State<'a, f32>;
}

impl Cell for Rnn {
    fn state<'a>(h: &'a mut [f32], _c: &'a mut [f32]) -> &'a mut [f32] {
        h
    }
}

impl Cell for Gru {
    fn state<'a>(h: &'a mut [f32], _c: &'a mut [f32]) -> &'a mut [f32] {
        h
    }
}

impl Cell for Lstm {
    fn state<'a>(h: &'a mut [f32], c: &'a mut [f32]) -> LstmState<'a, f32> {
        LstmState { h, c }
    }
}

/// Input weights, recurrent weights, both biases; then those of the dense layer.
const TENSORS: usize = 6;

pub(crate) struct Network<L> {
    stack: Stack<L>,
    dense: Dense,
    hidden: usize,
    packed: PackedStack<f32>,
    pub(crate) parameters: [Vec<f32>; TENSORS],
    pub(crate) gradients: [Vec<f32>; TENSORS],
    h: Vec<f32>,
    c: Vec<f32>,
    y: Vec<f32>,
    tape: Vec<f32>,
    scratch: Vec<f32>,
    said: Vec<f32>,
    dsaid: Vec<f32>,
}

impl<L: Cell> Network<L> {
    pub(crate) fn new(layer: L, hidden: usize, task: &Task, rng: &mut ChaCha8Rng) -> Result<Self, Error> {
        let stack = Stack::new(layer);
        let LayerWeights { input, recurrent, input_bias, recurrent_bias, .. } =
            RecurrentInit::default().draw::<_, f32>(&layer, rng)?;
        let dense = Dense { inputs: hidden, outputs: task.outputs() };
        let mut weights = vec![0.0; dense.outputs * dense.inputs];
        let lecun = Init::Kaiming { gain: 1.0, fan: Fan::In, distribution: Distribution::Normal };
        lecun.fill(RowShape { rows: dense.outputs, cols: dense.inputs }, rng, &mut weights)?;
        let parameters = [input, recurrent, input_bias, recurrent_bias, weights, vec![0.0; dense.outputs]];
        Ok(Self {
            stack,
            dense,
            hidden,
            packed: stack.pack(&[weights_of(&parameters)])?,
            gradients: parameters.clone(),
            parameters,
            h: Vec::new(),
            c: Vec::new(),
            y: Vec::new(),
            tape: Vec::new(),
            scratch: vec![
                0.0;
                dense
                    .forward_scratch_len::<f32>(BATCH)
                    .max(dense.backward_scratch_len::<f32>(BATCH))
            ],
            said: vec![0.0; BATCH * dense.outputs],
            dsaid: vec![0.0; BATCH * dense.outputs],
        })
    }

    /// Takes the parameters that a step has changed.
    pub(crate) fn repack(&mut self) -> Result<(), Error> {
        self.packed.repack(&[weights_of(&self.parameters)])
    }

    /// What the network says after the last step of each sequence.
    pub(crate) fn forward(&mut self, task: &Task, batch: &Batch) -> Result<&[f32], Error> {
        let sequences: SequenceBatch<'_> = SequenceShape { steps: task.length(), batch: batch.len() }.into();
        let state = batch.len() * self.hidden;
        for (buffer, len) in [(&mut self.h, state), (&mut self.c, state)] {
            buffer.clear();
            buffer.resize(len, 0.0);
        }
        self.y.resize(task.length() * state, 0.0);
        self.tape.resize(self.stack.tape_len(sequences)?, 0.0);
        let scratch = self.scratch.len().max(self.stack.scratch_len::<f32>(sequences));
        self.scratch.resize(scratch, 0.0);
        self.stack.forward(
            sequences,
            &batch.x,
            &self.packed,
            L::state(&mut self.h, &mut self.c),
            &mut self.tape,
            &mut self.scratch,
            &mut self.y,
        )?;
        let weights = DenseWeights { weights: &self.parameters[4], bias: Some(&self.parameters[5]) };
        let said = &mut self.said[..batch.len() * self.dense.outputs];
        self.dense.forward(batch.len(), &self.h, weights, Epilogue::default(), &mut self.scratch, said)?;
        Ok(said)
    }

    /// The loss of a batch; writes its gradients for all parameters.
    pub(crate) fn gradients(&mut self, task: &Task, batch: &Batch) -> Result<f64, Error> {
        let loss = self.forward_loss(task, batch)?;
        let sequences: SequenceBatch<'_> = SequenceShape { steps: task.length(), batch: batch.len() }.into();
        self.dense_backward(batch)?;
        let dy = vec![0.0; self.y.len()];
        let [input, recurrent, input_bias, recurrent_bias, ..] = &mut self.gradients;
        let layer = RecurrentGradients {
            input: Some(input),
            recurrent: Some(recurrent),
            input_bias: Some(input_bias),
            recurrent_bias: Some(recurrent_bias),
            mode: GradientMode::Overwrite,
            ..RecurrentGradients::default()
        };
        self.stack.backward(
            sequences,
            (&batch.x, &dy),
            &self.packed,
            &mut self.tape,
            L::state(&mut self.h, &mut self.c),
            &mut self.scratch,
            StackGradients { x: None, layers: &mut [layer] },
        )?;
        Ok(loss)
    }

    /// Norm of the loss's gradient at the output of each step: the sequence is taken step by step, and what goes back from
    /// one to the one before is looked at.
    pub(crate) fn gradients_by_step(&mut self, task: &Task, batch: &Batch) -> Result<Vec<f64>, Error> {
        self.forward_loss(task, batch)?;
        let step: SequenceBatch<'_> = SequenceShape { steps: 1, batch: batch.len() }.into();
        let (state, inputs) = (batch.len() * self.hidden, batch.len() * task.inputs());
        let (mut h, mut c) = (vec![0.0; state], vec![0.0; state]);
        let mut y = vec![0.0; state];
        let mut tapes = Vec::new();
        for x in batch.x.chunks_exact(inputs) {
            let mut tape = vec![0.0; self.stack.tape_len(step)?];
            let state = L::state(&mut h, &mut c);
            self.stack.forward(step, x, &self.packed, state, &mut tape, &mut self.scratch, &mut y)?;
            tapes.push(tape);
        }
        self.dense_backward(batch)?;
        let dy = vec![0.0; state];
        let mut norms = Vec::new();
        for (x, tape) in batch.x.chunks_exact(inputs).zip(&mut tapes).rev() {
            norms.push(norm(&self.h)?);
            let gradients = StackGradients { x: None, layers: &mut [RecurrentGradients::default()] };
            let state = L::state(&mut self.h, &mut self.c);
            self.stack.backward(step, (x, &dy), &self.packed, tape, state, &mut self.scratch, gradients)?;
        }
        norms.reverse();
        Ok(norms)
    }

    /// The loss; leaves its gradient at what was said.
    fn forward_loss(&mut self, task: &Task, batch: &Batch) -> Result<f64, Error> {
        self.forward(task, batch)?;
        let elements = batch.len() * self.dense.outputs;
        task.loss(batch, &self.said[..elements], &mut self.dsaid[..elements])
    }

    /// Puts the gradient of the last output where the state was, and 0 where the cell was.
    fn dense_backward(&mut self, batch: &Batch) -> Result<(), Error> {
        let mut dh = vec![0.0; self.h.len()];
        let dsaid = &self.dsaid[..batch.len() * self.dense.outputs];
        let [.., weights, bias] = &mut self.gradients;
        let (input, mode) = (Some(&mut dh[..]), GradientMode::Overwrite);
        let gradients = DenseGradients { input, weights: Some(weights), bias: Some(bias), mode };
        let scratch = &mut self.scratch;
        self.dense.backward(batch.len(), &self.h, dsaid, &self.parameters[4], scratch, gradients)?;
        self.h = dh;
        self.c.fill(0.0);
        Ok(())
    }
}

/// The norm of a tensor, whatever it holds.
fn norm(tensor: &[f32]) -> Result<f64, Error> {
    let measure =
        ClipNorm { max_norm: f64::INFINITY, non_finite: NonFinite::Propagate, ..ClipNorm::default() };
    Ok(measure.measure(&[tensor])?.norm)
}

fn weights_of(parameters: &[Vec<f32>; TENSORS]) -> steadygrad::recurrent::RecurrentWeights<'_, f32> {
    steadygrad::recurrent::RecurrentWeights {
        input: &parameters[0],
        recurrent: &parameters[1],
        input_bias: Some(&parameters[2]),
        recurrent_bias: Some(&parameters[3]),
        ..Default::default()
    }
}
