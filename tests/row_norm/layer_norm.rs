//! Layer norm and RMS norm: rows with weights an element.

use proptest::prelude::*;
use steadygrad::gradcheck::GradCheck;
use steadygrad::norm::{Affine, LayerNorm, NormGradients, RmsNorm, SavedRows};
use steadygrad::reference::{layer_norm, rms_norm};
use steadygrad::{Element, Error, Level, RowShape};

use crate::common::{
    self, Guarded, Tolerance, assert_close, assert_same_bits, each_level, each_pool, numbers, tolerance,
};

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Norm {
    Layer,
    Rms,
}

const BOTH: [Norm; 2] = [Norm::Layer, Norm::Rms];

/// One batch of rows with its parameters.
#[derive(Clone, Debug)]
struct Batch<T> {
    norm: Norm,
    eps: f64,
    shape: RowShape,
    x: Vec<T>,
    dy: Vec<T>,
    gamma: Option<Vec<T>>,
    beta: Option<Vec<T>>,
}

/// All that a forward and a backward give.
#[derive(Debug, PartialEq)]
struct Results<T> {
    mean: Vec<f64>,
    rstd: Vec<f64>,
    y: Vec<T>,
    dx: Vec<T>,
    dgamma: Vec<T>,
    dbeta: Vec<T>,
}

/// The same in `f64`, with the magnitudes of the terms that make up each result.
struct Exact {
    values: Results<f64>,
    y_terms: Vec<f64>,
    dx_terms: Vec<f64>,
    dgamma_terms: Vec<f64>,
    dbeta_terms: Vec<f64>,
}

fn widen<T: Element>(x: &[T]) -> Vec<f64> {
    x.iter().map(|&x| Element::to_f64(x)).collect()
}

impl<T: Element> Batch<T> {
    /// `form` chooses which of γ and β are there.
    fn new(norm: Norm, rows: usize, cols: usize, form: usize, eps: f64) -> Self {
        let seed = (rows * 1000 + cols) as u64;
        Self {
            norm,
            eps,
            shape: RowShape { rows, cols },
            x: numbers(seed, rows * cols, 2.0),
            dy: numbers(seed + 1, rows * cols, 1.0),
            gamma: (form & 1 == 0).then(|| numbers(seed + 2, cols, 1.0)),
            beta: (form & 2 == 0).then(|| numbers(seed + 3, cols, 1.0)),
        }
    }

