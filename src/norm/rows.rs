//! What norms of contiguous rows share: the passes over a row while it is in cache, and the sums for γ and β.
//!
//! A row is measured in two passes, mean first, so nothing cancels; the differences from the mean, which `f64` holds
//! and `f32` may not, are taken in two steps.

use core::marker::PhantomData;

use super::{Affine, NormGradients};
use crate::Element;
use crate::parallel::{self, Offset, Rows, row_block};
use crate::simd::{self, Active, InOut, Isa, Kernel, MAX_LANES, StoreInto, Vector, dispatch};

/// What a norm takes off a row, and what it divides it by.
pub(super) trait Rule: Send + Sync + 'static {
    /// Mean (0 where none is taken off) and inverse deviation of a row.
    fn measure<I: Isa, T: Element>(isa: I, x: &[T], eps: f64) -> Measured;
    /// `x` without the mean.
    fn centre<V: Vector>(x: V, mean: Mean<V::Elem>) -> V;
    /// What goes back through the mean, of the mean of the gradient.
    fn through_mean(mean_of_gradient: f64) -> f64;
}

/// Mean and 1/√(variance + eps) of a row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
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

/// Rows to read and write, with places for their mean and inverse deviation where those are asked for.
pub(super) type Output<'a, T> = (Rows<InOut<'a, T>>, Option<&'a mut [f64]>, Option<&'a mut [f64]>);

/// Measures each row and normalises it.
pub(super) struct Forward<'a, T, R> {
    pub(super) rule: PhantomData<R>,
    pub(super) eps: f64,
    pub(super) weights: Weights<'a, T>,
    pub(super) rows: Offset<Output<'a, T>>,
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

/// `y = (x − mean) · rstd · γ + β` for a row.
#[inline(always)]
pub(super) fn normalise<I: Isa, T: Element, R: Rule>(
    isa: I,
    measured: Measured,
    weights: Weights<'_, T>,
    row: InOut<'_, T>,
) {
    let (mean, rstd) = (Mean::new(measured.mean), T::from_f64(measured.rstd));
    let hat = simd::inlined(
        #[inline(always)]
        |x: T::Vector<I>| R::centre(x, mean) * rstd,
    );
    let Weights { affine: Affine { gamma, beta }, inner, .. } = weights;
    if inner > 1 && (gamma.is_some() || beta.is_some()) {
        let mut row = row;
        for channel in 0..row.len() / inner {
            let (segment, rest) = row.split_at(inner);
            row = rest;
            let gamma = gamma.map_or(T::one(), |gamma| gamma[channel]);
            let beta = simd::splat(isa, beta.map_or(T::zero(), |beta| beta[channel]));
            let gamma = simd::splat(isa, gamma);
            simd::map(
                isa,
                segment,
                #[inline(always)]
                |x| hat(x).mul_add(gamma, beta),
            );
        }
        return;
    }
    match (gamma, beta) {
        (None, None) => simd::map(isa, row, hat),
        (Some(gamma), None) => simd::map2(
            isa,
            gamma,
            row,
            #[inline(always)]
            |gamma, x| hat(x) * gamma,
        ),
        (None, Some(beta)) => simd::map2(
            isa,
            beta,
            row,
            #[inline(always)]
            |beta, x| hat(x) + beta,
        ),
        (Some(gamma), Some(beta)) => simd::map3(
            isa,
            gamma,
            beta,
            row,
            #[inline(always)]
            |gamma, beta, x| hat(x).mul_add(gamma, beta),
        ),
    }
}

/// [`Forward`] over all rows of `cols` elements.
pub(super) fn forward<T: Element, R: Rule>(
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

/// `x`, `dy` and `dx` of rows, with their means (if there are any) and inverse deviations.
pub(super) type Gradients<'a, T> = (Rows<(&'a [T], &'a [T], &'a mut [T])>, Option<&'a [f64]>, &'a [f64]);

/// Rows that [`Backward`] takes side by side, so that their sums for γ and β leave the registers once.
const SIDE_BY_SIDE: usize = 4;

