//! Weight norm and weight standardization: each unit by itself.

use proptest::prelude::*;
use steadygrad::gradcheck::GradCheck;
use steadygrad::norm::{WeightGradients, WeightNorm, WeightStandardization};
use steadygrad::reference::weight_norm as reference;
use steadygrad::{Element, Error, WeightShape};

use crate::common::{
    self, Guarded, Tolerance, assert_close, assert_equal_everywhere, assert_same_bits, each_level, numbers,
    tolerance, widen,
};

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Op {
    Norm,
    Standardization { eps: f64 },
}

const BOTH: [Op; 2] = [Op::Norm, Op::Standardization { eps: 1e-3 }];

/// Weights with what belongs to them.
#[derive(Clone, Debug)]
struct Weights<T> {
    op: Op,
    shape: WeightShape,
    v: Vec<T>,
    dw: Vec<T>,
    gain: Option<Vec<T>>,
}

/// All that a forward and a backward give; the gradients are added to ones.
#[derive(Clone, Debug, PartialEq)]
struct Results<T> {
    w: Vec<T>,
    dv: Vec<T>,
    dgain: Vec<T>,
}

fn shape(outputs: usize, inputs: usize, field: usize) -> WeightShape {
    WeightShape { outputs, inputs, field }
}

impl Op {
    fn forward<T: Element>(
        self,
        shape: WeightShape,
        v: &[T],
        gain: Option<&[T]>,
        w: &mut [T],
    ) -> Result<(), Error> {
        match self {
            Self::Norm => WeightNorm.forward(shape, v, gain, w),
            Self::Standardization { eps } => WeightStandardization { eps }.forward(shape, v, gain, w),
        }
    }

    fn backward<T: Element>(
        self,
        shape: WeightShape,
        (v, dw): (&[T], &[T]),
        gain: Option<&[T]>,
        gradients: WeightGradients<'_, T>,
    ) -> Result<(), Error> {
        match self {
            Self::Norm => WeightNorm.backward(shape, dw, v, gain, gradients),
            Self::Standardization { eps } => {
                WeightStandardization { eps }.backward(shape, dw, v, gain, gradients)
            }
        }
    }

    /// One unit by the reference; dv is accumulated, dg returned.
    fn reference(self, v: &[f64], dw: &[f64], gain: f64, w: &mut [f64], dv: &mut [f64]) -> f64 {
        match self {
            Self::Norm => {
                reference::weight_norm_forward(v, gain, w);
                reference::weight_norm_backward(v, dw, gain, dv)
            }
            Self::Standardization { eps } => {
                let measured = reference::weight_standardization_measure(v, eps);
                reference::weight_standardization_forward(v, measured, gain, w);
                reference::weight_standardization_backward(v, dw, measured, gain, dv)
            }
        }
    }

    /// (mean, 1/size) of a unit: v̂ = (v − mean)/size.
    fn measure(self, v: &[f64]) -> (f64, f64) {
        match self {
            Self::Norm => (0.0, v.iter().map(|v| v * v).sum::<f64>().sqrt().recip()),
            Self::Standardization { eps } => reference::weight_standardization_measure(v, eps),
        }
    }
}

impl<T: Element> Weights<T> {
    fn new(op: Op, shape: WeightShape, has_gain: bool) -> Self {
        let elements = shape.elements().unwrap();
        let seed = elements as u64;
        Self {
            op,
            shape,
            v: numbers::<T>(seed, elements, 1.0).into_iter().map(|v| v + T::from_f64(0.5)).collect(),
            dw: numbers(seed + 1, elements, 1.0),
            gain: has_gain.then(|| numbers(seed + 2, shape.outputs, 2.0)),
        }
    }

