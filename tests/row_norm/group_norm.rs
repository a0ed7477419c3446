//! Group norm and instance norm: rows of whole channels with weights a channel.

use proptest::prelude::*;
use steadygrad::gradcheck::GradCheck;
use steadygrad::norm::{Affine, GroupNorm, InstanceNorm, LayerNorm, NormGradients, SavedRows};
use steadygrad::reference::group_norm as reference;
use steadygrad::{ChannelShape, Element, Error, RowShape};

use crate::common::{
    self, Guarded, Tolerance, assert_close, assert_equal_everywhere, assert_same_bits, each_level, numbers,
    tolerance,
};

/// One batch with its parameters.
#[derive(Clone, Debug)]
struct Batch<T> {
    norm: GroupNorm,
    shape: ChannelShape,
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

fn shape(outer: usize, channels: usize, inner: usize) -> ChannelShape {
    ChannelShape { outer, channels, inner }
}

fn widen<T: Element>(x: &[T]) -> Vec<f64> {
    x.iter().map(|&x| Element::to_f64(x)).collect()
}

impl<T: Element> Batch<T> {
    /// `form` chooses which of γ and β are there.
    fn new(groups: usize, shape: ChannelShape, form: usize) -> Self {
        let elements = shape.elements().unwrap();
        let seed = (elements * 10 + groups) as u64;
        Self {
            norm: GroupNorm { groups, eps: 1e-3 },
            shape,
            x: numbers::<T>(seed, elements, 2.0).into_iter().map(|x| x + T::one()).collect(),
            dy: numbers(seed + 1, elements, 1.0),
            gamma: (form & 1 == 0).then(|| numbers(seed + 2, shape.channels, 1.0)),
            beta: (form & 2 == 0).then(|| numbers(seed + 3, shape.channels, 1.0)),
        }
    }

    fn affine(&self) -> Affine<'_, T> {
        Affine { gamma: self.gamma.as_deref(), beta: self.beta.as_deref() }
    }

    fn rows(&self) -> usize {
        self.shape.outer * self.norm.groups
    }

