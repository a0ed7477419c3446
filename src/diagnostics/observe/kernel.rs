//! Sums of squares and counts over a matrix, and over what a step has changed.

use crate::Element;
use crate::simd::{self, FOLD_BLOCK, InOut, Isa, Kernel, Mask, StoreInto, Vector};
use crate::stats::NormPartial;
use crate::stats::norm_partial::kernel::add_squares;

/// Columns whose counts are kept at a time: 1 KiB of `f32`, in L1, for rows that are read in runs of as much.
pub(super) const WIDTH: usize = 8 * FOLD_BLOCK;

/// Rows up to which counts are kept in the element type.
const ROWS: usize = 4096;

/// A norm, and how many elements are NaN or infinite.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tally {
    pub(super) norm: NormPartial,
    pub(super) non_finite: u64,
}

impl Tally {
    pub(super) const NOTHING: Self = Self { norm: NormPartial::NOTHING, non_finite: 0 };

    /// Adds a sum of squares of `pieces`.
    #[inline(always)]
    fn add<'a, I: Isa, T: Element>(
        &mut self,
        isa: I,
        sum: f64,
        pieces: impl Iterator<Item = &'a [T]> + Clone,
    ) {
        add_squares(isa, &mut self.norm, sum, pieces.clone());
        if !sum.is_finite() {
            self.non_finite += pieces.map(count_non_finite).sum::<u64>();
        }
    }

    pub(super) fn join(&mut self, other: &Self) {
        self.norm.join(&other.norm);
        self.non_finite += other.non_finite;
    }
}

fn count_non_finite<T: Element>(x: &[T]) -> u64 {
    x.iter().filter(|x| !x.is_finite()).count() as u64
}

/// Adds the elements of a slice.
pub(super) struct AddSlice<'a, T> {
    pub(super) x: &'a [T],
    pub(super) to: &'a mut Tally,
}

impl<T: Element> Kernel for AddSlice<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        for x in self.x.chunks(NormPartial::BLOCK) {
            let sum = simd::fold_apart_f64(
                isa,
                x,
                #[inline(always)]
                |x, sum| x.mul_add(x, sum),
            );
            self.to.add(isa, sum, core::iter::once(x));
        }
    }
}

/// What is counted of the outputs of units.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counts {
    pub(super) values: Tally,
    pub(super) flat: u64,
    pub(super) dead: u64,
}

impl Counts {
    pub(super) const NOTHING: Self = Self { values: Tally::NOTHING, flat: 0, dead: 0 };

    pub(super) fn join(&mut self, other: &Self) {
        self.values.join(&other.values);
        self.flat += other.flat;
        self.dead += other.dead;
    }
}

/// Counts up to [`WIDTH`] columns of a matrix.
pub(super) struct CountStrip<'a, T> {
    /// From the first column on.
    pub(super) x: &'a [T],
    pub(super) rows: usize,
    pub(super) stride: usize,
    pub(super) width: usize,
    /// Flat where at most the first or at least the second; NaN for an end that is not.
    pub(super) region: [T; 2],
    pub(super) to: &'a mut Counts,
}

impl<T: Element> CountStrip<'_, T> {
    #[inline(always)]
    fn row(&self, row: usize) -> &[T] {
        &self.x[row * self.stride..][..self.width]
    }
}

impl<T: Element> Kernel for CountStrip<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let [low, high] = self.region.map(|bound| simd::splat::<I, T>(isa, bound));
        // Most activations are flat at one end, which takes half of the comparisons.
        if self.region[1].is_nan() {
            self.count(
                isa,
                #[inline(always)]
                |y: T::Vector<I>| y.le(low),
            );
        } else {
            self.count(
                isa,
                #[inline(always)]
                |y: T::Vector<I>| y.le(low).or(y.ge(high)),
            );
        }
    }
}

