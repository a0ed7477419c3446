//! Clipping of parts by their own norms (tensors, units, samples) and by the norms of the past.

mod common;

use common::{Guarded, assert_same_bits, each_level, each_pool, numbers, ulp};
use proptest::prelude::*;
use steadygrad::clip::{AutoClip, ClipAdaptive, ClipNorm, ClipPerSample, NonFinite, NormHistory};
use steadygrad::linear::{Dense, DenseGradients};
use steadygrad::{Element, Error, Level, RowShape, reference};

fn norm<T: Element>(x: &[T]) -> f64 {
    let x: Vec<f64> = x.iter().map(|&x| x.to_f64()).collect();
    reference::norm_partial::norm_2(&x)
}

/// Fails unless each element is `scale` times what it was, but for two roundings.
fn assert_scaled<T: Element>(before: &[T], after: &[T], scale: f64, context: &str) {
    for (&before, &after) in before.iter().zip(after) {
        let exact = before.to_f64() * scale;
        let allowed = 1.5 * ulp::<T>(exact) + 1e-12 * exact.abs();
        assert!((after.to_f64() - exact).abs() <= allowed, "{after:?} is not {exact:e}: {context}");
    }
}

fn each<T: Element>() {
    let before: Vec<Vec<T>> = [0, 3, 70, 40_000].map(|len| numbers(len as u64, len, 0.1)).to_vec();
    let op = ClipNorm { max_norm: 0.5, ..ClipNorm::default() };
    each_level(|level| {
        let mut after = before.clone();
        let mut grads: Vec<&mut [T]> = after.iter_mut().map(Vec::as_mut_slice).collect();
        let report = op.clip_each(&mut grads).unwrap();
        let norms: Vec<f64> = before.iter().map(|tensor| norm(tensor)).collect();
        let largest = norms.iter().copied().fold(0.0, f64::max);
        assert!((report.norm / largest - 1.0).abs() < 1e-12 && report.non_finite.is_none());
        assert!((report.scale / (0.5 / largest) - 1.0).abs() < 1e-12);
        for ((before, after), norm) in before.iter().zip(&after).zip(norms) {
            let scale = reference::clip_norm::scale(norm, 0.5);
            assert_scaled(before, after, scale, level.name());
        }
    });
    for non_finite in [NonFinite::Error, NonFinite::Skip, NonFinite::Propagate] {
        let mut list = [vec![T::from_f64(3.0)], vec![T::one(), T::nan()]];
        let mut grads: Vec<&mut [T]> = list.iter_mut().map(Vec::as_mut_slice).collect();
        let result = ClipNorm { non_finite, ..op }.clip_each(&mut grads);
        match non_finite {
            NonFinite::Error => assert_eq!(result, Err(Error::NonFinite { argument: "grads", index: 1 })),
            _ => assert_eq!(result.unwrap().non_finite, Some(1)),
        }
        let is_written = non_finite == NonFinite::Propagate;
        assert_eq!(list[0][0].to_f64(), if is_written { 0.5 } else { 3.0 });
        assert_eq!(list[1][0].is_nan(), is_written);
    }
    assert!(matches!(
        ClipNorm { max_norm: f64::NAN, ..op }.clip_each::<T>(&mut []),
        Err(Error::OutOfRange { argument: "max_norm", .. })
    ));
}

#[test]
fn clip_each_is_clipping_one_by_one() {
    each::<f32>();
    each::<f64>();
}

