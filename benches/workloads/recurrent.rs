//! `lstm/T<steps>B<batch>I<inputs>H<hidden>`, with `L<layers>` and `bi` behind it for a stack, `gru/…`, `rnn/…`: inference without a tape, forward that keeps what a
//! backward reads, and both with all gradients. Weights are packed anew in each, as after a step of an optimizer; `fwd_packed` is
//! inference of weights that stay.

use std::hint::black_box;

use steadygrad::GradientMode;
use steadygrad::recurrent::{
    Directions, Gru, Layer as _, Lstm, LstmState, PackedRecurrent, RecurrentGradients, RecurrentWeights, Rnn,
    SequenceShape, SequenceValues, Stack, StackGradients,
};

use crate::timing::{Bench, Work, normal};

pub(crate) fn lstm_names() -> Vec<String> {
    [
        "T35B20I650H650",
        "T128B64I256H256",
        "T256B1I128H128",
        "T784B32I1H128",
        "T35B20I1500H1500",
        "T64B32I256H256L2bi",
    ]
    .map(|shape| format!("lstm/{shape}"))
    .to_vec()
}

pub(crate) fn gru_names() -> Vec<String> {
    ["T35B20I650H650", "T128B64I256H256"].map(|shape| format!("gru/{shape}")).to_vec()
}

/// Sizes out of a name.
struct Sizes {
    shape: SequenceShape,
    inputs: usize,
    hidden: usize,
    layers: usize,
    directions: Directions,
}

fn parse(name: &str) -> Option<Sizes> {
    let (name, directions) = match name.strip_suffix("bi") {
        Some(name) => (name, Directions::Both),
        None => (name, Directions::One),
    };
    let (steps, rest) = name.strip_prefix('T')?.split_once('B')?;
    let (batch, rest) = rest.split_once('I')?;
    let (inputs, rest) = rest.split_once('H')?;
    let (hidden, layers) = rest.split_once('L').unwrap_or((rest, "1"));
    let shape = SequenceShape { steps: steps.parse().ok()?, batch: batch.parse().ok()? };
    let [inputs, hidden, layers] = [inputs, hidden, layers].map(|size| size.parse().ok());
    Some(Sizes { shape, inputs: inputs?, hidden: hidden?, layers: layers?, directions })
}

