//! `lstm/T<steps>B<batch>I<inputs>H<hidden>`, `gru/…`, `rnn/…`: forward for inference, forward that keeps what a backward
//! reads, and both with all gradients. Weights are packed anew in each, as after a step of an optimizer; `fwd_packed` is
//! the forward of weights that stay.

use std::hint::black_box;

use steadygrad::recurrent::{
    Gru, Lstm, LstmState, PackedRecurrent, RecurrentGradients, RecurrentWeights, Rnn, SequenceShape,
    SequenceValues,
};

use crate::timing::{Bench, Work, normal};

pub(crate) fn lstm_names() -> Vec<String> {
    ["T35B20I650H650", "T128B64I256H256", "T256B1I128H128", "T784B32I1H128", "T35B20I1500H1500"]
        .map(|shape| format!("lstm/{shape}"))
        .to_vec()
}

pub(crate) fn gru_names() -> Vec<String> {
    ["T35B20I650H650", "T128B64I256H256"].map(|shape| format!("gru/{shape}")).to_vec()
}

/// Sizes out of a name.
fn parse(name: &str) -> Option<(SequenceShape, usize, usize)> {
    let (steps, rest) = name.strip_prefix('T')?.split_once('B')?;
    let (batch, rest) = rest.split_once('I')?;
    let (inputs, hidden) = rest.split_once('H')?;
    let shape = SequenceShape { steps: steps.parse().ok()?, batch: batch.parse().ok()? };
    Some((shape, inputs.parse().ok()?, hidden.parse().ok()?))
}

pub(crate) fn run(bench: &Bench, parts: &[&str]) -> Option<()> {
    let [cell, name] = *parts else { return None };
    let (shape, inputs, hidden) = parse(name)?;
    let cell = match cell {
        "lstm" => Cell::Lstm(Lstm { inputs, hidden, ..Lstm::default() }),
        "gru" => Cell::Gru(Gru { inputs, hidden, ..Gru::default() }),
        _ => Cell::Rnn(Rnn { inputs, hidden, ..Rnn::default() }),
    };
    measure(bench, &parts.join("/"), Layer::new(cell, shape, inputs, hidden));
    Some(())
}

#[derive(Clone, Copy)]
pub(crate) enum Cell {
    Lstm(Lstm),
    Gru(Gru),
    Rnn(Rnn),
}

/// A layer with everything that its calls read and write.
pub(crate) struct Layer {
    cell: Cell,
    shape: SequenceShape,
    /// Input weights, recurrent weights, input bias, recurrent bias.
    pub(crate) weights: [Vec<f32>; 4],
    pub(crate) gradients: [Vec<f32>; 4],
    packed: PackedRecurrent<f32>,
    state: [Vec<f32>; 2],
    tape: Vec<f32>,
    scratch: Vec<f32>,
    pub(crate) y: Vec<f32>,
    /// Gradient of `y`.
    pub(crate) dy: Vec<f32>,
}

fn borrow(weights: &[Vec<f32>; 4]) -> RecurrentWeights<'_, f32> {
    let [input, recurrent, input_bias, recurrent_bias] = weights;
    RecurrentWeights {
        input,
        recurrent,
        input_bias: Some(input_bias),
        recurrent_bias: Some(recurrent_bias),
        ..RecurrentWeights::default()
    }
}

