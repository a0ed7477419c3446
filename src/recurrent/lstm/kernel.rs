//! The LSTM cell on rows of units: gates, cell and output in one pass.

use crate::Element;
use crate::math::Elementary;
use crate::parallel::Rows;
use crate::simd::{self, Isa, Kernel, Vector};

/// The four gates of a row: i, f, g, o.
#[inline(always)]
fn split<T>(gates: &mut [T], hidden: usize) -> [&mut [T]; 4] {
    let (i, rest) = gates.split_at_mut(hidden);
    let (f, rest) = rest.split_at_mut(hidden);
    let (g, o) = rest.split_at_mut(hidden);
    [i, f, g, o]
}

/// Rows of gates with the old cells, to new cells and outputs.
pub(super) struct Forward<'a, T> {
    pub(super) gates: Rows<&'a mut [T]>,
    pub(super) before: Rows<&'a [T]>,
    pub(super) c: Rows<&'a mut [T]>,
    pub(super) h: Rows<&'a mut [T]>,
}

impl<T: Element> Kernel for Forward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let hidden = self.c.width;
        let gates = self.gates.data.chunks_exact_mut(4 * hidden);
        let cells = self.before.data.chunks_exact(hidden).zip(self.c.data.chunks_exact_mut(hidden));
        for ((gates, (before, c)), h) in gates.zip(cells).zip(self.h.data.chunks_exact_mut(hidden)) {
            let [i, f, g, o] = split(gates, hidden);
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
    }
}

/// Rows of gates that become the gradients before their activations.
pub(super) struct Backward<'a, T> {
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
        let hidden = self.c.width;
        let gates = self.gates.data.chunks_exact_mut(4 * hidden);
        let cells = self.before.data.chunks_exact(hidden).zip(self.c.data.chunks_exact(hidden));
        let outputs = self.dy.data.chunks_exact(hidden).zip(self.dh.data.chunks_exact(hidden));
        let dc = self.dc.data.chunks_exact_mut(hidden);
        for (((gates, (before, c)), (dy, dh)), dc) in gates.zip(cells).zip(outputs).zip(dc) {
            let [i, f, g, o] = split(gates, hidden);
            simd::zip(
                isa,
                [before, c, dy, dh],
                [i, f, g, o, dc],
                #[inline(always)]
                |[before, c, dy, dh]: [T::Vector<I>; 4], [i, f, g, o, dc]| {
                    let one = c.splat(T::one());
                    let (dh, shown) = (dy + dh, c.tanh());
                    let dc = (dh * o).mul_add(shown.neg_mul_add(shown, one), dc);
                    let through = simd::inlined(
                        #[inline(always)]
                        |y: T::Vector<I>| y.neg_mul_add(y, y),
                    );
                    let di = dc * g * through(i);
                    let df = dc * before * through(f);
                    let dg = dc * i * g.neg_mul_add(g, one);
                    let d_o = dh * shown * through(o);
                    [di, df, dg, d_o, dc * f]
                },
            );
        }
    }
}