    fn affine(&self) -> Affine<'_, T> {
        Affine { gamma: self.gamma.as_deref(), beta: self.beta.as_deref() }
    }

    fn scratch_len(&self) -> usize {
        match self.norm {
            Norm::Layer => LayerNorm { eps: self.eps }.backward_scratch_len(self.shape),
            Norm::Rms => RmsNorm { eps: self.eps }.backward_scratch_len(self.shape),
        }
    }

    fn forward(&self, x: &[T], mean: &mut [f64], rstd: &mut [f64], y: &mut [T]) -> Result<(), Error> {
        match self.norm {
            Norm::Layer => LayerNorm { eps: self.eps }.forward(self.shape, x, self.affine(), mean, rstd, y),
            Norm::Rms => {
                mean.fill(0.0);
                RmsNorm { eps: self.eps }.forward(self.shape, x, self.affine(), rstd, y)
            }
        }
    }

    fn backward(
        &self,
        x: &[T],
        (mean, rstd): (&[f64], &[f64]),
        dy: &[T],
        scratch: &mut [f64],
        gradients: NormGradients<'_, T>,
    ) -> Result<(), Error> {
        let (shape, gamma) = (self.shape, self.gamma.as_deref());
        match self.norm {
            Norm::Layer => {
                let saved = SavedRows { x, mean, rstd };
                LayerNorm { eps: self.eps }.backward(shape, dy, gamma, saved, scratch, gradients)
            }
            Norm::Rms => RmsNorm { eps: self.eps }.backward(shape, dy, gamma, (x, rstd), scratch, gradients),
        }
    }

    fn run(&self, offset: usize) -> Results<T> {
        let RowShape { rows, cols } = self.shape;
        let (x, dy) = (Guarded::of(&self.x, offset), Guarded::of(&self.dy, offset + 1));
        let (mut mean, mut rstd) = (Guarded::new(rows, 0), Guarded::new(rows, 0));
        let (mut y, mut dx) = (Guarded::new(rows * cols, offset), Guarded::new(rows * cols, offset));
        self.forward(x.checked(), mean.slice(), rstd.slice(), y.slice()).unwrap();
        let (mut dgamma, mut dbeta) =
            (Guarded::of(&vec![T::one(); cols], 0), Guarded::of(&vec![T::one(); cols], 1));
        // The scratch may hold anything.
        let mut scratch = Guarded::new(self.scratch_len(), 1);
        let gradients =
            NormGradients { input: dx.slice(), gamma: Some(dgamma.slice()), beta: Some(dbeta.slice()) };
        let saved = (mean.checked(), rstd.checked());
        self.backward(x.checked(), saved, dy.checked(), scratch.slice(), gradients).unwrap();
        scratch.checked();
        Results {
            mean: mean.checked().to_vec(),
            rstd: rstd.checked().to_vec(),
            y: y.checked().to_vec(),
            dx: dx.checked().to_vec(),
            dgamma: dgamma.checked().to_vec(),
            dbeta: dbeta.checked().to_vec(),
        }
    }

    fn exact(&self) -> Exact {
        let RowShape { rows, cols } = self.shape;
        let gamma = self.gamma.as_deref().map_or(vec![1.0; cols], widen);
        let beta = self.beta.as_deref().map_or(vec![0.0; cols], widen);
        let (x, dy) = (widen(&self.x), widen(&self.dy));
        let (mut mean, mut rstd) = (vec![0.0; rows], vec![0.0; rows]);
        let (mut y, mut dx) = (vec![0.0; rows * cols], vec![0.0; rows * cols]);
        let (mut dgamma, mut dbeta) = (vec![1.0; cols], vec![1.0; cols]);
        let (mut y_terms, mut dx_terms) = (y.clone(), y.clone());
        let (mut dgamma_terms, mut dbeta_terms) = (dgamma.clone(), dbeta.clone());
        for row in 0..rows {
            let at = row * cols..(row + 1) * cols;
            let (x, dy) = (&x[at.clone()], &dy[at.clone()]);
            let (y, dx) = (&mut y[at.clone()], &mut dx[at.clone()]);
            match self.norm {
                Norm::Layer => {
                    let measured = layer_norm::layer_norm_measure(x, self.eps);
                    (mean[row], rstd[row]) = measured;
                    layer_norm::layer_norm_forward(x, measured, &gamma, &beta, y);
                    layer_norm::layer_norm_backward(x, dy, measured, &gamma, dx);
                    layer_norm::layer_norm_backward_parameters(x, dy, measured, &mut dgamma, &mut dbeta);
                }
                Norm::Rms => {
                    rstd[row] = rms_norm::rms_norm_measure(x, self.eps);
                    rms_norm::rms_norm_forward(x, rstd[row], &gamma, &beta, y);
                    rms_norm::rms_norm_backward(x, dy, rstd[row], &gamma, dx);
                    rms_norm::rms_norm_backward_parameters(x, dy, rstd[row], &mut dgamma, &mut dbeta);
                }
            }
            // The mean of f64 elements is off by the rounding of their sum, in the reference too.
            let magnitude = x.iter().map(|x| x.abs()).sum::<f64>() / cols as f64;
            let lost = if T::epsilon().to_f64() < 1e-10 { magnitude } else { 0.0 };
            let hat: Vec<f64> = x.iter().map(|&x| ((x - mean[row]).abs() + lost) * rstd[row]).collect();
            let g: Vec<f64> = (0..cols).map(|i| (gamma[i] * dy[i]).abs()).collect();
            let mean_g = if self.norm == Norm::Layer { g.iter().sum::<f64>() / cols as f64 } else { 0.0 };
            let mean_g_hat = (0..cols).map(|i| g[i] * hat[i]).sum::<f64>() / cols as f64;
            for i in 0..cols {
                y_terms[at.start + i] = (hat[i] * gamma[i]).abs().max(beta[i].abs());
                dx_terms[at.start + i] = rstd[row] * (g[i] + mean_g + hat[i] * mean_g_hat);
                dgamma_terms[i] += dy[i].abs() * hat[i];
                dbeta_terms[i] += dy[i].abs();
            }
        }
        let values = Results { mean, rstd, y, dx, dgamma, dbeta };
        Exact { values, y_terms, dx_terms, dgamma_terms, dbeta_terms }
    }

    #[track_caller]
    fn check(&self, offset: usize) {
        let exact = self.exact();
        // The references add f64 one after the other.
        let sums =
            if T::epsilon().to_f64() < 1e-10 { self.shape.cols as f64 + self.shape.rows as f64 } else { 0.0 };
        each_level(|level| {
            let actual = self.run(offset);
            let context = |what: &str, i: usize| format!("{what}[{i}] at {level}: {self:?}");
            let scale = exact.y_terms.len().max(1) as f64;
            for row in 0..self.shape.rows {
                let largest = self.x[row * self.shape.cols..][..self.shape.cols]
                    .iter()
                    .fold(0.0_f64, |m, x| m.max(Element::to_f64(*x).abs()));
                let bound = (8.0 + scale) * f64::EPSILON * largest;
                let (mean, rstd) = (actual.mean[row], actual.rstd[row]);
                assert!((mean - exact.values.mean[row]).abs() <= bound, "{}", context("mean", row));
                let distance = (rstd / exact.values.rstd[row] - 1.0).abs();
                let bound = 4.0 * T::epsilon().to_f64() + scale * f64::EPSILON;
                assert!(distance <= bound, "{}", context("rstd", row));
            }
            let compare = |what: &str, actual: &[T], exact: &[f64], terms: &[f64], epsilons: f64| {
                for i in 0..exact.len() {
                    let bound = Tolerance { ulp: 0.0, epsilons: (epsilons + sums) * terms[i] };
                    assert_close(actual[i], exact[i], bound, || context(what, i));
                }
            };
            compare("y", &actual.y, &exact.values.y, &exact.y_terms, tolerance::ROW_NORM);
            compare("dx", &actual.dx, &exact.values.dx, &exact.dx_terms, tolerance::ROW_NORM);
            compare("dgamma", &actual.dgamma, &exact.values.dgamma, &exact.dgamma_terms, tolerance::ROW_NORM);
            compare("dbeta", &actual.dbeta, &exact.values.dbeta, &exact.dbeta_terms, tolerance::ROW_NORM);
        });
    }
}

