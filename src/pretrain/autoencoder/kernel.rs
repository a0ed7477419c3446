//! Corruption, and the passes of the contractive penalty.

use super::Corruption;
use crate::Element;
use crate::random::Philox;
use crate::random::philox::kernel::{Event, choose, normals};
use crate::simd::{self, InOut, Isa, Kernel, Mask, Vector};

/// Elements whose noise is drawn at a time: 8 KiB of `f64`, in L1 beside what it is drawn for.
const TILE: usize = 1024;

/// `y = x` with noise, by the words from `first` on.
pub(super) struct Corrupt<'a, T> {
    pub(super) corruption: Corruption,
    pub(super) stream: Philox,
    pub(super) first: u64,
    pub(super) data: InOut<'a, T>,
}

impl<T: Element> Kernel for Corrupt<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Self { corruption, stream, mut first, mut data } = self;
        let mut drawn = [T::zero(); TILE];
        while data.len() > 0 {
            let count = data.len().min(TILE);
            let (tile, rest) = data.cached().split_at(count);
            data = rest;
            let drawn = &mut drawn[..count];
            match corruption {
                Corruption::None => simd::map(
                    isa,
                    tile,
                    #[inline(always)]
                    |x| x,
                ),
                Corruption::Masking { p } => {
                    choose(isa, stream, first, Event::new(p), [T::zero(), T::one()], drawn);
                    simd::map2(
                        isa,
                        drawn,
                        tile,
                        #[inline(always)]
                        |kept: T::Vector<I>, x| {
                            let zero = x.splat(T::zero());
                            kept.eq(zero).select(zero, x)
                        },
                    );
                }
                Corruption::Gaussian { std } => {
                    let std = T::from_f64(std);
                    normals(isa, stream, first, drawn);
                    simd::map2(
                        isa,
                        drawn,
                        tile,
                        #[inline(always)]
                        |noise: T::Vector<I>, x| noise.mul_add(x.splat(std), x),
                    );
                }
            }
            first = first.wrapping_add(count as u64);
        }
    }
}

/// `squares[j] = ‖w_j‖²`, rows as long as each other.
pub(super) struct RowSquares<'a, T> {
    pub(super) w: &'a [T],
    pub(super) squares: &'a mut [T],
}

impl<T: Element> Kernel for RowSquares<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let width = self.w.len() / self.squares.len().max(1);
        for (j, square) in self.squares.iter_mut().enumerate() {
            let sum = simd::fold_f64(
                isa,
                &self.w[j * width..][..width],
                #[inline(always)]
                |w, sum| w.mul_add(w, sum),
            );
            *square = T::from_f64(sum);
        }
    }
}

/// h(1 − h) and its square.
#[inline(always)]
fn slope_squared<V: Vector>(h: V) -> V {
    let slope = h.neg_mul_add(h, h);
    slope * slope
}

/// `h = (h(1 − h))²`.
pub(super) struct Slopes<'a, T> {
    pub(super) h: &'a mut [T],
}

impl<T: Element> Kernel for Slopes<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        simd::map(isa, InOut::in_place(self.h), slope_squared);
    }
}

/// Rows of `dz += factor · (h(1 − h))² · (1 − 2h) · squares`, `h = (h(1 − h))²`.
pub(super) struct Contract<'a, T> {
    pub(super) factor: T,
    pub(super) squares: &'a [T],
    pub(super) h: &'a mut [T],
    pub(super) dz: &'a mut [T],
}

impl<T: Element> Kernel for Contract<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let width = self.squares.len();
        for (h, dz) in self.h.chunks_exact_mut(width).zip(self.dz.chunks_exact_mut(width)) {
            simd::zip(
                isa,
                [self.squares],
                [h, dz],
                #[inline(always)]
                |[square], [h, dz]: [T::Vector<I>; 2]| {
                    let slope = slope_squared(h);
                    let turn = (slope * square) * (h + h - h.constant(1.0));
                    [slope, turn.neg_mul_add(h.splat(self.factor), dz)]
                },
            );
        }
    }
}

/// Rows of `dw += factors[row] · w`.
pub(super) struct AddRows<'a, T> {
    pub(super) factors: &'a [T],
    pub(super) w: &'a [T],
    pub(super) dw: &'a mut [T],
}

impl<T: Element> Kernel for AddRows<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let width = self.w.len() / self.factors.len().max(1);
        for (j, &factor) in self.factors.iter().enumerate() {
            simd::zip(
                isa,
                [&self.w[j * width..][..width]],
                [&mut self.dw[j * width..][..width]],
                #[inline(always)]
                |[w], [dw]: [T::Vector<I>; 1]| [w.mul_add(w.splat(factor), dw)],
            );
        }
    }
}
