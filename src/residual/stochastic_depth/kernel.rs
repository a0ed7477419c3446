//! Rows whose branch is added or left out.

use crate::Element;
use crate::random::Philox;
use crate::random::philox::kernel::{Event, choose};
use crate::simd::{self, InOut, Isa, Kernel, Vector};

/// Rows drawn at a time: a group of the generator's words.
const TILE: usize = 64;

/// Which rows are left out, and the factor of the others.
#[derive(Clone, Copy)]
pub(super) struct Rule<T> {
    pub(super) stream: Philox,
    pub(super) event: Event,
    pub(super) kept: T,
}

impl<T: Element> Rule<T> {
    /// Calls `row` with the number and the factor of each of `rows` rows from `first` on: 0 where it is left out.
    #[inline(always)]
    fn each<I: Isa>(self, isa: I, first: usize, rows: usize, mut row: impl FnMut(usize, T)) {
        let mut factors = [T::zero(); TILE];
        for start in (0..rows).step_by(TILE) {
            let factors = &mut factors[..TILE.min(rows - start)];
            choose(isa, self.stream, (first + start) as u64, self.event, [T::zero(), self.kept], factors);
            for (k, &factor) in factors.iter().enumerate() {
                row(start + k, factor);
            }
        }
    }
}

/// `y = x + factor · f` for the rows from `first` on, with `x` and `y` in `data`.
pub(super) struct Forward<'a, T> {
    pub(super) rule: Rule<T>,
    pub(super) first: usize,
    pub(super) width: usize,
    pub(super) f: &'a [T],
    pub(super) data: InOut<'a, T>,
}

impl<T: Element> Kernel for Forward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Self { rule, first, width, f, mut data } = self;
        let rows = f.len() / width;
        rule.each(
            isa,
            first,
            rows,
            #[inline(always)]
            |row, factor| {
                let (_, rest) = data.reborrow().split_at(row * width);
                let (data, _) = rest.split_at(width);
                if factor == T::zero() {
                    simd::map(
                        isa,
                        data,
                        #[inline(always)]
                        |x| x,
                    );
                } else {
                    simd::map2(
                        isa,
                        &f[row * width..(row + 1) * width],
                        data,
                        #[inline(always)]
                        |f, x| f.mul_add(f.splat(factor), x),
                    );
                }
            },
        );
    }
}

/// `df = factor · dy` for the rows from `first` on, with `dy` and `df` in `data`; 0 where left out.
pub(super) struct Backward<'a, T> {
    pub(super) rule: Rule<T>,
    pub(super) first: usize,
    pub(super) width: usize,
    pub(super) data: InOut<'a, T>,
}

impl<T: Element> Kernel for Backward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Self { rule, first, width, mut data } = self;
        rule.each(
            isa,
            first,
            data.len() / width,
            #[inline(always)]
            |row, factor| {
                let (_, rest) = data.reborrow().split_at(row * width);
                let (mut data, _) = rest.split_at(width);
                if factor == T::zero() {
                    data.output().fill(T::zero());
                } else {
                    simd::map(
                        isa,
                        data,
                        #[inline(always)]
                        |dy| dy * factor,
                    );
                }
            },
        );
    }
}
