//! What defines the norm: moments, orthogonal gradients, groups that stay apart, and bits in any pool.

use steadygrad::RowShape;
use steadygrad::norm::{Affine, GroupNorm, InstanceNorm, LayerNorm, NormGradients, SavedRows};
use steadygrad::reference::group_norm as reference;

use super::subject::{Batch, shape};
use crate::common::{Guarded, assert_equal_everywhere, assert_same_bits, each_level, widen};
use crate::row_norm::results::Results;

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