fn every_width<T: Element>(norm: Norm) {
    // With two values x̂ is ±1 but for eps, and dx all but cancels: eps keeps the terms of the size of the result.
    for cols in common::lengths().filter(|&cols| cols > 0).chain([1000, 4099]) {
        for form in 0..4 {
            Batch::<T>::new(norm, 1 + cols % 6, cols, form, 1e-3).check(cols % 5);
        }
    }
    // Every number of rows around the four side by side, and rows of more than one block.
    for rows in (0..20).chain([67, 130]) {
        Batch::<T>::new(norm, rows, 19, rows % 4, 1e-3).check(rows % 3);
    }
    // Rows past the length up to which four are taken at once.
    Batch::<T>::new(norm, 5, 16 * 1024 + 3, 0, 1e-3).check(1);
}

#[test]
fn layer_norm_forward_and_backward_match_reference() {
    every_width::<f32>(Norm::Layer);
    every_width::<f64>(Norm::Layer);
}

#[test]
fn rms_norm_forward_and_backward_match_reference() {
    every_width::<f32>(Norm::Rms);
    every_width::<f64>(Norm::Rms);
}

/// The gradient of all of `[x, γ, β]` by the references.
fn reference_backward(norm: Norm, cols: usize, point: &[f64], dy: &[f64], gradient: &mut [f64]) {
    let rows = dy.len() / cols;
    let (x, affine) = point.split_at(rows * cols);
    let (gamma, _) = affine.split_at(cols);
    let (dx, parameters) = gradient.split_at_mut(rows * cols);
    let (dgamma, dbeta) = parameters.split_at_mut(cols);
    dgamma.fill(0.0);
    dbeta.fill(0.0);
    for ((x, dy), dx) in x.chunks(cols).zip(dy.chunks(cols)).zip(dx.chunks_mut(cols)) {
        match norm {
            Norm::Layer => {
                let measured = layer_norm::layer_norm_measure(x, 1e-2);
                layer_norm::layer_norm_backward(x, dy, measured, gamma, dx);
                layer_norm::layer_norm_backward_parameters(x, dy, measured, dgamma, dbeta);
            }
            Norm::Rms => {
                let rstd = rms_norm::rms_norm_measure(x, 1e-2);
                rms_norm::rms_norm_backward(x, dy, rstd, gamma, dx);
                rms_norm::rms_norm_backward_parameters(x, dy, rstd, dgamma, dbeta);
            }
        }
    }
}

