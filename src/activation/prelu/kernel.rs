//! A bend with a slope a channel, and what each element adds to its slope's gradient.

use crate::Element;
use crate::channels::{self, Row, Term};
use crate::simd::{InOut, Isa, Kernel, Mask, Vector};

/// `value` where x > 0, else `slope · value`: both directions.
#[inline(always)]
fn bend<V: Vector>(x: V, slope: V, value: V) -> V {
    x.gt(x.constant(0.0)).select(value, slope * value)
}

/// `y = x > 0 ? x : slope · x` over whole rows.
pub(super) struct Forward<'a, T> {
    pub(super) row: Row,
    pub(super) slope: &'a [T],
    pub(super) data: InOut<'a, T>,
}

impl<T: Element> Kernel for Forward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        channels::map(
            isa,
            self.row,
            self.slope,
            self.data,
            #[inline(always)]
            |slope, x| bend(x, slope, x),
        );
    }
}

/// `dx = dy · (x > 0 ? 1 : slope)` over whole rows, with `dy` and `dx` in `data`.
pub(super) struct Backward<'a, T> {
    pub(super) row: Row,
    pub(super) slope: &'a [T],
    pub(super) x: &'a [T],
    pub(super) data: InOut<'a, T>,
}

impl<T: Element> Kernel for Backward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        channels::map2(
            isa,
            self.row,
            self.slope,
            self.x,
            self.data,
            #[inline(always)]
            |slope, x, dy| bend(x, slope, dy),
        );
    }
}

/// dy · (x > 0 ? 0 : x): the part of an element in the slope's gradient.
#[derive(Clone, Copy)]
pub(super) struct SlopeTerm;

impl Term for SlopeTerm {
    #[inline(always)]
    fn add<V: Vector>(self, x: V, dy: V, sum: V) -> V {
        let zero = x.constant(0.0);
        x.gt(zero).select(zero, x).mul_add(dy, sum)
    }
}