    fn run(&self, offset: usize) -> Results<T> {
        let (elements, outputs) = (self.v.len(), self.shape.outputs);
        let (v, dw) = (Guarded::of(&self.v, offset), Guarded::of(&self.dw, offset + 1));
        let mut w = Guarded::new(elements, offset);
        let gain = self.gain.as_deref();
        self.op.forward(self.shape, v.checked(), gain, w.slice()).unwrap();
        let mut dv = Guarded::of(&vec![T::one(); elements], offset);
        let mut dgain = Guarded::of(&vec![T::one(); outputs], 1);
        let gradients = WeightGradients { weights: dv.slice(), gain: Some(dgain.slice()) };
        self.op.backward(self.shape, (v.checked(), dw.checked()), gain, gradients).unwrap();
        Results { w: w.checked().to_vec(), dv: dv.checked().to_vec(), dgain: dgain.checked().to_vec() }
    }

    #[track_caller]
    fn check(&self, offset: usize) {
        let width = self.shape.fan_in().unwrap();
        let (v, dw) = (widen(&self.v), widen(&self.dw));
        let is_double = T::epsilon().to_f64() < 1e-10;
        // The references add f64 one after the other.
        let sums = if is_double { width as f64 } else { 0.0 };
        let within = |terms: f64| Tolerance { ulp: 0.0, epsilons: (tolerance::ROW_NORM + sums) * terms };
        each_level(|level| {
            let Results { w, dv, dgain } = self.run(offset);
            for unit in 0..self.shape.outputs {
                let at = unit * width..(unit + 1) * width;
                let (v, dw) = (&v[at.clone()], &dw[at.clone()]);
                let gain = self.gain.as_ref().map_or(1.0, |gain| Element::to_f64(gain[unit]));
                let (mut exact_w, mut exact_dv) = (vec![0.0; width], vec![1.0; width]);
                let exact_dgain = 1.0 + self.op.reference(v, dw, gain, &mut exact_w, &mut exact_dv);
                let (mean, rstd) = self.op.measure(v);
                let magnitude = v.iter().map(|v| v.abs()).sum::<f64>() / width as f64;
                let lost = if is_double { magnitude } else { 0.0 };
                let hat: Vec<f64> = v.iter().map(|&v| ((v - mean).abs() + lost) * rstd).collect();
                let along: f64 = dw.iter().zip(&hat).map(|(dw, hat)| dw.abs() * hat).sum();
                let count = if self.op == Op::Norm { 1.0 } else { width as f64 };
                let mean_dw = dw.iter().map(|dw| dw.abs()).sum::<f64>() / width as f64;
                let context = |what: &str| format!("{what} of unit {unit} at {level}: {self:?}");
                assert_close(dgain[unit], exact_dgain, within(1.0 + along), || context("dgain"));
                for i in 0..width {
                    let terms = (dw[i].abs() + mean_dw + hat[i] * along / count) * rstd * gain.abs();
                    assert_close(w[at.start + i], exact_w[i], within(hat[i] * gain.abs()), || context("w"));
                    let bound = within(1.0 + terms);
                    assert_close(dv[at.start + i], exact_dv[i], bound, || context("dv"));
                }
            }
        });
    }
}

fn every_width<T: Element>(op: Op) {
    for width in common::lengths().filter(|&width| width > 0).chain([1000, 4099]) {
        Weights::<T>::new(op, shape(1 + width % 5, width, 1), width % 2 == 0).check(width % 5);
    }
    for outputs in [0, 1, 2, 33] {
        Weights::<T>::new(op, shape(outputs, 3, 9), true).check(2);
    }
    // Units of more than one block of sums.
    Weights::<T>::new(op, shape(2, 4000, 9), true).check(1);
}

#[test]
fn weight_norm_forward_and_backward_match_reference() {
    every_width::<f32>(Op::Norm);
    every_width::<f64>(Op::Norm);
}

#[test]
fn weight_standardization_forward_and_backward_match_reference() {
    every_width::<f32>(Op::Standardization { eps: 1e-3 });
    every_width::<f64>(Op::Standardization { eps: 1e-3 });
}

