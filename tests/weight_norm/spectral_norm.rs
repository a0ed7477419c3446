//! Spectral norm: each step of the iteration from what went into it, and what is made of its result.

use proptest::prelude::*;
use steadygrad::gradcheck::GradCheck;
use steadygrad::norm::{SavedSpectral, SpectralNorm, SpectralState};
use steadygrad::reference::spectral_norm as reference;
use steadygrad::{Element, Error, WeightShape};

use crate::common::{
    Guarded, Tolerance, assert_close, assert_equal_everywhere, assert_same_bits, each_level, numbers,
    tolerance, widen,
};

/// A matrix with the state that a step starts from, and a gradient of what it gives.
#[derive(Clone, Debug)]
struct Case<T> {
    norm: SpectralNorm,
    shape: WeightShape,
    weights: Vec<T>,
    u: Vec<T>,
    v: Vec<T>,
    dnormalised: Vec<T>,
}

/// What a step leaves; the gradient is added to ones.
#[derive(Clone, Debug, PartialEq)]
struct Results<T> {
    sigma: f64,
    u: Vec<T>,
    v: Vec<T>,
    normalised: Vec<T>,
    dweights: Vec<T>,
}

fn shape(outputs: usize, inputs: usize) -> WeightShape {
    WeightShape { outputs, inputs, field: 1 }
}

/// Σ|a·b|
fn terms(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a * b).abs()).sum()
}

