//! What cells and layers refuse: errors name the argument, and nothing is written.

use steadygrad::Error;
use steadygrad::recurrent::{
    Direction, Gru, GruGates, Layer, Lstm, LstmGates, LstmState, RecurrentGradients, RecurrentWeights, Rnn,
    SequenceShape, SequenceValues,
};

use super::subject::{Case, Cell};

#[test]
fn recurrent_gates_name_the_bad_argument() {
    let (lstm, gru) = (LstmGates { hidden: 2, ..LstmGates::default() }, GruGates { hidden: 2 });
    let names = ["gates", "c_before", "c", "dy", "dh", "dc"];
    for (wrong, expected) in names.into_iter().enumerate() {
        let mut buffers = [8, 2, 2, 2, 2, 2].map(|len| vec![7.0_f32; len]);
        buffers[wrong].pop();
        let [gates, c_before, c, dy, dh, dc] = &mut buffers;
        let refused = lstm.backward(1, &[], gates, (c_before, c), (dy, dh), dc);
        assert_eq!(name(refused), expected);
        assert!(buffers.iter().flatten().all(|&value| value == 7.0), "written although refused");
    }
    let names = ["gates", "recurrent", "h_before", "dy", "dh"];
    for (wrong, expected) in names.into_iter().enumerate() {
        let mut buffers = [6, 6, 2, 2, 2].map(|len| vec![7.0_f32; len]);
        buffers[wrong].pop();
        let [gates, recurrent, h_before, dy, dh] = &mut buffers;
        assert_eq!(name(gru.backward(1, (gates, recurrent), h_before, dy, dh)), expected);
        assert!(buffers.iter().flatten().all(|&value| value == 7.0), "written although refused");
    }
    let huge = LstmGates { hidden: usize::MAX, ..LstmGates::default() };
    assert_eq!(name(huge.forward::<f32>(2, &[], &mut [], &[], &mut [], &mut [])), "gates");
}

fn name(result: Result<(), Error>) -> &'static str {
    match result.unwrap_err() {
        Error::OutOfRange { argument, .. }
        | Error::Length { argument, .. }
        | Error::Overflow { argument } => argument,
        error => panic!("{error:?}"),
    }
}

