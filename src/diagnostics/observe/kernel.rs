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
        // Most activations are flat at one end, which takes half of the comparisons.
        if self.region[1].is_nan() { self.count::<I, false>(isa) } else { self.count::<I, true>(isa) }
    }
}

impl<T: Element> CountStrip<'_, T> {
    #[inline(always)]
    fn count<I: Isa, const BOTH: bool>(self, isa: I) {
        let mut totals = [0_u64; WIDTH];
        let mut values = self.to.values;
        for first in (0..self.rows).step_by(ROWS) {
            let rows = first..self.rows.min(first + ROWS);
            let mut flat = Flat::<I, T, BOTH>::new(isa, self.region);
            let mut sums = [simd::splat::<I, f64>(isa, 0.0); 4];
            for row in rows.clone() {
                let row = self.row(row);
                let mut at = 0;
                // Written out for each: a whole block's length is known when it is compiled.
                while at + FOLD_BLOCK <= row.len() {
                    let y = &row[at..at + FOLD_BLOCK];
                    flat.add(isa, y, at);
                    add_squares_of(simd::widen::<I, T>(isa, y), &mut sums);
                    at += FOLD_BLOCK;
                }
                if at < row.len() {
                    flat.add(isa, &row[at..], at);
                    add_squares_of(simd::widen_partial::<I, T>(isa, &row[at..]), &mut sums);
                }
            }
            let sum = ((sums[0] + sums[1]) + (sums[2] + sums[3])).sum();
            values.add(isa, sum, rows.map(|row| self.row(row)));
            for (total, &flat) in totals.iter_mut().zip(&flat.counts) {
                *total += flat.to_f64() as u64;
            }
        }
        let totals = &totals[..self.width];
        self.to.values = values;
        self.to.flat += totals.iter().sum::<u64>();
        self.to.dead += totals.iter().filter(|&&flat| flat == self.rows as u64).count() as u64;
    }
}

#[inline(always)]
fn add_squares_of<V: Vector>(x: [V; 4], sums: &mut [V; 4]) {
    for part in 0..4 {
        sums[part] = x[part].mul_add(x[part], sums[part]);
    }
}

/// How often each column was flat: at most `low` or, of `BOTH` ends, at least `high`.
struct Flat<I: Isa, T: Element, const BOTH: bool> {
    low: T::Vector<I>,
    high: T::Vector<I>,
    zero: T::Vector<I>,
    one: T::Vector<I>,
    counts: [T; WIDTH],
}

impl<I: Isa, T: Element, const BOTH: bool> Flat<I, T, BOTH> {
    #[inline(always)]
    fn new(isa: I, [low, high]: [T; 2]) -> Self {
        let (zero, one) = (simd::splat(isa, T::zero()), simd::splat(isa, T::one()));
        Self {
            low: simd::splat(isa, low),
            high: simd::splat(isa, high),
            zero,
            one,
            counts: [T::zero(); WIDTH],
        }
    }

    /// Counts up to a block of a row from column `first` on; what is counted past the end of `y` does not matter.
    #[inline(always)]
    fn add(&mut self, isa: I, y: &[T], first: usize) {
        let lanes = T::Vector::<I>::LANES;
        let mut at = 0;
        while at < y.len() {
            let rest = &y[at..];
            let y: T::Vector<I> =
                if rest.len() >= lanes { simd::load(isa, rest) } else { simd::load_partial(isa, rest) };
            let low = y.le(self.low);
            let flat = if BOTH { low.or(y.ge(self.high)) } else { low };
            let counts = &mut self.counts[first + at..][..lanes];
            (simd::load(isa, counts) + flat.select(self.one, self.zero)).store_into(counts);
            at += lanes;
        }
    }
}

/// Elements of [`AddChange`] at most: 8 KiB of `f32`, in L1 beside most of what a step reads, and so many that what a window
/// costs once does not count.
pub(super) const WINDOW: usize = 2048;

/// As many for small tensors.
pub(super) const SMALL: usize = 256;

/// Norms of a tensor's gradient, of the tensor before a step, and of its change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChangeTally {
    pub(super) gradient: Tally,
    pub(super) before: Tally,
    pub(super) update: Tally,
}

/// Adds what was, what was added to it, and by what gradient: a window of each that is in L1.
pub(super) struct AddChange<'a, T> {
    /// As long as the others, or empty where it is not known.
    pub(super) gradient: &'a [T],
    /// Overwritten where squares leave the range of `f64`.
    pub(super) before: &'a mut [T],
    pub(super) after: &'a [T],
    pub(super) to: &'a mut ChangeTally,
}

impl<T: Element> Kernel for AddChange<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Self { gradient, before, after, to } = self;
        let sum = simd::fold_f64(
            isa,
            gradient,
            #[inline(always)]
            |x, sum| x.mul_add(x, sum),
        );
        to.gradient.add(isa, sum, core::iter::once(gradient));
        // Two sums each: of four, there would be more than AVX2 has registers.
        let mut sums = [[simd::splat::<I, f64>(isa, 0.0); 2]; 2];
        let mut at = 0;
        while at + FOLD_BLOCK <= before.len() {
            let [was, is] = [&before[at..at + FOLD_BLOCK], &after[at..at + FOLD_BLOCK]];
            add_change_of(simd::widen::<I, T>(isa, was), simd::widen::<I, T>(isa, is), &mut sums);
            at += FOLD_BLOCK;
        }
        if at < before.len() {
            let was = simd::widen_partial::<I, T>(isa, &before[at..]);
            add_change_of(was, simd::widen_partial::<I, T>(isa, &after[at..]), &mut sums);
        }
        let [sums, sums_of_changes] = sums;
        let sum = (sums[0] + sums[1]).sum();
        let sum_of_changes = (sums_of_changes[0] + sums_of_changes[1]).sum();
        to.before.add(isa, sum, core::iter::once(&*before));
        if !sum_of_changes.is_finite() {
            let change = |(&before, &after): (&T, &T)| Element::to_f64(after) - Element::to_f64(before);
            let pairs = before.iter().zip(after).map(change);
            to.update.non_finite += pairs.filter(|change| !change.is_finite()).count() as u64;
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
        add_squares(isa, &mut to.update.norm, sum_of_changes, core::iter::once(&*before));
    }
}

/// Adds the squares of four vectors, and of their change.
#[inline(always)]
fn add_change_of<V: Vector>(before: [V; 4], after: [V; 4], [sums, changes]: &mut [[V; 2]; 2]) {
    for part in 0..4 {
        let change = after[part] - before[part];
        sums[part % 2] = before[part].mul_add(before[part], sums[part % 2]);
        changes[part % 2] = change.mul_add(change, changes[part % 2]);
    }
}
