//! What norms of contiguous rows share: the passes over a row while it is in cache, and the sums for γ and β.
//!
//! The mean is an `f64`, which an `f32` may not hold: the differences from it are taken in two steps.

mod backward;
mod blocks;
mod forward;

pub(super) use backward::backward;
pub(crate) use backward::{RowGradient, row_sums};
pub(super) use blocks::{Gradients, Layout, reduce, sums_of_group};
pub(super) use forward::forward;

use super::Affine;
use crate::Element;
use crate::simd::{Isa, Vector};

/// What a norm takes off a row, and what it divides it by.
pub(crate) trait Rule: Send + Sync + 'static {
    /// Mean (0 where none is taken off) and inverse deviation of a row.
    fn measure<I: Isa, T: Element>(isa: I, x: &[T], eps: f64) -> Measured;
    /// `x̂`.
    fn hat<V: Vector>(x: V, by: Hat<V::Elem>) -> V;
    /// What goes back through the mean, of the mean of the gradient.
    fn through_mean(mean_of_gradient: f64) -> f64;
}

/// Mean and 1/√(variance + eps) of a row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    pub(super) mean: f64,
    pub(super) rstd: f64,
}

/// A mean in `f64` as two numbers of the element type: `x − high − low` is right where |mean| ≫ |x − mean|.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mean<T> {
    pub(super) high: T,
    pub(super) low: T,
}

impl<T: Element> Mean<T> {
    #[inline(always)]
    pub(super) fn new(mean: f64) -> Self {
        let high = T::from_f64(mean);
        Self { high, low: T::from_f64(mean - high.to_f64()) }
    }

    /// `x` without the mean.
    #[inline(always)]
    pub(super) fn centre<V: Vector<Elem = T>>(self, x: V) -> V {
        (x - self.high) - self.low
    }
}

/// What normalises a row: `x̂ = (x − shift) · rstd + offset`, where the offset has what the shift lost of the mean.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hat<T> {
    pub(super) shift: T,
    pub(super) rstd: T,
    pub(super) offset: T,
}

impl<T: Element> Hat<T> {
    #[inline(always)]
    pub(crate) fn new(Measured { mean, rstd }: Measured) -> Self {
        let shift = T::from_f64(mean);
        let lost = mean - shift.to_f64();
        Self { shift, rstd: T::from_f64(rstd), offset: T::from_f64(-lost * rstd) }
    }
}

/// γ and β of all rows: `groups` parts that take turns, each parameter for `inner` elements in a row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weights<'a, T> {
    pub(super) affine: Affine<'a, T>,
    pub(super) groups: usize,
    pub(super) inner: usize,
}

impl<T> Weights<'_, T> {
    /// Those of a row of `cols` elements.
    #[inline(always)]
    pub(super) fn of_row(&self, row: usize, cols: usize) -> Self {
        let len = cols / self.inner;
        Self { affine: self.affine.part(row % self.groups * len, len), ..*self }
    }
}

/// How far ahead a pass over a row that is in cache asks for elements: a row, while that and the next stay in the
/// first-level cache.
pub(super) fn ahead(cols: usize) -> usize {
    cols.min(4096)
}