fn check_adaptive<T: Element>(op: ClipAdaptive, shape: RowShape, params: &[T], before: &[T]) {
    let (mut largest, mut smallest) = (0.0_f64, 1.0_f64);
    let scales: Vec<f64> = (0..shape.rows)
        .map(|unit| {
            let unit = unit * shape.cols..(unit + 1) * shape.cols;
            let limit = reference::clip_norm::adaptive_limit(op.ratio, norm(&params[unit.clone()]), op.eps);
            let norm = norm(&before[unit]);
            let scale = reference::clip_norm::scale(norm, limit);
            (largest, smallest) = (largest.max(norm), smallest.min(scale));
            scale
        })
        .collect();
    each_level(|level| {
        let mut after = Guarded::of(before, shape.rows % 5);
        let report = op.clip(shape, params, after.slice()).unwrap();
        let context = format!("{op:?}, {shape:?}, {level}");
        assert!((report.norm - largest).abs() <= 1e-12 * largest, "{context}");
        assert!((report.scale - smallest).abs() <= 1e-6 * smallest, "{context}");
        assert_eq!(report.non_finite, None);
        for (unit, &scale) in scales.iter().enumerate() {
            let unit = unit * shape.cols..(unit + 1) * shape.cols;
            // A quotient very near 1 counts as 1.
            let scale = if (scale - 1.0).abs() < 4.0 * T::epsilon().to_f64() { 1.0 } else { scale };
            assert_scaled(&before[unit.clone()], &after.checked()[unit], scale, &context);
        }
        // Clipping twice is clipping once.
        let mut twice = after.checked().to_vec();
        op.clip(shape, params, &mut twice).unwrap();
        assert_same_bits(&twice, after.checked(), || context.clone());
    });
}

fn adaptive<T: Element>() {
    let op = ClipAdaptive { ratio: 0.02, ..ClipAdaptive::default() };
    for cols in common::lengths() {
        let shape = RowShape { rows: 3, cols };
        let mut params: Vec<T> = numbers(cols as u64, 3 * cols, 1.0);
        // A unit of zeros is clipped by `eps`.
        params[..cols].fill(T::zero());
        check_adaptive(op, shape, &params, &numbers(7, 3 * cols, 0.02));
    }
    for (rows, cols) in [(1, 40_001), (300, 500), (70_000, 1), (3, 16_384), (0, 5), (5, 0)] {
        let shape = RowShape { rows, cols };
        check_adaptive::<T>(op, shape, &numbers(1, rows * cols, 1.0), &numbers(2, rows * cols, 0.02));
    }
}

#[test]
fn clip_adaptive_matches_reference() {
    adaptive::<f32>();
    adaptive::<f64>();
}

fn adaptive_non_finite<T: Element>() {
    let shape = RowShape { rows: 3, cols: 21 };
    for at in 0..shape.rows * shape.cols {
        for bad in [T::nan(), T::infinity()] {
            let (params, grad) = (vec![T::one(); 63], vec![T::one(); 63]);
            let planted = |values: &[T]| {
                let mut values = values.to_vec();
                values[at] = bad;
                values
            };
            let (unit, with) = (at / 21, |non_finite| ClipAdaptive { non_finite, ..ClipAdaptive::default() });
            for (name, params, grad) in
                [("params", planted(&params), grad.clone()), ("grad", params.clone(), planted(&grad))]
            {
                let mut after = grad.clone();
                let refused = with(NonFinite::Error).clip(shape, &params, &mut after);
                assert_eq!(refused, Err(Error::NonFinite { argument: name, index: unit }));
                let report = with(NonFinite::Skip).clip(shape, &params, &mut after).unwrap();
                assert_eq!((report.scale, report.non_finite), (0.0, Some(unit)));
                assert_same_bits(&after, &grad, || format!("{name} untouched"));
                let report = with(NonFinite::Propagate).clip(shape, &params, &mut after).unwrap();
                assert_eq!(report.non_finite, Some(unit));
                for (i, &after) in after.iter().enumerate() {
                    // The other units are clipped as ever; infinite weights allow any gradient.
                    let expected = match (i / 21 == unit, name) {
                        (false, _) => 0.01,
                        (true, "params") if bad.is_infinite() => 1.0,
                        (true, "grad") if bad.is_infinite() && i != at => 0.0,
                        (true, _) => f64::NAN,
                    };
                    let (after, expected) = (after.to_f64(), T::from_f64(expected).to_f64());
                    let is_near = (after - expected).abs() <= 1e-7;
                    assert!(is_near || after.is_nan() && expected.is_nan(), "{after} at {i}: {name} {bad:?}");
                }
            }
        }
    }
}

