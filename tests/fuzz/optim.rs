//! Optimizers: any bits, lists that fit or do not, every level against the reference.

use steadygrad::Level;
use steadygrad::optim::{
    Adadelta, Adagrad, Adam, Gradients, Lamb, Lars, Lion, Momentum, NAdam, Optimizer, RAdam, RmsProp, Sgd,
    Spread, WeightDecay,
};
use steadygrad::reference::{adadelta, adagrad, adam, lamb, lars, lion, nadam, optim, radam, rms_prop, sgd};

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

/// An optimizer's formula for a tensor: number of the step, gradients, parameters and state.
type Formula = Box<dyn Fn(u64, &[f64], &mut [Place])>;

/// An optimizer and its formula.
struct Made<T> {
    op: Box<dyn Optimizer<T>>,
    /// What comes before the formula.
    decay: WeightDecay,
    formula: Formula,
    /// Whether parameters may be of any bits: numbers whose squares overflow have no norm in the formula.
    any_params: bool,
}

impl<T: Bits> Made<T> {
    /// An optimizer whose elements do not depend on each other.
    fn of_each(
        op: impl Optimizer<T> + 'static,
        decay: WeightDecay,
        formula: impl Fn(u64, f64, Place) -> Place + 'static,
    ) -> Self {
        let formula: Formula = Box::new(move |step, grads, places| {
            for (place, &g) in places.iter_mut().zip(grads) {
                *place = formula(step, g, *place);
            }
        });
        // What decay adds to a gradient is squared, and `f32` must not overflow where the reference does not.
        let any_params = !matches!(decay, WeightDecay::Coupled(decay) if decay != 0.0);
        Self { op: Box::new(op), decay, formula, any_params }
    }

    /// An optimizer that looks at a whole tensor, and has decay in its formula.
    fn of_tensor(
        op: impl Optimizer<T> + 'static,
        formula: impl Fn(u64, &[f64], &mut [Place]) + 'static,
    ) -> Self {
        Self { op: Box::new(op), decay: WeightDecay::NONE, formula: Box::new(formula), any_params: false }
    }
}

/// An optimizer of any kind.
fn any<T: Bits>(reader: &mut Reader<'_>, lr: f64) -> Made<T> {
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
        lars_of::<T>,
        lamb_of::<T>,
    ]);
    maker(reader, lr, decay)
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
    Made::of_each(Sgd { lr, momentum, weight_decay }, weight_decay, formula)
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
    Made::of_each(Adam { lr, beta1, beta2, eps, weight_decay, amsgrad }, weight_decay, formula)
}

fn lion_of<T: Bits>(reader: &mut Reader<'_>, lr: f64, weight_decay: WeightDecay) -> Made<T> {
    let (beta1, beta2) = (beta(reader), beta(reader));
    let formula = move |_, g, [p, m, ..]: Place| {
        let lion::State { p, m } = lion::lion(lion::State { p, m }, g, lr, beta1, beta2);
        [p, m, 0.0, 0.0]
    };
    Made::of_each(Lion { lr, beta1, beta2, weight_decay }, weight_decay, formula)
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
    Made::of_each(RmsProp { lr, alpha, eps, spread, momentum, weight_decay }, weight_decay, formula)
}

fn adagrad_of<T: Bits>(reader: &mut Reader<'_>, lr: f64, weight_decay: WeightDecay) -> Made<T> {
    let eps = eps(reader);
    let formula = move |_, g, [p, s, ..]: Place| {
        let adagrad::State { p, s } = adagrad::adagrad(adagrad::State { p, s }, g, lr, eps);
        [p, s, 0.0, 0.0]
    };
    Made::of_each(Adagrad { lr, lr_decay: 0.0, eps, weight_decay }, weight_decay, formula)
}

