//! Gradients that are overwritten have the bits of those that are accumulated into zeros, whatever they held.

use steadygrad::recurrent::{
    Directions, Gru, GruReset, Layer, LayerNormLstm, Lengths, Lstm, LstmState, LstmVariant,
    RecurrentGradients, RecurrentWeights, Rnn, SequenceBatch, SequenceShape, SequenceValues, Stack,
    StackGradients, VariationalDropout,
};
use steadygrad::{Element, GradientMode, Philox};

use crate::common::{assert_same_bits, each_level, each_pool, numbers};

const INPUTS: usize = 3;
/// More than a vector and less than two, so that products of no rows read some columns in place.
const HIDDEN: usize = 18;
const PROJECTED: usize = 17;

/// Elements of input weights, recurrent weights, both biases, projection, peepholes and norm.
type Lens = [usize; 7];

fn lens(gates: usize, outputs: usize, [projection, peephole, norm]: [usize; 3]) -> Lens {
    let width = gates * HIDDEN;
    [width * INPUTS, width * outputs, width, width, projection, peephole, norm]
}

fn weights<T>([input, recurrent, b, c, projection, peephole, norm]: &[Vec<T>; 7]) -> RecurrentWeights<'_, T> {
    fn some<T>(values: &[T]) -> Option<&[T]> {
        Some(values).filter(|values| !values.is_empty())
    }
    RecurrentWeights {
        input,
        recurrent,
        input_bias: some(b),
        recurrent_bias: some(c),
        projection: some(projection),
        peephole: some(peephole),
        norm: some(norm),
    }
}

fn gradients<T>(slices: &mut [Vec<T>; 7], mode: GradientMode) -> RecurrentGradients<'_, T> {
    let [input, recurrent, input_bias, recurrent_bias, projection, peephole, norm] =
        slices.each_mut().map(|values| Some(&mut values[..]));
    RecurrentGradients {
        x: None,
        input,
        recurrent,
        input_bias,
        recurrent_bias,
        projection,
        peephole,
        norm,
        mode,
    }
}

type State<L, T> = for<'a> fn(&'a mut [T], &'a mut [T]) -> <L as Layer>::State<'a, T>;

/// A layer and what goes over it.
#[derive(Clone, Copy)]
struct Case<'a, L: Layer, T: Element> {
    layer: L,
    lens: Lens,
    /// Features of the output, and cells.
    state: (usize, usize),
    borrow: State<L, T>,
    batch: SequenceBatch<'a>,
}

type Run<'a, L, T> = fn(Case<'a, L, T>, T, GradientMode) -> Vec<Vec<T>>;

impl<L: Layer, T: Element> Case<'_, L, T> {
    /// The gradients of a stack of both directions.
    fn of_stack(self, held: T, mode: GradientMode) -> Vec<Vec<T>> {
        let Self { layer, lens, state: (outputs, cells), borrow, batch } = self;
        let (directions, variational) = (Directions::Both, VariationalDropout { input: 0.3, recurrent: 0.4 });
        let stack = Stack { directions, variational, ..Stack::new(layer) };
        let SequenceShape { steps, batch: sequences } = batch.shape;
        let given = [1, 2].map(|seed| lens.map(|len| numbers(seed, len, 0.5)));
        let packed = stack.pack(&given.each_ref().map(weights)).unwrap();
        let (x, dy): (Vec<T>, Vec<T>) =
            (numbers(3, steps * sequences * INPUTS, 0.5), numbers(4, steps * sequences * 2 * outputs, 0.5));
        let (mut tape, mut scratch) =
            (vec![T::nan(); stack.tape_len(batch).unwrap()], vec![T::nan(); stack.scratch_len::<T>(batch)]);
        let mut h: Vec<T> = numbers(5, 2 * sequences * outputs, 0.5);
        let mut c: Vec<T> = numbers(6, 2 * sequences * cells, 0.5);
        let mut y = vec![T::nan(); dy.len()];
        stack.forward(batch, &x, &packed, borrow(&mut h, &mut c), &mut tape, &mut scratch, &mut y).unwrap();
        let mut of = [lens, lens].map(|lens| lens.map(|len| vec![held; len]));
        let mut layers = of.each_mut().map(|of| gradients(of, mode));
        let all = StackGradients { x: None, layers: &mut layers };
        let dstate = borrow(&mut h, &mut c);
        stack.backward(batch, (&x, &dy), &packed, &mut tape, dstate, &mut scratch, all).unwrap();
        of.into_iter().flatten().collect()
    }

    /// The gradients of the layer alone.
    fn of_layer(self, held: T, mode: GradientMode) -> Vec<Vec<T>> {
        let Self { layer, lens, state: (outputs, cells), borrow, batch } = self;
        let shape @ SequenceShape { steps, batch: sequences } = batch.shape;
        let given = lens.map(|len| numbers(1, len, 0.5));
        let packed = layer.pack(weights(&given)).unwrap();
        let (x, dy): (Vec<T>, Vec<T>) =
            (numbers(3, steps * sequences * INPUTS, 0.5), numbers(4, steps * sequences * outputs, 0.5));
        let (mut tape, mut scratch) =
            (vec![T::nan(); layer.tape_len(shape).unwrap()], vec![T::nan(); layer.scratch_len::<T>(shape)]);
        let mut h: Vec<T> = numbers(5, sequences * outputs, 0.5);
        let mut c: Vec<T> = numbers(6, sequences * cells, 0.5);
        let mut y = vec![T::nan(); dy.len()];
        layer.forward(shape, &x, &packed, borrow(&mut h, &mut c), &mut tape, &mut scratch, &mut y).unwrap();
        let mut of = lens.map(|len| vec![held; len]);
        let (values, all) = (SequenceValues { x: &x, y: &y, dy: &dy }, gradients(&mut of, mode));
        let dstate = borrow(&mut h, &mut c);
        layer.backward(shape, values, &packed, &mut tape, dstate, &mut scratch, all).unwrap();
        of.into()
    }
}