#[test]
fn clip_adaptive_non_finite_is_a_policy() {
    each_level(|_| {
        adaptive_non_finite::<f32>();
        adaptive_non_finite::<f64>();
    });
}

#[test]
fn clip_adaptive_names_the_bad_argument() {
    let shape = RowShape { rows: 2, cols: 2 };
    let good = ClipAdaptive::default();
    for (op, params, name) in [
        (ClipAdaptive { ratio: -0.1, ..good }, 4, "ratio"),
        (ClipAdaptive { ratio: f64::NAN, ..good }, 4, "ratio"),
        (ClipAdaptive { eps: -1.0, ..good }, 4, "eps"),
        (ClipAdaptive { eps: f64::INFINITY, ..good }, 4, "eps"),
        (good, 3, "params"),
    ] {
        let mut grad = [9.0_f32; 4];
        let error = op.clip(shape, &vec![1.0; params], &mut grad).unwrap_err();
        let (Error::OutOfRange { argument, .. } | Error::Length { argument, .. }) = error else {
            panic!("{error:?}")
        };
        assert_eq!((argument, grad), (name, [9.0; 4]));
    }
    let huge = RowShape { rows: usize::MAX, cols: 2 };
    assert_eq!(good.clip::<f32>(huge, &[], &mut []), Err(Error::Overflow { argument: "shape" }));
    assert!(matches!(
        good.clip(shape, &[1.0_f32; 4], &mut [1.0; 5]),
        Err(Error::Length { argument: "grad", .. })
    ));
}

/// Norms of ten steps, and their percentiles over the last four by `numpy.percentile`.
const NORMS: [f64; 10] = [3.0, 1.0, 4.0, 1.5, 9.0, 2.0, 6.0, 5.0, 3.5, 8.0];
const PERCENTILES: [(f64, [f64; 10]); 5] = [
    (0.0, [3.0, 1.0, 1.0, 1.0, 1.0, 1.5, 1.5, 2.0, 2.0, 3.5]),
    (10.0, [3.0, 1.2, 1.4, 1.15, 1.15, 1.65, 1.65, 2.9000000000000004, 2.45, 3.95]),
    (37.5, [3.0, 1.75, 2.5, 1.6875, 1.8125, 2.25, 2.5, 5.125, 3.6875, 5.125]),
    (50.0, [3.0, 2.0, 3.0, 2.25, 2.75, 3.0, 4.0, 5.5, 4.25, 5.5]),
    (100.0, [3.0, 3.0, 4.0, 4.0, 9.0, 9.0, 9.0, 9.0, 6.0, 8.0]),
];

#[test]
fn auto_clip_follows_the_percentile() {
    for (percentile, limits) in PERCENTILES {
        let op = AutoClip { percentile, ..AutoClip::default() };
        let mut buffer = [f64::NAN; 8];
        let mut history = NormHistory { buffer: &mut buffer, seen: 0 };
        for (step, (&norm, limit)) in NORMS.iter().zip(limits).enumerate() {
            let mut list = [vec![0.6 * norm], vec![0.0, -0.8 * norm]];
            let mut grads: Vec<&mut [f64]> = list.iter_mut().map(Vec::as_mut_slice).collect();
            let report = op.clip(&mut history, &mut grads).unwrap();
            assert!((report.norm / norm - 1.0).abs() < 1e-15);
            let expected = norm.min(limit);
            assert!((report.norm * report.scale / expected - 1.0).abs() < 1e-14, "{percentile} at {step}");
            assert!((list[1][1] / (-0.8 * expected) - 1.0).abs() < 1e-14, "{percentile} at {step}");
            let mut window = NORMS[(step + 1).saturating_sub(4)..=step].to_vec();
            window.sort_by(f64::total_cmp);
            let by_reference = reference::clip_norm::percentile(&window, percentile);
            assert!((by_reference / limit - 1.0).abs() < 1e-15);
        }
        assert_eq!(history.seen, 10);
    }
}

