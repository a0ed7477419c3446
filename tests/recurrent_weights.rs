//! Weights that are drawn, and weights of Keras and ONNX: what the layer computes with them is what those frameworks write
//! down for theirs.

mod common;

use common::numbers;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use steadygrad::recurrent::{
    Gru, GruReset, KerasWeights, Layer, LayerWeights, Lstm, LstmState, LstmVariant, OnnxWeights,
    RecurrentInit, Rnn, SequenceShape,
};
use steadygrad::{Error, Init};

const INPUTS: usize = 2;
const HIDDEN: usize = 3;
const STEPS: usize = 3;
const SHAPE: SequenceShape = SequenceShape { steps: STEPS, batch: 1 };

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn run_lstm(op: Lstm, weights: &LayerWeights<f64>, x: &[f64]) -> Vec<f64> {
    let packed = op.pack(weights.borrow()).unwrap();
    let mut tape = vec![0.0; op.tape_len(SHAPE).unwrap()];
    let mut scratch = vec![0.0; op.scratch_len::<f64>(SHAPE)];
    let (mut h, mut c, mut y) = ([0.0; HIDDEN], [0.0; HIDDEN], vec![0.0; STEPS * HIDDEN]);
    let state = LstmState { h: &mut h, c: &mut c };
    op.forward(SHAPE, x, &packed, state, &mut tape, &mut scratch, &mut y).unwrap();
    y
}

fn run_gru(op: Gru, weights: &LayerWeights<f64>, x: &[f64]) -> Vec<f64> {
    let packed = op.pack(weights.borrow()).unwrap();
    let mut tape = vec![0.0; op.tape_len(SHAPE).unwrap()];
    let mut scratch = vec![0.0; op.scratch_len::<f64>(SHAPE)];
    let (mut h, mut y) = ([0.0; HIDDEN], vec![0.0; STEPS * HIDDEN]);
    op.forward(SHAPE, x, &packed, &mut h, &mut tape, &mut scratch, &mut y).unwrap();
    y
}

fn assert_near(actual: &[f64], exact: &[f64]) {
    assert_eq!(actual.len(), exact.len());
    for (a, e) in actual.iter().zip(exact) {
        assert!((a - e).abs() < 1e-14, "{a} is not {e}");
    }
}

/// `x·K + b`, the gates of Keras: K has a row an input.
fn keras_sums(x: &[f64], kernel: &[f64], bias: &[f64]) -> Vec<f64> {
    let column = |at: usize| -> f64 {
        x.iter().enumerate().map(|(row, x)| x * kernel[row * bias.len() + at]).sum::<f64>() + bias[at]
    };
    (0..bias.len()).map(column).collect()
}

/// `W·x + b`, the gates of ONNX: W has a row a gate.
fn onnx_sums(x: &[f64], w: &[f64], bias: &[f64]) -> Vec<f64> {
    w.chunks(x.len()).zip(bias).map(|(w, b)| w.iter().zip(x).map(|(w, x)| w * x).sum::<f64>() + b).collect()
}

#[test]
fn keras_lstm_is_ours() {
    let [kernel, recurrent, bias, x] =
        [(1, 4 * HIDDEN * INPUTS), (2, 4 * HIDDEN * HIDDEN), (3, 4 * HIDDEN), (4, STEPS * INPUTS)]
            .map(|(seed, len)| numbers::<f64>(seed, len, 1.0));
    let (mut h, mut c, mut exact) = (vec![0.0; HIDDEN], [0.0; HIDDEN], Vec::new());
    for x in x.chunks(INPUTS) {
        let (input, back) = (keras_sums(x, &kernel, &bias), keras_sums(&h, &recurrent, &[0.0; 4 * HIDDEN]));
        let z = |gate: usize, unit: usize| input[gate * HIDDEN + unit] + back[gate * HIDDEN + unit];
        for unit in 0..HIDDEN {
            // i, f, c, o
            c[unit] = sigmoid(z(1, unit)) * c[unit] + sigmoid(z(0, unit)) * z(2, unit).tanh();
            h[unit] = sigmoid(z(3, unit)) * c[unit].tanh();
        }
        exact.extend(&h);
    }
    let op = Lstm { inputs: INPUTS, hidden: HIDDEN, ..Lstm::default() };
    let theirs = KerasWeights { kernel: &kernel, recurrent_kernel: &recurrent, bias: Some(&bias) };
    assert_near(&run_lstm(op, &op.keras_weights(theirs).unwrap(), &x), &exact);
    let none = op.keras_weights(KerasWeights { bias: None, ..theirs }).unwrap();
    assert!(none.borrow().input_bias.is_none());
}