    fn run(&self, offset: usize) -> Results<T> {
        let (rows, channels, elements) = (self.rows(), self.shape.channels, self.x.len());
        let (x, dy) = (Guarded::of(&self.x, offset), Guarded::of(&self.dy, offset + 1));
        let (mut mean, mut rstd) = (Guarded::new(rows, 0), Guarded::new(rows, 0));
        let (mut y, mut dx) = (Guarded::new(elements, offset), Guarded::new(elements, offset));
        self.norm
            .forward(self.shape, x.checked(), self.affine(), mean.slice(), rstd.slice(), y.slice())
            .unwrap();
        let ones = vec![T::one(); channels];
        let (mut dgamma, mut dbeta) = (Guarded::of(&ones, 0), Guarded::of(&ones, 1));
        // The scratch may hold anything.
        let mut scratch = Guarded::new(self.norm.backward_scratch_len(self.shape), 1);
        let gradients =
            NormGradients { input: dx.slice(), gamma: Some(dgamma.slice()), beta: Some(dbeta.slice()) };
        let saved = SavedRows { x: x.checked(), mean: mean.checked(), rstd: rstd.checked() };
        let gamma = self.gamma.as_deref();
        self.norm.backward(self.shape, dy.checked(), gamma, saved, scratch.slice(), gradients).unwrap();
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
        let ChannelShape { channels, inner, .. } = self.shape;
        let (rows, count) = (self.rows(), channels / self.norm.groups);
        let cols = count * inner;
        let gamma = self.gamma.as_deref().map_or(vec![1.0; channels], widen);
        let beta = self.beta.as_deref().map_or(vec![0.0; channels], widen);
        let (x, dy) = (widen(&self.x), widen(&self.dy));
        let (mut mean, mut rstd) = (vec![0.0; rows], vec![0.0; rows]);
        let (mut y, mut dx) = (vec![0.0; rows * cols], vec![0.0; rows * cols]);
        let (mut dgamma, mut dbeta) = (vec![1.0; channels], vec![1.0; channels]);
        let (mut y_terms, mut dx_terms) = (y.clone(), y.clone());
        let (mut dgamma_terms, mut dbeta_terms) = (dgamma.clone(), dbeta.clone());
        for row in 0..rows {
            let at = row * cols..(row + 1) * cols;
            let (x, dy) = (&x[at.clone()], &dy[at.clone()]);
            let (y, dx) = (&mut y[at.clone()], &mut dx[at.clone()]);
            let of_group = row % self.norm.groups * count..(row % self.norm.groups + 1) * count;
            let (gamma, beta) = (&gamma[of_group.clone()], &beta[of_group.clone()]);
            let measured = reference::group_norm_measure(x, self.norm.eps);
            (mean[row], rstd[row]) = measured;
            reference::group_norm_forward(x, measured, (gamma, beta), inner, y);
            reference::group_norm_backward(x, dy, measured, (gamma, inner), dx);
            let parameters = (&mut dgamma[of_group.clone()], &mut dbeta[of_group.clone()]);
            reference::group_norm_backward_parameters(x, dy, measured, inner, parameters);
            // The mean of f64 elements is off by the rounding of their sum, in the reference too.
            let magnitude = x.iter().map(|x| x.abs()).sum::<f64>() / cols as f64;
            let lost = if T::epsilon().to_f64() < 1e-10 { magnitude } else { 0.0 };
            let hat: Vec<f64> = x.iter().map(|&x| ((x - mean[row]).abs() + lost) * rstd[row]).collect();
            let g: Vec<f64> = (0..cols).map(|i| (gamma[i / inner] * dy[i]).abs()).collect();
            let mean_g = g.iter().sum::<f64>() / cols as f64;
            let mean_g_hat = (0..cols).map(|i| g[i] * hat[i]).sum::<f64>() / cols as f64;
            for i in 0..cols {
                let channel = of_group.start + i / inner;
                y_terms[at.start + i] = (hat[i] * gamma[i / inner]).abs().max(beta[i / inner].abs());
                dx_terms[at.start + i] = rstd[row] * (g[i] + mean_g + hat[i] * mean_g_hat);
                dgamma_terms[channel] += dy[i].abs() * hat[i];
                dbeta_terms[channel] += dy[i].abs();
            }
        }
        let values = Results { mean, rstd, y, dx, dgamma, dbeta };
        Exact { values, y_terms, dx_terms, dgamma_terms, dbeta_terms }
    }

    #[track_caller]
    fn check(&self, offset: usize) {
        let exact = self.exact();
        // The references add f64 one after the other.
        let added = self.shape.channels / self.norm.groups * self.shape.inner + self.shape.outer;
        let sums = if T::epsilon().to_f64() < 1e-10 { (added + self.shape.outer) as f64 } else { 0.0 };
        each_level(|level| {
            let actual = self.run(offset);
            let context =
                |what: &str, i: usize| format!("{what}[{i}] at {level}: {:?} {:?}", self.norm, self.shape);
            let largest = self.x.iter().fold(0.0_f64, |m, x| m.max(Element::to_f64(*x).abs()));
            for row in 0..self.rows() {
                let bound = (8 + added) as f64 * f64::EPSILON;
                let (mean, rstd) = (actual.mean[row], actual.rstd[row]);
                let distance = (mean - exact.values.mean[row]).abs();
                assert!(distance <= bound * largest, "{}", context("mean", row));
                let distance = (rstd / exact.values.rstd[row] - 1.0).abs();
                assert!(distance <= 4.0 * T::epsilon().to_f64() + bound, "{}", context("rstd", row));
            }
            let compare = |what: &str, actual: &[T], exact: &[f64], terms: &[f64]| {
                for i in 0..exact.len() {
                    let bound = Tolerance { ulp: 0.0, epsilons: (tolerance::ROW_NORM + sums) * terms[i] };
                    assert_close(actual[i], exact[i], bound, || context(what, i));
                }
            };
            compare("y", &actual.y, &exact.values.y, &exact.y_terms);
            compare("dx", &actual.dx, &exact.values.dx, &exact.dx_terms);
            compare("dgamma", &actual.dgamma, &exact.values.dgamma, &exact.dgamma_terms);
            compare("dbeta", &actual.dbeta, &exact.values.dbeta, &exact.dbeta_terms);
        });
    }
}

