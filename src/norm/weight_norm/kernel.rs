//! Units: each is measured, then scaled while it is in cache.

use super::Measure;
use crate::Element;
use crate::norm::layer_norm::Deviation;
use crate::norm::rows::{self, Mean, Measured, Rule};
use crate::parallel::{Offset, Rows};
use crate::simd::{self, InOut, Isa, Kernel, Vector};
use crate::stats::unit_norm::UnitNorm;

/// What a unit is normalised by: `v̂ = (v − mean) / size`.
#[derive(Clone, Copy, Debug)]
struct Unit {
    mean: f64,
    size: UnitNorm,
}

impl Measure {
    #[inline(always)]
    fn of<I: Isa, T: Element>(self, isa: I, v: &[T]) -> Unit {
        match self {
            Self::Length => Unit { mean: 0.0, size: UnitNorm::of(isa, v) },
            Self::Deviation { eps } => {
                let Measured { mean, rstd } = Deviation::measure(isa, v, eps);
                Unit { mean, size: (1.0 / rstd, 0).into() }
            }
        }
    }

    /// What of a unit's gradient does not change it: of Σ dw and Σ dw · v̂ over `count` weights, the parts along 1 and v̂.
    #[inline(always)]
    fn without_effect(self, [sum, along]: [f64; 2], count: usize) -> [f64; 2] {
        match self {
            Self::Length => [0.0, along],
            Self::Deviation { .. } => [sum / count as f64, along / count as f64],
        }
    }
}

/// g of the unit `at`.
#[inline(always)]
fn gain_of<T: Element>(gain: Option<&[T]>, at: usize) -> f64 {
    gain.map_or(1.0, |gain| gain[at].to_f64())
}

/// `w = g · v̂` of each unit.
pub(super) struct Forward<'a, T> {
    pub(super) measure: Measure,
    pub(super) gain: Option<&'a [T]>,
    pub(super) units: Offset<Rows<InOut<'a, T>>>,
}

impl<T: Element> Kernel for Forward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Self { measure, gain, units: Offset { first, data: Rows { mut data, width } } } = self;
        for at in first..first + data.len() / width {
            let (unit, rest) = data.split_at(width);
            data = rest;
            let Unit { mean, size } = measure.of(isa, unit.input());
            let (mean, [one, two]) = (Mean::new(mean), size.divide_in_two::<T>(gain_of(gain, at)));
            simd::map_ahead(
                isa,
                rows::ahead(width),
                [],
                unit,
                #[inline(always)]
                |[], v: T::Vector<I>| mean.centre(v) * one * two,
            );
        }
    }
}

/// `v`, `dw` and `dv` of units, and where dg of each is added.
pub(super) type Gradients<'a, T> = (Rows<(&'a [T], &'a [T], &'a mut [T])>, Option<&'a mut [T]>);

/// `dv` and dg of each unit.
pub(super) struct Backward<'a, T> {
    pub(super) measure: Measure,
    pub(super) gain: Option<&'a [T]>,
    pub(super) units: Offset<Gradients<'a, T>>,
}

impl<T: Element> Kernel for Backward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Self { measure, gain, units: Offset { first, data: (units, mut dgain) } } = self;
        let Rows { data: (v, dw, dv), width } = units;
        let units = v.chunks_exact(width).zip(dw.chunks_exact(width)).zip(dv.chunks_exact_mut(width));
        for (at, ((v, dw), dv)) in units.enumerate() {
            let Unit { mean, size } = measure.of(isa, v);
            let (mean, [one, two]) = (Mean::new(mean), size.divide_in_two::<T>(1.0));
            let hat = simd::inlined(
                #[inline(always)]
                |v: T::Vector<I>| mean.centre(v) * one * two,
            );
            let ones = simd::splat(isa, T::one());
            let sums = simd::sum_products(
                isa,
                [v, dw],
                #[inline(always)]
                |[v, dw]: [T::Vector<I>; 2]| [[dw, ones], [dw, hat(v)]],
            );
            if let Some(dgain) = &mut dgain {
                dgain[at] = T::from_f64(dgain[at].to_f64() + sums[1]);
            }
            let [constant, slope] = measure.without_effect(sums, width).map(T::from_f64);
            let [first_factor, second_factor] = size.divide_in_two::<T>(gain_of(gain, first + at));
            simd::map3(
                isa,
                v,
                dw,
                InOut::in_place(dv),
                #[inline(always)]
                |v, dw, dv| {
                    let changes = hat(v).neg_mul_add(simd::splat(isa, slope), dw) - constant;
                    (changes * first_factor).mul_add(simd::splat(isa, second_factor), dv)
                },
            );
        }
    }
}
