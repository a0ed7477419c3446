//! A step of rows: both projections are measured and normalised, then the gates, the cell, its norm and the output.

use super::{Parameters, TERMS};
use crate::Element;
use crate::math::Elementary;
use crate::norm::layer_norm::Deviation;
use crate::norm::rows::{Hat, Measured, RowGradient, Rule, row_sums};
use crate::parallel::Rows;
use crate::recurrent::lstm::kernel::{split, through};
use crate::simd::{self, Isa, Kernel, Vector};

/// Rows of both projections with the old cells, to new cells and outputs.
pub(super) struct Forward<'a, T> {
    pub(super) eps: f64,
    pub(super) parameters: Parameters<'a, T>,
    pub(super) input: Rows<&'a [T]>,
    pub(super) recurrent: Rows<&'a [T]>,
    pub(super) before: Rows<&'a [T]>,
    pub(super) c: Rows<&'a mut [T]>,
    pub(super) h: Rows<&'a mut [T]>,
    /// The gates, while they are needed.
    pub(super) terms: Rows<&'a mut [T]>,
}

impl<T: Element> Kernel for Forward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let (hidden, Parameters { cell, cell_bias, .. }) = (self.c.width, self.parameters);
        let projections = self.input.data.chunks_exact(4 * hidden);
        let projections = projections.zip(self.recurrent.data.chunks_exact(4 * hidden));
        let cells = self.before.data.chunks_exact(hidden).zip(self.c.data.chunks_exact_mut(hidden));
        let terms = self.terms.data.chunks_exact_mut(TERMS * hidden);
        let outputs = self.h.data.chunks_exact_mut(hidden).zip(terms);
        for (((input, recurrent), (before, c)), (h, terms)) in projections.zip(cells).zip(outputs) {
            let gates = &mut terms[..4 * hidden];
            sums(isa, [input, recurrent], self.parameters, self.eps, gates);
            let [i, f, g, o] = split(gates, hidden);
            activate(isa, [&mut *i, &mut *f, &mut *g, &mut *o]);
            simd::zip(
                isa,
                [before, &*i, &*f, &*g],
                [&mut *c],
                #[inline(always)]
                |[before, i, f, g]: [T::Vector<I>; 4], _| [f.mul_add(before, i * g)],
            );
            let by = Hat::new(Deviation::measure(isa, c, self.eps));
            simd::zip(
                isa,
                [&*c, &*o, cell, cell_bias],
                [h],
                #[inline(always)]
                |[c, o, gain, bias]: [T::Vector<I>; 4], _| {
                    [o * Deviation::hat(c, by).mul_add(gain, bias).tanh()]
                },
            );
        }
    }
}

/// What comes before the activations.
#[inline(always)]
fn sums<I: Isa, T: Element>(
    isa: I,
    [input, recurrent]: [&[T]; 2],
    Parameters { bias, input: of_input, recurrent: of_recurrent, .. }: Parameters<'_, T>,
    eps: f64,
    sums: &mut [T],
) -> [Measured; 2] {
    let measured = [Deviation::measure(isa, input, eps), Deviation::measure(isa, recurrent, eps)];
    let (by_input, by_recurrent) = (Hat::new(measured[0]), Hat::new(measured[1]));
    simd::zip(
        isa,
        [input, recurrent, of_input, of_recurrent, bias],
        [sums],
        #[inline(always)]
        |[input, recurrent, of_input, of_recurrent, bias]: [T::Vector<I>; 5], _| {
            let sum = Deviation::hat(input, by_input).mul_add(of_input, bias);
            [Deviation::hat(recurrent, by_recurrent).mul_add(of_recurrent, sum)]
        },
    );
    measured
}

/// The gates of their sums.
#[inline(always)]
fn activate<I: Isa, T: Element>(isa: I, gates: [&mut [T]; 4]) {
    simd::zip(
        isa,
        [],
        gates,
        #[inline(always)]
        |[]: [T::Vector<I>; 0], [i, f, g, o]| [i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()],
    );
}

/// Rows of both projections that become their gradients.
pub(super) struct Backward<'a, T> {
    pub(super) eps: f64,
    pub(super) parameters: Parameters<'a, T>,
    pub(super) input: Rows<&'a mut [T]>,
    pub(super) recurrent: Rows<&'a mut [T]>,
    pub(super) before: Rows<&'a [T]>,
    pub(super) c: Rows<&'a [T]>,
    /// Gradient of the output by the layer above.
    pub(super) dy: Rows<&'a [T]>,
    /// Gradient of the output by the next step.
    pub(super) dh: Rows<&'a [T]>,
    /// Of the new cell, then of the old one.
    pub(super) dc: Rows<&'a mut [T]>,
    /// A row's terms of the gradients of the parameters, in the order of [`Parameters`].
    pub(super) terms: Rows<&'a mut [T]>,
}