fn length(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// The columns of a matrix with `cols` of them.
fn transposed(weights: &[f64], cols: usize) -> Vec<f64> {
    (0..weights.len())
        .map(|i| weights[i % (weights.len() / cols) * cols + i / (weights.len() / cols)])
        .collect()
}

impl<T: Element> Case<T> {
    fn new(rows: usize, cols: usize) -> Self {
        let seed = (rows * 1000 + cols) as u64;
        Self {
            norm: SpectralNorm::default(),
            shape: shape(rows, cols),
            weights: numbers(seed, rows * cols, 1.0),
            u: numbers(seed + 1, rows, 0.3),
            v: numbers(seed + 2, cols, 0.3),
            dnormalised: numbers(seed + 3, rows * cols, 1.0),
        }
    }

    fn run(&self, offset: usize) -> Results<T> {
        let (mut u, mut v) = (Guarded::of(&self.u, offset), Guarded::of(&self.v, offset + 1));
        let weights = Guarded::of(&self.weights, offset);
        let mut normalised = Guarded::new(self.weights.len(), offset + 2);
        // The scratch may hold anything.
        let mut scratch = Guarded::new(self.norm.scratch_len(self.shape), 1);
        let state = SpectralState { u: u.slice(), v: v.slice() };
        let (weights, result) = (weights.checked(), normalised.slice());
        let sigma = self.norm.forward(self.shape, weights, state, scratch.slice(), result).unwrap();
        scratch.checked();
        let mut dweights = Guarded::of(&vec![T::one(); self.weights.len()], offset);
        let saved = SavedSpectral { normalised: normalised.checked(), u: u.checked(), v: v.checked(), sigma };
        self.norm.backward(self.shape, &self.dnormalised, saved, dweights.slice()).unwrap();
        Results {
            sigma,
            u: u.checked().to_vec(),
            v: v.checked().to_vec(),
            normalised: normalised.checked().to_vec(),
            dweights: dweights.checked().to_vec(),
        }
    }

    #[track_caller]
    fn check(&self, offset: usize) {
        let (rows, cols) = (self.shape.outputs, self.shape.fan_in().unwrap());
        let (w, v0, dw) = (widen(&self.weights), widen(&self.v), widen(&self.dnormalised));
        // Both sides add f64, one of them one after the other.
        let rounding = f64::EPSILON * (rows + cols) as f64;
        let epsilon = T::epsilon().to_f64();
        each_level(|level| {
            let Results { sigma, u, v, normalised, dweights } = self.run(offset);
            let context = || format!("{rows}x{cols} at {level}");
            let (mut exact_u, mut exact_v) = (vec![0.0; rows], vec![0.0; cols]);
            reference::spectral_norm_left(&w, &v0, self.norm.eps, &mut exact_u);
            let of_rows = |v: &[f64]| -> Vec<f64> { w.chunks(cols).map(|w| terms(w, v)).collect() };
            let products: Vec<f64> =
                w.chunks(cols).map(|w| w.iter().zip(&v0).map(|(w, v)| w * v).sum()).collect();
            for (row, size) in of_rows(&v0).into_iter().enumerate() {
                let bound = 2.0 * epsilon * exact_u[row].abs() + 4.0 * rounding * size / length(&products);
                assert!((Element::to_f64(u[row]) - exact_u[row]).abs() <= bound, "u[{row}] {}", context());
            }
            let (u, v) = (widen(&u), widen(&v));
            reference::spectral_norm_right(&w, &u, self.norm.eps, &mut exact_v);
            let columns = transposed(&w, cols);
            let products: Vec<f64> =
                columns.chunks(rows).map(|w| w.iter().zip(&u).map(|(w, u)| w * u).sum()).collect();
            for (col, w) in columns.chunks(rows).enumerate() {
                let size = terms(w, &u) / length(&products);
                let bound = 2.0 * epsilon * exact_v[col].abs() + 4.0 * rounding * size;
                assert!((v[col] - exact_v[col]).abs() <= bound, "v[{col}] {}", context());
            }
            let exact_sigma = reference::spectral_norm_sigma(&w, &u, &v);
            let bound = rounding * terms(&u, &of_rows(&v));
            assert!((sigma - exact_sigma).abs() <= bound, "{sigma} {exact_sigma} {}", context());
            let mut exact = vec![0.0; w.len()];
            reference::spectral_norm_forward(&w, sigma, &mut exact);
            for (&actual, &exact) in normalised.iter().zip(&exact) {
                assert_close(actual, exact, Tolerance { ulp: 2.0, epsilons: 0.0 }, context);
            }
            let (normalised, mut exact) = (widen(&normalised), vec![1.0; w.len()]);
            reference::spectral_norm_backward(&normalised, &dw, (&u, &v, sigma), &mut exact);
            let dot: f64 = normalised.iter().zip(&dw).map(|(w, dw)| w * dw).sum();
            let rounding_of_dot = rounding * rows as f64 * terms(&normalised, &dw) / epsilon;
            for i in 0..w.len() {
                let outer = (u[i / cols] * v[i % cols]).abs();
                let size = 1.0 + (dw[i].abs() + dot.abs() * outer) / sigma.abs();
                let epsilons = tolerance::TERMS * size + rounding_of_dot * outer / sigma.abs();
                assert_close(dweights[i], exact[i], Tolerance { ulp: 0.0, epsilons }, context);
            }
        });
    }
}

fn every_shape<T: Element>() {
    for cols in crate::common::lengths().filter(|&cols| cols > 0) {
        Case::<T>::new(1 + cols % 7, cols).check(cols % 5);
    }
    for rows in (1..=20).chain([33, 130]) {
        for cols in [1, 2, 17, 40] {
            Case::<T>::new(rows, cols).check(rows % 3);
        }
    }
    Case::<T>::new(300, 301).check(1);
}

#[test]
fn spectral_norm_forward_and_backward_match_reference() {
    every_shape::<f32>();
    every_shape::<f64>();
}

#[test]
fn spectral_norm_backward_matches_finite_differences() {
    let (rows, cols) = (3, 4);
    let (u, v): (Vec<f64>, Vec<f64>) = (numbers(1, rows, 0.5), numbers(2, cols, 0.5));
    let point: Vec<f64> = numbers(3, rows * cols, 1.0);
    let forward = |weights: &[f64], normalised: &mut [f64]| {
        let sigma = reference::spectral_norm_sigma(weights, &u, &v);
        reference::spectral_norm_forward(weights, sigma, normalised);
    };
    let backward = |weights: &[f64], dnormalised: &[f64], gradient: &mut [f64]| {
        let sigma = reference::spectral_norm_sigma(weights, &u, &v);
        let mut normalised = vec![0.0; weights.len()];
        reference::spectral_norm_forward(weights, sigma, &mut normalised);
        gradient.fill(0.0);
        reference::spectral_norm_backward(&normalised, dnormalised, (&u, &v, sigma), gradient);
    };
    GradCheck::default().check(&point, rows * cols, forward, backward).unwrap();
}

#[test]
fn spectral_norm_has_the_same_bits_on_any_pool_and_level() {
    for (rows, cols) in [(3, 70_001), (300, 1000), (20_000, 7), (1, 1)] {
        let case = Case::<f32>::new(rows, cols);
        assert_equal_everywhere(|| {
            let Results { sigma, u, v, normalised, dweights } = case.run(1);
            // All bits of σ.
            let halves = [sigma.to_bits() >> 32, sigma.to_bits() & 0xffff_ffff];
            vec![halves.map(|half| half as f32).to_vec(), u, v, normalised, dweights]
        });
    }
}

#[test]
fn spectral_norm_iterations_are_steps() {
    let case = Case::<f32>::new(9, 21);
    let mut steps = case.clone();
    for _ in 0..3 {
        let Results { u, v, .. } = steps.run(0);
        (steps.u, steps.v) = (u, v);
    }
    steps.norm.iterations = 0;
    let mut three = case.clone();
    three.norm.iterations = 3;
    let (three, still) = (three.run(0), steps.run(0));
    assert_same_bits(&still.u, &steps.u, || "0 iterations leave u".into());
    assert_same_bits(&still.v, &steps.v, || "0 iterations leave v".into());
    assert_eq!(three, still);
}

#[test]
fn spectral_norm_finds_the_largest_singular_value() {
    // A rotation of both sides of a diagonal matrix with 5, 2 and 1.
    let rotate = |x: f64, y: f64| (0.6 * x - 0.8 * y, 0.8 * x + 0.6 * y);
    let mut weights = [5.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 1.0];
    for col in 0..3 {
        (weights[col], weights[3 + col]) = rotate(weights[col], weights[3 + col]);
    }
    for row in 0..3 {
        (weights[3 * row + 1], weights[3 * row + 2]) = rotate(weights[3 * row + 1], weights[3 * row + 2]);
    }
    let norm = SpectralNorm { iterations: 60, ..SpectralNorm::default() };
    let case = Case { norm, weights: weights.to_vec(), ..Case::<f64>::new(3, 3) };
    each_level(|level| {
        let Results { sigma, normalised, u, v, .. } = case.run(0);
        assert!((sigma - 5.0).abs() < 1e-13, "{sigma} at {level}");
        assert!((length(&u) - 1.0).abs() < 1e-15 && (length(&v) - 1.0).abs() < 1e-15);
        // What has been normalised has norm 1.
        let again = Case { weights: normalised, u, v, ..case.clone() };
        assert!((again.run(0).sigma - 1.0).abs() < 1e-13, "at {level}");
    });
}

/// Scaled by a power of two, the weights give the same vectors, and as much larger a σ.
fn ignores_scale<T: Element>(powers: &[i32]) {
    let case = Case::<T>::new(13, 40);
    for &power in powers {
        let factor = 2.0_f64.powi(power);
        let mut scaled = case.clone();
        scaled.weights.iter_mut().for_each(|w| *w = T::from_f64(w.to_f64() * factor));
        // A norm of a subnormal size is not to count as eps.
        scaled.norm.eps = 0.0;
        each_level(|level| {
            let (plain, scaled) = (case.run(0), scaled.run(0));
            assert!((scaled.sigma / factor / plain.sigma - 1.0).abs() < 1e-14, "2^{power} at {level}");
            for (a, b) in [(&scaled.u, &plain.u), (&scaled.v, &plain.v)] {
                for (a, b) in a.iter().zip(b) {
                    let bound = Tolerance { ulp: 2.0, epsilons: 0.0 };
                    assert_close(*a, Element::to_f64(*b), bound, || format!("2^{power} at {level}"));
                }
            }
            for (a, b) in scaled.normalised.iter().zip(&plain.normalised) {
                let bound = Tolerance { ulp: 4.0, epsilons: 0.0 };
                assert_close(*a, Element::to_f64(*b), bound, || format!("2^{power} at {level}"));
            }
        });
    }
}

#[test]
fn spectral_norm_neither_overflows_nor_underflows() {
    // 2^83 is 1e25; the σ of 2^125 times 13x40 numbers is past the largest f32.
    ignores_scale::<f32>(&[-100, -60, 60, 83, 125]);
    ignores_scale::<f64>(&[-900, -500, 83, 500, 1010]);
}

#[test]
fn spectral_norm_special_values() {
    let mut zeros = Case::<f32>::new(4, 5);
    zeros.weights.fill(0.0);
    each_level(|_| {
        let Results { sigma, u, v, normalised, .. } = zeros.run(0);
        assert_eq!((sigma, u, v), (0.0, vec![0.0; 4], vec![0.0; 5]));
        assert!(normalised.iter().all(|w| w.is_nan()));
    });
    for special in [f32::NAN, f32::INFINITY] {
        for at in 0..20 {
            let mut case = Case::<f32>::new(4, 5);
            case.weights[at] = special;
            each_level(|level| {
                let Results { sigma, normalised, .. } = case.run(0);
                assert!(sigma.is_nan() && normalised.iter().all(|w| w.is_nan()), "{special} at {level}");
            });
        }
    }
    // No outputs is nothing to do; a state that is orthogonal to the weights has σ 0.
    let state = SpectralState { u: &mut [], v: &mut [0.5_f64, 0.5] };
    let nothing = SpectralNorm::default().forward(shape(0, 2), &[], state, &mut [0.0; 16], &mut []);
    assert_eq!(nothing, Ok(0.0));
    let saved = SavedSpectral { normalised: &[], u: &[], v: &[0.5_f64, 0.5], sigma: 0.0 };
    SpectralNorm::default().backward(shape(0, 2), &[], saved, &mut []).unwrap();
}

#[test]
fn spectral_norm_takes_a_sigma_below_zero() {
    let (norm, of) = (SpectralNorm { iterations: 0, ..SpectralNorm::default() }, shape(1, 2));
    let (mut u, mut v, mut w) = ([1.0_f64], [-1.0, 0.0], [0.0; 2]);
    let state = SpectralState { u: &mut u, v: &mut v };
    let sigma = norm.forward(of, &[4.0, 3.0], state, &mut [0.0; 16], &mut w).unwrap();
    assert_eq!((sigma, w), (-4.0, [-1.0, -0.75]));
}

/// The argument or dimension that an error names.
fn name<R: std::fmt::Debug>(result: Result<R, Error>) -> &'static str {
    match result.expect_err("a bad argument") {
        Error::Length { argument, .. }
        | Error::OutOfRange { argument, .. }
        | Error::Overflow { argument } => argument,
        Error::Empty { dimension } => dimension,
        other => panic!("{other:?}"),
    }
}

