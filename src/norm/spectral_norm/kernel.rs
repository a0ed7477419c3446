//! Products of a matrix with vectors, in `f64`, and what follows from them.

use crate::Element;
use crate::parallel::{Offset, Rows};
use crate::simd::{self, InOut, Isa, Kernel, StoreInto, Vector};
use crate::stats::unit_norm::UnitNorm;

/// `product = W·v` of some rows.
pub(super) struct TimesVector<'a, T> {
    pub(super) v: &'a [T],
    pub(super) rows: (Rows<&'a [T]>, &'a mut [f64]),
}

impl<T: Element> Kernel for TimesVector<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Self { v, rows: (Rows { data, width }, product) } = self;
        for (row, product) in data.chunks_exact(width).zip(product) {
            *product = simd::fold2_f64(
                isa,
                row,
                v,
                #[inline(always)]
                |w, v, sum| w.mul_add(v, sum),
            );
        }
    }
}

/// Rows that are added to the sums of the columns at a time, so that those leave the registers once for all of them.
const SIDE_BY_SIDE: usize = 4;

/// `product = Wᵀ·u` of the columns from `first` on, which are whole vectors but for the last.
pub(super) struct TransposedTimesVector<'a, T> {
    pub(super) weights: Rows<&'a [T]>,
    pub(super) u: &'a [T],
    pub(super) product: Offset<&'a mut [f64]>,
}

impl<T: Element> Kernel for TransposedTimesVector<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(mut self, isa: I) {
        self.product.data.fill(0.0);
        let whole = self.u.len() / SIDE_BY_SIDE * SIDE_BY_SIDE;
        for row in (0..whole).step_by(SIDE_BY_SIDE) {
            self.add_rows::<I, SIDE_BY_SIDE>(isa, row);
        }
        for row in whole..self.u.len() {
            self.add_rows::<I, 1>(isa, row);
        }
    }
}

impl<T: Element> TransposedTimesVector<'_, T> {
    /// Adds `ROWS` rows from `row` on.
    #[inline(always)]
    fn add_rows<I: Isa, const ROWS: usize>(&mut self, isa: I, row: usize) {
        let lanes = T::Vector::<I>::LANES;
        let (Rows { data, width }, Offset { first, data: product }) = (&self.weights, &mut self.product);
        let zero = simd::splat(isa, T::zero());
        for at in (*first..(*first + product.len()).min(*width)).step_by(lanes) {
            let mut parts = [[simd::splat(isa, 0.0); 4]; ROWS];
            for k in 0..ROWS {
                let from = &data[(row + k) * width..][..*width];
                let w = if at + lanes <= *width {
                    simd::load(isa, &from[at..])
                } else {
                    simd::load_partial(isa, &from[at..])
                };
                parts[k] = T::widen(isa, [w, zero, zero, zero]);
            }
            let sums = product[at - *first..][..lanes].chunks_exact_mut(I::F64::LANES);
            for (part, sums) in sums.enumerate() {
                let mut sum = simd::load(isa, sums);
                for k in 0..ROWS {
                    let u = simd::splat::<I, f64>(isa, self.u[row + k].to_f64());
                    sum = parts[k][part].mul_add(u, sum);
                }
                sum.store_into(sums);
            }
        }
    }
}

/// `unit = product / max(‖product‖, eps)`.
pub(super) struct Normalise<'a, T> {
    pub(super) product: &'a [f64],
    pub(super) eps: f64,
    pub(super) unit: &'a mut [T],
}

impl<T: Element> Kernel for Normalise<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let norm = UnitNorm::of(isa, self.product);
        let divisor = if norm.value() < self.eps { (self.eps, 0).into() } else { norm };
        let [first, second] = divisor.divide_in_two::<f64>(1.0);
        for (unit, product) in self.unit.iter_mut().zip(self.product) {
            *unit = T::from_f64(product * first * second);
        }
    }
}

/// `Ŵ = W · first · second`.
pub(super) struct Scale<'a, T> {
    pub(super) factors: [T; 2],
    pub(super) data: InOut<'a, T>,
}

impl<T: Element> Kernel for Scale<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let [first, second] = self.factors;
        simd::map(
            isa,
            self.data,
            #[inline(always)]
            |w: T::Vector<I>| w * first * second,
        );
    }
}

/// Σ `a · b`.
pub(super) struct Dot<'a, T> {
    pub(super) a: &'a [T],
    pub(super) b: &'a [T],
}

impl<T: Element> Kernel for Dot<'_, T> {
    type Output = f64;
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> f64 {
        simd::fold2_f64(
            isa,
            self.a,
            self.b,
            #[inline(always)]
            |a, b, sum| a.mul_add(b, sum),
        )
    }
}

/// `dW += (dŴ − dot·u·vᵀ) · first · second` of the rows from `first` on.
pub(super) struct Backward<'a, T> {
    pub(super) dot: f64,
    pub(super) u: &'a [T],
    pub(super) v: &'a [T],
    pub(super) factors: [T; 2],
    pub(super) rows: Offset<Rows<(&'a [T], &'a mut [T])>>,
}

impl<T: Element> Kernel for Backward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Self { dot, u, v, factors, rows: Offset { first: first_row, data: rows } } = self;
        let (Rows { data: (dnormalised, dweights), width }, [first, second]) = (rows, factors);
        let rows = dnormalised.chunks_exact(width).zip(dweights.chunks_exact_mut(width));
        for ((dnormalised, dweights), &u) in rows.zip(&u[first_row..]) {
            let along = simd::splat(isa, T::from_f64(dot * u.to_f64()));
            simd::map3(
                isa,
                dnormalised,
                v,
                InOut::in_place(dweights),
                #[inline(always)]
                |dnormalised, v: T::Vector<I>, dweights| {
                    let changes = v.neg_mul_add(along, dnormalised);
                    (changes * first).mul_add(simd::splat(isa, second), dweights)
                },
            );
        }
    }
}