#[test]
fn auto_clip_remembers_finite_norms_only() {
    let mut buffer = [0.0; 4];
    let mut history = NormHistory { buffer: &mut buffer, seen: 0 };
    let clip = |non_finite, history: &mut NormHistory<'_>, value: f32| {
        let mut grad = [value, 0.0];
        let op = AutoClip { percentile: 0.0, non_finite };
        (op.clip(history, &mut [&mut grad]), grad)
    };
    assert_eq!(clip(NonFinite::Error, &mut history, 2.0).0.unwrap().scale, 1.0);
    for bad in [f32::NAN, f32::INFINITY] {
        let (result, _) = clip(NonFinite::Error, &mut history, bad);
        assert_eq!(result, Err(Error::NonFinite { argument: "grads", index: 0 }));
        let (result, grad) = clip(NonFinite::Skip, &mut history, bad);
        assert_eq!((result.unwrap().scale, grad[1]), (0.0, 0.0));
        assert_eq!((history.seen, history.buffer[0]), (1, 2.0));
    }
    assert_eq!(clip(NonFinite::Error, &mut history, 8.0).0.unwrap().scale, 0.25);
    let op = AutoClip::default();
    for len in [0, 1, 5] {
        let mut buffer = vec![7.0; len];
        let mut history = NormHistory { buffer: &mut buffer, seen: 0 };
        let error = op.clip(&mut history, &mut [&mut [1.0_f32]]).unwrap_err();
        assert!(matches!(error, Error::Length { argument: "buffer", .. }));
        assert!(history.seen == 0 && history.buffer.iter().all(|&x| x == 7.0));
    }
    for percentile in [-1.0, 100.5, f64::NAN] {
        let mut buffer = [7.0; 2];
        let mut history = NormHistory { buffer: &mut buffer, seen: 0 };
        let error = AutoClip { percentile, ..op }.clip(&mut history, &mut [&mut [1.0_f32]]).unwrap_err();
        assert!(matches!(error, Error::OutOfRange { argument: "percentile", .. }));
    }
}

/// Rows times factors in `f64`, summed.
fn sum_of_scaled<T: Element>(shape: RowShape, grads: &[T], factors: &[f64], start: &[T]) -> Vec<(f64, f64)> {
    let mut sums: Vec<(f64, f64)> = start.iter().map(|&x| (x.to_f64(), x.to_f64().abs())).collect();
    for (sample, &factor) in factors.iter().enumerate() {
        for (sum, &grad) in sums.iter_mut().zip(&grads[sample * shape.cols..][..shape.cols]) {
            let part = factor * grad.to_f64();
            *sum = (sum.0 + part, sum.1 + part.abs());
        }
    }
    sums
}

