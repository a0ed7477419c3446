//! Rows in cache: the maximum, the exponentials with their sum, and what each form makes of them.

use num_traits::Float;

use super::Softmax;
use crate::Element;
use crate::math::Elementary;
use crate::parallel::{Rows, Split};
use crate::simd::{self, InOut, Isa, Kernel, Products, Source, Vector};

/// Σ e^(x − largest), and each e^(x − largest) where `row` has a place for it.
#[inline(always)]
pub(crate) fn exponentials<I: Isa, T: Element, S: Source<T>>(isa: I, largest: T, row: &mut S) -> f64 {
    let one = simd::splat(isa, T::one());
    simd::map_products(
        isa,
        [],
        row,
        #[inline(always)]
        |[], x| {
            let e = (x - largest).exp();
            Products { output: e, left: e, right: one }
        },
    )
}

/// Calls `f` on each row.
#[inline(always)]
pub(crate) fn each_row<S: Split>(mut rows: Rows<S>, mut f: impl FnMut(S)) {
    while rows.len() > 0 {
        let (row, rest) = rows.split_at(1);
        rows = rest;
        f(row.data);
    }
}

/// `y = softmax(x)` or its logarithm.
pub(super) struct Forward<'a, T> {
    pub(super) softmax: Softmax,
    pub(super) rows: Rows<InOut<'a, T>>,
}

impl<T: Element> Kernel for Forward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        each_row(
            self.rows,
            #[inline(always)]
            |row| forward(isa, self.softmax, row),
        );
    }
}

/// One row of [`Forward`].
#[inline(always)]
fn forward<I: Isa, T: Element>(isa: I, softmax: Softmax, mut row: InOut<'_, T>) {
    let largest = simd::max(isa, row.input());
    match softmax {
        Softmax::Probabilities => {
            let scale = T::from_f64(1.0 / exponentials(isa, largest, &mut row));
            simd::map(
                isa,
                InOut::in_place(row.output()),
                #[inline(always)]
                |e| e * scale,
            );
        }
        Softmax::Logarithms => {
            let ln_sum = T::from_f64(Float::ln(exponentials(isa, largest, &mut row.input())));
            // Both terms have one sign: nothing cancels.
            simd::map(
                isa,
                row,
                #[inline(always)]
                |x| (x - largest) - ln_sum,
            );
        }
    }
}

/// The sum that a row's backward subtracts: of `y · dy`, or of `dy`.
#[inline(always)]
fn row_sum<I: Isa, T: Element>(isa: I, softmax: Softmax, y: &[T], dy: &[T]) -> T {
    let sum = match softmax {
        Softmax::Probabilities => simd::fold2_f64(
            isa,
            y,
            dy,
            #[inline(always)]
            |y, dy, sum| y.mul_add(dy, sum),
        ),
        Softmax::Logarithms => simd::fold_f64(
            isa,
            dy,
            #[inline(always)]
            |dy, sum| dy + sum,
        ),
    };
    T::from_f64(sum)
}

/// An element of the gradient, given the row's sum.
#[inline(always)]
fn gradient<V: Vector>(softmax: Softmax, y: V, dy: V, sum: V::Elem) -> V {
    match softmax {
        Softmax::Probabilities => y * (dy - sum),
        Softmax::Logarithms => y.exp().neg_mul_add(y.splat(sum), dy),
    }
}

/// `dx` from `dy` and the input: `y` is made in the place of `dx`.
pub(super) struct Backward<'a, T> {
    pub(super) softmax: Softmax,
    pub(super) rows: Rows<(&'a [T], InOut<'a, T>)>,
}

impl<T: Element> Kernel for Backward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let softmax = self.softmax;
        each_row(
            self.rows,
            #[inline(always)]
            |(dy, mut row)| {
                // It is read again at once.
                forward(isa, softmax, row.reborrow().cached());
                let sum = row_sum(isa, softmax, row.output(), dy);
                simd::map2(
                    isa,
                    dy,
                    InOut::in_place(row.output()),
                    #[inline(always)]
                    |dy, y| gradient(softmax, y, dy, sum),
                );
            },
        );
    }
}

/// `dx` from `y`, with `dy` read from and `dx` written to the second.
pub(super) struct BackwardFromOutput<'a, T> {
    pub(super) softmax: Softmax,
    pub(super) rows: Rows<(&'a [T], InOut<'a, T>)>,
}

impl<T: Element> Kernel for BackwardFromOutput<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let softmax = self.softmax;
        each_row(
            self.rows,
            #[inline(always)]
            |(y, row)| {
                let sum = row_sum(isa, softmax, y, row.input());
                simd::map2(
                    isa,
                    y,
                    row,
                    #[inline(always)]
                    |y, dy| gradient(softmax, y, dy, sum),
                );
            },
        );
    }
}
