//! What phases and evaluations share: products by the dense layer's kernels, and units drawn from their results.

mod evaluations;
mod phases;

pub(super) use evaluations::{Evaluation, free_energy, pseudo_likelihood};
pub(super) use phases::{Target, Training, train};

use super::kernel::{Means, MeansAndSamples, Samples};
use super::{Rbm, RbmWeights, VisibleUnits};
use crate::linear::{self, Factor, GemmShape, MatrixLayout, Product, Start};
use crate::parallel::{self, Offset, PARALLEL_BLOCK};
use crate::random::Philox;
use crate::simd::{self, Active};
use crate::{Activation, Element, Epilogue};

/// Units worth a task of their own: a sigmoid and a random word each.
const BLOCK: usize = PARALLEL_BLOCK / 4;

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