impl Layer {
    pub(crate) fn new(cell: Cell, shape: SequenceShape, inputs: usize, hidden: usize) -> Self {
        let gates = match cell {
            Cell::Lstm(_) => 4,
            Cell::Gru(_) => 3,
            Cell::Rnn(_) => 1,
        };
        let (width, state) = (gates * hidden, shape.batch * hidden);
        let spread = 0.5 / (hidden as f32).sqrt();
        let weights = [width * inputs, width * hidden, width, width]
            .map(|len| normal::<f32>(len).into_iter().map(|w| w * spread).collect::<Vec<_>>());
        let (packed, tape, scratch) = match cell {
            Cell::Lstm(op) => (op.pack(borrow(&weights)), op.tape_len(shape), op.scratch_len::<f32>(shape)),
            Cell::Gru(op) => (op.pack(borrow(&weights)), op.tape_len(shape), op.scratch_len::<f32>(shape)),
            Cell::Rnn(op) => (op.pack(borrow(&weights)), op.tape_len(shape), op.scratch_len::<f32>(shape)),
        };
        Self {
            cell,
            shape,
            gradients: weights.each_ref().map(|weights| vec![0.0; weights.len()]),
            weights,
            packed: packed.expect("a layer"),
            state: [vec![0.0; state], vec![0.0; state]],
            tape: vec![0.0; tape.expect("a layer")],
            scratch: vec![0.0; scratch],
            y: vec![0.0; shape.steps * state],
            dy: normal(shape.steps * state),
        }
    }

    pub(crate) fn repack(&mut self) {
        self.packed.repack(borrow(&self.weights)).unwrap();
    }

    /// From a state of zeros.
    pub(crate) fn forward(&mut self, x: &[f32]) {
        let Self { shape, ref packed, ref mut tape, ref mut scratch, ref mut y, .. } = *self;
        let [h, c] = &mut self.state;
        h.fill(0.0);
        c.fill(0.0);
        match self.cell {
            Cell::Lstm(op) => op.forward(shape, x, packed, LstmState { h, c }, tape, scratch, y),
            Cell::Gru(op) => op.forward(shape, x, packed, h, tape, scratch, y),
            Cell::Rnn(op) => op.forward(shape, x, packed, h, tape, scratch, y),
        }
        .unwrap();
    }

    /// All gradients, none kept of before.
    pub(crate) fn backward(&mut self, x: &[f32], dx: &mut [f32]) {
        let Self { shape, ref packed, ref mut tape, ref mut scratch, .. } = *self;
        let [h, c] = &mut self.state;
        h.fill(0.0);
        c.fill(0.0);
        let [input, recurrent, input_bias, recurrent_bias] = self.gradients.each_mut().map(|gradient| {
            gradient.fill(0.0);
            Some(&mut gradient[..])
        });
        let gradients = RecurrentGradients {
            x: Some(dx),
            input,
            recurrent,
            input_bias,
            recurrent_bias,
            ..RecurrentGradients::default()
        };
        let values = SequenceValues { x, y: &self.y, dy: &self.dy };
        match self.cell {
            Cell::Lstm(op) => {
                op.backward(shape, values, packed, tape, LstmState { h, c }, scratch, gradients)
            }
            Cell::Gru(op) => op.backward(shape, values, packed, tape, h, scratch, gradients),
            Cell::Rnn(op) => op.backward(shape, values, packed, tape, h, scratch, gradients),
        }
        .unwrap();
    }
}

fn measure(bench: &Bench, workload: &str, mut layer: Layer) {
    let [input, recurrent, ..] = &layer.weights;
    let rows = layer.shape.steps * layer.shape.batch;
    let work = |times: usize| Work { bytes: 0, flops: times * 2 * rows * (input.len() + recurrent.len()) };
    let (once, thrice) = (work(1), work(3));
    let x: Vec<f32> = normal(rows * input.len() / layer.weights[2].len());
    let mut dx = vec![0.0; x.len()];
    // The peers' inference writes no tape; ours has none of its own.
    for direction in ["fwd", "fwd_train"] {
        bench.measure(workload, direction, "f32", once, || {
            layer.repack();
            layer.forward(black_box(&x));
        });
    }
    bench.measure(workload, "fwd_packed", "f32", once, || layer.forward(black_box(&x)));
    bench.measure(workload, "fwd+bwd", "f32", thrice, || {
        layer.repack();
        layer.forward(black_box(&x));
        layer.backward(&x, black_box(&mut dx));
    });
}
