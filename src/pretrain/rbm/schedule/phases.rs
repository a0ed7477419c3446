//! The phases of a step, and what is learnt from them.

use super::{hidden_input, means, means_and_samples, samples, visible_input};
use crate::linear::{self, Factor, Product, Start};
use crate::parallel::{self, PARALLEL_BLOCK, Rows};
use crate::pretrain::rbm::kernel::{Move, Shift};
use crate::pretrain::rbm::{
    ContrastiveDivergence, Negative, Rbm, RbmTensors, RbmWeights, VisibleUnits, reference,
};
use crate::random::Philox;
use crate::simd::{self, Active};
use crate::{Element, Epilogue};

/// Words of one draw begin at a multiple of this, a group of the generator.
const GROUP: u64 = 64;

/// Where the words of the next draw begin.
struct Draws {
    stream: Philox,
    next: u64,
}

impl Draws {
    fn take(&mut self, units: usize) -> u64 {
        let first = self.next;
        self.next = first.wrapping_add((units as u64).next_multiple_of(GROUP));
        first
    }
}

/// What a step changes.
#[derive(Debug)]
pub(in crate::pretrain::rbm) enum Target<'a, T> {
    /// Parameters, with what they keep of the steps before.
    Move { parameters: RbmTensors<'a, T>, velocity: Option<RbmTensors<'a, T>> },
    /// The gradient of these parameters.
    Gradient { weights: RbmWeights<'a, T>, gradient: RbmTensors<'a, T> },
}

impl<T: Copy> Target<'_, T> {
    fn weights(&self) -> RbmWeights<'_, T> {
        match self {
            Self::Move { parameters, .. } => parameters.as_weights(),
            Self::Gradient { weights, .. } => *weights,
        }
    }
}

/// A step of checked arguments.
#[derive(Debug)]
pub struct Training<'a, T> {
    pub(in crate::pretrain::rbm) op: ContrastiveDivergence,
    pub(in crate::pretrain::rbm) batch: usize,
    /// Rows of the chain, or `batch` where there is none.
    pub(in crate::pretrain::rbm) particles: usize,
    pub(in crate::pretrain::rbm) v: &'a [T],
    pub(in crate::pretrain::rbm) stream: Philox,
    pub(in crate::pretrain::rbm) target: Target<'a, T>,
    pub(in crate::pretrain::rbm) chain: Option<&'a mut [T]>,
    pub(in crate::pretrain::rbm) activity: Option<&'a mut [T]>,
    pub(in crate::pretrain::rbm) scratch: &'a mut [T],
}

/// What the phases leave: the data and what the model made of it, one below the other.
struct Phases<'a, T> {
    batch: usize,
    visible: &'a mut [T],
    /// Means; those of the model times −batch/particles, so that all rows count alike.
    hidden: &'a mut [T],
    visible_sums: &'a mut [T],
    hidden_sums: &'a mut [T],
    scratch: &'a mut [T],
}

pub(in crate::pretrain::rbm) fn train<T: Element>(call: Training<'_, T>) {
    let Training { op, batch, particles, v, stream, mut target, chain, activity, scratch } = call;
    let Rbm { visible, hidden, .. } = op.rbm;
    let rows = batch + particles;
    let (visible_rows, scratch) = scratch.split_at_mut(rows * visible);
    let (hidden_rows, scratch) = scratch.split_at_mut(rows * hidden);
    let (samples, scratch) = scratch.split_at_mut(particles * hidden);
    let (visible_sums, scratch) = scratch.split_at_mut(visible);
    let (hidden_sums, scratch) = scratch.split_at_mut(hidden);
    let mut phases =
        Phases { batch, visible: visible_rows, hidden: hidden_rows, visible_sums, hidden_sums, scratch };
    phases.visible[..batch * visible].copy_from_slice(v);
    let share = T::from_f64(-(batch as f64) / particles as f64);
    let draws = Draws { stream, next: 0 };
    match chain {
        None => phases.contrast(op, target.weights(), share, draws, samples),
        Some(chain) => phases.persist(op, target.weights(), share, draws, chain),
    }
    if let (Some(_), Some(activity)) = (op.sparsity, activity) {
        phases.make_sparse(op, activity);
    }
    phases.sum(op.rbm, share);
    phases.apply(op, &mut target);
}