fn check_per_sample<T: Element>(shape: RowShape, max_norm: f64) {
    let (grads, start): (Vec<T>, Vec<T>) =
        (numbers(3, shape.rows * shape.cols, 1.0), numbers(4, shape.cols, 1.0));
    let row = |sample: usize| &grads[sample * shape.cols..][..shape.cols];
    let exact: Vec<f64> = (0..shape.rows).map(|sample| norm(row(sample))).collect();
    let scales: Vec<f64> = exact.iter().map(|&norm| reference::clip_norm::scale(norm, max_norm)).collect();
    let sums = sum_of_scaled(shape, &grads, &scales, &start);
    each_level(|level| {
        let context = format!("{shape:?} {max_norm} {level}");
        let mut norms = vec![0.0; shape.rows];
        ClipPerSample::add_norms(shape, &grads, &mut norms).unwrap();
        for (norm, exact) in norms.iter().zip(&exact) {
            assert!((norm - exact).abs() <= 1e-12 * exact, "{context}");
        }
        let op = ClipPerSample { max_norm, ..ClipPerSample::default() };
        let report = op.factors(&mut norms).unwrap();
        let smallest = scales.iter().copied().fold(1.0, f64::min);
        assert!((report.scale - smallest).abs() <= 1e-12, "{context}");
        let mut scaled = Guarded::of(&grads, 3);
        ClipPerSample::scale(shape, &norms, scaled.slice()).unwrap();
        for (sample, &scale) in scales.iter().enumerate() {
            assert_scaled(
                row(sample),
                &scaled.checked()[sample * shape.cols..][..shape.cols],
                scale,
                &context,
            );
        }
        let mut sum = Guarded::of(&start, 1);
        ClipPerSample::add_clipped(shape, &grads, &norms, sum.slice()).unwrap();
        for (&sum, &(exact, magnitude)) in sum.checked().iter().zip(&sums) {
            // The plain sum under the reference's norm is 1e-12 off at most.
            let allowed = ((shape.rows + 3) as f64 * 0.5 * T::epsilon().to_f64() + 1e-12) * magnitude;
            assert!((sum.to_f64() - exact).abs() <= allowed, "{context}");
        }
    });
}

#[test]
fn clip_per_sample_matches_reference() {
    for cols in common::lengths().chain([2048, 2049, 20_000]) {
        check_per_sample::<f32>(RowShape { rows: 3, cols }, 2.0);
        check_per_sample::<f64>(RowShape { rows: 3, cols }, 2.0);
    }
    for rows in [0, 1, 100, 3000] {
        check_per_sample::<f32>(RowShape { rows, cols: 70 }, 0.1);
        check_per_sample::<f64>(RowShape { rows, cols: 70 }, 1e9);
    }
}

/// The dense layer's clipped gradients, once by the factors of its per-sample gradients, once by forming those.
fn check_dense<T: Element>(batch: usize, layer: Dense, max_norm: f64) {
    let Dense { inputs, outputs } = layer;
    let (x, dz): (Vec<T>, Vec<T>) = (numbers(5, batch * inputs, 1.0), numbers(6, batch * outputs, 1.0));
    let formed = RowShape { rows: batch, cols: inputs * outputs + outputs };
    let mut grads = Vec::new();
    for sample in 0..batch {
        let (x, dz) = (&x[sample * inputs..][..inputs], &dz[sample * outputs..][..outputs]);
        grads.extend(dz.iter().flat_map(|&dz| x.iter().map(move |&x| dz.to_f64() * x.to_f64())));
        grads.extend(dz.iter().map(|&dz| dz.to_f64()));
    }
    let mut exact = vec![0.0; batch];
    ClipPerSample::add_norms(formed, &grads, &mut exact).unwrap();
    let mut norms = vec![0.0; batch];
    ClipPerSample::add_dense_norms(layer, true, &x, &dz, &mut norms).unwrap();
    for (norm, exact) in norms.iter().zip(&exact) {
        assert!((norm - exact).abs() <= 1e-12 * exact, "{norm} is not {exact}");
    }
    let op = ClipPerSample { max_norm, ..ClipPerSample::default() };
    op.factors(&mut exact).unwrap();
    op.factors(&mut norms).unwrap();
    let sums = sum_of_scaled(formed, &grads, &exact, &vec![0.0; formed.cols]);
    let mut dz = dz;
    ClipPerSample::scale(RowShape { rows: batch, cols: outputs }, &norms, &mut dz).unwrap();
    let (mut dw, mut db) = (vec![T::zero(); inputs * outputs], vec![T::zero(); outputs]);
    let mut scratch = vec![T::zero(); layer.backward_scratch_len::<T>(batch)];
    let weights = vec![T::zero(); inputs * outputs];
    let gradients = DenseGradients {
        input: None,
        weights: Some(&mut dw),
        bias: Some(&mut db),
        ..DenseGradients::default()
    };
    layer.backward(batch, &x, &dz, &weights, &mut scratch, gradients).unwrap();
    for (&sum, (exact, magnitude)) in dw.iter().chain(&db).zip(sums) {
        let allowed = (batch + 3) as f64 * T::epsilon().to_f64() * magnitude;
        assert!((sum.to_f64() - exact).abs() <= allowed, "{sum:?} is not {exact}");
    }
}