impl<T: Element> Kernel for Backward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let (hidden, eps, by) = (self.c.width, self.eps, self.parameters);
        let projections = self.input.data.chunks_exact_mut(4 * hidden);
        let projections = projections.zip(self.recurrent.data.chunks_exact_mut(4 * hidden));
        let cells = self.before.data.chunks_exact(hidden).zip(self.c.data.chunks_exact(hidden));
        let outputs = self.dy.data.chunks_exact(hidden).zip(self.dh.data.chunks_exact(hidden));
        let terms = self.terms.data.chunks_exact_mut(TERMS * hidden);
        let written = self.dc.data.chunks_exact_mut(hidden).zip(terms);
        let rows = projections.zip(cells).zip(outputs).zip(written);
        for ((((input, recurrent), (before, c)), (dy, dh)), (dc, terms)) in rows {
            let (dgates, terms) = terms.split_at_mut(4 * hidden);
            let (of_input, terms) = terms.split_at_mut(4 * hidden);
            let (of_recurrent, of_cell) = terms.split_at_mut(4 * hidden);
            let measured = sums(isa, [&*input, &*recurrent], by, eps, dgates);
            cell(isa, (by, eps), [before, c, dy, dh], dgates, dc, of_cell);
            projection(isa, measured[0], (dgates, by.input), input, of_input);
            projection(isa, measured[1], (dgates, by.recurrent), recurrent, of_recurrent);
        }
    }
}

/// From the sums to their gradients, from the gradient of the new cell to that of the old one, and the terms of the cell's gain
/// and bias.
#[inline(always)]
fn cell<I: Isa, T: Element>(
    isa: I,
    (Parameters { cell, cell_bias, .. }, eps): (Parameters<'_, T>, f64),
    [before, c, dy, dh]: [&[T]; 4],
    gates: &mut [T],
    dc: &mut [T],
    terms: &mut [T],
) {
    let hidden = c.len();
    let [i, f, g, o] = split(gates, hidden);
    let (of_gain, of_bias) = terms.split_at_mut(hidden);
    activate(isa, [&mut *i, &mut *f, &mut *g, &mut *o]);
    let measured = Deviation::measure(isa, c, eps);
    let by = Hat::new(measured);
    simd::zip(
        isa,
        [c, dy, dh, cell, cell_bias],
        [o, of_gain, &mut *of_bias],
        #[inline(always)]
        |[c, dy, dh, gain, bias]: [T::Vector<I>; 5], [o, _, _]| {
            let (hat, dh) = (Deviation::hat(c, by), dy + dh);
            let shown = hat.mul_add(gain, bias).tanh();
            let d = dh * o * shown.neg_mul_add(shown, c.splat(T::one()));
            [dh * shown * through(o), d * hat, d]
        },
    );
    let sums = row_sums::<I, T, Deviation>(isa, c, of_bias, Some(cell), by);
    let row = RowGradient::new::<Deviation>(measured, sums, hidden);
    simd::zip(
        isa,
        [before, c, &*of_bias, cell],
        [i, f, g, dc],
        #[inline(always)]
        |[before, c, d, gain]: [T::Vector<I>; 4], [i, f, g, dc]| {
            let dc = dc + row.input(d * gain, Deviation::hat(c, by));
            let dg = dc * i * g.neg_mul_add(g, c.splat(T::one()));
            [dc * g * through(i), dc * before * through(f), dg, dc * f]
        },
    );
}

/// From a projection to its gradient, and the terms of its gain.
#[inline(always)]
fn projection<I: Isa, T: Element>(
    isa: I,
    measured: Measured,
    (dgates, gain): (&[T], &[T]),
    projection: &mut [T],
    terms: &mut [T],
) {
    let by = Hat::new(measured);
    let sums = row_sums::<I, T, Deviation>(isa, projection, dgates, Some(gain), by);
    let row = RowGradient::new::<Deviation>(measured, sums, dgates.len());
    simd::zip(
        isa,
        [dgates, gain],
        [projection, terms],
        #[inline(always)]
        |[d, gain]: [T::Vector<I>; 2], [projection, _]| {
            let hat = Deviation::hat(projection, by);
            [row.input(d * gain, hat), d * hat]
        },
    );
}