/// Elements of a row up to which [`SIDE_BY_SIDE`] of them stay in the second-level cache between two passes.
const NARROW: usize = 16 * 1024;

/// Rows of a block of the backward, at least: the block's own sums are then a thirtieth of what it reads.
const LEAST_ROWS: usize = 16;

/// Blocks of the backward, at most, for the same reason.
const MOST_BLOCKS: usize = 32;

/// Rows whose sums for γ and β are taken together.
fn backward_block(rows: usize, cols: usize) -> usize {
    let block = row_block(cols).max(rows.div_ceil(MOST_BLOCKS)).max(LEAST_ROWS);
    block.next_multiple_of(SIDE_BY_SIDE)
}

/// Numbers of one sum of a row of `cols`, in whole vectors.
fn sum_width(cols: usize) -> usize {
    cols.checked_next_multiple_of(MAX_LANES).unwrap_or(usize::MAX)
}

/// Numbers of scratch that [`backward`] needs: the sums for γ and β of each block.
pub(super) fn backward_scratch_len(rows: usize, cols: usize, groups: usize) -> usize {
    if rows == 0 || cols == 0 {
        return 0;
    }
    let blocks = rows.div_ceil(backward_block(rows, cols));
    sum_width(cols).saturating_mul(groups).saturating_mul(2).saturating_mul(blocks)
}

/// `dx` of each row, and the sums for γ and β added to `sums`.
struct Backward<'a, T, R> {
    rule: PhantomData<R>,
    gamma: Option<&'a [T]>,
    groups: usize,
    rows: Offset<Gradients<'a, T>>,
    /// Σ dy · x̂ of each group, then Σ dy of each; nothing where neither is asked for.
    sums: &'a mut [f64],
}

impl<T: Element, R: Rule> Kernel for Backward<'_, T, R> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(mut self, isa: I) {
        self.sums.fill(0.0);
        let (rows, cols) = (self.rows.data.2.len(), self.rows.data.0.width);
        let mut row = 0;
        if self.groups == 1 && cols <= NARROW {
            while row + SIDE_BY_SIDE <= rows {
                self.rows_from::<I, SIDE_BY_SIDE>(isa, row);
                row += SIDE_BY_SIDE;
            }
        }
        for row in row..rows {
            self.rows_from::<I, 1>(isa, row);
        }
    }
}

/// What the elements of a row need to know of the whole row: `dx = g · rstd − (x̂ · slope + constant)`, `g = γ · dy`.
#[derive(Clone, Copy, Debug)]
pub(super) struct RowGradient<T> {
    pub(super) mean: Mean<T>,
    pub(super) rstd: T,
    slope: T,
    constant: T,
}

impl<T: Element> RowGradient<T> {
    /// From Σ g and Σ g · (x − mean) over `count` elements.
    #[inline(always)]
    pub(super) fn new<R: Rule>(measured: Measured, [sum, moment]: [f64; 2], count: usize) -> Self {
        let Measured { mean, rstd } = measured;
        let count = count as f64;
        Self {
            mean: Mean::new(mean),
            rstd: T::from_f64(rstd),
            slope: T::from_f64(rstd * (moment * rstd / count)),
            constant: T::from_f64(rstd * R::through_mean(sum / count)),
        }
    }

    /// `dx` of elements with normalised values `hat` and gradients `g`.
    #[inline(always)]
    pub(super) fn input<V: Vector<Elem = T>>(&self, g: V, hat: V) -> V {
        g.mul_sub(g.splat(self.rstd), hat.mul_add(g.splat(self.slope), g.splat(self.constant)))
    }
}

