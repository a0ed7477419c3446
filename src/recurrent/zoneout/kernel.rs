//! Values that are kept from step to step, by a mask that is drawn tile by tile into the first-level cache.

use super::Rate;
use crate::Element;
use crate::random::philox::kernel::{Event, choose};
use crate::simd::{self, Isa, Kernel, Vector};

/// Units whose mask is drawn before it is used: 16 KiB of `f64`, half of the smallest first-level cache.
const TILE: usize = 2048;

/// The masks of units from number `first` on.
#[inline(always)]
fn draw<I: Isa, T: Element>(isa: I, rate: Rate, first: u64, masks: &mut [T]) {
    match rate.stream {
        Some(stream) => {
            choose(isa, stream, first, Event::new(rate.p), [T::zero(), T::one()], masks);
        }
        None => masks.fill(T::from_f64(1.0 - rate.p)),
    }
}

/// `x = m·x + (1 − m)·before`.
pub(super) struct Forward<'a, T> {
    pub(super) rate: Rate,
    pub(super) first: u64,
    pub(super) before: &'a [T],
    pub(super) x: &'a mut [T],
}

impl<T: Element> Kernel for Forward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let mut masks = [T::zero(); TILE];
        let tiles = self.before.chunks(TILE).zip(self.x.chunks_mut(TILE));
        for (tile, (before, x)) in tiles.enumerate() {
            let masks = &mut masks[..x.len()];
            draw(isa, self.rate, self.first.wrapping_add((tile * TILE) as u64), masks);
            simd::zip(
                isa,
                [&*masks, before],
                [x],
                #[inline(always)]
                |[m, before]: [T::Vector<I>; 2], [x]| [x.mul_add(m, before * (m.splat(T::one()) - m))],
            );
        }
    }
}

/// `kept = (1 − m)·(dy + dx)`, `dx = m·(dy + dx)`.
pub(super) struct Backward<'a, T> {
    pub(super) rate: Rate,
    pub(super) first: u64,
    pub(super) dy: &'a [T],
    pub(super) dx: &'a mut [T],
    pub(super) kept: &'a mut [T],
}

impl<T: Element> Kernel for Backward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let mut masks = [T::zero(); TILE];
        let written = self.dx.chunks_mut(TILE).zip(self.kept.chunks_mut(TILE));
        for (tile, (dy, (dx, kept))) in self.dy.chunks(TILE).zip(written).enumerate() {
            let masks = &mut masks[..dx.len()];
            draw(isa, self.rate, self.first.wrapping_add((tile * TILE) as u64), masks);
            simd::zip(
                isa,
                [&*masks, dy],
                [dx, kept],
                #[inline(always)]
                |[m, dy]: [T::Vector<I>; 2], [dx, _]| {
                    let sum = dy + dx;
                    [sum * m, sum * (m.splat(T::one()) - m)]
                },
            );
        }
    }
}
