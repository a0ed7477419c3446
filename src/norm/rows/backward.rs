//! The sums of a row, then its gradient while it is in cache.

use core::marker::PhantomData;

use super::blocks::{Gradients, Layout, begin_alike, reduce, sums_of_group};
use super::{Hat, Measured, Rule, ahead};
use crate::Element;
use crate::norm::NormGradients;
use crate::parallel::{Offset, Rows};
use crate::simd::{self, Active, Isa, Kernel, LINE, MAX_LANES, Store, StoreInto, Vector, dispatch};

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
        let streams =
            store == Store::Streaming && dx.as_ptr().addr().is_multiple_of(LINE) && begin_alike::<T>(cols);
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
    simd::map_array(
        sums,
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
        let head = if begin_alike::<T>(cols) { simd::worth_lines::<I, T>(self.dx.as_ptr(), cols) } else { 0 };
        let mut at = head;
        while at + lanes <= cols {
            for row in 0..ROWS {
                let next = row * cols + at + ahead;
                isa.prefetch(self.x.as_ptr().wrapping_add(next));
                isa.prefetch(self.dy.as_ptr().wrapping_add(next));
                if !STREAMS {
                    isa.prefetch(self.dx.as_ptr().wrapping_add(next));
                }
            }
            self.strip::<I, ROWS, STREAMS>(isa, of_row, at, lanes);
            at += lanes;
        }
        simd::edges(
            head,
            at,
            cols,
            #[inline(always)]
            |at, count| self.strip::<I, ROWS, false>(isa, of_row, at, count),
        );
    }

    /// The vectors of `count` elements at a column, a whole one or a part of it.
    #[inline(always)]
    fn strip<I: Isa, const ROWS: usize, const STREAMS: bool>(
        &mut self,
        isa: I,
        of_row: [RowGradient<T>; ROWS],
        at: usize,
        count: usize,
    ) {
        let (lanes, cols) = (T::Vector::<I>::LANES, self.x.len() / ROWS);
        let take = simd::inlined(
            #[inline(always)]
            |x: &[T]| if count == lanes { simd::load(isa, x) } else { simd::load_partial(isa, x) },
        );
        let gamma = self.gamma.map(
            #[inline(always)]
            |gamma| take(&gamma[at..at + count]),
        );
        let mut sums = [simd::splat(isa, T::zero()); 2];
        for (row, of_row) in of_row.into_iter().enumerate() {
            let here = row * cols + at..row * cols + at + count;
            let (x, dy) = (take(&self.x[here.clone()]), take(&self.dy[here.clone()]));
            let hat = R::hat(x, of_row.hat);
            let g = match gamma {
                Some(gamma) => dy * gamma,
                None => dy,
            };
            simd::put(of_row.input(g, hat), &mut self.dx[here], STREAMS);
            sums = if row == 0 { [hat * dy, dy] } else { [hat.mul_add(dy, sums[0]), sums[1] + dy] };
        }
        if let Some((of_gamma, of_beta)) = &mut self.sums {
            add_wide::<I, T>(isa, sums[0], &mut of_gamma[at..at + count]);
            add_wide::<I, T>(isa, sums[1], &mut of_beta[at..at + count]);
        }
    }
}

/// `sums[lane] += x[lane]`, in `f64`, for as many lanes as there are sums.
#[inline(always)]
fn add_wide<I: Isa, T: Element>(isa: I, x: T::Vector<I>, sums: &mut [f64]) {
    let zero = simd::splat(isa, T::zero());
    let parts = T::widen(isa, [x, zero, zero, zero]);
    for (part, sums) in parts.into_iter().zip(sums.chunks_mut(I::F64::LANES)) {
        if sums.len() == I::F64::LANES {
            (simd::load(isa, sums) + part).store_into(sums);
        } else {
            (simd::load_partial(isa, sums) + part).store_partial_into(sums);
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
