//! Products with a mask that is drawn tile by tile into the first-level cache.

use crate::Element;
use crate::random::Philox;
use crate::random::philox::kernel::{Event, choose};
use crate::simd::{self, InOut, Isa, Kernel, Mask, Vector};

/// Units whose factors are drawn before they are used: 16 KiB of `f64`, half of the smallest first-level cache.
const TILE: usize = 2048;

/// What becomes of an element and its factor.
pub(super) trait Rule<T: Element>: Copy + Sync {
    fn apply<V: Vector<Elem = T>>(self, factor: V, x: V) -> V;
}

/// factor · x.
#[derive(Clone, Copy)]
pub(super) struct Product;

impl<T: Element> Rule<T> for Product {
    #[inline(always)]
    fn apply<V: Vector<Elem = T>>(self, factor: V, x: V) -> V {
        x * factor
    }
}

/// factor · x + (factor is 0 ? dropped : kept).
#[derive(Clone, Copy)]
pub(super) struct Affine<T> {
    pub(super) dropped: T,
    pub(super) kept: T,
}

impl<T: Element> Rule<T> for Affine<T> {
    #[inline(always)]
    fn apply<V: Vector<Elem = T>>(self, factor: V, x: V) -> V {
        let is_dropped = factor.eq(factor.constant(0.0));
        x.mul_add(factor, is_dropped.select(x.splat(self.dropped), x.splat(self.kept)))
    }
}

/// Rows of `units · inner` that share the draws from `first` on, one a unit.
pub(super) struct Apply<'a, T, R> {
    pub(super) stream: Philox,
    pub(super) event: Event,
    /// Factor of what is not dropped.
    pub(super) kept: T,
    pub(super) rule: R,
    pub(super) first: u64,
    pub(super) units: usize,
    pub(super) inner: usize,
    pub(super) data: InOut<'a, T>,
}

impl<T: Element, R: Rule<T>> Kernel for Apply<'_, T, R> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Self { stream, event, kept, rule, first, units, inner, data } = self;
        let mut data = if inner > 1 && inner < TILE { data.cached() } else { data };
        let width = units * inner;
        let mut factors = [T::zero(); TILE];
        for start in (0..units).step_by(TILE) {
            let factors = &mut factors[..TILE.min(units - start)];
            choose(isa, stream, first.wrapping_add(start as u64), event, [T::zero(), kept], factors);
            for row in 0..data.len() / width {
                let (_, rest) = data.reborrow().split_at(row * width + start * inner);
                let (mut segments, _) = rest.split_at(factors.len() * inner);
                if inner == 1 {
                    simd::map2(
                        isa,
                        factors,
                        segments,
                        #[inline(always)]
                        |factor, x| rule.apply(factor, x),
                    );
                    continue;
                }
                for &factor in factors.iter() {
                    let (segment, rest) = segments.split_at(inner);
                    segments = rest;
                    simd::map(
                        isa,
                        segment,
                        #[inline(always)]
                        |x| rule.apply(simd::splat(isa, factor), x),
                    );
                }
            }
        }
    }
}