/// What a forward and a backward give where `longer` has one element more than it should.
fn refused(norm: SpectralNorm, of: WeightShape, longer: &str) -> (Result<f64, Error>, Result<(), Error>) {
    let len = |name: &str, right: usize| right + usize::from(name == longer);
    let weights = vec![1.0_f32; len("weights", 6)];
    let (mut u, mut v) = (Guarded::new(len("u", 2), 0), Guarded::new(len("v", 3), 0));
    let mut normalised = Guarded::new(len("normalised", 6), 0);
    let mut scratch = vec![0.0; 16 - usize::from(longer == "scratch")];
    let state = SpectralState { u: u.slice(), v: v.slice() };
    let forward = norm.forward(of, &weights, state, &mut scratch, normalised.slice());
    if forward.is_err() {
        assert!(u.is_untouched() && v.is_untouched() && normalised.is_untouched(), "{longer}");
    }
    let (u, v) = (vec![1.0; len("u", 2)], vec![1.0; len("v", 3)]);
    let normalised = vec![1.0; len("normalised", 6)];
    let saved = SavedSpectral { normalised: &normalised, u: &u, v: &v, sigma: 1.0 };
    let mut dweights = Guarded::new(len("dweights", 6), 0);
    let dnormalised = vec![1.0_f32; len("dnormalised", 6)];
    let backward = norm.backward(of, &dnormalised, saved, dweights.slice());
    assert!(backward.is_ok() || dweights.is_untouched(), "{longer}");
    (forward, backward)
}