#[test]
fn recurrent_names_the_bad_argument() {
    let shape = SequenceShape { steps: 2, batch: 3 };
    let case = Case::<f32>::new(Cell::Lstm, Direction::Forward, shape, 4, 5);
    let (lstm, packed) = (case.lstm(), case.pack());
    let lens = [24, 15, 15, lstm.tape_len(shape).unwrap(), lstm.scratch_len::<f32>(shape), 30];
    let names = ["x", "state.h", "state.c", "tape", "scratch", "y"];
    for (wrong, expected) in names.into_iter().enumerate() {
        let mut buffers = lens.map(|len| vec![7.0_f32; len]);
        buffers[wrong].pop();
        let [x, h, c, tape, scratch, y] = &mut buffers;
        let state = LstmState { h, c };
        assert_eq!(name(lstm.forward(shape, x, &packed, state, tape, scratch, y)), expected);
        assert!(buffers.iter().flatten().all(|&value| value == 7.0), "written although refused");
    }
    let lens_of_inference = [24, 15, 15, lstm.infer_scratch_len::<f32>(shape), 30];
    for (wrong, expected) in ["x", "state.h", "state.c", "scratch", "y"].into_iter().enumerate() {
        let mut buffers = lens_of_inference.map(|len| vec![7.0_f32; len]);
        buffers[wrong].pop();
        let [x, h, c, scratch, y] = &mut buffers;
        assert_eq!(name(lstm.infer(shape, x, &packed, LstmState { h, c }, scratch, y)), expected);
        assert!(buffers.iter().flatten().all(|&value| value == 7.0), "written although refused");
    }
    let mut buffers = lens.map(|len| vec![7.0_f32; len]);
    let [x, h, c, tape, scratch, y] = &mut buffers;
    let other = Lstm { hidden: 6, ..lstm };
    let refused = other.forward(shape, x, &packed, LstmState { h, c }, tape, scratch, y);
    assert_eq!(name(refused), "weights");
    let huge = SequenceShape { steps: usize::MAX, batch: 2 };
    assert_eq!(name(lstm.tape_len(huge).map(drop)), "shape");
    let dy = [7.0; 30];
    for wrong in ["values.x", "values.y", "values.dy", "tape", "dstate.h", "dstate.c", "gradients.x"] {
        let mut dx = [7.0; 24];
        let cut = |name: &str, len: usize| if name == wrong { len - 1 } else { len };
        let values = SequenceValues {
            x: &x[..cut("values.x", 24)],
            y: &y[..cut("values.y", 30)],
            dy: &dy[..cut("values.dy", 30)],
        };
        let (tape_len, dx_len) = (cut("tape", tape.len()), cut("gradients.x", 24));
        let dstate = LstmState { h: &mut h[..cut("dstate.h", 15)], c: &mut c[..cut("dstate.c", 15)] };
        let gradients = RecurrentGradients { x: Some(&mut dx[..dx_len]), ..RecurrentGradients::default() };
        let refused =
            lstm.backward(shape, values, &packed, &mut tape[..tape_len], dstate, scratch, gradients);
        assert_eq!(name(refused), wrong);
        assert!(dx.iter().chain(&*h).all(|&value| value == 7.0), "written although refused");
    }
    let weights = case.weights();
    let short = RecurrentWeights { input: &weights.input[1..], ..weights };
    assert_eq!(name(lstm.pack(short).map(drop)), "weights.input");
    let short = RecurrentWeights { recurrent_bias: Some(&[0.0; 3]), ..weights };
    assert_eq!(name(lstm.pack(short).map(drop)), "weights.recurrent_bias");
    let short = RecurrentWeights { recurrent: &weights.recurrent[1..], ..weights };
    assert_eq!(name(lstm.pack(short).map(drop)), "weights.recurrent");
    let short = RecurrentWeights { input_bias: Some(&[0.0]), ..weights };
    assert_eq!(name(lstm.pack(short).map(drop)), "weights.input_bias");
    let mut seven = [7.0_f32; 4];
    assert_eq!(
        name(LstmGates { hidden: 1, ..LstmGates::default() }.forward(
            1,
            &[],
            &mut seven,
            &[0.0],
            &mut [],
            &mut [0.0]
        )),
        "c"
    );
    assert_eq!(name(GruGates { hidden: 1 }.forward(1, &mut seven, &[0.0; 3], &[0.0], &mut [0.0])), "gates");
    assert_eq!(seven, [7.0; 4]);
}

#[test]
fn gru_and_rnn_name_their_state() {
    fn refuses<L: for<'a> Layer<State<'a, f32> = &'a mut [f32]>>(layer: L, gates: usize) {
        let shape = SequenceShape { steps: 2, batch: 3 };
        let (input, recurrent) = (vec![0.0; gates * 5 * 4], vec![0.0; gates * 5 * 5]);
        let weights =
            RecurrentWeights { input: &input, recurrent: &recurrent, ..RecurrentWeights::default() };
        let packed = layer.pack(weights).unwrap();
        let mut tape = vec![7.0; layer.tape_len(shape).unwrap()];
        let mut scratch = vec![7.0; layer.scratch_len::<f32>(shape)];
        let (mut state, mut y) = ([7.0_f32; 14], [7.0_f32; 30]);
        let refused =
            layer.forward(shape, &[0.0; 24], &packed, &mut state[..], &mut tape, &mut scratch, &mut y);
        assert_eq!(name(refused), "state");
        let (values, gradients) = (SequenceValues { x: &[0.0; 24], y: &y, dy: &y }, Default::default());
        let refused =
            layer.backward(shape, values, &packed, &mut tape, &mut state[..], &mut scratch, gradients);
        assert_eq!(name(refused), "dstate");
        let written = [&state[..], &y, &tape, &scratch].concat();
        assert!(written.iter().all(|&value| value == 7.0), "written although refused");
    }
    refuses(Gru { inputs: 4, hidden: 5, ..Gru::default() }, 3);
    refuses(Rnn { inputs: 4, hidden: 5, ..Rnn::default() }, 1);
}
