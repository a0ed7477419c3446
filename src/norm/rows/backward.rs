//! The sums of a row, then its gradient while it is in cache; the sums for γ and β by block.

use core::marker::PhantomData;

use super::{Hat, Measured, Rule, ahead};
use crate::norm::NormGradients;
use crate::parallel::{self, Offset, Rows, row_block};
use crate::simd::{self, Active, InOut, Isa, Kernel, LINE, MAX_LANES, Store, StoreInto, Vector, dispatch};
use crate::{Element, RowShape};

/// `x`, `dy` and `dx` of rows, with their means (if there are any) and inverse deviations.
pub(in crate::norm) type Gradients<'a, T> =
    (Rows<(&'a [T], &'a [T], &'a mut [T])>, Option<&'a [f64]>, &'a [f64]);

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
        if self.inner == 1 { block.max(LEAST_ROWS) } else { block }
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
    store: Store,
}

impl<T: Element, R: Rule> Kernel for Backward<'_, T, R> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Self { gamma, groups, rows: Offset { first, data: (rows, mean, rstd) }, sums, store, .. } = self;
        let Rows { data: (x, dy, mut dx), width: cols } = rows;
        sums.fill(0.0);
        let count = x.len() / cols;
        // Every vector is a line then. Where rows share lines, those at both ends of a row would go through the caches: of 4096x768
        // that took 1.4 of the time of ordinary stores in f32, 0.9 in f64.
        let streams = store == Store::Streaming
            && dx.as_ptr().addr().is_multiple_of(LINE)
            && (cols * size_of::<T>()).is_multiple_of(LINE);
        let most = if groups == 1 { rows_together::<T>(cols) } else { 1 };
        let mut row = 0;
        while row < count {
            let together = if count - row >= most { most } else { 1 };
            let (group, elements) = ((first + row) % groups, row * cols..(row + together) * cols);
            let (now, rest) = dx.split_at_mut(elements.len());
            dx = rest;
            let rows = Together {
                rule: PhantomData::<R>,
                gamma: gamma.map(|gamma| &gamma[group * cols..(group + 1) * cols]),
                x: &x[elements.clone()],
                dy: &dy[elements],
                dx: now,
                sums: sums_of_group(sums, groups, group),
            };
            let measured = simd::inlined(
                #[inline(always)]
                |at: usize| Measured { mean: mean.map_or(0.0, |mean| mean[row + at]), rstd: rstd[row + at] },
            );
            match (together, streams) {
                (1, false) => rows.run::<I, 1, false>(isa, measured),
                (1, true) => rows.run::<I, 1, true>(isa, measured),
                (_, false) => rows.run::<I, TOGETHER, false>(isa, measured),
                (_, true) => rows.run::<I, TOGETHER, true>(isa, measured),
            }
            row += together;
        }
        if streams {
            isa.fence();
        }
    }
}

/// What the elements of a row need to know of the whole row: `dx = g · rstd − (x̂ · slope + constant)`, `g = γ · dy`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowGradient<T> {
    pub(in crate::norm) hat: Hat<T>,
    slope: T,
    constant: T,
}

impl<T: Element> RowGradient<T> {
    /// From Σ g and Σ g · x̂ over `count` elements.
    #[inline(always)]
    pub(crate) fn new<R: Rule>(measured: Measured, [sum, along]: [f64; 2], count: usize) -> Self {
        let (rstd, count) = (measured.rstd, count as f64);
        Self {
            hat: Hat::new(measured),
            slope: T::from_f64(rstd * (along / count)),
            constant: T::from_f64(rstd * R::through_mean(sum / count)),
        }
    }

