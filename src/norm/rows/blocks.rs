//! The blocks of rows of a backward, each with a place for its sums for γ and β, and what becomes of those.

use crate::norm::NormGradients;
use crate::parallel::{self, Offset, Rows, row_block};
use crate::simd::{self, Active, InOut, Isa, Kernel, LINE, MAX_LANES, dispatch};
use crate::{Element, RowShape};

/// `x`, `dy` and `dx` of rows, with their means (if there are any) and inverse deviations.
pub(in crate::norm) type Gradients<'a, T> =
    (Rows<(&'a [T], &'a [T], &'a mut [T])>, Option<&'a [f64]>, &'a [f64]);

/// Blocks of the backward, at most, and rows of one whose parameters are one an element, at least: the block's own sums
/// are then a thirtieth of what it reads.
const MOST_BLOCKS: usize = 32;
const LEAST_ROWS: usize = 16;

/// Sums of columns in a cache line.
const SUMS_OF_LINE: usize = LINE / size_of::<f64>();

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

    /// Numbers of scratch that a backward needs: the sums for γ and β of each block, and what is before their first line.
    pub(in crate::norm) fn scratch_len(self) -> usize {
        if self.rows == 0 || self.cols == 0 {
            return 0;
        }
        let blocks = self.rows.div_ceil(self.block());
        let slots = self.width().saturating_mul(self.groups).saturating_mul(2).saturating_mul(blocks);
        slots.saturating_add(SUMS_OF_LINE)
    }

    /// The places for the sums of blocks in `scratch`, from where those of the first whole line of a row of `dx` are whole lines
    /// too. With sums across lines a Zen 4 took 1.2 of the time.
    fn slots<T>(self, scratch: &mut [f64], dx: *const T) -> &mut [f64] {
        let head = if begin_alike::<T>(self.cols) { simd::before_lines(dx) } else { 0 };
        let first = simd::before_lines(scratch.as_ptr()) + SUMS_OF_LINE - head % SUMS_OF_LINE;
        &mut scratch[first % SUMS_OF_LINE..]
    }
}

/// Whether all rows of `cols` elements begin at the same place of a line.
#[inline(always)]
pub(super) fn begin_alike<T>(cols: usize) -> bool {
    (cols * size_of::<T>()).is_multiple_of(LINE)
}

/// Rows with a parameter an element.
impl From<RowShape> for Layout {
    fn from(RowShape { rows, cols }: RowShape) -> Self {
        Self { rows, cols, groups: 1, inner: 1 }
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
    let first = dx.as_ptr();
    let rows = Offset { first: 0, data: (Rows { data: (x, dy, dx), width: cols }, mean, rstd) };
    if !has_parameters {
        parallel::for_each(rows, row_block(cols), |rows| each(rows, &mut []));
        return;
    }
    let (width, slots) = (layout.width(), layout.slots(scratch, first));
    parallel::reduce_slots(rows, layout.block(), slots, 2 * groups * width, each, |to, from| {
        dispatch(active, Add { from, to });
    });
    let (hat, plain) = slots.split_at(groups * width);
    for (sums, gradient) in [(hat, dgamma), (plain, dbeta)] {
        if let Some(gradient) = gradient {
            dispatch(active, AddToParameters { sums, width, gradient, count: cols / inner });
        }
    }
}