fn every_shape<T: Element>() {
    for inner in common::lengths().filter(|&inner| inner > 0) {
        Batch::<T>::new(2, shape(1 + inner % 3, 4, inner), inner % 4).check(inner % 5);
    }
    for (channels, groups) in [(1, 1), (6, 1), (6, 2), (6, 3), (6, 6), (34, 2), (70, 1)] {
        for inner in [1, 2, 7, 16, 33] {
            for form in 0..4 {
                Batch::<T>::new(groups, shape(3, channels, inner), form).check(form);
            }
        }
    }
    // Many samples, so that a block of rows begins within one, and channels past any block.
    Batch::<T>::new(3, shape(700, 9, 11), 0).check(1);
    Batch::<T>::new(2, shape(2, 4, 40_000), 0).check(0);
}

#[test]
fn group_norm_forward_and_backward_match_reference() {
    every_shape::<f32>();
    every_shape::<f64>();
}

fn instances<T: Element>() {
    for (outer, channels, inner) in [(1, 1, 2), (3, 5, 9), (2, 17, 49), (40, 3, 100), (2, 2, 5000)] {
        let batch = Batch::<T>::new(channels, shape(outer, channels, inner), 0);
        batch.check(1);
        let norm = InstanceNorm { eps: batch.norm.eps };
        let rows = outer * channels;
        each_level(|level| {
            let (mut mean, mut rstd, mut y) =
                (vec![0.0; rows], vec![0.0; rows], vec![T::nan(); batch.x.len()]);
            norm.forward(batch.shape, &batch.x, batch.affine(), &mut mean, &mut rstd, &mut y).unwrap();
            let mut inferred = vec![T::nan(); batch.x.len()];
            norm.infer(batch.shape, &batch.x, batch.affine(), &mut inferred).unwrap();
            let (mut dx, mut dgamma, mut dbeta) =
                (vec![T::nan(); y.len()], vec![T::one(); channels], vec![T::one(); channels]);
            let mut scratch = vec![f64::NAN; norm.backward_scratch_len(batch.shape)];
            let gradients =
                NormGradients { input: &mut dx, gamma: Some(&mut dgamma), beta: Some(&mut dbeta) };
            let saved = SavedRows { x: &batch.x, mean: &mean, rstd: &rstd };
            let gamma = batch.affine().gamma;
            norm.backward(batch.shape, &batch.dy, gamma, saved, &mut scratch, gradients).unwrap();
            let all = batch.run(0);
            for (a, b) in [(&y, &all.y), (&inferred, &all.y), (&dx, &all.dx), (&dgamma, &all.dgamma)] {
                assert_same_bits(a, b, || format!("{:?} at {level}", batch.shape));
            }
            assert_same_bits(&dbeta, &all.dbeta, || format!("{:?} at {level}", batch.shape));
        });
    }
}

#[test]
fn instance_norm_matches_reference_and_is_a_group_a_channel() {
    instances::<f32>();
    instances::<f64>();
}

