//! The machine and its learning against the textbook, at every level.

use steadygrad::pretrain::{ContrastiveDivergence, Negative, RbmState, Sparsity, VisibleUnits};
use steadygrad::reference::{philox, rbm as reference};
use steadygrad::{Element, Level, Philox};

use super::machine::{Machine, data};
use crate::common::{Guarded, Tolerance, assert_close, assert_equal_everywhere, each_level};

const STREAM: Philox = Philox { key: 7, counter: 3 };
const UNITS: [VisibleUnits; 2] = [VisibleUnits::Bernoulli, VisibleUnits::Gaussian];

/// Sizes around the vector widths: visible, hidden, rows.
fn sizes() -> impl Iterator<Item = [usize; 3]> {
    let around = (1..=35).map(|n| [n, 36 - n, 1 + n % 5]);
    around.chain([[64, 256, 10], [5, 1, 7], [1, 70, 3], [129, 127, 2]])
}

/// A sum of as many terms as a unit has inputs, each of at most about 4.
fn inputs_of(units: usize) -> Tolerance {
    Tolerance { ulp: 8.0, epsilons: 4.0 * (4.0 + units as f64) }
}

fn means_and_samples<T: Element>() {
    for units in UNITS {
        for [visible, hidden, batch] in sizes() {
            let machine = Machine::<T>::new(visible, hidden, units, 11, 0.3);
            let (rbm, exact) = (machine.rbm, machine.widened());
            let v: Vec<T> = data(units, 5, batch * visible);
            let h: Vec<T> = data(VisibleUnits::Bernoulli, 6, batch * hidden);
            each_level(|level| {
                let scratch = &mut machine.scratch(batch);
                let [mut means, mut drawn_means, mut samples] =
                    [0, 1, 2].map(|k| Guarded::<T>::new(batch * hidden, (visible + k) % 5));
                let drawn = (drawn_means.slice(), samples.slice());
                rbm.hidden_means(batch, &v, machine.weights(), scratch, means.slice()).unwrap();
                rbm.sample_hidden(batch, &v, machine.weights(), STREAM, scratch, drawn).unwrap();
                for i in 0..batch * hidden {
                    let row: Vec<f64> =
                        v[i / hidden * visible..][..visible].iter().map(|&v| v.to_f64()).collect();
                    let expected =
                        reference::hidden_mean(&row, &exact.weights, &exact.hidden_bias, i % hidden);
                    let context = || format!("hidden mean {i} of {visible}x{hidden} at {level}");
                    assert_close(means.checked()[i], expected, inputs_of(visible), context);
                    let mean = drawn_means.checked()[i];
                    assert_eq!(mean, means.checked()[i], "{}", context());
                    let is_on = philox::uniform(STREAM.key, STREAM.counter, i as u64) < mean.to_f64();
                    assert_eq!(samples.checked()[i].to_f64(), f64::from(u8::from(is_on)), "{}", context());
                }

                let [mut means, mut samples] =
                    [0, 1].map(|k| Guarded::<T>::new(batch * visible, (hidden + k) % 5));
                rbm.visible_means(batch, &h, machine.weights(), scratch, means.slice()).unwrap();
                rbm.sample_visible(batch, &h, machine.weights(), STREAM, scratch, samples.slice()).unwrap();
                for i in 0..batch * visible {
                    let row: Vec<f64> =
                        h[i / visible * hidden..][..hidden].iter().map(|&h| h.to_f64()).collect();
                    let of = match units {
                        VisibleUnits::Bernoulli => reference::visible_mean,
                        VisibleUnits::Gaussian => reference::visible_input,
                    };
                    let expected = of(&row, &exact.weights, &exact.visible_bias, i % visible);
                    let context = || format!("visible mean {i} of {visible}x{hidden} at {level}");
                    let (mean, sample) = (means.checked()[i], samples.checked()[i]);
                    assert_close(mean, expected, inputs_of(hidden), context);
                    match units {
                        VisibleUnits::Bernoulli => {
                            let is_on = philox::uniform(STREAM.key, STREAM.counter, i as u64) < mean.to_f64();
                            assert_eq!(sample.to_f64(), f64::from(u8::from(is_on)), "{}", context());
                        }
                        VisibleUnits::Gaussian => {
                            let noise = philox::normal(STREAM.key, STREAM.counter, i as u64);
                            let tolerance = Tolerance { ulp: 8.0, epsilons: 64.0 };
                            assert_close(sample, mean.to_f64() + noise, tolerance, context);
                        }
                    }
                }
            });
        }
    }
}

