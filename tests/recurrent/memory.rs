//! How much memory layers and stacks take, beyond what goes in and comes out.

use steadygrad::recurrent::{
    Directions, Gru, GruReset, Layer, LayerNormLstm, Lengths, Lstm, LstmVariant, Rnn, SequenceBatch,
    SequenceLayout, SequenceShape, Stack, VariationalDropout,
};

const SHAPE: SequenceShape = SequenceShape { steps: 35, batch: 20 };
const INPUTS: usize = 40;
const HIDDEN: usize = 40;
/// Units of all steps and sequences, and those of one step.
const UNITS: usize = 35 * 20 * HIDDEN;
const STATE: usize = 20 * HIDDEN;

fn assert_tape(layer: impl Layer, units: usize, states: usize) {
    assert_eq!(layer.tape_len(SHAPE).unwrap(), units * UNITS + states * STATE, "{layer:?}");
}

#[test]
fn recurrent_tape_is_what_the_docs_say() {
    let lstm = Lstm { inputs: INPUTS, hidden: HIDDEN, ..Lstm::default() };
    assert_tape(lstm, 5, 2); // at most 6
    assert_tape(Lstm { variant: LstmVariant::Peephole, ..lstm }, 5, 2);
    assert_tape(Lstm { variant: LstmVariant::Coupled, ..lstm }, 4, 2);
    let features = Lstm { projection: Some(8), ..lstm }.tape_len(SHAPE).unwrap();
    assert_eq!(features, 6 * UNITS + 35 * 20 * 8 + 3 * STATE + 20 * 8);
    assert_tape(LayerNormLstm { inputs: INPUTS, hidden: HIDDEN, ..LayerNormLstm::default() }, 9, 16);
    let gru = Gru { inputs: INPUTS, hidden: HIDDEN, ..Gru::default() };
    assert_tape(gru, 6, 1);
    assert_tape(Gru { reset: GruReset::Before, ..gru }, 4, 2);
    assert_tape(Rnn { inputs: INPUTS, hidden: HIDDEN, ..Rnn::default() }, 1, 1);
}

#[test]
fn recurrent_scratch_stops_growing_with_the_steps() {
    let lstm = Lstm { inputs: 650, hidden: 650, ..Lstm::default() };
    let of = |steps| lstm.scratch_len::<f32>(SequenceShape { steps, batch: 20 });
    assert!(of(35) < 2_000_000 && of(100) == of(100_000), "{} {}", of(35), of(100_000));
}

#[test]
fn stack_memory_is_what_the_docs_say() {
    let lstm = Lstm { inputs: INPUTS, hidden: HIDDEN, ..Lstm::default() };
    let [half, x] = [5 * UNITS + 2 * STATE + UNITS, 35 * 20 * INPUTS];
    let all = SequenceBatch::from(SHAPE);
    let tape = |stack: Stack<Lstm>, batch| stack.tape_len(batch).unwrap();
    let one = Stack::new(lstm);
    assert_eq!(tape(one, all), half);
    assert_eq!(tape(Stack { layers: 3, ..one }, all), 3 * half);
    let both = Stack { layers: 3, directions: Directions::Both, ..one };
    assert_eq!(tape(both, all), 6 * half + 2 * (2 * UNITS));
    let lengths = Lengths::new(SHAPE, &[35; 20]).unwrap();
    assert_eq!(tape(one, SequenceBatch { lengths: Some(&lengths), ..all }), half + x);
    assert_eq!(tape(one, SequenceBatch { layout: SequenceLayout::BatchMajor, ..all }), half + x);
    let variational = VariationalDropout { input: 0.5, recurrent: 0.5 };
    assert_eq!(tape(Stack { variational, ..one }, all), half + x);
    assert_eq!(tape(Stack { variational, layers: 3, ..one }, all), 3 * half + 2 * UNITS + x);

    let beyond_products = |stack: Stack<Lstm>| stack.scratch_len::<f32>(all) - lstm.scratch_len::<f32>(SHAPE);
    assert_eq!(beyond_products(one), UNITS + 2 * STATE);
    let masked = Stack { variational: VariationalDropout { recurrent: 0.5, ..Default::default() }, ..one };
    assert_eq!(beyond_products(masked), 2 * UNITS + 3 * STATE);
}
