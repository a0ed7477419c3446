//! The LSTM cell on rows of units: gates, cell and output in one pass.

use super::LstmVariant;
use crate::Element;
use crate::math::Elementary;
use crate::parallel::Rows;
use crate::simd::{self, InOut, Isa, Kernel, Vector};

/// Parts of `hidden` elements.
#[inline(always)]
pub(crate) fn split<T, const N: usize>(row: &mut [T], hidden: usize) -> [&mut [T]; N] {
    let mut parts = row.chunks_exact_mut(hidden);
    core::array::from_fn(|_| parts.next().unwrap_or_default())
}

/// What i, f and o see of a cell.
#[inline(always)]
fn peepholes<T>(peephole: &[T], hidden: usize) -> [&[T]; 3] {
    let mut parts = peephole.chunks_exact(hidden);
    core::array::from_fn(|_| parts.next().unwrap_or_default())
}

/// `y(1 − y)`: the derivative of y = σ(a).
#[inline(always)]
pub(crate) fn through<V: Vector>(y: V) -> V {
    y.neg_mul_add(y, y)
}

/// Rows of gates with the old cells, to new cells and outputs.
pub(super) struct Forward<'a, T> {
    pub(super) variant: LstmVariant,
    pub(super) peephole: &'a [T],
    pub(super) gates: Rows<&'a mut [T]>,
    pub(super) before: Rows<&'a [T]>,
    pub(super) c: Rows<&'a mut [T]>,
    pub(super) h: Rows<&'a mut [T]>,
}

impl<T: Element> Kernel for Forward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let (hidden, variant) = (self.c.width, self.variant);
        let peephole = peepholes(self.peephole, hidden);
        let gates = self.gates.data.chunks_exact_mut(variant.gates() * hidden);
        let cells = self.before.data.chunks_exact(hidden).zip(self.c.data.chunks_exact_mut(hidden));
        for ((gates, (before, c)), h) in gates.zip(cells).zip(self.h.data.chunks_exact_mut(hidden)) {
            match variant {
                LstmVariant::Standard => forward(isa, before, split(gates, hidden), c, h),
                LstmVariant::Peephole => {
                    forward_peephole(isa, (before, peephole), split(gates, hidden), c, h)
                }
                LstmVariant::Coupled => forward_coupled(isa, before, split(gates, hidden), c, h),
            }
        }
    }
}

#[inline(always)]
fn forward<I: Isa, T: Element>(isa: I, before: &[T], [i, f, g, o]: [&mut [T]; 4], c: &mut [T], h: &mut [T]) {
    simd::zip(
        isa,
        [before],
        [i, f, g, o, c, h],
        #[inline(always)]
        |[before]: [T::Vector<I>; 1], [i, f, g, o, _, _]| {
            let (i, f, g, o) = (i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid());
            let c = f.mul_add(before, i * g);
            [i, f, g, o, c, o * c.tanh()]
        },
    );
}

#[inline(always)]
fn forward_peephole<I: Isa, T: Element>(
    isa: I,
    (before, [to_i, to_f, to_o]): (&[T], [&[T]; 3]),
    [i, f, g, o]: [&mut [T]; 4],
    c: &mut [T],
    h: &mut [T],
) {
    simd::zip(
        isa,
        [before, to_i, to_f, to_o],
        [i, f, g, o, c, h],
        #[inline(always)]
        |[before, to_i, to_f, to_o]: [T::Vector<I>; 4], [i, f, g, o, _, _]| {
            let (i, f) = (to_i.mul_add(before, i).sigmoid(), to_f.mul_add(before, f).sigmoid());
            let g = g.tanh();
            let c = f.mul_add(before, i * g);
            let o = to_o.mul_add(c, o).sigmoid();
            [i, f, g, o, c, o * c.tanh()]
        },
    );
}

#[inline(always)]
fn forward_coupled<I: Isa, T: Element>(
    isa: I,
    before: &[T],
    [i, g, o]: [&mut [T]; 3],
    c: &mut [T],
    h: &mut [T],
) {
    simd::zip(
        isa,
        [before],
        [i, g, o, c, h],
        #[inline(always)]
        |[before]: [T::Vector<I>; 1], [i, g, o, _, _]| {
            let (i, g, o) = (i.sigmoid(), g.tanh(), o.sigmoid());
            let c = i.mul_add(g - before, before);
            [i, g, o, c, o * c.tanh()]
        },
    );
}

/// Rows of gates that become the gradients before their activations.
pub(super) struct Backward<'a, T> {
    pub(super) variant: LstmVariant,
    pub(super) peephole: &'a [T],
    pub(super) gates: Rows<&'a mut [T]>,
    pub(super) before: Rows<&'a [T]>,
    pub(super) c: Rows<&'a [T]>,
    /// Gradient of the output by the layer above.
    pub(super) dy: Rows<&'a [T]>,
    /// Gradient of the output by the next step.
    pub(super) dh: Rows<&'a [T]>,
    /// Of the new cell, then of the old one.
    pub(super) dc: Rows<&'a mut [T]>,
}

impl<T: Element> Kernel for Backward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let (hidden, variant) = (self.c.width, self.variant);
        let peephole = peepholes(self.peephole, hidden);
        let gates = self.gates.data.chunks_exact_mut(variant.gates() * hidden);
        let cells = self.before.data.chunks_exact(hidden).zip(self.c.data.chunks_exact(hidden));
        let outputs = self.dy.data.chunks_exact(hidden).zip(self.dh.data.chunks_exact(hidden));
        let dc = self.dc.data.chunks_exact_mut(hidden);
        for (((gates, (before, c)), (dy, dh)), dc) in gates.zip(cells).zip(outputs).zip(dc) {
            let given = [before, c, dy, dh];
            match variant {
                LstmVariant::Standard => backward(isa, given, split(gates, hidden), dc),
                LstmVariant::Peephole => backward_peephole(isa, (given, peephole), split(gates, hidden), dc),
                LstmVariant::Coupled => backward_coupled(isa, given, split(gates, hidden), dc),
            }
        }
    }
}

