//! A row is measured, then normalised while it is in cache.

use core::marker::PhantomData;

use super::{Hat, Measured, Rule, Weights, ahead};
use crate::Element;
use crate::norm::Affine;
use crate::parallel::{self, Offset, Rows, row_block};
use crate::simd::{self, Active, InOut, Isa, Kernel, Vector, dispatch};

/// Rows to read and write, with places for their mean and inverse deviation where those are asked for.
type Output<'a, T> = (Rows<InOut<'a, T>>, Option<&'a mut [f64]>, Option<&'a mut [f64]>);

/// Measures each row and normalises it.
struct Forward<'a, T, R> {
    rule: PhantomData<R>,
    eps: f64,
    weights: Weights<'a, T>,
    rows: Offset<Output<'a, T>>,
}

impl<T: Element, R: Rule> Kernel for Forward<'_, T, R> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Self { eps, weights, rows: Offset { first, data: (rows, mut mean, mut rstd) }, .. } = self;
        let Rows { mut data, width } = rows;
        for row in 0..data.len() / width {
            let (x, rest) = data.split_at(width);
            data = rest;
            let measured = R::measure(isa, x.input(), eps);
            normalise::<I, T, R>(isa, measured, weights.of_row(first + row, width), x);
            if let Some(mean) = &mut mean {
                mean[row] = measured.mean;
            }
            if let Some(rstd) = &mut rstd {
                rstd[row] = measured.rstd;
            }
        }
    }
}

/// Elements of a channel below which streaming stores do not pay: the fence and the parts of a vector at both ends.
const STREAMED: usize = 1024;

/// `y = (x − mean) · rstd · γ + β` for a row; the next is on its way from memory meanwhile.
#[inline(always)]
fn normalise<I: Isa, T: Element, R: Rule>(
    isa: I,
    measured: Measured,
    weights: Weights<'_, T>,
    row: InOut<'_, T>,
) {
    let by = Hat::new(measured);
    let hat = simd::inlined(
        #[inline(always)]
        |x: T::Vector<I>| R::hat(x, by),
    );
    let Weights { affine: Affine { gamma, beta }, inner, .. } = weights;
    if inner > 1 && (gamma.is_some() || beta.is_some()) {
        let ahead = ahead(row.len());
        // Streaming stores want whole lines.
        let mut row = if inner < STREAMED { row.cached() } else { row };
        for channel in 0..row.len() / inner {
            let (segment, rest) = row.split_at(inner);
            row = rest;
            let gamma = gamma.map_or(T::one(), |gamma| gamma[channel]);
            let beta = simd::splat(isa, beta.map_or(T::zero(), |beta| beta[channel]));
            let gamma = simd::splat(isa, gamma);
            simd::map_ahead(
                isa,
                ahead,
                [],
                segment,
                #[inline(always)]
                |[], x| hat(x).mul_add(gamma, beta),
            );
        }
        return;
    }
    let ahead = ahead(row.len());
    match (gamma, beta) {
        (None, None) => simd::map_ahead(
            isa,
            ahead,
            [],
            row,
            #[inline(always)]
            |[], x| hat(x),
        ),
        (Some(gamma), None) => simd::map_ahead(
            isa,
            ahead,
            [gamma],
            row,
            #[inline(always)]
            |[gamma], x| hat(x) * gamma,
        ),
        (None, Some(beta)) => simd::map_ahead(
            isa,
            ahead,
            [beta],
            row,
            #[inline(always)]
            |[beta], x| hat(x) + beta,
        ),
        (Some(gamma), Some(beta)) => simd::map_ahead(
            isa,
            ahead,
            [gamma, beta],
            row,
            #[inline(always)]
            |[gamma, beta], x| hat(x).mul_add(gamma, beta),
        ),
    }
}

/// [`Forward`] over all rows of `cols` elements.
pub(in crate::norm) fn forward<T: Element, R: Rule>(
    eps: f64,
    cols: usize,
    weights: Weights<'_, T>,
    data: InOut<'_, T>,
    [mean, rstd]: [Option<&mut [f64]>; 2],
) {
    if data.len() == 0 {
        return;
    }
    let active = Active::current();
    let rows = Offset { first: 0, data: (Rows { data, width: cols }, mean, rstd) };
    parallel::for_each(rows, row_block(cols), |rows| {
        dispatch(active, Forward { rule: PhantomData::<R>, eps, weights, rows });
    });
}