fn overwrites<L: Layer, T: Element>(layer: L, lens: Lens, state: (usize, usize), borrow: State<L, T>) {
    // One step, a few, more than are put together in one product, and none.
    for (steps, batch) in [(1, 3), (4, 3), (35, 18), (0, 3), (3, 0)] {
        let shape = SequenceShape { steps, batch };
        let ends: Vec<usize> = (0..batch).map(|sequence| steps - sequence % steps.clamp(1, 3)).collect();
        let lengths = (steps * batch > 0).then(|| Lengths::new(shape, &ends).unwrap());
        let stream = Some(Philox { key: 7, counter: 0 });
        for (lengths, dropout) in [(None, None), (lengths.as_ref(), None), (None, stream)] {
            let batch = SequenceBatch { lengths, dropout, ..shape.into() };
            let case = Case { layer, lens, state, borrow, batch };
            let alone = (batch.lengths.is_none() && batch.dropout.is_none())
                .then_some(Case::of_layer as Run<'_, L, T>);
            for run in core::iter::once(Case::of_stack as Run<'_, L, T>).chain(alone) {
                let accumulated = run(case, T::zero(), GradientMode::Accumulate);
                let overwritten = run(case, T::nan(), GradientMode::Overwrite);
                for (part, (overwritten, accumulated)) in overwritten.iter().zip(&accumulated).enumerate() {
                    assert_same_bits(overwritten, accumulated, || format!("{layer:?} {batch:?} {part}"));
                }
            }
        }
    }
}

fn every_cell<T: Element>() {
    let lstm = |variant, projection| Lstm {
        variant,
        projection,
        ..Lstm { inputs: INPUTS, hidden: HIDDEN, ..Lstm::default() }
    };
    let own = (HIDDEN, HIDDEN);
    overwrites::<_, T>(lstm(LstmVariant::Standard, None), lens(4, HIDDEN, [0; 3]), own, |h, c| LstmState {
        h,
        c,
    });
    overwrites::<_, T>(
        lstm(LstmVariant::Peephole, None),
        lens(4, HIDDEN, [0, 3 * HIDDEN, 0]),
        own,
        |h, c| LstmState { h, c },
    );
    overwrites::<_, T>(lstm(LstmVariant::Coupled, None), lens(3, HIDDEN, [0; 3]), own, |h, c| LstmState {
        h,
        c,
    });
    let projected = lens(4, PROJECTED, [PROJECTED * HIDDEN, 0, 0]);
    overwrites::<_, T>(
        lstm(LstmVariant::Standard, Some(PROJECTED)),
        projected,
        (PROJECTED, HIDDEN),
        |h, c| LstmState { h, c },
    );
    for reset in [GruReset::After, GruReset::Before] {
        let gru = Gru { inputs: INPUTS, hidden: HIDDEN, reset, ..Gru::default() };
        overwrites::<_, T>(gru, lens(3, HIDDEN, [0; 3]), (HIDDEN, 0), |h, _| h);
    }
    let rnn = Rnn { inputs: INPUTS, hidden: HIDDEN, ..Rnn::default() };
    overwrites::<_, T>(rnn, lens(1, HIDDEN, [0; 3]), (HIDDEN, 0), |h, _| h);
    let norm = LayerNormLstm { inputs: INPUTS, hidden: HIDDEN, ..LayerNormLstm::default() };
    overwrites::<_, T>(norm, lens(4, HIDDEN, [0, 0, 10 * HIDDEN]), own, |h, c| LstmState { h, c });
}

#[test]
fn recurrent_overwritten_gradients_are_those_accumulated_into_zeros() {
    each_level(|_| {
        every_cell::<f32>();
        every_cell::<f64>();
    });
    each_pool(|_| every_cell::<f32>());
}
