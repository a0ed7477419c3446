//! The phases of a step, and evaluations: products by the dense layer's kernels, and passes over their results.

use super::kernel::{FreeEnergy, Means, MeansAndSamples, Move, PseudoLikelihood, Samples, Shift};
use super::train::{ContrastiveDivergence, Negative};
use super::{Rbm, RbmTensors, RbmWeights, VisibleUnits, reference};
use crate::linear::{self, Factor, GemmShape, MatrixLayout, Product, Start};
use crate::parallel::{self, Offset, PARALLEL_BLOCK, Rows};
use crate::random::Philox;
use crate::simd::{self, Active};
use crate::{Activation, Element, Epilogue};

/// Units worth a task of their own: a sigmoid and a random word each.
const BLOCK: usize = PARALLEL_BLOCK / 4;

/// Words of one draw begin at a multiple of this, a group of the generator.
const GROUP: u64 = 64;

/// z = x·Wᵀ + c, and f(z) where there is one.
pub(super) fn hidden_input<T: Element>(
    rbm: Rbm,
    x: &[T],
    weights: RbmWeights<'_, T>,
    activation: Option<Activation>,
    scratch: &mut [T],
    z: &mut [T],
) {
    <T as linear::Compiled>::multiply(Product {
        shape: rbm.hidden_shape(z.len() / rbm.hidden),
        alpha: T::one(),
        a: x,
        b: Factor::Strided(weights.weights),
        start: Start::Bias(weights.hidden_bias),
        epilogue: Epilogue { activation, residual: None },
        scratch,
        c: z,
    });
}

/// z = h·W + b, and f(z) where there is one.
pub(super) fn visible_input<T: Element>(
    rbm: Rbm,
    h: &[T],
    weights: RbmWeights<'_, T>,
    activation: Option<Activation>,
    scratch: &mut [T],
    z: &mut [T],
) {
    <T as linear::Compiled>::multiply(Product {
        shape: rbm.visible_shape(z.len() / rbm.visible),
        alpha: T::one(),
        a: h,
        b: Factor::Strided(weights.weights),
        start: Start::Bias(weights.visible_bias),
        epilogue: Epilogue { activation, residual: None },
        scratch,
        c: z,
    });
}

/// `z = share · σ(z)`.
fn means<T: Element>(share: T, z: &mut [T]) {
    let active = Active::current();
    parallel::for_each(z, BLOCK, |z| simd::dispatch(active, Means { share, z }));
}

/// `z = share · σ(z)` with samples of σ(z), by the words of `stream` from `first` on.
pub(super) fn means_and_samples<T: Element>(
    stream: Philox,
    first: u64,
    share: T,
    z: &mut [T],
    samples: &mut [T],
) {
    let active = Active::current();
    let data = Offset { first: 0, data: (z, samples) };
    parallel::for_each(data, BLOCK, |Offset { first: at, data: (z, samples) }| {
        let first = first.wrapping_add(at as u64);
        simd::dispatch(active, MeansAndSamples { stream, first, share, z, samples });
    });
}

/// `z` = samples of the units that are given `z`, by the words of `stream` from `first` on.
pub(super) fn samples<T: Element>(units: VisibleUnits, stream: Philox, first: u64, z: &mut [T]) {
    let active = Active::current();
    parallel::for_each(Offset { first: 0, data: z }, BLOCK, |Offset { first: at, data: z }| {
        let first = first.wrapping_add(at as u64);
        simd::dispatch(active, Samples { units, stream, first, z });
    });
}

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
pub(super) enum Target<'a, T> {
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
    pub(super) op: ContrastiveDivergence,
    pub(super) batch: usize,
    /// Rows of the chain, or `batch` where there is none.
    pub(super) particles: usize,
    pub(super) v: &'a [T],
    pub(super) stream: Philox,
    pub(super) target: Target<'a, T>,
    pub(super) chain: Option<&'a mut [T]>,
    pub(super) activity: Option<&'a mut [T]>,
    pub(super) scratch: &'a mut [T],
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

pub(super) fn train<T: Element>(call: Training<'_, T>) {
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

/// An evaluation of checked arguments.
#[derive(Debug)]
pub struct Evaluation<'a, T> {
    pub(super) rbm: Rbm,
    pub(super) v: &'a [T],
    pub(super) weights: RbmWeights<'a, T>,
    pub(super) scratch: &'a mut [T],
}

pub(super) fn free_energy<T: Element>(call: Evaluation<'_, T>, energies: &mut [f64]) {
    let Evaluation { rbm, v, weights, scratch } = call;
    let (z, scratch) = scratch.split_at_mut(energies.len() * rbm.hidden);
    hidden_input(rbm, v, weights, None, scratch, z);
    let active = Active::current();
    let data = (Rows { data: v, width: rbm.visible }, Rows { data: &*z, width: rbm.hidden }, energies);
    parallel::for_each(data, parallel::row_block(rbm.hidden), |(v, z, energies)| {
        let (v, z, visible_bias) = (v.data, z.data, weights.visible_bias);
        simd::dispatch(active, FreeEnergy { units: rbm.units, visible_bias, v, z, energies });
    });
}

/// The sum over the rows.
pub(super) fn pseudo_likelihood<T: Element>(call: Evaluation<'_, T>) -> f64 {
    let Evaluation { rbm, v, weights, scratch } = call;
    let Rbm { visible, hidden, .. } = rbm;
    let elements = v.len() / visible * hidden;
    let (transposed, scratch) = scratch.split_at_mut(visible * hidden);
    let (z, scratch) = scratch.split_at_mut(elements);
    let (softplus, scratch) = scratch.split_at_mut(elements);
    for (j, w) in weights.weights.chunks_exact(visible).enumerate() {
        for (i, &w) in w.iter().enumerate() {
            transposed[i * hidden + j] = w;
        }
    }
    hidden_input(rbm, v, weights, None, scratch, z);
    softplus.copy_from_slice(z);
    let curve = Activation::Softplus { beta: 1.0, threshold: f64::INFINITY };
    <T as crate::activation::Compiled>::forward(curve, simd::InOut::in_place(softplus));
    let (active, transposed) = (Active::current(), &*transposed);
    let rows = (
        Rows { data: v, width: visible },
        Rows { data: &*z, width: hidden },
        Rows { data: &*softplus, width: hidden },
    );
    let block = PARALLEL_BLOCK.div_ceil(visible * hidden);
    parallel::reduce(
        rows,
        block,
        |(v, z, softplus)| {
            let (v, z, softplus, visible_bias) = (v.data, z.data, softplus.data, weights.visible_bias);
            simd::dispatch(active, PseudoLikelihood { visible_bias, transposed, v, z, softplus })
        },
        |a, b| a + b,
    )
}

impl Rbm {
    /// z = v·Wᵀ.
    pub(super) fn hidden_shape(&self, rows: usize) -> GemmShape {
        let b = MatrixLayout::transposed(self.visible, self.hidden);
        GemmShape { b, ..GemmShape::dense(rows, self.hidden, self.visible) }
    }

    /// z = h·W.
    pub(super) fn visible_shape(&self, rows: usize) -> GemmShape {
        GemmShape::dense(rows, self.visible, self.hidden)
    }

    /// Hᵀ·V.
    pub(super) fn statistics_shape(&self, rows: usize) -> GemmShape {
        let a = MatrixLayout::transposed(self.hidden, rows);
        GemmShape { a, ..GemmShape::dense(self.hidden, self.visible, rows) }
    }
}