#[test]
fn spectral_norm_names_the_bad_argument() {
    let (norm, of) = (SpectralNorm::default(), shape(2, 3));
    assert_eq!(norm.scratch_len(of), 16);
    let (forward, backward) = refused(norm, of, "");
    assert!(forward.is_ok() && backward.is_ok());
    for (longer, expected) in [
        ("weights", [Some("weights"), None]),
        ("u", [Some("state.u"), Some("saved.u")]),
        ("v", [Some("state.v"), Some("saved.v")]),
        ("scratch", [Some("scratch"), None]),
        ("normalised", [Some("normalised"), Some("saved.normalised")]),
        ("dnormalised", [None, Some("dnormalised")]),
        ("dweights", [None, Some("dweights")]),
    ] {
        let (forward, backward) = refused(norm, of, longer);
        let named = [forward.is_err().then(|| name(forward)), backward.is_err().then(|| name(backward))];
        assert_eq!(named, expected, "{longer}");
    }
    for eps in [-1e-5, f64::NAN, f64::INFINITY] {
        let (forward, backward) = refused(SpectralNorm { eps, ..norm }, of, "");
        assert_eq!((name(forward), name(backward)), ("eps", "eps"));
    }
    for (of, expected) in [
        (shape(2, 0), "inputs"),
        (WeightShape { field: 0, ..of }, "field"),
        (shape(usize::MAX, 2), "shape"),
        (WeightShape { field: usize::MAX, ..of }, "shape"),
    ] {
        let (forward, backward) = refused(norm, of, "");
        assert_eq!((name(forward), name(backward)), (expected, expected));
    }
    assert_eq!(norm.scratch_len(shape(1, usize::MAX)), usize::MAX);
}

#[test]
#[should_panic(expected = "u[")]
fn spectral_norm_comparison_can_fail() {
    let mut case = Case::<f32>::new(4, 9);
    case.norm.iterations = 2;
    case.check(0);
}

proptest! {
    #[test]
    fn spectral_norm_matches_reference_for_any_shape(
        rows in 1..40_usize, cols in 1..90_usize, offset in 0..9_usize,
    ) {
        Case::<f32>::new(rows, cols).check(offset);
        Case::<f64>::new(rows, cols).check(offset);
    }
}