    /// `dx` of elements with normalised values `hat` and gradients `g`.
    #[inline(always)]
    pub(crate) fn input<V: Vector<Elem = T>>(&self, g: V, hat: V) -> V {
        g.mul_sub(g.splat(self.hat.rstd), hat.mul_add(g.splat(self.slope), g.splat(self.constant)))
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

/// Vectors of terms, and rows of the sums for γ and β, that are added before they become `f64`. Each has been rounded as a
/// product; adding four rounds no more than that.
const TOGETHER: usize = 4;

/// Σ g and Σ g · x̂ of a row, with g = γ · dy.
#[inline(always)]
pub(crate) fn row_sums<I: Isa, T: Element, R: Rule>(
    isa: I,
    x: &[T],
    dy: &[T],
    gamma: Option<&[T]>,
    by: Hat<T>,
) -> [f64; 2] {
    let (lanes, cols) = (T::Vector::<I>::LANES, x.len());
    let zero = simd::splat(isa, T::zero());
    let mut sums = [[simd::splat(isa, 0.0); 2]; 2];
    let mut add = simd::inlined(
        #[inline(always)]
        |terms: [T::Vector<I>; 2]| {
            for k in 0..2 {
                let parts = T::widen(isa, [terms[k], zero, zero, zero]);
                for half in 0..lanes / I::F64::LANES {
                    sums[k][half] = sums[k][half] + parts[half];
                }
            }
        },
    );
    let mut at = 0;
    while at + TOGETHER * lanes <= cols {
        let (mut g, mut hat) = ([zero; TOGETHER], [zero; TOGETHER]);
        for k in 0..TOGETHER {
            let here = at + k * lanes..at + (k + 1) * lanes;
            let dy = simd::load(isa, &dy[here.clone()]);
            hat[k] = R::hat(simd::load(isa, &x[here.clone()]), by);
            g[k] = match gamma {
                Some(gamma) => dy * simd::load::<I, T>(isa, &gamma[here]),
                None => dy,
            };
        }
        let along = [g[0].mul_add(hat[0], g[1] * hat[1]), g[2].mul_add(hat[2], g[3] * hat[3])];
        add([(g[0] + g[1]) + (g[2] + g[3]), along[0] + along[1]]);
        at += TOGETHER * lanes;
    }
    while at < cols {
        let here = at..cols.min(at + lanes);
        // Where a row ends within a vector, what is not there has x̂ = 0: a mean that overflows must not reach it.
        let mut padded = [by.shift; MAX_LANES];
        padded[..here.len()].copy_from_slice(&x[here.clone()]);
        let hat = R::hat(simd::load(isa, &padded), by);
        let dy = simd::load_partial(isa, &dy[here.clone()]);
        let g = match gamma {
            Some(gamma) => dy * simd::load_partial::<I, T>(isa, &gamma[here]),
            None => dy,
        };
        add([g, g * hat]);
        at += lanes;
    }
    sums.map(
        #[inline(always)]
        |[low, high]: [I::F64; 2]| (low + high).sum(),
    )
}

/// Rows whose terms for γ and β are added before the sums of columns are read and written: [`TOGETHER`] of `f32`, which is widened
/// then, where those stay in half of the first-level cache, and of both where not even one row stays in it; else one.
fn rows_together<T>(cols: usize) -> usize {
    const CACHE: usize = 40 * 1024;
    let taken = |rows: usize| cols.saturating_mul((3 * rows + 1) * size_of::<T>() + 2 * size_of::<f64>());
    let is_widened = size_of::<T>() < size_of::<f64>();
    if is_widened && taken(TOGETHER) <= CACHE / 2 || taken(1) > CACHE { TOGETHER } else { 1 }
}

/// Rows with the same parameters, and where their elements are added to the sums of their columns.
struct Together<'a, T, R> {
    rule: PhantomData<R>,
    gamma: Option<&'a [T]>,
    x: &'a [T],
    dy: &'a [T],
    dx: &'a mut [T],
    sums: Option<(&'a mut [f64], &'a mut [f64])>,
}

impl<T: Element, R: Rule> Together<'_, T, R> {
    /// `dx` of `ROWS` rows, vector by vector, after the sums of each, past the caches where it `STREAMS`; the next ones are on their
    /// way from memory meanwhile.
    #[inline(always)]
    fn run<I: Isa, const ROWS: usize, const STREAMS: bool>(
        mut self,
        isa: I,
        measured: impl Fn(usize) -> Measured,
    ) {
        let (lanes, cols) = (T::Vector::<I>::LANES, self.x.len() / ROWS);
        let nothing = RowGradient { hat: Hat::new(measured(0)), slope: T::zero(), constant: T::zero() };
        let mut of_row = [nothing; ROWS];
        for row in 0..ROWS {
            let (here, measured) = (row * cols..(row + 1) * cols, measured(row));
            let (x, dy) = (&self.x[here.clone()], &self.dy[here]);
            let sums = row_sums::<I, T, R>(isa, x, dy, self.gamma, Hat::new(measured));
            of_row[row] = RowGradient::new::<R>(measured, sums, cols);
        }
        let ahead = ahead(self.x.len());
        let mut at = 0;
        while at + lanes <= cols {
            for row in 0..ROWS {
                let next = row * cols + at + ahead;
                isa.prefetch(self.x.as_ptr().wrapping_add(next));
                isa.prefetch(self.dy.as_ptr().wrapping_add(next));
                if !STREAMS {
                    isa.prefetch(self.dx.as_ptr().wrapping_add(next));
                }
            }
            self.strip::<I, ROWS, STREAMS>(isa, of_row, at, lanes, simd::load::<I, T>);
            at += lanes;
        }
        if at < cols {
            self.strip::<I, ROWS, STREAMS>(isa, of_row, at, cols - at, simd::load_partial::<I, T>);
        }
    }

    /// The vectors of `count` elements at a column, which `take` reads.
    #[inline(always)]
    fn strip<I: Isa, const ROWS: usize, const STREAMS: bool>(
        &mut self,
        isa: I,
        of_row: [RowGradient<T>; ROWS],
        at: usize,
        count: usize,
        take: impl Fn(I, &[T]) -> T::Vector<I>,
    ) {
        let cols = self.x.len() / ROWS;
        let gamma = self.gamma.map(
            #[inline(always)]
            |gamma| take(isa, &gamma[at..at + count]),
        );
        let mut sums = [simd::splat(isa, T::zero()); 2];
        for (row, of_row) in of_row.into_iter().enumerate() {
            let here = row * cols + at..row * cols + at + count;
            let (x, dy) = (take(isa, &self.x[here.clone()]), take(isa, &self.dy[here.clone()]));
            let hat = R::hat(x, of_row.hat);
            let g = match gamma {
                Some(gamma) => dy * gamma,
                None => dy,
            };
            simd::put(of_row.input(g, hat), &mut self.dx[here], STREAMS);
            sums = if row == 0 { [hat * dy, dy] } else { [hat.mul_add(dy, sums[0]), sums[1] + dy] };
        }
        if let Some((of_gamma, of_beta)) = &mut self.sums {
            add_wide::<I, T>(isa, sums[0], &mut of_gamma[at..]);
            add_wide::<I, T>(isa, sums[1], &mut of_beta[at..]);
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
    let store = Store::for_pass::<T>(3 * inputs.0.len());
    reduce(layout, inputs, measured, scratch, gradients, |rows, sums| {
        dispatch(active, Backward { rule: PhantomData::<R>, gamma, groups, rows, sums, store });
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
        parallel::for_each(rows, row_block(cols), |rows| each(rows, &mut []));
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