impl<T: Element> Phases<'_, T> {
    /// From the data: hidden samples, and `steps` times visible and hidden ones.
    fn contrast(
        &mut self,
        op: ContrastiveDivergence,
        weights: RbmWeights<'_, T>,
        share: T,
        mut draws: Draws,
        hidden: &mut [T],
    ) {
        let (rbm, stream) = (op.rbm, draws.stream);
        let (data, model) = self.visible.split_at_mut(self.batch * rbm.visible);
        let (of_data, of_model) = self.hidden.split_at_mut(self.batch * rbm.hidden);
        hidden_input(rbm, data, weights, None, self.scratch, of_data);
        means_and_samples(stream, draws.take(hidden.len()), T::one(), of_data, hidden);
        for step in 1..=op.steps {
            reconstruct(op, weights, &mut draws, hidden, self.scratch, model);
            if step == op.steps {
                hidden_input(rbm, model, weights, None, self.scratch, of_model);
                means(share, of_model);
            } else {
                hidden_input(rbm, model, weights, None, self.scratch, hidden);
                samples(VisibleUnits::Bernoulli, stream, draws.take(hidden.len()), hidden);
            }
        }
    }

    /// From the chain, which goes on: `steps` times visible and hidden samples.
    fn persist(
        &mut self,
        op: ContrastiveDivergence,
        weights: RbmWeights<'_, T>,
        share: T,
        mut draws: Draws,
        chain: &mut [T],
    ) {
        let (rbm, stream) = (op.rbm, draws.stream);
        let model = &mut self.visible[self.batch * rbm.visible..];
        for step in 1..=op.steps {
            reconstruct(op, weights, &mut draws, chain, self.scratch, model);
            if step < op.steps {
                hidden_input(rbm, model, weights, None, self.scratch, chain);
                samples(VisibleUnits::Bernoulli, stream, draws.take(chain.len()), chain);
            }
        }
        // The data and the chain in one product: the weights are packed once.
        hidden_input(rbm, self.visible, weights, None, self.scratch, self.hidden);
        let (of_data, of_model) = self.hidden.split_at_mut(self.batch * rbm.hidden);
        means(T::one(), of_data);
        means_and_samples(stream, draws.take(chain.len()), share, of_model, chain);
    }

    /// Moves the activity, and takes from the data's hidden means what it is above its target.
    fn make_sparse(&mut self, op: ContrastiveDivergence, activity: &mut [T]) {
        let Some(sparsity) = op.sparsity else { return };
        let h = &mut self.hidden[..self.batch * op.rbm.hidden];
        self.hidden_sums.fill(T::zero());
        <T as linear::Compiled>::column_sums(self.batch, (h, self.hidden_sums.len()), self.hidden_sums, None);
        let [target, cost, decay] = [sparsity.target, sparsity.cost, sparsity.decay].map(T::from_f64);
        let batch = T::from_f64(self.batch as f64);
        for (sum, q) in self.hidden_sums.iter_mut().zip(activity) {
            *q = reference::activity(*q, *sum / batch, decay);
            *sum = cost * (*q - target);
        }
        let (active, shift) = (Active::current(), &*self.hidden_sums);
        let rows = Rows { data: h, width: op.rbm.hidden };
        parallel::for_each(rows, parallel::row_block(op.rbm.hidden), |Rows { data: h, .. }| {
            simd::dispatch(active, Shift { shift, h });
        });
    }

    /// Column sums of what the biases rise by.
    fn sum(&mut self, rbm: Rbm, share: T) {
        let (data, model) = self.visible.split_at(self.batch * rbm.visible);
        self.visible_sums.fill(T::zero());
        <T as linear::Compiled>::column_sums(
            model.len() / rbm.visible,
            (model, self.visible_sums.len()),
            self.visible_sums,
            None,
        );
        for sum in self.visible_sums.iter_mut() {
            *sum = *sum * share;
        }
        <T as linear::Compiled>::column_sums(
            self.batch,
            (data, self.visible_sums.len()),
            self.visible_sums,
            None,
        );
        self.hidden_sums.fill(T::zero());
        <T as linear::Compiled>::column_sums(
            self.hidden.len() / rbm.hidden,
            (self.hidden, self.hidden_sums.len()),
            self.hidden_sums,
            None,
        );
    }

    /// `c = kept·c + factor·Hᵀ·V`
    fn products(&mut self, rbm: Rbm, factor: f64, kept: T, c: &mut [T]) {
        let rows = self.hidden.len() / rbm.hidden;
        <T as linear::Compiled>::multiply(Product {
            shape: rbm.statistics_shape(rows),
            alpha: T::from_f64(factor),
            a: self.hidden,
            b: Factor::Strided(self.visible),
            start: Start::Scaled(kept),
            epilogue: Epilogue::default(),
            scratch: self.scratch,
            c,
        });
    }

    fn apply(&mut self, op: ContrastiveDivergence, target: &mut Target<'_, T>) {
        let each = 1.0 / self.batch as f64;
        match target {
            Target::Gradient { gradient, .. } => {
                self.products(op.rbm, -each, T::one(), gradient.weights);
                let factor = T::from_f64(-each);
                add(factor, self.visible_sums, gradient.visible_bias);
                add(factor, self.hidden_sums, gradient.hidden_bias);
            }
            Target::Move { parameters, velocity: None } => {
                self.products(
                    op.rbm,
                    op.lr * each,
                    T::from_f64(1.0 - op.lr * op.weight_decay),
                    parameters.weights,
                );
                let factor = T::from_f64(op.lr * each);
                add(factor, self.visible_sums, parameters.visible_bias);
                add(factor, self.hidden_sums, parameters.hidden_bias);
            }
            Target::Move { parameters, velocity: Some(velocity) } => {
                self.products(op.rbm, each, T::from_f64(op.momentum), velocity.weights);
                let (active, lr) = (Active::current(), T::from_f64(op.lr));
                let decay = (op.weight_decay != 0.0).then(|| T::from_f64(op.weight_decay));
                let tensors = (&mut *velocity.weights, &mut *parameters.weights);
                parallel::for_each(tensors, PARALLEL_BLOCK, |(velocity, weights)| {
                    simd::dispatch(active, Move { lr, decay, velocity, weights });
                });
                let biases = [
                    (&*self.visible_sums, &mut *velocity.visible_bias, &mut *parameters.visible_bias),
                    (&*self.hidden_sums, &mut *velocity.hidden_bias, &mut *parameters.hidden_bias),
                ];
                let (each, momentum) = (T::from_f64(each), T::from_f64(op.momentum));
                for (sums, velocity, bias) in biases {
                    for ((&sum, u), bias) in sums.iter().zip(velocity).zip(bias) {
                        *u = reference::velocity(*u, each * sum, *bias, momentum, T::zero());
                        *bias = *bias + lr * *u;
                    }
                }
            }
        }
    }
}

/// `bias += factor · sums`
fn add<T: Element>(factor: T, sums: &[T], bias: &mut [T]) {
    for (bias, &sum) in bias.iter_mut().zip(sums) {
        *bias = *bias + factor * sum;
    }
}

/// Visible units from hidden samples.
fn reconstruct<T: Element>(
    op: ContrastiveDivergence,
    weights: RbmWeights<'_, T>,
    draws: &mut Draws,
    h: &[T],
    scratch: &mut [T],
    v: &mut [T],
) {
    let activation = match op.negative {
        Negative::Sampled => None,
        Negative::Mean => op.rbm.visible_activation(),
    };
    visible_input(op.rbm, h, weights, activation, scratch, v);
    if op.negative == Negative::Sampled {
        samples(op.rbm.units, draws.stream, draws.take(v.len()), v);
    }
}