fn adadelta_of<T: Bits>(reader: &mut Reader<'_>, lr: f64, weight_decay: WeightDecay) -> Made<T> {
    let (rho, eps) = (beta(reader), eps(reader));
    let formula = move |_, g, [p, v, u, _]: Place| {
        let adadelta::State { p, v, u } = adadelta::adadelta(adadelta::State { p, v, u }, g, lr, rho, eps);
        [p, v, u, 0.0]
    };
    Made::of_each(Adadelta { lr, rho, eps, weight_decay }, weight_decay, formula)
}

fn nadam_of<T: Bits>(reader: &mut Reader<'_>, lr: f64, weight_decay: WeightDecay) -> Made<T> {
    let (beta1, beta2, eps, momentum_decay) = (beta(reader), beta(reader), eps(reader), coefficient(reader));
    let with = adam::Coefficients { lr, beta1, beta2, eps };
    let formula = move |step: u64, g, [p, m, v, u]: Place| {
        let adam::State { p, m, v, u } =
            nadam::nadam(adam::State { p, m, v, u }, g, with, momentum_decay, step as i32);
        [p, m, v, u]
    };
    Made::of_each(NAdam { lr, beta1, beta2, eps, momentum_decay, weight_decay }, weight_decay, formula)
}

fn radam_of<T: Bits>(reader: &mut Reader<'_>, lr: f64, weight_decay: WeightDecay) -> Made<T> {
    let (beta1, beta2, eps) = (beta(reader), beta(reader), eps(reader));
    let with = adam::Coefficients { lr, beta1, beta2, eps };
    let formula = move |step: u64, g, [p, m, v, u]: Place| {
        let adam::State { p, m, v, u } = radam::radam(adam::State { p, m, v, u }, g, with, step as i32);
        [p, m, v, u]
    };
    Made::of_each(RAdam { lr, beta1, beta2, eps, weight_decay }, weight_decay, formula)
}

/// λ of a decay of either kind.
fn lambda(decay: WeightDecay) -> f64 {
    let (WeightDecay::Coupled(decay) | WeightDecay::Decoupled(decay)) = decay;
    decay
}

fn lars_of<T: Bits>(reader: &mut Reader<'_>, lr: f64, weight_decay: WeightDecay) -> Made<T> {
    let (momentum, trust, weight_decay) = (beta(reader), coefficient(reader), lambda(weight_decay));
    let with = lars::Coefficients { lr, momentum, trust, decay: weight_decay };
    let formula = move |_: u64, g: &[f64], places: &mut [Place]| {
        let mut tensor: Vec<_> = places.iter().map(|&[w, v, ..]| lars::State { w, v }).collect();
        lars::lars(&mut tensor, g, with);
        for (place, lars::State { w, v }) in places.iter_mut().zip(tensor) {
            *place = [w, v, 0.0, 0.0];
        }
    };
    Made::of_tensor(Lars { lr, momentum, trust, weight_decay }, formula)
}

fn lamb_of<T: Bits>(reader: &mut Reader<'_>, lr: f64, weight_decay: WeightDecay) -> Made<T> {
    let (beta1, beta2, eps, weight_decay) = (beta(reader), beta(reader), eps(reader), lambda(weight_decay));
    let (lower, upper) = (coefficient(reader), coefficient(reader));
    let with = lamb::Coefficients { lr, beta1, beta2, eps };
    let formula = move |step: u64, g: &[f64], places: &mut [Place]| {
        let mut tensor: Vec<_> = places.iter().map(|&[p, m, v, u]| lamb::State { p, m, v, u }).collect();
        lamb::lamb(&mut tensor, g, with, weight_decay, [lower, upper], step as i32);
        for (place, lamb::State { p, m, v, .. }) in places.iter_mut().zip(tensor) {
            *place = [p, m, v, 0.0];
        }
    };
    Made::of_tensor(Lamb { lr, beta1, beta2, eps, weight_decay, lower, upper }, formula)
}

/// What a step is given.
#[derive(Clone, Debug)]
struct Given {
    step: u64,
    lr: f64,
    scale: f64,
    decay: WeightDecay,
    grads: Vec<f64>,
    places: Vec<Place>,
}