#[inline(always)]
fn backward<I: Isa, T: Element>(isa: I, given: [&[T]; 4], [i, f, g, o]: [&mut [T]; 4], dc: &mut [T]) {
    simd::zip(
        isa,
        given,
        [i, f, g, o, dc],
        #[inline(always)]
        |[before, c, dy, dh]: [T::Vector<I>; 4], [i, f, g, o, dc]| {
            let one = c.splat(T::one());
            let (dh, shown) = (dy + dh, c.tanh());
            let dc = (dh * o).mul_add(shown.neg_mul_add(shown, one), dc);
            let di = dc * g * through(i);
            let df = dc * before * through(f);
            let dg = dc * i * g.neg_mul_add(g, one);
            let d_o = dh * shown * through(o);
            [di, df, dg, d_o, dc * f]
        },
    );
}

#[inline(always)]
fn backward_peephole<I: Isa, T: Element>(
    isa: I,
    ([before, c, dy, dh], [to_i, to_f, to_o]): ([&[T]; 4], [&[T]; 3]),
    [i, f, g, o]: [&mut [T]; 4],
    dc: &mut [T],
) {
    simd::zip(
        isa,
        [before, c, dy, dh, to_i, to_f, to_o],
        [i, f, g, o, dc],
        #[inline(always)]
        |[before, c, dy, dh, to_i, to_f, to_o]: [T::Vector<I>; 7], [i, f, g, o, dc]| {
            let one = c.splat(T::one());
            let (dh, shown) = (dy + dh, c.tanh());
            let d_o = dh * shown * through(o);
            let dc = (dh * o).mul_add(shown.neg_mul_add(shown, one), to_o.mul_add(d_o, dc));
            let di = dc * g * through(i);
            let df = dc * before * through(f);
            let dg = dc * i * g.neg_mul_add(g, one);
            [di, df, dg, d_o, dc.mul_add(f, to_i.mul_add(di, to_f * df))]
        },
    );
}

#[inline(always)]
fn backward_coupled<I: Isa, T: Element>(isa: I, given: [&[T]; 4], [i, g, o]: [&mut [T]; 3], dc: &mut [T]) {
    simd::zip(
        isa,
        given,
        [i, g, o, dc],
        #[inline(always)]
        |[before, c, dy, dh]: [T::Vector<I>; 4], [i, g, o, dc]| {
            let one = c.splat(T::one());
            let (dh, shown) = (dy + dh, c.tanh());
            let dc = (dh * o).mul_add(shown.neg_mul_add(shown, one), dc);
            let di = dc * (g - before) * through(i);
            let dg = dc * i * g.neg_mul_add(g, one);
            let d_o = dh * shown * through(o);
            [di, dg, d_o, dc * (one - i)]
        },
    );
}

/// The new cells of activated gates, without peepholes.
pub(super) struct NewCells<'a, T> {
    pub(super) variant: LstmVariant,
    pub(super) gates: Rows<&'a [T]>,
    pub(super) before: Rows<&'a [T]>,
    pub(super) to: Rows<&'a mut [T]>,
}

impl<T: Element> Kernel for NewCells<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let (hidden, variant) = (self.to.width, self.variant);
        let cells = self.before.data.chunks_exact(hidden).zip(self.to.data.chunks_exact_mut(hidden));
        for (gates, (before, to)) in self.gates.data.chunks_exact(variant.gates() * hidden).zip(cells) {
            let (i, rest) = gates.split_at(hidden);
            if variant == LstmVariant::Coupled {
                simd::zip(
                    isa,
                    [before, i, &rest[..hidden]],
                    [to],
                    #[inline(always)]
                    |[before, i, g]: [T::Vector<I>; 3], _| [i.mul_add(g - before, before)],
                );
            } else {
                simd::zip(
                    isa,
                    [before, i, &rest[..hidden], &rest[hidden..2 * hidden]],
                    [to],
                    #[inline(always)]
                    |[before, i, f, g]: [T::Vector<I>; 4], _| [f.mul_add(before, i * g)],
                );
            }
        }
    }
}

/// `to += a`.
pub(super) struct Add<'a, T> {
    pub(super) a: &'a [T],
    pub(super) to: InOut<'a, T>,
}

impl<T: Element> Kernel for Add<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        simd::map2(
            isa,
            self.a,
            self.to,
            #[inline(always)]
            |a: T::Vector<I>, to| to + a,
        );
    }
}

/// The gradients of i and f times the cell before, that of o times the cell after: the terms of those of the peepholes.
pub(super) struct Seen<'a, T> {
    pub(super) gates: Rows<&'a mut [T]>,
    pub(super) before: Rows<&'a [T]>,
    pub(super) c: Rows<&'a [T]>,
}

impl<T: Element> Kernel for Seen<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let hidden = self.c.width;
        let cells = self.before.data.chunks_exact(hidden).zip(self.c.data.chunks_exact(hidden));
        for (gates, (before, c)) in self.gates.data.chunks_exact_mut(4 * hidden).zip(cells) {
            let [i, f, _, o]: [_; 4] = split(gates, hidden);
            simd::zip(
                isa,
                [before, c],
                [i, f, o],
                #[inline(always)]
                |[before, c]: [T::Vector<I>; 2], [i, f, o]| [i * before, f * before, o * c],
            );
        }
    }
}