fn reference_forward(norm: Norm, cols: usize, point: &[f64], y: &mut [f64]) {
    let (x, affine) = point.split_at(y.len());
    let (gamma, beta) = affine.split_at(cols);
    for (x, y) in x.chunks(cols).zip(y.chunks_mut(cols)) {
        match norm {
            Norm::Layer => {
                let measured = layer_norm::layer_norm_measure(x, 1e-2);
                layer_norm::layer_norm_forward(x, measured, gamma, beta, y);
            }
            Norm::Rms => {
                let rstd = rms_norm::rms_norm_measure(x, 1e-2);
                rms_norm::rms_norm_forward(x, rstd, gamma, beta, y);
            }
        }
    }
}

fn check_finite_differences(norm: Norm) {
    for (rows, cols) in [(1, 1), (1, 2), (3, 7), (2, 20)] {
        let point: Vec<f64> = numbers(cols as u64, (rows + 2) * cols, 1.0);
        let forward = |point: &[f64], y: &mut [f64]| reference_forward(norm, cols, point, y);
        let backward = |point: &[f64], dy: &[f64], gradient: &mut [f64]| {
            reference_backward(norm, cols, point, dy, gradient);
        };
        GradCheck::default().check(&point, rows * cols, forward, backward).unwrap();
    }
}

#[test]
fn layer_norm_backward_matches_finite_differences() {
    check_finite_differences(Norm::Layer);
}

#[test]
fn rms_norm_backward_matches_finite_differences() {
    check_finite_differences(Norm::Rms);
}

fn check_equal_bits(norm: Norm) {
    for (rows, cols) in [(1, 70_001), (300, 1000), (4099, 33), (2, 9)] {
        let batch = Batch::<f32>::new(norm, rows, cols, 0, 1e-5);
        let expected = batch.run(0);
        let same = |other: &Results<f32>, context: &dyn Fn() -> String| {
            assert_same_bits(&other.mean, &expected.mean, context);
            assert_same_bits(&other.rstd, &expected.rstd, context);
            assert_same_bits(&other.y, &expected.y, context);
            assert_same_bits(&other.dx, &expected.dx, context);
            assert_same_bits(&other.dgamma, &expected.dgamma, context);
            assert_same_bits(&other.dbeta, &expected.dbeta, context);
        };
        each_pool(|threads| same(&batch.run(1), &|| format!("{rows}x{cols} on {threads} threads")));
        for level in Level::available().filter(|&level| level != Level::Portable) {
            let other = Level::scoped(level, || batch.run(2)).unwrap();
            if Level::current() != Level::Portable {
                same(&other, &|| format!("{rows}x{cols} at {level}"));
            }
        }
    }
}

#[test]
fn layer_norm_has_the_same_bits_on_any_pool_and_level() {
    check_equal_bits(Norm::Layer);
}

#[test]
fn rms_norm_has_the_same_bits_on_any_pool_and_level() {
    check_equal_bits(Norm::Rms);
}

#[test]
fn layer_norm_forward_far_from_zero() {
    // f32 numbers near a million are 1/16 apart; the judge takes them in f64, mean first.
    let (rows, cols) = (3, 4096);
    let x: Vec<f32> = numbers::<f64>(7, rows * cols, 0.1).iter().map(|x| (1e6 + x) as f32).collect();
    let (mut mean, mut rstd) = (vec![0.0; rows], vec![0.0; rows]);
    let mut y = vec![0.0_f32; rows * cols];
    let (op, shape) = (LayerNorm { eps: 0.0 }, RowShape { rows, cols });
    each_level(|level| {
        op.forward(shape, &x, Affine::default(), &mut mean, &mut rstd, &mut y).unwrap();
        for row in 0..rows {
            let wide = widen(&x[row * cols..(row + 1) * cols]);
            let (_, expected) = layer_norm::layer_norm_measure(&wide, 0.0);
            let variance_ratio = (expected / rstd[row]).powi(2);
            assert!((variance_ratio - 1.0).abs() < 1e-6, "{variance_ratio} at {level}");
            let y = widen(&y[row * cols..(row + 1) * cols]);
            let mean = y.iter().sum::<f64>() / cols as f64;
            let square = y.iter().map(|y| y * y).sum::<f64>() / cols as f64;
            assert!(mean.abs() < 1e-6 && (square - 1.0).abs() < 1e-6, "{mean} {square} at {level}");
        }
    });
}