impl Given {
    /// Parameters and state after the step.
    fn after(mut self, formula: &Formula) -> Vec<Place> {
        for (place, g) in self.places.iter_mut().zip(&mut self.grads) {
            *g = if self.scale == 0.0 { 0.0 } else { *g * self.scale };
            match self.decay {
                WeightDecay::Coupled(0.0) => {}
                WeightDecay::Coupled(decay) => *g = optim::coupled_decay(place[0], *g, decay),
                WeightDecay::Decoupled(decay) => place[0] = optim::decoupled_decay(place[0], self.lr, decay),
            }
        }
        formula(self.step, &self.grads, &mut self.places);
        self.places
    }

    /// The same with all gradients, or all of one list, times `factor`.
    fn with_input(&self, input: usize, factor: f64) -> Self {
        let mut given = self.clone();
        match input.checked_sub(1) {
            None => given.grads.iter_mut().for_each(|g| *g *= factor),
            Some(list) => given.places.iter_mut().for_each(|place| place[list] *= factor),
        }
        given
    }

    /// What the step gives, and how far from that a result may be: by what eight epsilons more or less in any input
    /// change, and by eight epsilons of what was there before and after and of the step between.
    ///
    /// Each formula rounds about eight times, and a rounding inside it is one in what goes into it.
    fn bounded(&self, formula: &Formula, epsilon: f64) -> (Vec<Place>, Vec<Place>) {
        let after = self.clone().after(formula);
        let mut allowed = after.clone();
        for (allowed, (before, after)) in allowed.iter_mut().zip(self.places.iter().zip(&after)) {
            for k in 0..4 {
                allowed[k] =
                    8.0 * epsilon * (before[k].abs() + after[k].abs() + (after[k] - before[k]).abs());
            }
        }
        for input in 0..5 {
            let moved = [1.0 - 8.0 * epsilon, 1.0 + 8.0 * epsilon]
                .map(|factor| self.with_input(input, factor).after(formula));
            for (i, allowed) in allowed.iter_mut().enumerate() {
                for k in 0..4 {
                    let change = |moved: &[Place]| (moved[i][k] - after[i][k]).abs();
                    allowed[k] += change(&moved[0]).max(change(&moved[1]));
                }
            }
        }
        (after, allowed)
    }
}

fn optimizer<T: Bits>(reader: &mut Reader<'_>) {
    let lr = coefficient(reader);
    let Made { op, decay, formula, any_params } = any::<T>(reader, lr);
    let (step, scale) = (reader.up_to(20) as u64, coefficient(reader));
    let (len, excess) = (reader.up_to(200), reader.up_to(3));
    let params: Vec<T> = if any_params { reader.floats(len) } else { reader.ordinaries(len) };
    let grads: Vec<T> = reader.ordinaries(len);
    let lists = op.state_names().len();
    let state: Vec<Vec<T>> = (0..lists)
        .map(|_| reader.ordinaries::<T>(len).into_iter().map(|value| value.abs()).collect())
        .collect();
    let place = |i: usize| {
        let value = |list: &Vec<T>| list[i].to_f64();
        let mut place = [value(&params), 0.0, 0.0, 0.0];
        place[1..].iter_mut().zip(&state).for_each(|(to, list)| *to = value(list));
        place
    };
    let places = (0..len).map(place).collect();
    let given = Given { step, lr, scale, decay, grads: grads.iter().map(|&g| g.to_f64()).collect(), places };
    let bounded = given.bounded(&formula, T::epsilon().to_f64());
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
        let (expected, allowed) =
            if result.is_ok() { &bounded } else { &(given.places.clone(), vec![[0.0; 4]; len]) };
        for i in 0..len {
            let lists = core::iter::once(&new_params).chain(&new_state);
            for (k, list) in lists.enumerate() {
                let absolute = allowed[i][k] / T::epsilon().to_f64();
                let tolerance = Tolerance { relative: 0.0, absolute };
                assert_close((&given.step, level, k, i), expected[i][k], list[i], tolerance);
            }
        }
    }
}