fn check_finite_differences(op: Op) {
    for width in [2, 3, 17] {
        // The weights, then the gain.
        let point: Vec<f64> = numbers(width as u64, width + 1, 1.0);
        let (zeros, mut unused) = (vec![0.0; width], vec![0.0; width]);
        let forward = |point: &[f64], w: &mut [f64]| {
            let mut unused = vec![0.0; width];
            op.reference(&point[..width], &zeros, point[width], w, &mut unused);
        };
        let backward = |point: &[f64], dw: &[f64], gradient: &mut [f64]| {
            gradient.fill(0.0);
            let (dv, dgain) = gradient.split_at_mut(width);
            let mut w = vec![0.0; width];
            dgain[0] = op.reference(&point[..width], dw, point[width], &mut w, dv);
        };
        unused.fill(0.0);
        GradCheck::default().check(&point, width, forward, backward).unwrap();
    }
}

#[test]
fn weight_norm_backward_matches_finite_differences() {
    check_finite_differences(Op::Norm);
}

#[test]
fn weight_standardization_backward_matches_finite_differences() {
    check_finite_differences(Op::Standardization { eps: 1e-2 });
}

#[test]
fn weight_norm_has_the_same_bits_on_any_pool_and_level() {
    for op in BOTH {
        for shape in [shape(3, 70_001, 1), shape(300, 111, 9), shape(9001, 7, 1)] {
            let weights = Weights::<f32>::new(op, shape, true);
            assert_equal_everywhere(|| {
                let Results { w, dv, dgain } = weights.run(1);
                vec![w, dv, dgain]
            });
        }
    }
}

/// The norm of each unit, in `f64`.
fn norms<T: Element>(w: &[T], width: usize) -> Vec<f64> {
    w.chunks(width).map(|w| widen(w).iter().map(|w| w * w).sum::<f64>().sqrt()).collect()
}

#[test]
fn weight_norm_output_has_the_length_of_its_gain() {
    let weights = Weights::<f64>::new(Op::Norm, shape(7, 45, 1), true);
    let gain = weights.gain.as_ref().unwrap();
    for (norm, gain) in norms(&weights.run(0).w, 45).iter().zip(gain) {
        assert!((norm / gain.abs() - 1.0).abs() < 1e-14, "{norm} {gain}");
    }
    let standard = Weights::<f64>::new(Op::Standardization { eps: 0.0 }, shape(7, 45, 1), false);
    let w = standard.run(0).w;
    for (w, norm) in w.chunks(45).zip(norms(&w, 45)) {
        let mean = w.iter().sum::<f64>() / 45.0;
        assert!(mean.abs() < 1e-15 && (norm * norm / 45.0 - 1.0).abs() < 1e-14, "{mean} {norm}");
    }
}

#[test]
fn weight_norm_backward_is_orthogonal_to_the_weights() {
    for op in BOTH {
        let mut weights = Weights::<f64>::new(op, shape(5, 60, 1), true);
        if let Op::Standardization { eps } = &mut weights.op {
            *eps = 0.0;
        }
        let dv = weights.run(0).dv;
        for (dv, v) in dv.chunks(60).zip(weights.v.chunks(60)) {
            // Scaling v changes nothing; the gradient was added to ones.
            let dot: f64 = dv.iter().zip(v).map(|(dv, v)| (dv - 1.0) * v).sum();
            assert!(dot.abs() < 1e-12, "{dot}");
        }
    }
}

