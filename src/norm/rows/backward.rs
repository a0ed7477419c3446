//! The sums of a row, then its gradient while it is in cache; the sums for γ and β by block.

use core::marker::PhantomData;

use super::{Mean, Measured, Rule};
use crate::norm::NormGradients;
use crate::parallel::{self, Offset, Rows, row_block};
use crate::simd::{self, Active, InOut, Isa, Kernel, MAX_LANES, StoreInto, Vector, dispatch};
use crate::{Element, RowShape};

/// `x`, `dy` and `dx` of rows, with their means (if there are any) and inverse deviations.
pub(in crate::norm) type Gradients<'a, T> =
    (Rows<(&'a [T], &'a [T], &'a mut [T])>, Option<&'a [f64]>, &'a [f64]);

/// Rows that [`Backward`] takes side by side, so that their sums for γ and β leave the registers once. More than two, and
/// the next rows of dx that are asked for ahead push them out of the first-level cache (1.62 to 1.98 ms for 4096x768).
const SIDE_BY_SIDE: usize = 2;

/// Elements of a row up to which [`SIDE_BY_SIDE`] of them stay in the second-level cache between two passes.
const NARROW: usize = 16 * 1024;

/// Blocks of the backward, at most, and rows of one whose parameters are one an element, at least: the block's own sums
/// are then a thirtieth of what it reads.
const MOST_BLOCKS: usize = 32;
const LEAST_ROWS: usize = 16;

/// The rows of a backward, and the parameters that take turns in them: as [`Weights`](super::Weights) has them.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    pub(in crate::norm) rows: usize,
    pub(in crate::norm) cols: usize,
    pub(in crate::norm) groups: usize,
    pub(in crate::norm) inner: usize,
}

impl Layout {
    /// Rows whose sums for γ and β are taken together.
    fn block(self) -> usize {
        let block = row_block(self.cols).max(self.rows.div_ceil(MOST_BLOCKS));
        if self.inner == 1 { block.max(LEAST_ROWS).next_multiple_of(SIDE_BY_SIDE) } else { block }
    }

    /// Numbers of one sum of a row: a parameter each, in whole vectors where the elements of a vector have their own.
    fn width(self) -> usize {
        if self.inner > 1 {
            return self.cols / self.inner;
        }
        self.cols.checked_next_multiple_of(MAX_LANES).unwrap_or(usize::MAX)
    }

    /// Numbers of scratch that a backward needs: the sums for γ and β of each block.
    pub(in crate::norm) fn scratch_len(self) -> usize {
        if self.rows == 0 || self.cols == 0 {
            return 0;
        }
        let blocks = self.rows.div_ceil(self.block());
        self.width().saturating_mul(self.groups).saturating_mul(2).saturating_mul(blocks)
    }
}

/// Rows with a parameter an element.
impl From<RowShape> for Layout {
    fn from(RowShape { rows, cols }: RowShape) -> Self {
        Self { rows, cols, groups: 1, inner: 1 }
    }
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
pub(in crate::norm) struct RowGradient<T> {
    pub(in crate::norm) mean: Mean<T>,
    pub(in crate::norm) rstd: T,
    slope: T,
    constant: T,
}

impl<T: Element> RowGradient<T> {
    /// From Σ g and Σ g · (x − mean) over `count` elements.
    #[inline(always)]
    pub(in crate::norm) fn new<R: Rule>(measured: Measured, [sum, moment]: [f64; 2], count: usize) -> Self {
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
    pub(in crate::norm) fn input<V: Vector<Elem = T>>(&self, g: V, hat: V) -> V {
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
        let sums = sums_of_group(self.sums, self.groups, group);
        Columns { of_row, gamma, x, dy, dx, sums }.run::<I, R>(isa);
    }
}

/// Σ dy · x̂ and Σ dy of one of `groups`, out of those of all; `None` where there are none.
#[inline(always)]
pub(in crate::norm) fn sums_of_group(
    sums: &mut [f64],
    groups: usize,
    group: usize,
) -> Option<(&mut [f64], &mut [f64])> {
    if sums.is_empty() {
        return None;
    }
    let (hat, plain) = sums.split_at_mut(sums.len() / 2);
    let width = plain.len() / groups;
    Some((&mut hat[group * width..][..width], &mut plain[group * width..][..width]))
}

/// Σ g and Σ g · (x − mean) of a row, with g = γ · dy.
#[inline(always)]
pub(in crate::norm) fn row_sums<I: Isa, T: Element, R: Rule>(
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
            // No prefetcher sees this pass coming: it reads what the one before has read, and writes elsewhere.
            isa.prefetch(self.dx.as_ptr().wrapping_add(here.start + ROWS * cols));
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
struct Add<'a> {
    from: &'a [f64],
    to: &'a mut [f64],
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
    /// Parameters of a group.
    count: usize,
}

impl<T: Element> Kernel for AddToParameters<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, _isa: I) {
        let groups = self.gradient.chunks_exact_mut(self.count).zip(self.sums.chunks_exact(self.width));
        for (gradient, sums) in groups {
            for (gradient, sum) in gradient.iter_mut().zip(sums) {
                *gradient = T::from_f64(gradient.to_f64() + sum);
            }
        }
    }
}

/// `dx` of all rows, and the gradients of parameters that are one an element.
pub(in crate::norm) fn backward<T: Element, R: Rule>(
    layout: Layout,
    gamma: Option<&[T]>,
    inputs: (&[T], &[T]),
    measured: (Option<&[f64]>, &[f64]),
    scratch: &mut [f64],
    gradients: NormGradients<'_, T>,
) {
    let (active, groups) = (Active::current(), layout.groups);
    reduce(layout, inputs, measured, scratch, gradients, |rows, sums| {
        dispatch(active, Backward { rule: PhantomData::<R>, gamma, groups, rows, sums });
    });
}

/// Calls `each` on the rows of every block, with a place for their sums (none where nobody asks for them), and adds the
/// sums of all to the gradients of the parameters.
pub(in crate::norm) fn reduce<T: Element>(
    layout: Layout,
    (x, dy): (&[T], &[T]),
    (mean, rstd): (Option<&[f64]>, &[f64]),
    scratch: &mut [f64],
    gradients: NormGradients<'_, T>,
    each: impl Fn(Offset<Gradients<'_, T>>, &mut [f64]) + Sync,
) {
    if x.is_empty() {
        return;
    }
    let active = Active::current();
    let has_parameters = gradients.has_parameters();
    let NormGradients { input: dx, gamma: dgamma, beta: dbeta } = gradients;
    let Layout { cols, groups, inner, .. } = layout;
    let rows = Offset { first: 0, data: (Rows { data: (x, dy, dx), width: cols }, mean, rstd) };
    if !has_parameters {
        parallel::for_each(rows, row_block(cols).next_multiple_of(SIDE_BY_SIDE), |rows| each(rows, &mut []));
        return;
    }
    let width = layout.width();
    parallel::reduce_slots(rows, layout.block(), scratch, 2 * groups * width, each, |to, from| {
        dispatch(active, Add { from, to });
    });
    let (hat, plain) = scratch.split_at(groups * width);
    for (sums, gradient) in [(hat, dgamma), (plain, dbeta)] {
        if let Some(gradient) = gradient {
            dispatch(active, AddToParameters { sums, width, gradient, count: cols / inner });
        }
    }
}
