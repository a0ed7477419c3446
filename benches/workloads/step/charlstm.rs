//! `step/charlstm`: a whole training step of a character model, 100 steps of 32 sequences: an embedding of 96 characters
//! in 256 features, two LSTM layers of 256, a dense layer, cross entropy, clipping to norm 1 and Adam.

use std::hint::black_box;

use steadygrad::linear::{Dense, DenseGradients, DenseWeights};
use steadygrad::loss::{CrossEntropy, Targets};
use steadygrad::optim::{Adam, Clipped, Gradients};
use steadygrad::recurrent::{Lstm, SequenceShape};
use steadygrad::{Epilogue, GradientMode, RowShape};

use crate::recurrent::{Cell, Layer};
use crate::timing::{Bench, Work, normal};

const SHAPE: SequenceShape = SequenceShape { steps: 100, batch: 32 };
const ROWS: usize = SHAPE.steps * SHAPE.batch;
const CHARACTERS: usize = 96;
const WIDTH: usize = 256;

pub(crate) fn run(bench: &Bench, parts: &[&str]) -> Option<()> {
    let ["step", "charlstm"] = *parts else { return None };
    let mut model = Model::new();
    let lstms = 2 * 2 * ROWS * 4 * WIDTH * 2 * WIDTH;
    let work = Work { bytes: 0, flops: 3 * (lstms + 2 * ROWS * WIDTH * CHARACTERS) };
    bench.measure("step/charlstm", "step", "f32", work, || {
        black_box(steadygrad::keep_awake(|| model.step()));
    });
    Some(())
}

struct Model {
    characters: Vec<i64>,
    targets: Vec<i64>,
    embedding: Vec<f32>,
    dembedding: Vec<f32>,
    lstms: [Layer; 2],
    dense: Dense,
    /// Weights and bias.
    dense_weights: [Vec<f32>; 2],
    dense_gradients: [Vec<f32>; 2],
    x: Vec<f32>,
    dx: Vec<f32>,
    logits: Vec<f32>,
    scratch: Vec<f32>,
    /// Mean and mean square of each gradient.
    moments: [Vec<Vec<f32>>; 2],
    steps: u64,
}

fn scaled(len: usize, scale: f32) -> Vec<f32> {
    normal::<f32>(len).into_iter().map(|value| value * scale).collect()
}

/// Characters without an order.
fn characters(salt: usize) -> Vec<i64> {
    (0..ROWS).map(|at| ((at * 7919 + at / 13 + salt) % CHARACTERS) as i64).collect()
}

impl Model {
    fn new() -> Self {
        let op = Lstm { inputs: WIDTH, hidden: WIDTH, ..Lstm::default() };
        let layer = || Layer::new(Cell::Lstm(op), SHAPE, WIDTH, WIDTH);
        let dense = Dense { inputs: WIDTH, outputs: CHARACTERS };
        let scratch = dense.forward_scratch_len::<f32>(ROWS).max(dense.backward_scratch_len::<f32>(ROWS));
        let mut model = Self {
            characters: characters(1),
            targets: characters(29),
            embedding: scaled(CHARACTERS * WIDTH, 1.0),
            dembedding: vec![0.0; CHARACTERS * WIDTH],
            lstms: [layer(), layer()],
            dense,
            dense_weights: [scaled(CHARACTERS * WIDTH, 0.05), scaled(CHARACTERS, 0.05)],
            dense_gradients: [vec![0.0; CHARACTERS * WIDTH], vec![0.0; CHARACTERS]],
            x: vec![0.0; ROWS * WIDTH],
            dx: vec![0.0; ROWS * WIDTH],
            logits: vec![0.0; ROWS * CHARACTERS],
            scratch: vec![0.0; scratch],
            moments: [Vec::new(), Vec::new()],
            steps: 0,
        };
        let zeros: Vec<Vec<f32>> = model.params().0.iter().map(|tensor| vec![0.0; tensor.len()]).collect();
        model.moments = [zeros.clone(), zeros];
        model
    }

    /// All parameters and their gradients, in the same order.
    fn params(&mut self) -> (Vec<&mut [f32]>, Vec<&[f32]>) {
        let [first, second] = &mut self.lstms;
        let lists = [
            (&mut first.weights[..], &first.gradients[..]),
            (&mut second.weights[..], &second.gradients[..]),
            (&mut self.dense_weights[..], &self.dense_gradients[..]),
        ];
        let (mut params, mut grads) = (vec![&mut self.embedding[..]], vec![&self.dembedding[..]]);
        for (weights, gradients) in lists {
            params.extend(weights.iter_mut().map(Vec::as_mut_slice));
            grads.extend(gradients.iter().map(Vec::as_slice));
        }
        (params, grads)
    }

    fn step(&mut self) -> f64 {
        for (x, &character) in self.x.chunks_exact_mut(WIDTH).zip(&self.characters) {
            x.copy_from_slice(&self.embedding[character as usize * WIDTH..][..WIDTH]);
        }
        let [first, second] = &mut self.lstms;
        first.repack();
        second.repack();
        first.forward(&self.x);
        second.forward(&first.y);
        let weights = DenseWeights { weights: &self.dense_weights[0], bias: Some(&self.dense_weights[1]) };
        let (y, logits, scratch) = (&second.y, &mut self.logits, &mut self.scratch);
        self.dense.forward(ROWS, y, weights, Epilogue::default(), scratch, logits).unwrap();

        let shape = RowShape { rows: ROWS, cols: CHARACTERS };
        let targets = Targets::Classes(&self.targets);
        let loss = CrossEntropy::default().forward_backward_in_place(shape, targets, None, logits).unwrap();

        let [weights, bias] = &mut self.dense_gradients;
        let (input, mode) = (Some(&mut second.dy[..]), GradientMode::Overwrite);
        let gradients = DenseGradients { input, weights: Some(weights), bias: Some(bias), mode };
        self.dense.backward(ROWS, &second.y, logits, &self.dense_weights[0], scratch, gradients).unwrap();
        second.backward(&first.y, &mut first.dy);
        first.backward(&self.x, &mut self.dx);
        self.dembedding.fill(0.0);
        for (dx, &character) in self.dx.chunks_exact(WIDTH).zip(&self.characters) {
            let row = &mut self.dembedding[character as usize * WIDTH..][..WIDTH];
            row.iter_mut().zip(dx).for_each(|(sum, dx)| *sum += dx);
        }

        let mut moments = core::mem::take(&mut self.moments);
        self.steps += 1;
        let steps = self.steps;
        let (mut params, grads) = self.params();
        let [mut means, mut squares] =
            moments.each_mut().map(|moments| moments.iter_mut().map(Vec::as_mut_slice).collect::<Vec<_>>());
        let optimizer = Clipped::new(Adam::default(), 1.0);
        optimizer.step(steps, &mut params, Gradients::new(&grads), &mut [&mut means, &mut squares]).unwrap();
        self.moments = moments;
        loss
    }
}
