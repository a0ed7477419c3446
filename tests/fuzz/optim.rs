//! Optimizers: any bits, lists that fit or do not, every level against the reference.

use steadygrad::Level;
use steadygrad::optim::{Adam, Gradients, Momentum, Optimizer, Sgd, WeightDecay};
use steadygrad::reference::{adam, sgd, weight_decay};

use super::reader::{Bits, Reader, Tolerance, assert_close, assert_refused};

/// Decodes and checks one case.
pub(crate) fn run(data: &[u8]) {
    let mut reader = Reader::new(data);
    if reader.byte().is_multiple_of(2) {
        optimizer::<f32>(&mut reader);
    } else {
        optimizer::<f64>(&mut reader);
    }
}

/// A parameter and its state.
type Place = [f64; 4];

/// An optimizer's formula: number of the step, gradient, parameter and state.
type Formula = Box<dyn Fn(u64, f64, Place) -> Place>;

/// An optimizer of any kind, with its decay and formula.
fn any<T: Bits>(reader: &mut Reader<'_>, lr: f64) -> (Box<dyn Optimizer<T>>, WeightDecay, Formula) {
    let decay = reader.ordinary();
    let decay = reader.pick(&[WeightDecay::NONE, WeightDecay::Coupled(decay), WeightDecay::Decoupled(decay)]);
    match reader.up_to(1) {
        0 => sgd_of(reader, lr, decay),
        _ => adam_of(reader, lr, decay),
    }
}

fn sgd_of<T: Bits>(
    reader: &mut Reader<'_>,
    lr: f64,
    weight_decay: WeightDecay,
) -> (Box<dyn Optimizer<T>>, WeightDecay, Formula) {
    let (momentum, dampening) = (reader.ordinary(), reader.ordinary());
    let momentum = reader.pick(&[
        Momentum::None,
        Momentum::Classical { momentum, dampening },
        Momentum::Nesterov { momentum },
    ]);
    let formula = move |step, g, [p, b, ..]: Place| {
        let state = sgd::State { p, b };
        let sgd::State { p, b } = match momentum {
            Momentum::None => sgd::State { p: sgd::plain(p, g, lr), b },
            Momentum::Classical { momentum, dampening } => {
                sgd::classical(state, g, lr, momentum, dampening, step)
            }
            Momentum::Nesterov { momentum } => sgd::nesterov(state, g, lr, momentum, step),
        };
        [p, b, 0.0, 0.0]
    };
    (Box::new(Sgd { lr, momentum, weight_decay }), weight_decay, Box::new(formula))
}

/// A number in [0, 1) or outside, on a grid that `f32` holds.
fn beta(reader: &mut Reader<'_>) -> f64 {
    if reader.byte() == 0 { reader.ordinary() } else { f64::from(reader.byte() % 64) / 64.0 }
}

/// A number from 1/16 on, or one that is refused: gradients of 0 divide by it.
fn eps(reader: &mut Reader<'_>) -> f64 {
    if reader.byte() == 0 { -1.0 } else { reader.ordinary().abs() + 0.0625 }
}

fn adam_of<T: Bits>(
    reader: &mut Reader<'_>,
    lr: f64,
    weight_decay: WeightDecay,
) -> (Box<dyn Optimizer<T>>, WeightDecay, Formula) {
    let (beta1, beta2, eps) = (beta(reader), beta(reader), eps(reader));
    let amsgrad = reader.byte() < 64;
    let with = adam::Coefficients { lr, beta1, beta2, eps };
    let formula = move |step: u64, g, [p, m, v, u]: Place| {
        let state = adam::State { p, m, v, u };
        let step = step as i32;
        let adam::State { p, m, v, u } =
            if amsgrad { adam::amsgrad(state, g, with, step) } else { adam::adam(state, g, with, step) };
        [p, m, v, u]
    };
    (Box::new(Adam { lr, beta1, beta2, eps, weight_decay, amsgrad }), weight_decay, Box::new(formula))
}

fn optimizer<T: Bits>(reader: &mut Reader<'_>) {
    let lr = reader.ordinary();
    let (op, decay, formula) = any::<T>(reader, lr);
    let (step, scale) = (reader.up_to(20) as u64, reader.ordinary());
    let (len, excess) = (reader.up_to(200), reader.up_to(3));
    // What decay adds to a gradient is squared, and `f32` must not overflow where the reference does not.
    let coupled = matches!(decay, WeightDecay::Coupled(decay) if decay != 0.0);
    let params: Vec<T> = if coupled { reader.ordinaries(len) } else { reader.floats(len) };
    let grads: Vec<T> = reader.ordinaries(len);
    let lists = op.state_names().len();
    let state: Vec<Vec<T>> = (0..lists)
        .map(|_| reader.ordinaries::<T>(len).into_iter().map(|value| value.abs()).collect())
        .collect();
    for level in Level::available() {
        let (mut new_params, mut new_state) = (params.clone(), state.clone());
        if excess > 0 {
            new_params = vec![T::nan(); len + excess];
        }
        let mut slices: Vec<[&mut [T]; 1]> = new_state.iter_mut().map(|list| [&mut list[..]]).collect();
        let mut slices: Vec<&mut [&mut [T]]> = slices.iter_mut().map(|list| &mut list[..]).collect();
        let gradients = Gradients { tensors: &[&grads], scale };
        let result = Level::scoped(level, || op.step(step, &mut [&mut new_params], gradients, &mut slices));
        let result = result.expect("an available level");
        if excess > 0 {
            assert_refused(result, &new_params);
            continue;
        }
        for i in 0..len {
            let mut place = [0.0; 4];
            place[0] = params[i].to_f64();
            for (value, list) in place[1..].iter_mut().zip(&state) {
                *value = list[i].to_f64();
            }
            // Every other term is below 16⁵.
            let magnitude = 4e6 + if place[0].is_finite() { place[0].abs() } else { 0.0 };
            if result.is_ok() {
                let mut g = if scale == 0.0 { 0.0 } else { grads[i].to_f64() * scale };
                match decay {
                    WeightDecay::Coupled(0.0) => {}
                    WeightDecay::Coupled(decay) => g = weight_decay::coupled_decay(place[0], g, decay),
                    WeightDecay::Decoupled(decay) => {
                        place[0] = weight_decay::decoupled_decay(place[0], lr, decay)
                    }
                }
                place = formula(step, g, place);
            }
            let tolerance = Tolerance { relative: 8.0, absolute: 8.0 * magnitude };
            assert_close((lr, step, level), place[0], new_params[i], tolerance);
            for (expected, list) in place[1..].iter().zip(&new_state) {
                assert_close((lr, step, level), *expected, list[i], tolerance);
            }
        }
    }
}