#[test]
fn layer_norm_backward_is_orthogonal_to_ones_and_to_the_output() {
    let batch = Batch::<f64>::new(Norm::Layer, 7, 129, 3, 0.0);
    let Results { y, dx, .. } = batch.run(0);
    for (y, dx) in y.chunks(129).zip(dx.chunks(129)) {
        let sum: f64 = dx.iter().sum();
        let dot: f64 = dx.iter().zip(y).map(|(dx, y)| dx * y).sum();
        assert!(sum.abs() < 1e-12 && dot.abs() < 1e-12, "{sum} {dot}");
    }
}

#[test]
fn layer_norm_special_values_stay_in_their_row() {
    for norm in BOTH {
        for special in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in 0..40 {
                let (before, mut batch) =
                    (Batch::<f32>::new(norm, 9, 40, 0, 1e-5), Batch::<f32>::new(norm, 9, 40, 0, 1e-5));
                batch.x[5 * 40 + at] = special;
                each_level(|level| {
                    let (Results { y, dx, .. }, clean) = (batch.run(0), before.run(0));
                    assert_same_bits(&y[..200], &clean.y[..200], || format!("{special} at {level}"));
                    assert_same_bits(&dx[..200], &clean.dx[..200], || format!("{special} at {level}"));
                    let outside = y[..200].iter().chain(&y[240..]).chain(&dx[..200]).chain(&dx[240..]);
                    assert!(outside.into_iter().all(|v| v.is_finite()), "{special} at {at}, {level}");
                    assert!(y[200 + at].is_nan() && dx[200 + at].is_nan(), "{special} at {at}, {level}");
                    let all = norm == Norm::Layer || special.is_nan();
                    assert!(!all || y[200..240].iter().all(|y| y.is_nan()), "{special} at {at}, {level}");
                });
            }
        }
    }
}

#[test]
fn layer_norm_of_equal_values_and_of_nothing() {
    let mut y = [f64::NAN; 6];
    let shape = RowShape { rows: 2, cols: 3 };
    let affine = Affine { gamma: Some(&[2.0; 3]), beta: Some(&[0.0, 1.0, 2.0]) };
    LayerNorm::default().infer(shape, &[7.0, 7.0, 7.0, 0.0, 0.0, 0.0], affine, &mut y).unwrap();
    assert_eq!(y, [0.0, 1.0, 2.0, 0.0, 1.0, 2.0]);
    RmsNorm::default().infer(shape, &[0.0; 6], affine, &mut y).unwrap();
    assert_eq!(y, [0.0, 1.0, 2.0, 0.0, 1.0, 2.0]);
    for cols in [0, 3] {
        let nothing = RowShape { rows: 0, cols };
        let none = Affine::<f64>::default();
        LayerNorm::default().infer(nothing, &[], none, &mut []).unwrap();
        let mut dgamma = vec![1.0; cols];
        let gradients = NormGradients { input: &mut [], gamma: Some(&mut dgamma), beta: None };
        let saved = SavedRows { x: &[], mean: &[], rstd: &[] };
        LayerNorm::default().backward(nothing, &[], None, saved, &mut [], gradients).unwrap();
        assert!(dgamma.iter().all(|&v| v == 1.0));
    }
}

#[test]
fn layer_norm_infer_has_the_bits_of_forward() {
    for norm in BOTH {
        for form in 0..4 {
            let batch = Batch::<f32>::new(norm, 7, 45, form, 1e-5);
            let mut y = Guarded::new(batch.x.len(), 3);
            match norm {
                Norm::Layer => {
                    LayerNorm { eps: batch.eps }.infer(batch.shape, &batch.x, batch.affine(), y.slice())
                }
                Norm::Rms => {
                    RmsNorm { eps: batch.eps }.infer(batch.shape, &batch.x, batch.affine(), y.slice())
                }
            }
            .unwrap();
            assert_same_bits(y.checked(), &batch.run(0).y, || format!("{batch:?}"));
        }
    }
}

