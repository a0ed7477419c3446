//! A multiply-add with a coefficient a channel, and its sums.

use crate::Element;
use crate::channels::{self, Row, Term};
use crate::simd::{self, InOut, Isa, Kernel, Vector};

/// `y = x + scale · f` over whole rows, with `x` and `y` in `data`.
pub(super) struct Forward<'a, T> {
    pub(super) row: Row,
    pub(super) scale: &'a [T],
    pub(super) f: &'a [T],
    pub(super) data: InOut<'a, T>,
}

impl<T: Element> Kernel for Forward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        channels::map2(
            isa,
            self.row,
            self.scale,
            self.f,
            self.data,
            #[inline(always)]
            |scale, f, x| scale.mul_add(f, x),
        );
    }
}

/// `df = scale · dy` over whole rows, with `dy` and `df` in `data`.
pub(super) struct Backward<'a, T> {
    pub(super) row: Row,
    pub(super) scale: &'a [T],
    pub(super) data: InOut<'a, T>,
}

impl<T: Element> Kernel for Backward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        channels::map(
            isa,
            self.row,
            self.scale,
            self.data,
            #[inline(always)]
            |scale, dy| scale * dy,
        );
    }
}

/// f · dy: the part of an element in the scale's gradient.
#[derive(Clone, Copy)]
pub(super) struct ScaleTerm;

impl Term for ScaleTerm {
    #[inline(always)]
    fn add<V: Vector>(self, f: V, dy: V, sum: V) -> V {
        f.mul_add(dy, sum)
    }
}

/// Elements that are summed and then scaled: two slices of as many `f64` fill half of the smallest first-level cache.
const BLOCK: usize = 1024;

/// `df = scale · dy` for one scale, and Σ f·dy, in one pass through memory.
pub(super) struct BackwardOne<'a, T> {
    pub(super) scale: T,
    pub(super) f: &'a [T],
    pub(super) data: InOut<'a, T>,
}

impl<T: Element> Kernel for BackwardOne<'_, T> {
    type Output = f64;
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> f64 {
        let Self { scale, f, mut data } = self;
        let mut sum = 0.0;
        for f in f.chunks(BLOCK) {
            let (block, rest) = data.split_at(f.len());
            data = rest;
            sum += simd::fold2_f64(
                isa,
                f,
                block.input(),
                #[inline(always)]
                |f, dy, sum| ScaleTerm.add(f, dy, sum),
            );
            simd::map(
                isa,
                block,
                #[inline(always)]
                |dy| dy * scale,
            );
        }
        sum
    }
}