#[test]
fn rbm_means_and_samples_match_reference() {
    means_and_samples::<f32>();
    means_and_samples::<f64>();
}

fn evaluations<T: Element>() {
    for units in UNITS {
        for [visible, hidden, batch] in sizes() {
            let machine = Machine::<T>::new(visible, hidden, units, 21, 0.3);
            let (rbm, exact) = (machine.rbm, machine.widened());
            let v: Vec<T> = data(units, 8, batch * visible);
            let rows: Vec<Vec<f64>> =
                v.chunks(visible).map(|row| row.iter().map(|&v| v.to_f64()).collect()).collect();
            let (w, b, c) = (&exact.weights[..], &exact.visible_bias[..], &exact.hidden_bias[..]);
            // Terms of a few units each, rounded to the type.
            let bound = T::epsilon().to_f64() * 16.0 * (visible * hidden + visible + hidden) as f64;
            each_level(|level| {
                let mut scratch = machine.scratch(batch);
                let mut energies = vec![f64::NAN; batch];
                rbm.free_energy(batch, &v, machine.weights(), &mut scratch, &mut energies).unwrap();
                for (energy, row) in energies.iter().zip(&rows) {
                    let expected = match units {
                        VisibleUnits::Bernoulli => reference::free_energy(row, w, b, c),
                        VisibleUnits::Gaussian => reference::free_energy_gaussian(row, w, b, c),
                    };
                    assert!((energy - expected).abs() <= bound, "{energy} for {expected} at {level}");
                }
                let error = rbm.reconstruction_error(batch, &v, machine.weights(), &mut scratch).unwrap();
                let expected =
                    rows.iter().map(|row| reconstruction_error(&exact, row)).sum::<f64>() / batch as f64;
                assert!(
                    (error - expected).abs() <= bound * (1.0 + expected),
                    "{error} for {expected} at {level}"
                );
                if units == VisibleUnits::Bernoulli {
                    let value = rbm.pseudo_likelihood(batch, &v, machine.weights(), &mut scratch).unwrap();
                    let expected =
                        rows.iter().map(|row| reference::pseudo_likelihood(row, w, b, c)).sum::<f64>();
                    let expected = expected / batch as f64;
                    assert!((value - expected).abs() <= bound, "{value} for {expected} at {level}");
                }
            });
        }
    }
}

fn reconstruction_error(machine: &Machine<f64>, row: &[f64]) -> f64 {
    let h: Vec<f64> = (0..machine.rbm.hidden)
        .map(|j| reference::hidden_mean(row, &machine.weights, &machine.hidden_bias, j))
        .collect();
    let mean = match machine.rbm.units {
        VisibleUnits::Bernoulli => reference::visible_mean,
        VisibleUnits::Gaussian => reference::visible_input,
    };
    let squares = row.iter().enumerate();
    squares.map(|(i, v)| (v - mean(&h, &machine.weights, &machine.visible_bias, i)).powi(2)).sum()
}

#[test]
fn rbm_evaluations_match_reference() {
    evaluations::<f32>();
    evaluations::<f64>();
}

/// What a step keeps, as its caller owns it.
#[derive(Clone, Debug)]
struct Kept<T> {
    machine: Machine<T>,
    velocity: Option<Machine<T>>,
    chain: Option<Vec<T>>,
    activity: Option<Vec<T>>,
}