#[test]
fn keras_gru_is_ours() {
    for (reset, rows) in [(GruReset::After, 2), (GruReset::Before, 1)] {
        let [kernel, recurrent, bias, x] =
            [(1, 3 * HIDDEN * INPUTS), (2, 3 * HIDDEN * HIDDEN), (3, rows * 3 * HIDDEN), (4, STEPS * INPUTS)]
                .map(|(seed, len)| numbers::<f64>(seed, len, 1.0));
        let mut both = bias.clone();
        both.resize(6 * HIDDEN, 0.0);
        let (input_bias, recurrent_bias) = both.split_at(3 * HIDDEN);
        let (mut h, mut exact) = (vec![0.0; HIDDEN], Vec::new());
        for x in x.chunks(INPUTS) {
            let (input, back) =
                (keras_sums(x, &kernel, input_bias), keras_sums(&h, &recurrent, recurrent_bias));
            let gate =
                |gate: usize, unit: usize| sigmoid(input[gate * HIDDEN + unit] + back[gate * HIDDEN + unit]);
            let reset_h: Vec<f64> = (0..HIDDEN).map(|unit| gate(1, unit) * h[unit]).collect();
            let again = keras_sums(&reset_h, &recurrent, recurrent_bias);
            h = (0..HIDDEN)
                .map(|unit| {
                    // z, r, h
                    let at = 2 * HIDDEN + unit;
                    let candidate = match reset {
                        GruReset::After => (input[at] + gate(1, unit) * back[at]).tanh(),
                        GruReset::Before => (input[at] + again[at]).tanh(),
                    };
                    gate(0, unit) * h[unit] + (1.0 - gate(0, unit)) * candidate
                })
                .collect();
            exact.extend(&h);
        }
        let op = Gru { inputs: INPUTS, hidden: HIDDEN, reset, ..Gru::default() };
        let theirs = KerasWeights { kernel: &kernel, recurrent_kernel: &recurrent, bias: Some(&bias) };
        assert_near(&run_gru(op, &op.keras_weights(theirs).unwrap(), &x), &exact);
    }
}

#[test]
fn onnx_lstm_is_ours() {
    for variant in [LstmVariant::Standard, LstmVariant::Peephole, LstmVariant::Coupled] {
        let [w, r, b, p, x] = [
            (1, 4 * HIDDEN * INPUTS),
            (2, 4 * HIDDEN * HIDDEN),
            (3, 8 * HIDDEN),
            (4, 3 * HIDDEN),
            (5, STEPS * INPUTS),
        ]
        .map(|(seed, len)| numbers::<f64>(seed, len, 1.0));
        let (wb, rb) = b.split_at(4 * HIDDEN);
        let (mut h, mut c, mut exact) = (vec![0.0; HIDDEN], [0.0; HIDDEN], Vec::new());
        for x in x.chunks(INPUTS) {
            let (input, back) = (onnx_sums(x, &w, wb), onnx_sums(&h, &r, rb));
            for unit in 0..HIDDEN {
                // i, o, f, c; peepholes i, o, f
                let z = |gate: usize| input[gate * HIDDEN + unit] + back[gate * HIDDEN + unit];
                let see = |gate: usize, c: f64| {
                    if variant == LstmVariant::Peephole { p[gate * HIDDEN + unit] * c } else { 0.0 }
                };
                let i = sigmoid(z(0) + see(0, c[unit]));
                let f = match variant {
                    LstmVariant::Coupled => 1.0 - i,
                    _ => sigmoid(z(2) + see(2, c[unit])),
                };
                c[unit] = f * c[unit] + i * z(3).tanh();
                h[unit] = sigmoid(z(1) + see(1, c[unit])) * c[unit].tanh();
            }
            exact.extend(&h);
        }
        let op = Lstm { inputs: INPUTS, hidden: HIDDEN, variant, ..Lstm::default() };
        let p = Some(&p[..]).filter(|_| variant == LstmVariant::Peephole);
        let theirs = OnnxWeights { w: &w, r: &r, b: Some(&b), p };
        assert_near(&run_lstm(op, &op.onnx_weights(theirs).unwrap(), &x), &exact);
    }
}

#[test]
fn onnx_gru_is_ours() {
    for reset in [GruReset::Before, GruReset::After] {
        let [w, r, b, x] =
            [(1, 3 * HIDDEN * INPUTS), (2, 3 * HIDDEN * HIDDEN), (3, 6 * HIDDEN), (4, STEPS * INPUTS)]
                .map(|(seed, len)| numbers::<f64>(seed, len, 1.0));
        let (wb, rb) = b.split_at(3 * HIDDEN);
        let (mut h, mut exact) = (vec![0.0; HIDDEN], Vec::new());
        for x in x.chunks(INPUTS) {
            let (input, back) = (onnx_sums(x, &w, wb), onnx_sums(&h, &r, rb));
            let gate =
                |gate: usize, unit: usize| sigmoid(input[gate * HIDDEN + unit] + back[gate * HIDDEN + unit]);
            let reset_h: Vec<f64> = (0..HIDDEN).map(|unit| gate(1, unit) * h[unit]).collect();
            let again = onnx_sums(&reset_h, &r, rb);
            h = (0..HIDDEN)
                .map(|unit| {
                    // z, r, h
                    let at = 2 * HIDDEN + unit;
                    let candidate = match reset {
                        GruReset::After => (input[at] + gate(1, unit) * back[at]).tanh(),
                        GruReset::Before => (input[at] + again[at]).tanh(),
                    };
                    (1.0 - gate(0, unit)) * candidate + gate(0, unit) * h[unit]
                })
                .collect();
            exact.extend(&h);
        }
        let op = Gru { inputs: INPUTS, hidden: HIDDEN, reset, ..Gru::default() };
        let theirs = OnnxWeights { w: &w, r: &r, b: Some(&b), p: None };
        assert_near(&run_gru(op, &op.onnx_weights(theirs).unwrap(), &x), &exact);
    }
}

