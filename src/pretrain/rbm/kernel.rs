//! Units drawn as their means are made, a step with momentum, and energies of rows.

use super::VisibleUnits;
use crate::Element;
use crate::math::Elementary;
use crate::random::Philox;
use crate::random::philox::kernel::{normals, uniforms};
use crate::simd::{self, Isa, Kernel, Mask, Vector};

/// Units that are drawn or summed at a time: 8 KiB of `f64`, in L1 beside what they are drawn for.
const TILE: usize = 1024;

/// σ(z), and 1 with that probability, else 0, by uniform numbers `u`; NaN makes both NaN.
#[inline(always)]
fn bernoulli<V: Vector>(z: V, u: V) -> [V; 2] {
    let mean = z.sigmoid();
    [mean, u.lt(mean).select(mean.constant(1.0), mean * mean.constant(0.0))]
}

/// `z = share · σ(z)`, and samples of σ(z) in the same pass.
pub(super) struct MeansAndSamples<'a, T> {
    pub(super) stream: Philox,
    pub(super) first: u64,
    pub(super) share: T,
    pub(super) z: &'a mut [T],
    pub(super) samples: &'a mut [T],
}

impl<T: Element> Kernel for MeansAndSamples<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let mut first = self.first;
        for (z, samples) in self.z.chunks_mut(TILE).zip(self.samples.chunks_mut(TILE)) {
            uniforms(isa, self.stream, first, samples);
            simd::zip(
                isa,
                [],
                [z, samples],
                #[inline(always)]
                |[], [z, u]: [T::Vector<I>; 2]| {
                    let [mean, sample] = bernoulli(z, u);
                    [mean * self.share, sample]
                },
            );
            first = first.wrapping_add(TILE as u64);
        }
    }
}

/// `z = share · σ(z)`.
pub(super) struct Means<'a, T> {
    pub(super) share: T,
    pub(super) z: &'a mut [T],
}

impl<T: Element> Kernel for Means<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        simd::zip(
            isa,
            [],
            [self.z],
            #[inline(always)]
            |[], [z]: [T::Vector<I>; 1]| [z.sigmoid() * self.share],
        );
    }
}

/// `z` = samples of what it is the input of.
pub(super) struct Samples<'a, T> {
    pub(super) units: VisibleUnits,
    pub(super) stream: Philox,
    pub(super) first: u64,
    pub(super) z: &'a mut [T],
}

impl<T: Element> Kernel for Samples<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let mut first = self.first;
        let mut drawn = [T::zero(); TILE];
        for z in self.z.chunks_mut(TILE) {
            let drawn = &mut drawn[..z.len()];
            match self.units {
                VisibleUnits::Bernoulli => {
                    uniforms(isa, self.stream, first, drawn);
                    simd::zip(
                        isa,
                        [drawn],
                        [z],
                        #[inline(always)]
                        |[u], [z]: [T::Vector<I>; 1]| [bernoulli(z, u)[1]],
                    );
                }
                VisibleUnits::Gaussian => {
                    normals(isa, self.stream, first, drawn);
                    simd::zip(
                        isa,
                        [drawn],
                        [z],
                        #[inline(always)]
                        |[noise], [z]: [T::Vector<I>; 1]| [z + noise],
                    );
                }
            }
            first = first.wrapping_add(TILE as u64);
        }
    }
}

/// Rows of `h`, each less `shift`.
pub(super) struct Shift<'a, T> {
    pub(super) shift: &'a [T],
    pub(super) h: &'a mut [T],
}

impl<T: Element> Kernel for Shift<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        for row in self.h.chunks_exact_mut(self.shift.len()) {
            simd::zip(
                isa,
                [self.shift],
                [row],
                #[inline(always)]
                |[shift], [h]: [T::Vector<I>; 1]| [h - shift],
            );
        }
    }
}

/// `u = u − λ·w`, `w = w + lr·u`, where `u` has momentum and ascent.
pub(super) struct Move<'a, T> {
    pub(super) lr: T,
    /// λ; `None` where there is none, since 0 times an infinite weight would be NaN.
    pub(super) decay: Option<T>,
    pub(super) velocity: &'a mut [T],
    pub(super) weights: &'a mut [T],
}