impl<T: Element> Kept<T> {
    fn step(&mut self, op: ContrastiveDivergence, batch: usize, v: &[T], stream: Philox) {
        let particles = self.chain.as_ref().map_or(batch, |chain| chain.len() / op.rbm.hidden);
        let mut scratch = vec![T::nan(); op.scratch_len::<T>(batch, particles)];
        let state = RbmState {
            velocity: self.velocity.as_mut().map(Machine::tensors),
            chain: self.chain.as_deref_mut(),
            activity: self.activity.as_deref_mut(),
        };
        op.step(batch, v, stream, self.machine.tensors(), state, &mut scratch).unwrap();
    }
}

/// The draws of a step, in its order.
struct Draws {
    stream: Philox,
    next: usize,
}

impl Draws {
    fn take<'a>(&mut self, count: usize) -> impl Fn(usize) -> u64 + 'a {
        let first = self.next;
        self.next = (first + count).next_multiple_of(64);
        move |i| (first + i) as u64
    }

    fn hidden(&mut self, means: &[f64]) -> Vec<f64> {
        let (index, Philox { key, counter }) = (self.take(means.len()), self.stream);
        let is_on = |(i, &mean): (usize, &f64)| philox::uniform(key, counter, index(i)) < mean;
        means.iter().enumerate().map(|unit| f64::from(u8::from(is_on(unit)))).collect()
    }
}

/// A step by the textbook.
fn textbook(op: ContrastiveDivergence, kept: &mut Kept<f64>, batch: usize, v: &[f64], stream: Philox) {
    let (rbm, machine) = (op.rbm, kept.machine.clone());
    let (w, b, c) = (&machine.weights[..], &machine.visible_bias[..], &machine.hidden_bias[..]);
    let hidden_means = |v: &[f64]| -> Vec<f64> {
        let rows = v.chunks(rbm.visible);
        rows.flat_map(|row| (0..rbm.hidden).map(|j| reference::hidden_mean(row, w, c, j))).collect()
    };
    let mut draws = Draws { stream, next: 0 };
    let visible = |draws: &mut Draws, h: &[f64]| -> Vec<f64> {
        let rows = h.chunks(rbm.hidden);
        let inputs: Vec<f64> =
            rows.flat_map(|row| (0..rbm.visible).map(|i| reference::visible_input(row, w, b, i))).collect();
        let sigmoid = |z: f64| 1.0 / (1.0 + (-z).exp());
        match (op.negative, rbm.units) {
            (Negative::Mean, VisibleUnits::Gaussian) => inputs,
            (Negative::Mean, VisibleUnits::Bernoulli) => inputs.into_iter().map(sigmoid).collect(),
            (Negative::Sampled, VisibleUnits::Bernoulli) => {
                let means: Vec<f64> = inputs.into_iter().map(sigmoid).collect();
                draws.hidden(&means)
            }
            (Negative::Sampled, VisibleUnits::Gaussian) => {
                let index = draws.take(inputs.len());
                let noise = |i| philox::normal(stream.key, stream.counter, index(i));
                inputs.iter().enumerate().map(|(i, z)| z + noise(i)).collect()
            }
        }
    };
    let of_data = hidden_means(v);
    let persistent = kept.chain.is_some();
    let mut h = kept.chain.clone().unwrap_or_else(|| draws.hidden(&of_data));
    let (mut model, mut of_model) = (Vec::new(), Vec::new());
    for step in 1..=op.steps {
        model = visible(&mut draws, &h);
        of_model = hidden_means(&model);
        if step < op.steps || persistent {
            h = draws.hidden(&of_model);
        }
    }
    if persistent {
        kept.chain = Some(h.clone());
    }
    let mut of_data = of_data;
    if let (Some(sparsity), Some(activity)) = (op.sparsity, &mut kept.activity) {
        for j in 0..rbm.hidden {
            let mean = of_data.iter().skip(j).step_by(rbm.hidden).sum::<f64>() / batch as f64;
            activity[j] = reference::activity(activity[j], mean, sparsity.decay);
            for h in of_data.iter_mut().skip(j).step_by(rbm.hidden) {
                *h = reference::sparse(*h, activity[j], sparsity.target, sparsity.cost);
            }
        }
    }
    let mut ascent = machine.zeros();
    let particles = model.len() / rbm.visible;
    for (v, h, share) in [(v, &of_data[..], 1.0 / batch as f64), (&model, &of_model, -1.0 / particles as f64)]
    {
        for (v, h) in v.chunks(rbm.visible).zip(h.chunks(rbm.hidden)) {
            reference::add_statistics(v, h, share, &mut ascent.weights);
            ascent.visible_bias.iter_mut().zip(v).for_each(|(sum, v)| *sum += share * v);
            ascent.hidden_bias.iter_mut().zip(h).for_each(|(sum, h)| *sum += share * h);
        }
    }
    let velocity = kept.velocity.get_or_insert_with(|| machine.zeros());
    let parts = [
        (&mut velocity.weights, &ascent.weights, &mut kept.machine.weights, op.weight_decay),
        (&mut velocity.visible_bias, &ascent.visible_bias, &mut kept.machine.visible_bias, 0.0),
        (&mut velocity.hidden_bias, &ascent.hidden_bias, &mut kept.machine.hidden_bias, 0.0),
    ];
    for (velocity, ascent, parameters, decay) in parts {
        for ((u, &g), p) in velocity.iter_mut().zip(ascent).zip(parameters) {
            *u = reference::velocity(*u, g, *p, op.momentum, decay);
            *p += op.lr * *u;
        }
    }
}

