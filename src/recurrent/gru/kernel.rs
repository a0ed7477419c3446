//! The GRU cell on rows of units: gates and output in one pass.

use crate::Element;
use crate::math::Elementary;
use crate::parallel::Rows;
use crate::simd::{self, Isa, Kernel, Vector};

/// The parts of a row: r, z, n.
#[inline(always)]
fn split<T>(gates: &mut [T], hidden: usize) -> [&mut [T]; 3] {
    let (r, rest) = gates.split_at_mut(hidden);
    let (z, n) = rest.split_at_mut(hidden);
    [r, z, n]
}

/// Rows of both projections with the old outputs, to gates and new outputs.
pub(super) struct Forward<'a, T> {
    /// The projection of the input, then the gates.
    pub(super) gates: Rows<&'a mut [T]>,
    pub(super) recurrent: Rows<&'a [T]>,
    pub(super) before: Rows<&'a [T]>,
    pub(super) h: Rows<&'a mut [T]>,
}

impl<T: Element> Kernel for Forward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let hidden = self.h.width;
        let gates = self.gates.data.chunks_exact_mut(3 * hidden);
        let rows = gates.zip(self.recurrent.data.chunks_exact(3 * hidden));
        let outputs = self.before.data.chunks_exact(hidden).zip(self.h.data.chunks_exact_mut(hidden));
        for ((gates, recurrent), (before, h)) in rows.zip(outputs) {
            let [r, z, n] = split(gates, hidden);
            let (hr, rest) = recurrent.split_at(hidden);
            let (hz, hn) = rest.split_at(hidden);
            simd::zip(
                isa,
                [hr, hz, hn, before],
                [r, z, n, h],
                #[inline(always)]
                |[hr, hz, hn, before]: [T::Vector<I>; 4], [r, z, n, _]| {
                    let (r, z) = ((r + hr).sigmoid(), (z + hz).sigmoid());
                    let n = r.mul_add(hn, n).tanh();
                    [r, z, n, (before - n).mul_add(z, n)]
                },
            );
        }
    }
}

/// Rows of gates that become the gradients of both projections.
pub(super) struct Backward<'a, T> {
    /// The gates, then the gradient of the input's projection.
    pub(super) gates: Rows<&'a mut [T]>,
    /// The projection of the old output, then its gradient.
    pub(super) recurrent: Rows<&'a mut [T]>,
    pub(super) before: Rows<&'a [T]>,
    /// Gradient of the output by the layer above.
    pub(super) dy: Rows<&'a [T]>,
    /// Gradient of the output by the next step, then that of the old output but for its projection.
    pub(super) dh: Rows<&'a mut [T]>,
}

impl<T: Element> Kernel for Backward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let hidden = self.before.width;
        let gates = self.gates.data.chunks_exact_mut(3 * hidden);
        let rows = gates.zip(self.recurrent.data.chunks_exact_mut(3 * hidden));
        let outputs = self.before.data.chunks_exact(hidden).zip(self.dy.data.chunks_exact(hidden));
        let dh = self.dh.data.chunks_exact_mut(hidden);
        for (((gates, recurrent), (before, dy)), dh) in rows.zip(outputs).zip(dh) {
            let [r, z, n] = split(gates, hidden);
            let [hr, hz, hn] = split(recurrent, hidden);
            simd::zip(
                isa,
                [before, dy],
                [r, z, n, hr, hz, hn, dh],
                #[inline(always)]
                |[before, dy]: [T::Vector<I>; 2], [r, z, n, _, _, hn, dh]| {
                    let one = n.splat(T::one());
                    let dh = dh + dy;
                    let through = simd::inlined(
                        #[inline(always)]
                        |y: T::Vector<I>| y.neg_mul_add(y, y),
                    );
                    let dn = dh * (one - z) * n.neg_mul_add(n, one);
                    let dr = dn * hn * through(r);
                    let dz = dh * (before - n) * through(z);
                    [dr, dz, dn, dr, dz, dn * r, dh * z]
                },
            );
        }
    }
}

/// `r`, `z` and `r·h`, of a reset before the product.
pub(super) struct Reset<'a, T> {
    pub(super) gates: Rows<&'a mut [T]>,
    pub(super) before: Rows<&'a [T]>,
    pub(super) reset: Rows<&'a mut [T]>,
}

