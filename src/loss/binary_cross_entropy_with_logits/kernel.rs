//! One loop over elements, with a weight for all or one a column.

use crate::Element;
use crate::activation::kernel::sigmoid_and_rest;
use crate::loss::softmax::kernel::each_row;
use crate::math::Elementary;
use crate::parallel::Rows;
use crate::simd::{self, Isa, Kernel, Products, Source, Vector};

/// `output = scale · gradient`; returns the sum of the losses, all weighted alike.
pub(super) struct Uniform<'a, T, S> {
    pub(super) scale: T,
    pub(super) pos_weight: T,
    pub(super) targets: &'a [T],
    pub(super) data: S,
}

impl<T: Element, S: Source<T>> Kernel for Uniform<'_, T, S> {
    type Output = f64;
    #[inline(always)]
    fn run<I: Isa>(mut self, isa: I) -> f64 {
        let (scale, pos_weight) = (simd::splat(isa, self.scale), simd::splat(isa, self.pos_weight));
        simd::map_products(
            isa,
            [self.targets],
            &mut self.data,
            #[inline(always)]
            |[t], x| evaluate(x, t, pos_weight, scale),
        )
    }
}

/// As [`Uniform`] with a weight a column.
pub(super) struct ByColumn<'a, T, S> {
    pub(super) scale: T,
    pub(super) pos_weight: &'a [T],
    pub(super) rows: Rows<(&'a [T], S)>,
}

impl<T: Element, S: Source<T>> Kernel for ByColumn<'_, T, S> {
    type Output = f64;
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> f64 {
        let scale = simd::splat(isa, self.scale);
        let mut sum = 0.0;
        each_row(
            self.rows,
            #[inline(always)]
            |(targets, mut row)| {
                sum += simd::map_products(
                    isa,
                    [targets, self.pos_weight],
                    &mut row,
                    #[inline(always)]
                    |[t, pos_weight], x| evaluate(x, t, pos_weight, scale),
                );
            },
        );
        sum
    }
}

/// With `p = pos_weight · t` and `l = ln(1 + e^(−|x|))`: `(1 − t) · (max(x, 0) + l) + p · (max(−x, 0) + l)`, and the
/// gradient `(1 − t) · σ − p · (1 − σ)`: for targets in `[0, 1]` the loss has no difference that cancels.
#[inline(always)]
fn evaluate<V: Vector>(x: V, t: V, pos_weight: V, scale: V) -> Products<V> {
    let (zero, one) = (x.constant(0.0), x.constant(1.0));
    let (positive, negative) = (pos_weight * t, one - t);
    let l = (-x.abs()).exp().ln_1p();
    let (s, rest) = sigmoid_and_rest(x);
    Products {
        output: negative.mul_sub(s, positive * rest) * scale,
        left: negative.mul_add(zero.max(x) + l, positive * (zero.max(-x) + l)),
        right: one,
    }
}