/// Ways to learn, each with the rows of its chain and whether there is a velocity.
fn ways(rbm: steadygrad::Rbm) -> Vec<(ContrastiveDivergence, Option<usize>, bool)> {
    let plain = ContrastiveDivergence { lr: 0.2, ..ContrastiveDivergence::new(rbm) };
    let sparsity = Some(Sparsity { target: 0.1, cost: 0.3, decay: 0.9 });
    let full = ContrastiveDivergence {
        momentum: 0.5,
        weight_decay: 0.01,
        sparsity,
        negative: Negative::Mean,
        ..plain
    };
    vec![
        (plain, None, false),
        (ContrastiveDivergence { steps: 3, weight_decay: 0.1, ..plain }, None, false),
        (plain, Some(1), true),
        (ContrastiveDivergence { steps: 2, momentum: 0.9, ..plain }, Some(7), true),
        (full, None, true),
        (ContrastiveDivergence { steps: 2, negative: Negative::Sampled, ..full }, Some(4), true),
    ]
}

fn steps<T: Element>() {
    for units in UNITS {
        for [visible, hidden, batch] in sizes().step_by(3) {
            let machine = Machine::<T>::new(visible, hidden, units, 31, 0.2);
            for (op, chain, has_velocity) in ways(machine.rbm) {
                let start = Kept {
                    velocity: has_velocity.then(|| machine.zeros()),
                    chain: chain.map(|rows| vec![T::zero(); rows * hidden]),
                    activity: op.sparsity.map(|sparsity| vec![T::from_f64(sparsity.target); hidden]),
                    machine: machine.clone(),
                };
                let widen = |x: &Vec<T>| x.iter().map(|&x| x.to_f64()).collect::<Vec<_>>();
                let mut exact = Kept {
                    machine: start.machine.widened(),
                    velocity: start.velocity.as_ref().map(Machine::widened),
                    chain: start.chain.as_ref().map(widen),
                    activity: start.activity.as_ref().map(widen),
                };
                let batches: Vec<Vec<T>> = (0..3).map(|k| data(units, 40 + k, batch * visible)).collect();
                for (number, v) in batches.iter().enumerate() {
                    let stream = Philox { key: 5, counter: number as u64 };
                    textbook(op, &mut exact, batch, &widen(v), stream);
                }
                each_level(|level| {
                    let mut kept = start.clone();
                    for (number, v) in batches.iter().enumerate() {
                        kept.step(op, batch, v, Philox { key: 5, counter: number as u64 });
                    }
                    let context = || format!("{op:?}, chain {chain:?} at {level}");
                    let tolerance = Tolerance { ulp: 8.0, epsilons: 8.0 * (8 + visible + hidden) as f64 };
                    for (actual, expected) in kept.machine.all().into_iter().zip(exact.machine.all()) {
                        assert_close(actual, expected, tolerance, context);
                    }
                    assert_eq!(kept.chain.as_ref().map(widen), exact.chain, "{}", context());
                    let activities = kept.activity.iter().flatten().zip(exact.activity.iter().flatten());
                    for (&actual, &expected) in activities {
                        assert_close(actual, expected, tolerance, context);
                    }
                });
            }
        }
    }
}