/// Scaled by a power of two, v gives the same weights and a gradient that is as much smaller.
fn ignores_scale<T: Element>(powers: &[i32]) {
    let weights = Weights::<T>::new(Op::Norm, shape(4, 37, 1), true);
    let unit = weights.run(0);
    for &power in powers {
        let factor = 2.0_f64.powi(power);
        let mut scaled = weights.clone();
        scaled.v.iter_mut().for_each(|v| *v = T::from_f64(v.to_f64() * factor));
        each_level(|level| {
            let mut dv = vec![T::zero(); scaled.v.len()];
            let mut dgain = vec![T::one(); 4];
            let gradients = WeightGradients { weights: &mut dv, gain: Some(&mut dgain) };
            let inputs = (&scaled.v[..], &scaled.dw[..]);
            scaled.op.backward(scaled.shape, inputs, scaled.gain.as_deref(), gradients).unwrap();
            let expected = weights_gradient(&weights);
            let Results { w, .. } = scaled.run(0);
            for i in 0..w.len() {
                let context = || format!("2^{power}[{i}] at {level}");
                let bound = Tolerance { ulp: 4.0, epsilons: 4.0 };
                assert_close(w[i], Element::to_f64(unit.w[i]), bound, context);
                let bound = Tolerance { ulp: 0.0, epsilons: 64.0 / factor };
                assert_close(dv[i], expected[i] / factor, bound, context);
            }
            for (dgain, unit) in dgain.iter().zip(&unit.dgain) {
                assert!((*dgain - *unit).abs() < T::from_f64(64.0) * T::epsilon());
            }
        });
    }
}

/// dv of weights with numbers of ordinary size, by the reference.
fn weights_gradient<T: Element>(weights: &Weights<T>) -> Vec<f64> {
    let width = weights.shape.fan_in().unwrap();
    let (v, dw, gain) = (widen(&weights.v), widen(&weights.dw), widen(weights.gain.as_ref().unwrap()));
    let mut dv = vec![0.0; v.len()];
    for (unit, dv) in dv.chunks_mut(width).enumerate() {
        let at = unit * width..(unit + 1) * width;
        reference::weight_norm_backward(&v[at.clone()], &dw[at], gain[unit], dv);
    }
    dv
}

#[test]
fn weight_norm_neither_overflows_nor_underflows() {
    // 2^83 is 1e25; the norm of 2^125 · 37 numbers is past the largest f32.
    ignores_scale::<f32>(&[-100, -60, 60, 83, 125]);
    ignores_scale::<f64>(&[-900, -500, 83, 500, 1010]);
}

#[test]
fn weight_norm_special_values_stay_in_their_unit() {
    for op in BOTH {
        let clean = Weights::<f32>::new(op, shape(9, 40, 1), true);
        for special in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in 0..40 {
                let mut weights = clean.clone();
                weights.v[200 + at] = special;
                each_level(|level| {
                    let (bad, clean) = (weights.run(0), clean.run(0));
                    for (bad, clean) in [(&bad.w, &clean.w), (&bad.dv, &clean.dv)] {
                        let context = || format!("{special} at {at}, {level}, {op:?}");
                        assert_same_bits(&bad[..200], &clean[..200], context);
                        assert_same_bits(&bad[240..], &clean[240..], context);
                        assert!(bad[200 + at].is_nan(), "{}", context());
                    }
                    assert!(bad.dgain[5].is_nan());
                });
            }
        }
    }
    let mut zeros = Weights::<f32>::new(Op::Norm, shape(2, 5, 1), true);
    zeros.v[..5].fill(0.0);
    let Results { w, dv, .. } = zeros.run(0);
    assert!(w[..5].iter().all(|w| w.is_nan()) && w[5..].iter().all(|w| w.is_finite()));
    assert!(dv[..5].iter().all(|dv| dv.is_nan()) && dv[5..].iter().all(|dv| dv.is_finite()));
    let standard = Weights { op: Op::Standardization { eps: 1e-5 }, ..zeros };
    assert!(standard.run(0).w[..5].iter().all(|&w| w == 0.0));
}

#[test]
fn weight_norm_backward_gives_what_is_asked_for() {
    for op in BOTH {
        let weights = Weights::<f32>::new(op, shape(6, 11, 1), true);
        let mut dv = vec![1.0; 66];
        let gradients = WeightGradients { weights: &mut dv, gain: None };
        op.backward(weights.shape, (&weights.v, &weights.dw), weights.gain.as_deref(), gradients).unwrap();
        assert_same_bits(&dv, &weights.run(0).dv, || format!("{op:?}"));
    }
}