pub(crate) fn run(bench: &Bench, parts: &[&str]) -> Option<()> {
    let [cell, name] = *parts else { return None };
    let sizes = parse(name)?;
    let Sizes { shape, inputs, hidden, .. } = sizes;
    let cell = match cell {
        "lstm" => Cell::Lstm(Lstm { inputs, hidden, ..Lstm::default() }),
        "gru" => Cell::Gru(Gru { inputs, hidden, ..Gru::default() }),
        _ => Cell::Rnn(Rnn { inputs, hidden, ..Rnn::default() }),
    };
    let workload = parts.join("/");
    if sizes.layers == 1 && sizes.directions == Directions::One {
        measure(bench, &workload, Layer::new(cell, shape, inputs, hidden));
        return Some(());
    }
    match cell {
        Cell::Lstm(op) => measure_stack(bench, &workload, (op, 4), &sizes, |h, c| LstmState { h, c }),
        Cell::Gru(op) => measure_stack(bench, &workload, (op, 3), &sizes, |h, _| h),
        Cell::Rnn(op) => measure_stack(bench, &workload, (op, 1), &sizes, |h, _| h),
    }
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
    /// Scratch of inference.
    inference: Vec<f32>,
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
        let inference = match cell {
            Cell::Lstm(op) => op.infer_scratch_len::<f32>(shape),
            Cell::Gru(op) => op.infer_scratch_len::<f32>(shape),
            Cell::Rnn(op) => op.infer_scratch_len::<f32>(shape),
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
            inference: vec![0.0; inference],
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

    /// The same without a tape.
    fn infer(&mut self, x: &[f32]) {
        let Self { shape, ref packed, ref mut inference, ref mut y, .. } = *self;
        let [h, c] = &mut self.state;
        h.fill(0.0);
        c.fill(0.0);
        match self.cell {
            Cell::Lstm(op) => op.infer(shape, x, packed, LstmState { h, c }, inference, y),
            Cell::Gru(op) => op.infer(shape, x, packed, h, inference, y),
            Cell::Rnn(op) => op.infer(shape, x, packed, h, inference, y),
        }
        .unwrap();
    }

    /// All gradients, none kept of before.
    pub(crate) fn backward(&mut self, x: &[f32], dx: &mut [f32]) {
        let Self { shape, ref packed, ref mut tape, ref mut scratch, .. } = *self;
        let [h, c] = &mut self.state;
        h.fill(0.0);
        c.fill(0.0);
        let [input, recurrent, input_bias, recurrent_bias] =
            self.gradients.each_mut().map(|gradient| Some(&mut gradient[..]));
        let gradients = RecurrentGradients {
            x: Some(dx),
            input,
            recurrent,
            input_bias,
            recurrent_bias,
            mode: GradientMode::Overwrite,
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
    bench.measure(workload, "fwd", "f32", once, || {
        layer.repack();
        layer.infer(black_box(&x));
    });
    bench.measure(workload, "fwd_train", "f32", once, || {
        layer.repack();
        layer.forward(black_box(&x));
    });
    bench.measure(workload, "fwd_packed", "f32", once, || layer.infer(black_box(&x)));
    bench.measure(workload, "fwd+bwd", "f32", thrice, || {
        layer.repack();
        layer.forward(black_box(&x));
        layer.backward(&x, black_box(&mut dx));
    });
}

/// As [`measure`], of several layers or both directions.
fn measure_stack<L: steadygrad::recurrent::Layer>(
    bench: &Bench,
    workload: &str,
    (layer, gates): (L, usize),
    sizes: &Sizes,
    state: for<'a> fn(&'a mut [f32], &'a mut [f32]) -> L::State<'a, f32>,
) {
    let &Sizes { shape, inputs, hidden, layers, directions } = sizes;
    let stack = Stack { layers, directions, ..Stack::new(layer) };
    let halves = if directions == Directions::Both { 2 } else { 1 };
    let (rows, spread) = (shape.steps * shape.batch, 0.5 / (hidden as f32).sqrt());
    let weights: Vec<[Vec<f32>; 4]> = (0..layers * halves)
        .map(|at| {
            let inputs = if at < halves { inputs } else { halves * hidden };
            [gates * hidden * inputs, gates * hidden * hidden, gates * hidden, gates * hidden]
                .map(|len| normal::<f32>(len).into_iter().map(|w| w * spread).collect())
        })
        .collect();
    let borrowed: Vec<_> = weights.iter().map(borrow).collect();
    let mut gradients: Vec<_> =
        weights.iter().map(|each| each.each_ref().map(|weights| vec![0.0; weights.len()])).collect();
    let mut packed = stack.pack(&borrowed).expect("a stack");
    let batch = shape.into();
    let mut tape = vec![0.0; stack.tape_len(batch).expect("a stack")];
    let mut scratch = vec![0.0; stack.scratch_len::<f32>(batch)];
    let mut inference = vec![0.0; stack.infer_scratch_len::<f32>(batch)];
    let states = layers * halves * shape.batch * hidden;
    // Cells other than the LSTM's have no second state and take no part of this one.
    let (mut h, mut c) = (vec![0.0; states], vec![0.0; states]);
    let (x, dy): (Vec<f32>, Vec<f32>) = (normal(rows * inputs), normal(rows * halves * hidden));
    let (mut y, mut dx) = (vec![0.0; dy.len()], vec![0.0; x.len()]);
    let parameters: usize = weights.iter().map(|[input, recurrent, ..]| input.len() + recurrent.len()).sum();
    let work = |times: usize| Work { bytes: 0, flops: times * 2 * rows * parameters };
    let (once, thrice) = (work(1), work(3));
    bench.measure(workload, "fwd", "f32", once, || {
        packed.repack(&borrowed).unwrap();
        h.fill(0.0);
        c.fill(0.0);
        let initial = state(&mut h, &mut c);
        stack.infer(batch, black_box(&x), &packed, initial, &mut inference, &mut y).unwrap();
    });
    for (direction, backward) in [("fwd_train", false), ("fwd+bwd", true)] {
        bench.measure(workload, direction, "f32", if backward { thrice } else { once }, || {
            packed.repack(&borrowed).unwrap();
            h.fill(0.0);
            c.fill(0.0);
            let initial = state(&mut h, &mut c);
            stack.forward(batch, black_box(&x), &packed, initial, &mut tape, &mut scratch, &mut y).unwrap();
            if !backward {
                return;
            }
            h.fill(0.0);
            c.fill(0.0);
            let mut layers: Vec<_> = gradients
                .iter_mut()
                .map(|each| {
                    let [input, recurrent, input_bias, recurrent_bias] =
                        each.each_mut().map(|gradient| Some(&mut gradient[..]));
                    RecurrentGradients {
                        input,
                        recurrent,
                        input_bias,
                        recurrent_bias,
                        mode: GradientMode::Overwrite,
                        ..RecurrentGradients::default()
                    }
                })
                .collect();
            let gradients = StackGradients { x: Some(black_box(&mut dx)), layers: &mut layers };
            let dstate = state(&mut h, &mut c);
            stack.backward(batch, (&x, &dy), &packed, &mut tape, dstate, &mut scratch, gradients).unwrap();
        });
    }
}