impl<T: Element, R: Rule> Backward<'_, T, R> {
    /// `ROWS` rows from `first` on: their sums while they come into cache, then all that needs those.
    #[inline(always)]
    fn rows_from<I: Isa, const ROWS: usize>(&mut self, isa: I, first: usize) {
        let Offset { first: offset, data: (rows, mean, rstd) } = &mut self.rows;
        let (Rows { data: (x, dy, dx), width }, group) = (rows, (*offset + first) % self.groups);
        let cols = *width;
        let gamma = self.gamma.map(|gamma| &gamma[group * cols..(group + 1) * cols]);
        let at = first * cols..(first + ROWS) * cols;
        let (x, dy, dx) = (&x[at.clone()], &dy[at.clone()], &mut dx[at]);
        let measured = simd::inlined(
            #[inline(always)]
            |row: usize| {
                let mean = mean.map_or(0.0, |mean| mean[first + row]);
                Measured { mean, rstd: rstd[first + row] }
            },
        );
        let mut of_row =
            [RowGradient { mean: Mean::new(0.0), rstd: T::zero(), slope: T::zero(), constant: T::zero() };
                ROWS];
        for (row, of_row) in of_row.iter_mut().enumerate() {
            let at = row * cols..(row + 1) * cols;
            let sums =
                row_sums::<I, T, R>(isa, &x[at.clone()], &dy[at], gamma, Mean::new(measured(row).mean));
            *of_row = RowGradient::new::<R>(measured(row), sums, cols);
        }
        let width = sum_width(cols);
        let sums = if self.sums.is_empty() {
            None
        } else {
            let (hat, plain) = self.sums.split_at_mut(self.groups * width);
            Some((&mut hat[group * width..][..width], &mut plain[group * width..][..width]))
        };
        Columns { of_row, gamma, x, dy, dx, sums }.run::<I, R>(isa);
    }
}

/// Σ g and Σ g · (x − mean) of a row, with g = γ · dy.
#[inline(always)]
fn row_sums<I: Isa, T: Element, R: Rule>(
    isa: I,
    x: &[T],
    dy: &[T],
    gamma: Option<&[T]>,
    mean: Mean<T>,
) -> [f64; 2] {
    let one = simd::splat(isa, T::one());
    let pairs = simd::inlined(
        #[inline(always)]
        |x, g| [[g, one], [g, R::centre(x, mean)]],
    );
    match gamma {
        Some(gamma) => simd::sum_products(
            isa,
            [x, dy, gamma],
            #[inline(always)]
            |[x, dy, gamma]: [T::Vector<I>; 3]| pairs(x, dy * gamma),
        ),
        None => simd::sum_products(
            isa,
            [x, dy],
            #[inline(always)]
            |[x, dy]: [T::Vector<I>; 2]| pairs(x, dy),
        ),
    }
}

/// Rows side by side, and where the sums of their columns are added.
struct Columns<'a, T, const ROWS: usize> {
    of_row: [RowGradient<T>; ROWS],
    gamma: Option<&'a [T]>,
    x: &'a [T],
    dy: &'a [T],
    dx: &'a mut [T],
    sums: Option<(&'a mut [f64], &'a mut [f64])>,
}

impl<T: Element, const ROWS: usize> Columns<'_, T, ROWS> {
    /// `dx` of all rows, vector by vector.
    #[inline(always)]
    fn run<I: Isa, R: Rule>(mut self, isa: I) {
        let (lanes, cols) = (T::Vector::<I>::LANES, self.x.len() / ROWS);
        let mut at = 0;
        while at + lanes <= cols {
            self.strip::<I, R>(isa, at, lanes, simd::load::<I, T>, T::Vector::<I>::store_into);
            at += lanes;
        }
        if at < cols {
            let (take, put) = (simd::load_partial::<I, T>, T::Vector::<I>::store_partial_into);
            self.strip::<I, R>(isa, at, cols - at, take, put);
        }
    }

    /// The vector of `count` elements at a column, which `take` reads and `put` writes, of each row.
    #[inline(always)]
    fn strip<I: Isa, R: Rule>(
        &mut self,
        isa: I,
        at: usize,
        count: usize,
        take: impl Fn(I, &[T]) -> T::Vector<I>,
        put: impl Fn(T::Vector<I>, &mut [T]),
    ) {
        let cols = self.x.len() / ROWS;
        let gamma = self.gamma.map(
            #[inline(always)]
            |gamma| take(isa, &gamma[at..at + count]),
        );
        let mut totals = [simd::splat(isa, T::zero()); 2];
        for row in 0..ROWS {
            let (of_row, here) = (self.of_row[row], row * cols + at..row * cols + at + count);
            let (x, dy) = (take(isa, &self.x[here.clone()]), take(isa, &self.dy[here.clone()]));
            let hat = R::centre(x, of_row.mean) * of_row.rstd;
            totals = [hat.mul_add(dy, totals[0]), totals[1] + dy];
            let g = match gamma {
                Some(gamma) => dy * gamma,
                None => dy,
            };
            put(of_row.input(g, hat), &mut self.dx[here]);
        }
        if let Some((hat, plain)) = &mut self.sums {
            add_wide::<I, T>(isa, totals[0], &mut hat[at..]);
            add_wide::<I, T>(isa, totals[1], &mut plain[at..]);
        }
    }
}