#[test]
fn recurrent_init_is_orthogonal_with_an_open_forget_gate() {
    let draw = |op: Lstm| {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        RecurrentInit { forget_bias: 2.0, ..RecurrentInit::default() }.draw::<_, f64>(&op, &mut rng).unwrap()
    };
    let op = Lstm { inputs: 2, hidden: 5, ..Lstm::default() };
    let weights = draw(op);
    for gate in weights.recurrent.chunks(25) {
        for (i, a) in gate.chunks(5).enumerate() {
            for (j, b) in gate.chunks(5).enumerate() {
                let dot: f64 = a.iter().zip(b).map(|(a, b)| a * b).sum();
                let expected = f64::from(u8::from(i == j));
                assert!((dot - expected).abs() < 1e-12, "{i} {j}: {dot}");
            }
        }
    }
    let bound = (6.0_f64 / 7.0).sqrt();
    assert!(
        weights.input.iter().all(|w| w.abs() <= bound) && weights.input.iter().any(|w| w.abs() > 0.5 * bound)
    );
    let biases: Vec<f64> = [0.0, 2.0, 0.0, 0.0].into_iter().flat_map(|bias| [bias; 5]).collect();
    assert_eq!(
        (weights.input_bias.as_slice(), weights.recurrent_bias.as_slice()),
        (&biases[..], &[0.0; 20][..])
    );
    // Where gates are coupled, the forget gate is open with the input gate closed.
    let coupled = draw(Lstm { variant: LstmVariant::Coupled, projection: Some(3), ..op });
    assert_eq!(coupled.input_bias[..6], [-2.0, -2.0, -2.0, -2.0, -2.0, 0.0]);
    assert_eq!((coupled.recurrent.len(), coupled.projection.len()), (15 * 3, 15));
    let peephole = draw(Lstm { variant: LstmVariant::Peephole, ..op });
    assert_eq!(peephole.peephole, [0.0; 15]);
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let rnn = Rnn { inputs: 2, hidden: 2, ..Rnn::default() };
    let identity = RecurrentInit { recurrent: Init::Identity { gain: 1.0 }, ..RecurrentInit::default() };
    assert_eq!(identity.draw::<_, f32>(&rnn, &mut rng).unwrap().recurrent, [1.0, 0.0, 0.0, 1.0]);
}

#[test]
fn converted_weights_name_the_bad_argument() {
    fn name<T: std::fmt::Debug>(result: Result<T, Error>) -> &'static str {
        match result.unwrap_err() {
            Error::Length { argument, .. } => argument,
            Error::Unsupported { operation } => operation,
            error => panic!("{error:?}"),
        }
    }
    let lstm = Lstm { inputs: 1, hidden: 1, ..Lstm::default() };
    let gru = Gru { inputs: 1, hidden: 1, ..Gru::default() };
    let keras = KerasWeights { kernel: &[0.0; 4], recurrent_kernel: &[0.0; 4], bias: Some(&[0.0; 4]) };
    assert!(lstm.keras_weights(keras).is_ok());
    assert_eq!(name(lstm.keras_weights(KerasWeights { kernel: &[0.0; 3], ..keras })), "kernel");
    assert_eq!(name(lstm.keras_weights(KerasWeights { recurrent_kernel: &[], ..keras })), "recurrent_kernel");
    assert_eq!(name(lstm.keras_weights(KerasWeights { bias: Some(&[]), ..keras })), "bias");
    assert_eq!(name(gru.keras_weights(keras)), "bias");
    let projected = Lstm { projection: Some(1), ..lstm };
    assert!(name(projected.keras_weights(keras)).contains("Keras"));
    let onnx = OnnxWeights { w: &[0.0; 4], r: &[0.0; 4], b: Some(&[0.0; 8]), p: None };
    assert!(lstm.onnx_weights(onnx).is_ok() && name(projected.onnx_weights(onnx)).contains("ONNX"));
    assert_eq!(name(lstm.onnx_weights(OnnxWeights { w: &[0.0; 3], ..onnx })), "w");
    assert_eq!(name(lstm.onnx_weights(OnnxWeights { r: &[0.0; 3], ..onnx })), "r");
    assert_eq!(name(lstm.onnx_weights(OnnxWeights { b: Some(&[0.0; 4]), ..onnx })), "b");
    assert_eq!(name(lstm.onnx_weights(OnnxWeights { p: Some(&[0.0; 3]), ..onnx })), "p");
    let peephole = Lstm { variant: LstmVariant::Peephole, ..lstm };
    assert_eq!(name(peephole.onnx_weights(onnx)), "p");
    assert_eq!(name(gru.onnx_weights(onnx)), "w");
}