#[test]
fn layer_norm_backward_gives_what_is_asked_for() {
    for norm in BOTH {
        let batch = Batch::<f32>::new(norm, 21, 37, 0, 1e-5);
        let all = batch.run(0);
        let saved = (&all.mean[..], &all.rstd[..]);
        for wanted in 0..4 {
            let (mut dx, mut dgamma, mut dbeta) = (vec![f32::NAN; 21 * 37], vec![1.0; 37], vec![1.0; 37]);
            let gradients = NormGradients {
                input: &mut dx,
                gamma: (wanted & 1 == 1).then_some(&mut dgamma),
                beta: (wanted & 2 == 2).then_some(&mut dbeta),
            };
            let mut scratch = vec![f64::NAN; if wanted == 0 { 0 } else { batch.scratch_len() }];
            batch.backward(&batch.x, saved, &batch.dy, &mut scratch, gradients).unwrap();
            assert_same_bits(&dx, &all.dx, || format!("{norm:?} {wanted}"));
            assert_same_bits(
                &dgamma,
                &if wanted & 1 == 1 { all.dgamma.clone() } else { vec![1.0; 37] },
                || format!("{norm:?} {wanted}"),
            );
            assert_same_bits(
                &dbeta,
                &if wanted & 2 == 2 { all.dbeta.clone() } else { vec![1.0; 37] },
                || format!("{norm:?} {wanted}"),
            );
        }
    }
}

/// Lengths of one call: one of them wrong.
#[derive(Clone, Copy)]
struct Lengths {
    x: usize,
    gamma: usize,
    beta: usize,
    mean: usize,
    rstd: usize,
    out: usize,
    scratch: usize,
}

fn argument(error: Error) -> &'static str {
    match error {
        Error::Length { argument, .. }
        | Error::OutOfRange { argument, .. }
        | Error::Overflow { argument } => argument,
        Error::Empty { dimension } => dimension,
        other => panic!("{other:?}"),
    }
}

/// The arguments that a forward and a backward of `norm` name, nothing being written.
fn refused(norm: Norm, eps: f64, shape: RowShape, lengths: Lengths) -> [Option<&'static str>; 2] {
    let Lengths { x, gamma, beta, mean, rstd, out, scratch } = lengths;
    let (x, gamma, beta) = (vec![1.0_f32; x], vec![1.0; gamma], vec![1.0; beta]);
    let mut batch = Batch::new(norm, 2, 3, 0, eps);
    (batch.shape, batch.gamma, batch.beta) = (shape, Some(gamma.clone()), Some(beta.clone()));
    let [mut saved_mean, mut saved_rstd] = [mean, rstd].map(|len| Guarded::<f64>::new(len, 0));
    let [mut y, mut dx] = [out, out].map(|len| Guarded::<f32>::new(len, 0));
    let [mut dgamma, mut dbeta] = [gamma.len(), beta.len()].map(|len| Guarded::<f32>::new(len, 0));
    let mut scratch = vec![0.0; scratch];
    let forward = match norm {
        Norm::Layer => batch.forward(&x, saved_mean.slice(), saved_rstd.slice(), y.slice()),
        Norm::Rms => RmsNorm { eps }.forward(shape, &x, batch.affine(), saved_rstd.slice(), y.slice()),
    };
    let (mean, rstd) = (vec![0.0; mean], vec![1.0; rstd]);
    let gradients =
        NormGradients { input: dx.slice(), gamma: Some(dgamma.slice()), beta: Some(dbeta.slice()) };
    let backward = batch.backward(&x, (&mean, &rstd), &x, &mut scratch, gradients);
    if forward.is_err() {
        assert!(y.is_untouched() && saved_mean.is_untouched() && saved_rstd.is_untouched());
    }
    if backward.is_err() {
        assert!(dx.is_untouched() && dgamma.is_untouched() && dbeta.is_untouched());
    }
    [forward.err().map(argument), backward.err().map(argument)]
}