/// `sums[lane] += x[lane]`, in `f64`.
#[inline(always)]
fn add_wide<I: Isa, T: Element>(isa: I, x: T::Vector<I>, sums: &mut [f64]) {
    let zero = simd::splat(isa, T::zero());
    let parts = T::widen(isa, [x, zero, zero, zero]);
    for (part, sums) in parts.into_iter().zip(sums[..T::Vector::<I>::LANES].chunks_exact_mut(I::F64::LANES)) {
        (simd::load(isa, sums) + part).store_into(sums);
    }
}

/// `to += from`.
pub(super) struct Add<'a> {
    pub(super) from: &'a [f64],
    pub(super) to: &'a mut [f64],
}

impl Kernel for Add<'_> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        simd::map2(
            isa,
            self.from,
            InOut::in_place(self.to),
            #[inline(always)]
            |from: I::F64, to| to + from,
        );
    }
}

/// Adds the sums of each group to the gradients of its parameters.
struct AddToParameters<'a, T> {
    sums: &'a [f64],
    width: usize,
    gradient: &'a mut [T],
    cols: usize,
}

impl<T: Element> Kernel for AddToParameters<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, _isa: I) {
        let groups = self.gradient.chunks_exact_mut(self.cols).zip(self.sums.chunks_exact(self.width));
        for (gradient, sums) in groups {
            for (gradient, sum) in gradient.iter_mut().zip(sums) {
                *gradient = T::from_f64(gradient.to_f64() + sum);
            }
        }
    }
}

/// `dx` of all rows of `cols` elements, and the gradients of parameters that are one an element.
pub(super) fn backward<T: Element, R: Rule>(
    (gamma, groups): (Option<&[T]>, usize),
    cols: usize,
    (x, dy): (&[T], &[T]),
    (mean, rstd): (Option<&[f64]>, &[f64]),
    scratch: &mut [f64],
    gradients: NormGradients<'_, T>,
) {
    if x.is_empty() {
        return;
    }
    let active = Active::current();
    let has_parameters = gradients.has_parameters();
    let NormGradients { input: dx, gamma: dgamma, beta: dbeta } = gradients;
    let block = backward_block(rstd.len(), cols);
    let rows = Offset { first: 0, data: (Rows { data: (x, dy, dx), width: cols }, mean, rstd) };
    let each = |rows, sums: &mut [f64]| {
        dispatch(active, Backward { rule: PhantomData::<R>, gamma, groups, rows, sums });
    };
    if !has_parameters {
        parallel::for_each(rows, row_block(cols).next_multiple_of(SIDE_BY_SIDE), |rows| each(rows, &mut []));
        return;
    }
    let width = sum_width(cols);
    parallel::reduce_slots(rows, block, scratch, 2 * groups * width, each, |to, from| {
        dispatch(active, Add { from, to });
    });
    let (hat, plain) = scratch.split_at(groups * width);
    for (sums, gradient) in [(hat, dgamma), (plain, dbeta)] {
        if let Some(gradient) = gradient {
            dispatch(active, AddToParameters { sums, width, gradient, cols });
        }
    }
}