#[test]
fn rbm_step_matches_reference() {
    steps::<f32>();
    steps::<f64>();
}

/// The gradient is what a plain step goes against.
#[test]
fn rbm_gradient_is_a_step_without_learning_rate() {
    let mut machine = Machine::<f64>::new(9, 13, VisibleUnits::Bernoulli, 3, 0.3);
    let op = ContrastiveDivergence { lr: 1.0, steps: 2, ..ContrastiveDivergence::new(machine.rbm) };
    let v: Vec<f64> = data(VisibleUnits::Bernoulli, 1, 9 * 6);
    let (before, mut gradient) = (machine.clone(), machine.zeros());
    gradient.visible_bias.fill(2.0);
    let mut scratch = vec![f64::NAN; op.scratch_len::<f64>(6, 6)];
    let pair = (before.weights(), gradient.tensors());
    op.gradient(6, &v, STREAM, pair, RbmState::default(), &mut scratch).unwrap();
    op.step(6, &v, STREAM, machine.tensors(), RbmState::default(), &mut scratch).unwrap();
    gradient.visible_bias.iter_mut().for_each(|sum| *sum -= 2.0);
    for ((after, before), gradient) in machine.all().iter().zip(before.all()).zip(gradient.all()) {
        assert!((after - (before - gradient)).abs() < 1e-14);
    }
}

/// Rows enough for several tasks of every pass.
#[test]
fn rbm_step_ignores_threads_and_level() {
    assert_equal_everywhere(|| {
        let machine = Machine::<f32>::new(100, 130, VisibleUnits::Bernoulli, 3, 0.1);
        let [batch, particles] = [300, 250];
        let op = ContrastiveDivergence {
            momentum: 0.5,
            weight_decay: 1e-3,
            sparsity: Some(Sparsity { target: 0.1, cost: 0.1, decay: 0.9 }),
            steps: 2,
            ..ContrastiveDivergence::new(machine.rbm)
        };
        let mut kept = Kept {
            velocity: Some(machine.zeros()),
            chain: Some(vec![0.0; particles * 130]),
            activity: Some(vec![0.1; 130]),
            machine,
        };
        let v: Vec<f32> = data(VisibleUnits::Bernoulli, 1, batch * 100);
        for step in 0..3 {
            kept.step(op, batch, &v, Philox { key: 1, counter: step });
        }
        let scratch = &mut kept.machine.scratch(batch);
        let likelihood = op.rbm.pseudo_likelihood(batch, &v, kept.machine.weights(), scratch).unwrap();
        // All the bits of an `f64` in two numbers of `f32`.
        let halves = [likelihood as f32, (likelihood - f64::from(likelihood as f32)) as f32];
        vec![kept.machine.all(), kept.chain.expect("a chain"), halves.to_vec()]
    });
}

/// What a NaN reaches is NaN: neither a mean nor a sample makes it a number.
#[test]
fn rbm_samples_keep_nan_special_values() {
    let machine = Machine::<f32>::new(3, 20, VisibleUnits::Bernoulli, 3, 0.1);
    for level in Level::available() {
        Level::scoped(level, || {
            let (mut means, mut samples) = ([0.0; 40], [0.0; 40]);
            let v = [0.0, 1.0, f32::NAN, 0.0, 1.0, 0.5];
            let drawn = (&mut means[..], &mut samples[..]);
            let weights = machine.weights();
            machine.rbm.sample_hidden(2, &v, weights, STREAM, &mut machine.scratch(2), drawn).unwrap();
            assert!(means[..20].iter().chain(&samples[..20]).all(|x| x.is_nan()));
            assert!(means[20..].iter().chain(&samples[20..]).all(|x| !x.is_nan()));
        })
        .unwrap();
    }
}