proptest! {
    #[test]
    fn clip_per_sample_of_a_dense_layer_equals_clipping_each_formed_gradient(
        batch in 0..20_usize,
        inputs in 1..30_usize,
        outputs in 1..30_usize,
        max_norm in 0.0..40.0_f64,
    ) {
        check_dense::<f32>(batch, Dense { inputs, outputs }, max_norm);
        check_dense::<f64>(batch, Dense { inputs, outputs }, max_norm);
    }
}

#[test]
fn clip_per_sample_norms_join_over_layers_and_magnitudes() {
    let shape = RowShape { rows: 2, cols: 1 };
    let mut norms = [0.0; 2];
    ClipPerSample::add_norms(shape, &[3e200_f64, 3e-200], &mut norms).unwrap();
    ClipPerSample::add_norms(shape, &[4e200_f64, 4e-200], &mut norms).unwrap();
    assert!((norms[0] / 5e200 - 1.0).abs() < 1e-15 && (norms[1] / 5e-200 - 1.0).abs() < 1e-15);
    // Without a bias the norm is the product alone.
    let mut norms = [0.0];
    let layer = Dense { inputs: 2, outputs: 1 };
    ClipPerSample::add_dense_norms(layer, false, &[3.0_f32, 4.0], &[2.0], &mut norms).unwrap();
    assert_eq!(norms, [10.0]);
    ClipPerSample::add_dense_norms(layer, true, &[0.0_f32, 0.0], &[24.0], &mut norms).unwrap();
    assert_eq!(norms, [26.0]);
}

#[test]
fn clip_per_sample_non_finite_is_a_policy() {
    let with = |non_finite| ClipPerSample { non_finite, ..ClipPerSample::default() };
    for (bad, propagated) in [(f64::NAN, f64::NAN), (f64::INFINITY, 0.0)] {
        let mut norms = [2.0, bad, 0.5];
        let refused = with(NonFinite::Error).factors(&mut norms);
        assert_eq!(refused, Err(Error::NonFinite { argument: "norms", index: 1 }));
        assert_eq!((norms[0], norms[2]), (2.0, 0.5));
        let mut skipped = norms;
        let report = with(NonFinite::Skip).factors(&mut skipped).unwrap();
        assert_eq!((skipped, report.scale, report.non_finite), ([0.5, 0.0, 1.0], 0.0, Some(1)));
        let report = with(NonFinite::Propagate).factors(&mut norms).unwrap();
        assert_same_bits(&norms, &[0.5, propagated, 1.0], || format!("{bad}"));
        assert!(report.scale == propagated || report.scale.is_nan() && propagated.is_nan());
    }
    // A sample that is skipped takes no part, whatever it holds.
    let shape = RowShape { rows: 2, cols: 3 };
    let (mut rows, mut sum) = ([f32::NAN, 1.0, f32::INFINITY, 4.0, 5.0, 6.0], [1.0; 3]);
    ClipPerSample::add_clipped(shape, &rows, &[0.0, 0.5], &mut sum).unwrap();
    assert_eq!(sum, [3.0, 3.5, 4.0]);
    ClipPerSample::scale(shape, &[0.0, 0.5], &mut rows).unwrap();
    assert_eq!(rows, [0.0, 0.0, 0.0, 2.0, 2.5, 3.0]);
}