#[test]
fn group_norm_of_one_group_is_layer_norm() {
    let batch = Batch::<f32>::new(1, shape(5, 37, 1), 0);
    let rows = RowShape { rows: 5, cols: 37 };
    let mut y = vec![f32::NAN; batch.x.len()];
    LayerNorm { eps: 1e-3 }.infer(rows, &batch.x, batch.affine(), &mut y).unwrap();
    assert_same_bits(&batch.run(0).y, &y, || "N×C".into());
    // The same parameters for every element of a channel, where the layout says so or the parameters do.
    let channels = Batch::<f32>::new(1, shape(4, 6, 10), 0);
    let spread = |of_channel: &[f32]| of_channel.iter().flat_map(|&v| [v; 10]).collect::<Vec<_>>();
    let (gamma, beta) = (spread(channels.gamma.as_ref().unwrap()), spread(channels.beta.as_ref().unwrap()));
    let (affine, rows) = (Affine { gamma: Some(&gamma), beta: Some(&beta) }, RowShape { rows: 4, cols: 60 });
    let mut y = vec![f32::NAN; 240];
    LayerNorm { eps: 1e-3 }.infer(rows, &channels.x, affine, &mut y).unwrap();
    assert_same_bits(&channels.run(0).y, &y, || "N×C×L".into());
}

#[test]
fn group_norm_backward_matches_finite_differences() {
    for (channels, inner) in [(1, 2), (2, 1), (3, 5), (4, 3)] {
        let elements = channels * inner;
        let point: Vec<f64> = numbers(elements as u64, elements + 2 * channels, 1.0);
        let forward = |point: &[f64], y: &mut [f64]| {
            let (x, affine) = point.split_at(elements);
            let measured = reference::group_norm_measure(x, 1e-2);
            reference::group_norm_forward(x, measured, affine.split_at(channels), inner, y);
        };
        let backward = |point: &[f64], dy: &[f64], gradient: &mut [f64]| {
            let (x, affine) = point.split_at(elements);
            let measured = reference::group_norm_measure(x, 1e-2);
            let (dx, parameters) = gradient.split_at_mut(elements);
            reference::group_norm_backward(x, dy, measured, (&affine[..channels], inner), dx);
            parameters.fill(0.0);
            let parameters = parameters.split_at_mut(channels);
            reference::group_norm_backward_parameters(x, dy, measured, inner, parameters);
        };
        GradCheck::default().check(&point, elements, forward, backward).unwrap();
    }
}

#[test]
fn group_norm_has_the_same_bits_on_any_pool_and_level() {
    for (groups, shape) in
        [(4, shape(30, 8, 700)), (8, shape(300, 8, 49)), (2, shape(3000, 66, 1)), (1, shape(3, 5, 9))]
    {
        let batch = Batch::<f32>::new(groups, shape, 0);
        assert_equal_everywhere(|| {
            let Results { mean, rstd, y, dx, dgamma, dbeta } = batch.run(1);
            let narrow = |x: Vec<f64>| x.into_iter().map(|x| x as f32).collect();
            vec![narrow(mean), narrow(rstd), y, dx, dgamma, dbeta]
        });
    }
}

#[test]
fn group_norm_output_has_mean_0_and_variance_1() {
    // f32 numbers near a million are 1/16 apart.
    for far in [0.0, 1e6] {
        let mut batch = Batch::<f32>::new(3, shape(4, 6, 300), 3);
        batch.x.iter_mut().for_each(|x| *x = (f64::from(*x) * 0.1 + far) as f32);
        batch.norm.eps = 0.0;
        each_level(|level| {
            for y in batch.run(0).y.chunks(600) {
                let mean = widen(y).iter().sum::<f64>() / 600.0;
                let square = widen(y).iter().map(|y| y * y).sum::<f64>() / 600.0;
                assert!(mean.abs() < 1e-6 && (square - 1.0).abs() < 1e-6, "{mean} {square} at {level}");
            }
        });
    }
}