impl<T: Element> Kernel for Move<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        simd::zip(
            isa,
            [],
            [self.velocity, self.weights],
            #[inline(always)]
            |[], [u, w]: [T::Vector<I>; 2]| {
                let u = match self.decay {
                    Some(decay) => w.neg_mul_add(w.splat(decay), u),
                    None => u,
                };
                [u, u.mul_add(u.splat(self.lr), w)]
            },
        );
    }
}

/// Free energies of rows, from what their hidden units are given.
pub(super) struct FreeEnergy<'a, T> {
    pub(super) units: VisibleUnits,
    pub(super) visible_bias: &'a [T],
    pub(super) v: &'a [T],
    pub(super) z: &'a [T],
    pub(super) energies: &'a mut [f64],
}

impl<T: Element> Kernel for FreeEnergy<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let (visible, hidden) = (self.visible_bias.len(), self.z.len() / self.energies.len().max(1));
        for (row, energy) in self.energies.iter_mut().enumerate() {
            let (v, z) = (&self.v[row * visible..][..visible], &self.z[row * hidden..][..hidden]);
            let of_visible = match self.units {
                VisibleUnits::Bernoulli => -simd::fold2_f64(
                    isa,
                    v,
                    self.visible_bias,
                    #[inline(always)]
                    |v, b, sum| v.mul_add(b, sum),
                ),
                VisibleUnits::Gaussian => {
                    0.5 * simd::fold2_f64(
                        isa,
                        v,
                        self.visible_bias,
                        #[inline(always)]
                        |v, b, sum| (v - b).mul_add(v - b, sum),
                    )
                }
            };
            let of_hidden = sum_of(
                isa,
                [z],
                #[inline(always)]
                |[z]: [T::Vector<I>; 1]| z.softplus(),
            );
            *energy = of_visible - of_hidden;
        }
    }
}

/// Σ f(inputs), each rounded to `T` and summed in `f64`.
#[inline(always)]
fn sum_of<I: Isa, T: Element, const N: usize>(
    isa: I,
    inputs: [&[T]; N],
    f: impl Fn([T::Vector<I>; N]) -> T::Vector<I>,
) -> f64 {
    let mut total = 0.0;
    let mut tile = [T::zero(); TILE];
    let len = inputs[0].len();
    for start in (0..len).step_by(TILE) {
        let end = len.min(start + TILE);
        let tile = &mut tile[..end - start];
        let inputs = inputs.map(
            #[inline(always)]
            |input| &input[start..end],
        );
        simd::combine(
            isa,
            inputs,
            [&mut *tile],
            #[inline(always)]
            |values| [f(values)],
        );
        total += simd::fold_f64(
            isa,
            tile,
            #[inline(always)]
            |x, sum| sum + x,
        );
    }
    total
}

/// Σᵢ ln P(vᵢ | the others) over rows, from what their hidden units are given.
pub(super) struct PseudoLikelihood<'a, T> {
    pub(super) visible_bias: &'a [T],
    /// A row of hidden elements a visible unit.
    pub(super) transposed: &'a [T],
    pub(super) v: &'a [T],
    pub(super) z: &'a [T],
    /// Softplus of `z`.
    pub(super) softplus: &'a [T],
}

impl<T: Element> Kernel for PseudoLikelihood<'_, T> {
    type Output = f64;
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> f64 {
        let visible = self.visible_bias.len();
        let hidden = self.transposed.len() / visible;
        let rows = self.v.chunks_exact(visible);
        let mut total = 0.0;
        for ((v, z), s) in rows.zip(self.z.chunks_exact(hidden)).zip(self.softplus.chunks_exact(hidden)) {
            for (i, w) in self.transposed.chunks_exact(hidden).enumerate() {
                let flip = T::one() - v[i] - v[i];
                let of_hidden = sum_of(
                    isa,
                    [z, s, w],
                    #[inline(always)]
                    |[z, s, w]: [T::Vector<I>; 3]| w.mul_add(w.splat(flip), z).softplus() - s,
                );
                let rise = -self.visible_bias[i].to_f64() * flip.to_f64() - of_hidden;
                // ln σ(rise), without overflow.
                total += rise.min(0.0) - libm::log1p(libm::exp(-rise.abs()));
            }
        }
        total
    }
}