#[test]
fn clip_per_sample_names_the_bad_argument() {
    let shape = RowShape { rows: 2, cols: 3 };
    let name = |result: Result<(), Error>| match result.unwrap_err() {
        Error::OutOfRange { argument, .. } | Error::Length { argument, .. } => argument,
        error => panic!("{error:?}"),
    };
    let (x, mut norms, mut sum) = ([1.0_f32; 6], [1.0; 2], [1.0_f32; 3]);
    assert_eq!(name(ClipPerSample::add_norms(shape, &x[..5], &mut norms)), "grads");
    assert_eq!(name(ClipPerSample::add_norms(shape, &x, &mut norms[..1])), "norms");
    let layer = Dense { inputs: 3, outputs: 2 };
    assert_eq!(name(ClipPerSample::add_dense_norms(layer, true, &x[..5], &x[..4], &mut norms)), "x");
    assert_eq!(name(ClipPerSample::add_dense_norms(layer, true, &x, &x[..5], &mut norms)), "dz");
    for max_norm in [-1.0, f64::NAN] {
        let op = ClipPerSample { max_norm, ..ClipPerSample::default() };
        assert_eq!(name(op.factors(&mut norms).map(drop)), "max_norm");
    }
    assert_eq!(name(ClipPerSample::default().factors(&mut [2.0, -1.0]).map(drop)), "norms");
    assert_eq!(name(ClipPerSample::scale(shape, &[1.0], &mut sum)), "factors");
    assert_eq!(name(ClipPerSample::scale(shape, &[1.0, -1.0], &mut sum)), "factors");
    assert_eq!(name(ClipPerSample::scale(shape, &[1.0, 1.0], &mut sum)), "x");
    assert_eq!(name(ClipPerSample::add_clipped(shape, &x[..5], &[1.0; 2], &mut sum)), "grads");
    assert_eq!(name(ClipPerSample::add_clipped(shape, &x, &[1.0; 3], &mut sum)), "factors");
    assert_eq!(name(ClipPerSample::add_clipped(shape, &x, &[1.0; 2], &mut sum[..2])), "sum");
    assert_eq!((norms, sum), ([1.0; 2], [1.0; 3]));
}

/// Everything of this page, over sizes that are cut for threads.
fn all<T: Element>() -> (Vec<T>, Vec<f64>) {
    let shape = RowShape { rows: 700, cols: 500 };
    let (params, mut grad): (Vec<T>, Vec<T>) =
        (numbers(1, shape.rows * shape.cols, 1.0), numbers(2, shape.rows * shape.cols, 0.02));
    let mut norms = vec![0.0; shape.rows];
    ClipPerSample::add_norms(shape, &grad, &mut norms).unwrap();
    let layer = Dense { inputs: 500, outputs: 500 };
    ClipPerSample::add_dense_norms(layer, true, &params, &grad, &mut norms).unwrap();
    let mut factors = norms.clone();
    ClipPerSample::default().factors(&mut factors).unwrap();
    let mut sum = vec![T::zero(); shape.cols];
    ClipPerSample::add_clipped(shape, &grad, &factors, &mut sum).unwrap();
    let report = ClipAdaptive::default().clip(shape, &params, &mut grad).unwrap();
    ClipPerSample::scale(shape, &factors, &mut grad).unwrap();
    grad.extend(sum);
    norms.extend([report.norm, report.scale]);
    (grad, norms)
}

fn same_bits<T: Element>() {
    let expected = all::<T>();
    each_pool(|threads| {
        let actual = all::<T>();
        assert_same_bits(&actual.0, &expected.0, || format!("{threads} threads"));
        assert_same_bits(&actual.1, &expected.1, || format!("{threads} threads"));
    });
    let fused: Vec<Level> = Level::available().filter(|&level| level != Level::Portable).collect();
    for pair in fused.windows(2) {
        let [first, second] = [pair[0], pair[1]].map(|level| Level::scoped(level, all::<T>).unwrap());
        assert_same_bits(&first.0, &second.0, || format!("{pair:?}"));
        assert_same_bits(&first.1, &second.1, || format!("{pair:?}"));
    }
}

#[test]
fn clip_by_group_same_bits_in_any_pool_and_on_avx2_and_avx512() {
    same_bits::<f32>();
    same_bits::<f64>();
}