#[test]
fn group_norm_measures_about_any_first_value() {
    // Sums about the first value must not lose the deviation, however far that is from the mean.
    for first in [0.0, 1e4, -3e7, 1e30, f32::MIN_POSITIVE] {
        for inner in [33, 100_000] {
            let mut batch = Batch::<f32>::new(1, shape(1, 1, inner), 3);
            batch.x[0] = first;
            let (mean, rstd) = reference::group_norm_measure(&widen(&batch.x), batch.norm.eps);
            each_level(|level| {
                let measured = batch.run(0);
                let (mean, rstd) = (measured.mean[0] / mean - 1.0, measured.rstd[0] / rstd - 1.0);
                assert!(mean.abs() < 1e-9 && rstd.abs() < 1e-9, "{mean} {rstd} of {first} at {level}");
            });
        }
    }
    let mut same = Batch::<f32>::new(1, shape(2, 3, 50), 3);
    same.x.fill(0.1);
    let Results { mean, rstd, .. } = same.run(0);
    assert_eq!((mean[1], rstd[1]), (f64::from(0.1_f32), 1.0 / same.norm.eps.sqrt()));
}

#[test]
fn group_norm_backward_is_orthogonal_to_ones_and_to_the_output() {
    let mut batch = Batch::<f64>::new(2, shape(3, 6, 43), 3);
    batch.norm.eps = 0.0;
    let Results { y, dx, .. } = batch.run(0);
    for (y, dx) in y.chunks(129).zip(dx.chunks(129)) {
        let sum: f64 = dx.iter().sum();
        let dot: f64 = dx.iter().zip(y).map(|(dx, y)| dx * y).sum();
        assert!(sum.abs() < 1e-12 && dot.abs() < 1e-12, "{sum} {dot}");
    }
}

#[test]
fn group_norm_special_values_stay_in_their_group() {
    for inner in [1, 20] {
        let clean = Batch::<f32>::new(3, shape(3, 120 / inner, inner), 0);
        for special in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in 0..40 {
                let mut batch = clean.clone();
                // The middle group of the middle sample.
                batch.x[120 + 40 + at] = special;
                each_level(|level| {
                    let (bad, clean) = (batch.run(0), clean.run(0));
                    for (bad, clean) in [(&bad.y, &clean.y), (&bad.dx, &clean.dx)] {
                        let context = || format!("{special} at {at}, {level}");
                        assert_same_bits(&bad[..160], &clean[..160], context);
                        assert_same_bits(&bad[200..], &clean[200..], context);
                        assert!(bad[160..200].iter().all(|v| v.is_nan()), "{}", context());
                    }
                });
            }
        }
    }
}

#[test]
fn group_norm_of_single_values_and_of_nothing() {
    let affine = Affine { gamma: Some(&[2.0, 3.0]), beta: Some(&[1.0, -1.0]) };
    let mut y = [f64::NAN; 4];
    let single = GroupNorm { groups: 2, eps: 1e-5 };
    single.infer(shape(2, 2, 1), &[7.0, 8.0, 9.0, 1e300], affine, &mut y).unwrap();
    assert_eq!(y, [1.0, -1.0, 1.0, -1.0]);
    for (channels, inner) in [(0, 0), (4, 0), (0, 4), (4, 4)] {
        let nothing = shape(0, channels, inner);
        let norm = GroupNorm { groups: 2, eps: 0.0 };
        norm.infer(nothing, &[], Affine::<f64>::default(), &mut []).unwrap();
        let mut dgamma = vec![1.0; channels];
        let gradients = NormGradients { input: &mut [], gamma: Some(&mut dgamma), beta: None };
        let saved = SavedRows { x: &[], mean: &[], rstd: &[] };
        norm.backward(nothing, &[], None, saved, &mut [], gradients).unwrap();
        assert!(dgamma.iter().all(|&v| v == 1.0));
        InstanceNorm::default().infer(nothing, &[], Affine::<f64>::default(), &mut []).unwrap();
    }
}