impl<T: Element> CountStrip<'_, T> {
    #[inline(always)]
    fn count<I: Isa, M: Mask<T::Vector<I>>>(self, isa: I, is_flat: impl Fn(T::Vector<I>) -> M) {
        let mut totals = [0_u64; WIDTH];
        let mut values = self.to.values;
        for first in (0..self.rows).step_by(ROWS) {
            let rows = first..self.rows.min(first + ROWS);
            let mut flat = [T::zero(); WIDTH];
            let mut sums = [simd::splat::<I, f64>(isa, 0.0); 4];
            for row in rows.clone() {
                for (y, flat) in self.row(row).chunks(FOLD_BLOCK).zip(flat.chunks_exact_mut(FOLD_BLOCK)) {
                    // Written out for each: a whole block's length is known when it is compiled.
                    let y = if y.len() == FOLD_BLOCK {
                        add_flat(isa, y, &is_flat, flat);
                        simd::widen::<I, T>(isa, y)
                    } else {
                        add_flat(isa, y, &is_flat, flat);
                        simd::widen_partial::<I, T>(isa, y)
                    };
                    for part in 0..4 {
                        sums[part] = y[part].mul_add(y[part], sums[part]);
                    }
                }
            }
            let sum = ((sums[0] + sums[1]) + (sums[2] + sums[3])).sum();
            values.add(isa, sum, rows.map(|row| self.row(row)));
            for (total, &flat) in totals.iter_mut().zip(&flat) {
                *total += flat.to_f64() as u64;
            }
        }
        let totals = &totals[..self.width];
        self.to.values = values;
        self.to.flat += totals.iter().sum::<u64>();
        self.to.dead += totals.iter().filter(|&&flat| flat == self.rows as u64).count() as u64;
    }
}

/// Adds 1 to each of `counts` whose element is flat; those past the end of `y` do not matter.
#[inline(always)]
fn add_flat<I: Isa, T: Element, M: Mask<T::Vector<I>>>(
    isa: I,
    y: &[T],
    is_flat: impl Fn(T::Vector<I>) -> M,
    counts: &mut [T],
) {
    let lanes = T::Vector::<I>::LANES;
    let [zero, one] = [T::zero(), T::one()].map(|value| simd::splat(isa, value));
    for (y, counts) in y.chunks(lanes).zip(counts.chunks_exact_mut(lanes)) {
        let y: T::Vector<I> = if y.len() == lanes { simd::load(isa, y) } else { simd::load_partial(isa, y) };
        (simd::load(isa, counts) + is_flat(y).select(one, zero)).store_into(counts);
    }
}

/// Elements of [`AddChange`] at most: 4 KiB of `f32`, in L1 beside what a step reads.
pub(super) const WINDOW: usize = 1024;

/// Adds what was, and what was added to it.
pub(super) struct AddChange<'a, T> {
    /// Overwritten where squares leave the range of `f64`.
    pub(super) before: &'a mut [T],
    pub(super) after: &'a [T],
    /// Of the elements before, and of their change.
    pub(super) to: &'a mut [Tally; 2],
}

impl<T: Element> Kernel for AddChange<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Self { before, after, to: [values, changes] } = self;
        let (whole, whole_after) = (before.chunks_exact(FOLD_BLOCK), after.chunks_exact(FOLD_BLOCK));
        let (rest, rest_after) = (whole.remainder(), whole_after.remainder());
        // Two sums each: of four, there would be more than AVX2 has registers.
        let mut sums = [[simd::splat::<I, f64>(isa, 0.0); 2]; 2];
        for (before, after) in whole.zip(whole_after) {
            add_squares_of(simd::widen::<I, T>(isa, before), simd::widen::<I, T>(isa, after), &mut sums);
        }
        if !rest.is_empty() {
            let before = simd::widen_partial::<I, T>(isa, rest);
            add_squares_of(before, simd::widen_partial::<I, T>(isa, rest_after), &mut sums);
        }
        let [sum, sum_of_changes] = sums.map(
            #[inline(always)]
            |sums| (sums[0] + sums[1]).sum(),
        );
        values.add(isa, sum, core::iter::once(&*before));
        if !sum_of_changes.is_finite() {
            let change = |(&before, &after): (&T, &T)| Element::to_f64(after) - Element::to_f64(before);
            let pairs = before.iter().zip(after).map(change);
            changes.non_finite += pairs.filter(|change| !change.is_finite()).count() as u64;
        }
        // Of `f32` every sum is within the range of `f64`, and the pieces are not looked at.
        if size_of::<T>() == size_of::<f64>() {
            simd::map2(
                isa,
                after,
                InOut::in_place(before),
                #[inline(always)]
                |after: T::Vector<I>, before| after - before,
            );
        }
        add_squares(isa, &mut changes.norm, sum_of_changes, core::iter::once(&*before));
    }
}

/// Adds the squares of four vectors, and of their change.
#[inline(always)]
fn add_squares_of<V: Vector>(before: [V; 4], after: [V; 4], [sums, changes]: &mut [[V; 2]; 2]) {
    for part in 0..4 {
        let change = after[part] - before[part];
        sums[part % 2] = before[part].mul_add(before[part], sums[part % 2]);
        changes[part % 2] = change.mul_add(change, changes[part % 2]);
    }
}
