//! Optimizers: any bits, lists that fit or do not, every level against the reference.

use steadygrad::Level;
use steadygrad::optim::{
    Adadelta, Adagrad, Adam, Gradients, Lion, Momentum, NAdam, Optimizer, RAdam, RmsProp, Sgd, Spread,
    WeightDecay,
};
use steadygrad::reference::{adadelta, adagrad, adam, lion, nadam, optim, radam, rms_prop, sgd};

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

/// An optimizer and its formula.
type Made<T> = (Box<dyn Optimizer<T>>, Formula);

/// An optimizer of any kind, with its decay and formula.
fn any<T: Bits>(reader: &mut Reader<'_>, lr: f64) -> (Box<dyn Optimizer<T>>, WeightDecay, Formula) {
    let decay = coefficient(reader);
    let decay = reader.pick(&[WeightDecay::NONE, WeightDecay::Coupled(decay), WeightDecay::Decoupled(decay)]);
    let maker = reader.pick(&[
        sgd_of::<T>,
        adam_of::<T>,
        lion_of::<T>,
        rms_prop_of::<T>,
        adagrad_of::<T>,
        adadelta_of::<T>,
        nadam_of::<T>,
        radam_of::<T>,
    ]);
    let (op, formula) = maker(reader, lr, decay);
    (op, decay, formula)
}

fn sgd_of<T: Bits>(reader: &mut Reader<'_>, lr: f64, weight_decay: WeightDecay) -> Made<T> {
    let (momentum, dampening) = (coefficient(reader), reader.ordinary());
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
    (Box::new(Sgd { lr, momentum, weight_decay }), Box::new(formula))
}

/// A number in [0, 1) or outside, on a grid that `f32` holds.
fn beta(reader: &mut Reader<'_>) -> f64 {
    if reader.byte() == 0 { reader.ordinary() } else { f64::from(reader.byte() % 64) / 64.0 }
}

/// A number that is at least 0, but for one in 256.
fn coefficient(reader: &mut Reader<'_>) -> f64 {
    if reader.byte() == 0 { reader.ordinary() } else { reader.ordinary().abs() }
}

/// A number from 1/16 on, or one that is refused: gradients of 0 divide by it.
fn eps(reader: &mut Reader<'_>) -> f64 {
    if reader.byte() == 0 { -1.0 } else { reader.ordinary().abs() + 0.0625 }
}

fn adam_of<T: Bits>(reader: &mut Reader<'_>, lr: f64, weight_decay: WeightDecay) -> Made<T> {
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
    (Box::new(Adam { lr, beta1, beta2, eps, weight_decay, amsgrad }), Box::new(formula))
}

fn lion_of<T: Bits>(reader: &mut Reader<'_>, lr: f64, weight_decay: WeightDecay) -> Made<T> {
    let (beta1, beta2) = (beta(reader), beta(reader));
    let formula = move |_, g, [p, m, ..]: Place| {
        let lion::State { p, m } = lion::lion(lion::State { p, m }, g, lr, beta1, beta2);
        [p, m, 0.0, 0.0]
    };
    (Box::new(Lion { lr, beta1, beta2, weight_decay }), Box::new(formula))
}

/// By the mean square alone: the variance cancels, and its root then has no bound to be held to.
fn rms_prop_of<T: Bits>(reader: &mut Reader<'_>, lr: f64, weight_decay: WeightDecay) -> Made<T> {
    let (alpha, eps, momentum) = (beta(reader), eps(reader), coefficient(reader));
    let with = rms_prop::Coefficients { lr, alpha, eps, momentum };
    let formula = move |_, g, [p, v, b, _]: Place| {
        let after = rms_prop::square(rms_prop::State { p, v, a: 0.0, b }, g, with);
        [after.p, after.v, after.b, 0.0]
    };
    let spread = Spread::Square;
    (Box::new(RmsProp { lr, alpha, eps, spread, momentum, weight_decay }), Box::new(formula))
}

fn adagrad_of<T: Bits>(reader: &mut Reader<'_>, lr: f64, weight_decay: WeightDecay) -> Made<T> {
    let eps = eps(reader);
    let formula = move |_, g, [p, s, ..]: Place| {
        let adagrad::State { p, s } = adagrad::adagrad(adagrad::State { p, s }, g, lr, eps);
        [p, s, 0.0, 0.0]
    };
    (Box::new(Adagrad { lr, lr_decay: 0.0, eps, weight_decay }), Box::new(formula))
}

fn adadelta_of<T: Bits>(reader: &mut Reader<'_>, lr: f64, weight_decay: WeightDecay) -> Made<T> {
    let (rho, eps) = (beta(reader), eps(reader));
    let formula = move |_, g, [p, v, u, _]: Place| {
        let adadelta::State { p, v, u } = adadelta::adadelta(adadelta::State { p, v, u }, g, lr, rho, eps);
        [p, v, u, 0.0]
    };
    (Box::new(Adadelta { lr, rho, eps, weight_decay }), Box::new(formula))
}

fn nadam_of<T: Bits>(reader: &mut Reader<'_>, lr: f64, weight_decay: WeightDecay) -> Made<T> {
    let (beta1, beta2, eps, momentum_decay) = (beta(reader), beta(reader), eps(reader), coefficient(reader));
    let with = adam::Coefficients { lr, beta1, beta2, eps };
    let formula = move |step: u64, g, [p, m, v, u]: Place| {
        let adam::State { p, m, v, u } =
            nadam::nadam(adam::State { p, m, v, u }, g, with, momentum_decay, step as i32);
        [p, m, v, u]
    };
    (Box::new(NAdam { lr, beta1, beta2, eps, momentum_decay, weight_decay }), Box::new(formula))
}

fn radam_of<T: Bits>(reader: &mut Reader<'_>, lr: f64, weight_decay: WeightDecay) -> Made<T> {
    let (beta1, beta2, eps) = (beta(reader), beta(reader), eps(reader));
    let with = adam::Coefficients { lr, beta1, beta2, eps };
    let formula = move |step: u64, g, [p, m, v, u]: Place| {
        let adam::State { p, m, v, u } = radam::radam(adam::State { p, m, v, u }, g, with, step as i32);
        [p, m, v, u]
    };
    (Box::new(RAdam { lr, beta1, beta2, eps, weight_decay }), Box::new(formula))
}

fn optimizer<T: Bits>(reader: &mut Reader<'_>) {
    let lr = coefficient(reader);
    let (op, decay, formula) = any::<T>(reader, lr);
    let (step, scale) = (reader.up_to(20) as u64, coefficient(reader));
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
                    WeightDecay::Coupled(decay) => g = optim::coupled_decay(place[0], g, decay),
                    WeightDecay::Decoupled(decay) => place[0] = optim::decoupled_decay(place[0], lr, decay),
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