#[test]
fn group_norm_infer_has_the_bits_of_forward() {
    for form in 0..4 {
        for inner in [1, 13] {
            let batch = Batch::<f32>::new(3, shape(2, 9, inner), form);
            let mut y = Guarded::new(batch.x.len(), 3);
            batch.norm.infer(batch.shape, &batch.x, batch.affine(), y.slice()).unwrap();
            assert_same_bits(y.checked(), &batch.run(0).y, || format!("{batch:?}"));
        }
    }
}

#[test]
fn group_norm_backward_gives_what_is_asked_for() {
    let batch = Batch::<f32>::new(3, shape(40, 6, 37), 0);
    let all = batch.run(0);
    let saved = SavedRows { x: &batch.x, mean: &all.mean, rstd: &all.rstd };
    for wanted in 0..4 {
        let (mut dx, mut dgamma, mut dbeta) = (vec![f32::NAN; batch.x.len()], vec![1.0; 6], vec![1.0; 6]);
        let gradients = NormGradients {
            input: &mut dx,
            gamma: (wanted & 1 == 1).then_some(&mut dgamma),
            beta: (wanted & 2 == 2).then_some(&mut dbeta),
        };
        let needed = if wanted == 0 { 0 } else { batch.norm.backward_scratch_len(batch.shape) };
        let (mut scratch, gamma) = (vec![f64::NAN; needed], batch.affine().gamma);
        batch.norm.backward(batch.shape, &batch.dy, gamma, saved, &mut scratch, gradients).unwrap();
        assert_same_bits(&dx, &all.dx, || format!("{wanted}"));
        let untouched = vec![1.0; 6];
        let expected = [(1, &dgamma, &all.dgamma), (2, &dbeta, &all.dbeta)];
        for (flag, actual, all) in expected {
            let expected = if wanted & flag == flag { all } else { &untouched };
            assert_same_bits(actual, expected, || format!("{wanted}"));
        }
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

/// What a forward and a backward call their bad argument, where `longer` has one element more than it should.
fn refused(norm: GroupNorm, of: ChannelShape, longer: &str) -> [Result<(), Error>; 2] {
    let len = |name: &str, right: usize| right + usize::from(name == longer);
    let (elements, rows) = (24, 8);
    let x = vec![1.0_f32; len("x", elements)];
    let (gamma, beta) = (vec![1.0; len("gamma", 6)], vec![1.0; len("beta", 6)]);
    let [mut mean, mut rstd] = ["mean", "rstd"].map(|name| Guarded::<f64>::new(len(name, rows), 0));
    let mut y = Guarded::<f32>::new(len("out", elements), 0);
    let affine = Affine { gamma: Some(&gamma[..]), beta: Some(&beta[..]) };
    let forward = norm.forward(of, &x, affine, mean.slice(), rstd.slice(), y.slice());
    if forward.is_err() {
        assert!(mean.is_untouched() && rstd.is_untouched() && y.is_untouched(), "{longer}");
    }
    let (mean, rstd) = (vec![0.0; len("mean", rows)], vec![1.0; len("rstd", rows)]);
    let mut dx = Guarded::<f32>::new(len("out", elements), 0);
    let [mut dgamma, mut dbeta] = ["dgamma", "dbeta"].map(|name| Guarded::<f32>::new(len(name, 6), 0));
    let needed = GroupNorm { groups: 2, eps: 0.0 }.backward_scratch_len(shape(4, 6, 1));
    let mut scratch = vec![0.0; needed - usize::from(longer == "scratch")];
    let gradients =
        NormGradients { input: dx.slice(), gamma: Some(dgamma.slice()), beta: Some(dbeta.slice()) };
    let (dy, saved) = (vec![1.0; len("dy", elements)], SavedRows { x: &x, mean: &mean, rstd: &rstd });
    let backward = norm.backward(of, &dy, affine.gamma, saved, &mut scratch, gradients);
    if backward.is_err() {
        assert!(dx.is_untouched() && dgamma.is_untouched() && dbeta.is_untouched(), "{longer}");
    }
    [forward, backward]
}

#[test]
fn group_norm_names_the_bad_argument() {
    let (good, of) = (GroupNorm { groups: 2, eps: 0.0 }, shape(4, 6, 1));
    assert_eq!(refused(good, of, ""), [Ok(()), Ok(())]);
    for (longer, forward, backward) in [
        ("x", Some("x"), Some("saved.x")),
        ("dy", None, Some("dy")),
        ("gamma", Some("affine.gamma"), Some("gamma")),
        ("beta", Some("affine.beta"), None),
        ("mean", Some("mean"), Some("saved.mean")),
        ("rstd", Some("rstd"), Some("saved.rstd")),
        ("out", Some("y"), Some("gradients.input")),
        ("dgamma", None, Some("gradients.gamma")),
        ("dbeta", None, Some("gradients.beta")),
        ("scratch", None, Some("scratch")),
    ] {
        let results = refused(good, of, longer);
        for (result, expected) in results.into_iter().zip([forward, backward]) {
            assert_eq!(result.is_err().then(|| name(result)), expected, "{longer}");
        }
    }
    for eps in [-1e-5, f64::NAN, f64::INFINITY] {
        assert_eq!(refused(GroupNorm { eps, ..good }, of, "").map(name), ["eps"; 2]);
    }
    for groups in [0, 4, 7, usize::MAX] {
        assert_eq!(refused(GroupNorm { groups, ..good }, of, "").map(name), ["groups"; 2]);
    }
    assert_eq!(refused(good, shape(4, 0, 6), "").map(name), ["channels"; 2]);
    assert_eq!(refused(good, shape(4, 6, 0), "").map(name), ["inner"; 2]);
    assert_eq!(refused(good, shape(usize::MAX, 6, 2), "").map(name), ["shape"; 2]);
    assert_eq!(GroupNorm { groups: 4, ..good }.backward_scratch_len(of), 0);
}

#[test]
fn instance_norm_names_the_bad_argument() {
    let norm = InstanceNorm::default();
    let infer = |norm: InstanceNorm, of: ChannelShape, x: &[f32]| {
        let mut y = Guarded::new(x.len(), 0);
        let result = norm.infer(of, x, Affine::default(), y.slice());
        assert!(y.is_untouched());
        name(result)
    };
    assert_eq!(infer(norm, shape(2, 3, 1), &[1.0; 6]), "shape");
    assert_eq!(infer(norm, shape(2, 0, 1), &[]), "channels");
    assert_eq!(infer(norm, shape(2, 3, 0), &[]), "inner");
    assert_eq!(infer(norm, shape(2, 3, 2), &[1.0; 11]), "x");
    assert_eq!(infer(InstanceNorm { eps: f64::NAN }, shape(2, 3, 2), &[1.0; 12]), "eps");
    assert_eq!(norm.backward_scratch_len(shape(2, 3, 1)), 0);
}

#[test]
#[should_panic(expected = "ULP from")]
fn group_norm_comparison_can_fail() {
    let mut batch = Batch::<f32>::new(2, shape(2, 4, 9), 0);
    let exact = batch.exact();
    batch.x[40] += 1e-4;
    let actual = batch.run(0);
    for i in 0..72 {
        let bound = Tolerance { ulp: 0.0, epsilons: tolerance::ROW_NORM * exact.y_terms[i] };
        assert_close(actual.y[i], exact.values.y[i], bound, || format!("{i}"));
    }
}

proptest! {
    #[test]
    fn group_norm_matches_reference_for_any_shape(
        outer in 0..9_usize, groups in 1..9_usize, count in 1..9_usize, inner in 1..70_usize,
        form in 0..4_usize, offset in 0..9_usize,
    ) {
        Batch::<f32>::new(groups, shape(outer, groups * count, inner), form).check(offset);
        Batch::<f64>::new(groups, shape(outer, groups * count, inner), form).check(offset);
    }
}