/// The argument or dimension that an error names.
fn name(result: Result<(), Error>) -> &'static str {
    match result.expect_err("a bad argument") {
        Error::Length { argument, .. }
        | Error::OutOfRange { argument, .. }
        | Error::Overflow { argument } => argument,
        Error::Empty { dimension } => dimension,
        other => panic!("{other:?}"),
    }
}

/// What a forward and a backward give where `longer` has one element more than it should.
fn refused(op: Op, of: WeightShape, longer: &str) -> [Result<(), Error>; 2] {
    let len = |name: &str, right: usize| right + usize::from(name == longer);
    let (v, dw) = (vec![1.0_f32; len("v", 12)], vec![1.0; len("dw", 12)]);
    let gain = vec![1.0; len("gain", 2)];
    let mut w = Guarded::new(len("w", 12), 0);
    let forward = op.forward(of, &v, Some(&gain), w.slice());
    assert!(forward.is_ok() || w.is_untouched(), "{longer}");
    let (mut dv, mut dgain) = (Guarded::new(len("dv", 12), 0), Guarded::new(len("dgain", 2), 0));
    let gradients = WeightGradients { weights: dv.slice(), gain: Some(dgain.slice()) };
    let backward = op.backward(of, (&v, &dw), Some(&gain), gradients);
    assert!(backward.is_ok() || dv.is_untouched() && dgain.is_untouched(), "{longer}");
    [forward, backward]
}

#[test]
fn weight_norm_names_the_bad_argument() {
    let of = shape(2, 3, 2);
    for op in BOTH {
        assert_eq!(refused(op, of, ""), [Ok(()), Ok(())]);
        for (longer, forward, backward) in [
            ("v", Some("v"), Some("v")),
            ("dw", None, Some("dw")),
            ("gain", Some("gain"), Some("gain")),
            ("w", Some("w"), None),
            ("dv", None, Some("gradients.weights")),
            ("dgain", None, Some("gradients.gain")),
        ] {
            for (result, expected) in refused(op, of, longer).into_iter().zip([forward, backward]) {
                assert_eq!(result.is_err().then(|| name(result)), expected, "{longer}");
            }
        }
        assert_eq!(refused(op, shape(2, 0, 2), "").map(name), ["inputs"; 2]);
        assert_eq!(refused(op, shape(2, 3, 0), "").map(name), ["field"; 2]);
        assert_eq!(refused(op, shape(2, usize::MAX, 2), "").map(name), ["shape"; 2]);
        op.forward::<f64>(shape(0, 3, 1), &[], None, &mut []).unwrap();
    }
}

#[test]
fn weight_standardization_names_the_bad_argument() {
    for eps in [-1e-5, f64::NAN, f64::INFINITY] {
        assert_eq!(refused(Op::Standardization { eps }, shape(2, 3, 2), "").map(name), ["eps"; 2]);
    }
}

#[test]
#[should_panic(expected = "ULP from")]
fn weight_norm_comparison_can_fail() {
    let mut weights = Weights::<f32>::new(Op::Norm, shape(1, 33, 1), false);
    let mut exact = vec![0.0; 33];
    reference::weight_norm_forward(&widen(&weights.v), 1.0, &mut exact);
    weights.v[20] += 1e-5;
    for (w, exact) in weights.run(0).w.iter().zip(exact) {
        assert_close(*w, exact, Tolerance { ulp: tolerance::ROW_NORM, epsilons: 0.0 }, String::new);
    }
}

proptest! {
    #[test]
    fn weight_norm_matches_reference_for_any_shape(
        is_norm in any::<bool>(), outputs in 0..20_usize, inputs in 1..70_usize, field in 1..10_usize,
        has_gain in any::<bool>(), offset in 0..9_usize,
    ) {
        let op = if is_norm { BOTH[0] } else { BOTH[1] };
        Weights::<f32>::new(op, shape(outputs, inputs, field), has_gain).check(offset);
        Weights::<f64>::new(op, shape(outputs, inputs, field), has_gain).check(offset);
    }
}