#[test]
fn layer_norm_names_the_bad_argument() {
    let (shape, scratch) = (RowShape { rows: 2, cols: 3 }, 2 * 16);
    let good = Lengths { x: 6, gamma: 3, beta: 3, mean: 2, rstd: 2, out: 6, scratch };
    let layer = |lengths| refused(Norm::Layer, 1e-5, shape, lengths);
    let rms = |lengths| refused(Norm::Rms, 1e-5, shape, lengths);
    assert_eq!((layer(good), rms(good)), ([None; 2], [None; 2]));
    assert_eq!(layer(Lengths { x: 5, ..good }), [Some("x"), Some("dy")]);
    assert_eq!(rms(Lengths { x: 5, ..good }), [Some("x"), Some("dy")]);
    assert_eq!(layer(Lengths { out: 7, ..good }), [Some("y"), Some("gradients.input")]);
    assert_eq!(rms(Lengths { out: 7, ..good }), [Some("y"), Some("gradients.input")]);
    assert_eq!(layer(Lengths { gamma: 2, ..good }), [Some("affine.gamma"), Some("gamma")]);
    assert_eq!(rms(Lengths { gamma: 2, ..good }), [Some("affine.gamma"), Some("gamma")]);
    assert_eq!(layer(Lengths { beta: 4, ..good }), [Some("affine.beta"), Some("gradients.beta")]);
    assert_eq!(rms(Lengths { beta: 4, ..good }), [Some("affine.beta"), Some("gradients.beta")]);
    assert_eq!(layer(Lengths { mean: 3, ..good }), [Some("mean"), Some("saved.mean")]);
    assert_eq!(layer(Lengths { rstd: 1, ..good }), [Some("rstd"), Some("saved.rstd")]);
    assert_eq!(rms(Lengths { rstd: 1, ..good }), [Some("rstd"), Some("rstd")]);
    assert_eq!(layer(Lengths { scratch: 31, ..good }), [None, Some("scratch")]);
    assert_eq!(rms(Lengths { scratch: 31, ..good }), [None, Some("scratch")]);
    for norm in BOTH {
        for eps in [-1e-5, f64::NAN, f64::INFINITY] {
            assert_eq!(refused(norm, eps, shape, good), [Some("eps"); 2]);
        }
        let empty = Lengths { x: 0, gamma: 0, beta: 0, mean: 2, rstd: 2, out: 0, scratch: 0 };
        assert_eq!(refused(norm, 0.0, RowShape { rows: 2, cols: 0 }, empty), [Some("cols"); 2]);
        let huge = RowShape { rows: usize::MAX, cols: 2 };
        assert_eq!(refused(norm, 0.0, huge, good), [Some("shape"); 2]);
    }
    assert_eq!(LayerNorm::default().backward_scratch_len(shape), 2 * scratch / 2);
    assert!(LayerNorm::default().backward_scratch_len(RowShape { rows: 1, cols: usize::MAX }) > 1 << 60);
}

#[test]
#[should_panic(expected = "ULP from")]
fn layer_norm_comparison_can_fail() {
    let mut batch = Batch::<f32>::new(Norm::Layer, 2, 33, 0, 1e-5);
    let exact = batch.exact();
    batch.x[40] += 1e-4;
    let actual = batch.run(0);
    for i in 33..66 {
        let bound = Tolerance { ulp: 0.0, epsilons: tolerance::ROW_NORM * exact.y_terms[i] };
        assert_close(actual.y[i], exact.values.y[i], bound, || format!("{i}"));
    }
}

proptest! {
    #[test]
    fn layer_norm_matches_reference_for_any_shape(
        layer in any::<bool>(), rows in 0..40_usize, cols in 1..200_usize, form in 0..4_usize, offset in 0..9_usize,
    ) {
        let norm = if layer { Norm::Layer } else { Norm::Rms };
        Batch::<f32>::new(norm, rows, cols, form, 1e-3).check(offset);
        Batch::<f64>::new(norm, rows, cols, form, 1e-3).check(offset);
    }

    #[test]
    fn layer_norm_forward_ignores_scale_and_shift(
        cols in 2..100_usize, scale in -3..4_i32, shift in -8..8_i32,
    ) {
        // Powers of two and small integers: the moved input is exact.
        let batch = Batch::<f64>::new(Norm::Layer, 1, cols, 3, 0.0);
        let on_grid: Vec<f64> = batch.x.iter().map(|x| (x * 1024.0).round() / 1024.0).collect();
        let moved: Vec<f64> =
            on_grid.iter().map(|x| x * 2.0_f64.powi(scale) + f64::from(shift)).collect();
        let mut y = [vec![0.0; cols], vec![0.0; cols]];
        for (x, y) in [on_grid, moved].iter().zip(&mut y) {
            LayerNorm { eps: 0.0 }.infer(batch.shape, x, Affine::default(), y).unwrap();
        }
        for (a, b) in y[0].iter().zip(&y[1]) {
            prop_assert!((a - b).abs() < 1e-11, "{a} {b}");
        }
    }
}