impl<T: Element> Kernel for Reset<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let hidden = self.before.width;
        let outputs = self.before.data.chunks_exact(hidden).zip(self.reset.data.chunks_exact_mut(hidden));
        for (gates, (before, reset)) in self.gates.data.chunks_exact_mut(3 * hidden).zip(outputs) {
            let [r, z, _] = split(gates, hidden);
            simd::zip(
                isa,
                [before],
                [r, z, reset],
                #[inline(always)]
                |[before]: [T::Vector<I>; 1], [r, z, _]| {
                    let (r, z) = (r.sigmoid(), z.sigmoid());
                    [r, z, r * before]
                },
            );
        }
    }
}

/// The candidate and the output, of a reset before the product.
pub(super) struct ForwardReset<'a, T> {
    pub(super) gates: Rows<&'a mut [T]>,
    pub(super) before: Rows<&'a [T]>,
    pub(super) h: Rows<&'a mut [T]>,
}

impl<T: Element> Kernel for ForwardReset<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let hidden = self.before.width;
        let outputs = self.before.data.chunks_exact(hidden).zip(self.h.data.chunks_exact_mut(hidden));
        for (gates, (before, h)) in self.gates.data.chunks_exact_mut(3 * hidden).zip(outputs) {
            let [_, z, n] = split(gates, hidden);
            simd::zip(
                isa,
                [before, &*z],
                [n, h],
                #[inline(always)]
                |[before, z]: [T::Vector<I>; 2], [n, _]| {
                    let n = n.tanh();
                    [n, (before - n).mul_add(z, n)]
                },
            );
        }
    }
}

/// The gradients before the activations of z and n, and of the old output but for what comes through products.
pub(super) struct CandidateBackward<'a, T> {
    pub(super) gates: Rows<&'a mut [T]>,
    pub(super) before: Rows<&'a [T]>,
    /// Gradient of the output by the layer above.
    pub(super) dy: Rows<&'a [T]>,
    /// By the next step, then of the old output.
    pub(super) dh: Rows<&'a mut [T]>,
}

impl<T: Element> Kernel for CandidateBackward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let hidden = self.before.width;
        let outputs = self.before.data.chunks_exact(hidden).zip(self.dy.data.chunks_exact(hidden));
        let gates = self.gates.data.chunks_exact_mut(3 * hidden).zip(outputs);
        for ((gates, (before, dy)), dh) in gates.zip(self.dh.data.chunks_exact_mut(hidden)) {
            let [_, z, n] = split(gates, hidden);
            simd::zip(
                isa,
                [before, dy],
                [z, n, dh],
                #[inline(always)]
                |[before, dy]: [T::Vector<I>; 2], [z, n, dh]| {
                    let (dh, one) = (dh + dy, n.splat(T::one()));
                    let dz = dh * (before - n) * z.neg_mul_add(z, z);
                    [dz, dh * (one - z) * n.neg_mul_add(n, one), dh * z]
                },
            );
        }
    }
}

/// The gradient before the activation of r, and what the old output gets through it.
pub(super) struct ResetBackward<'a, T> {
    pub(super) gates: Rows<&'a mut [T]>,
    pub(super) before: Rows<&'a [T]>,
    pub(super) dreset: Rows<&'a [T]>,
    pub(super) dh: Rows<&'a mut [T]>,
}

impl<T: Element> Kernel for ResetBackward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let hidden = self.before.width;
        let outputs = self.before.data.chunks_exact(hidden).zip(self.dreset.data.chunks_exact(hidden));
        let gates = self.gates.data.chunks_exact_mut(3 * hidden).zip(outputs);
        for ((gates, (before, dreset)), dh) in gates.zip(self.dh.data.chunks_exact_mut(hidden)) {
            let [r, ..] = split(gates, hidden);
            simd::zip(
                isa,
                [before, dreset],
                [r, dh],
                #[inline(always)]
                |[before, dreset]: [T::Vector<I>; 2], [r, dh]| {
                    [dreset * before * r.neg_mul_add(r, r), dreset.mul_add(r, dh)]
                },
            );
        }
    }
}
