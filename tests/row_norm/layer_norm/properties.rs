//! What defines the norms: moments, orthogonal gradients, rows that stay apart, and bits in any pool.

use proptest::prelude::*;
use steadygrad::norm::{Affine, LayerNorm, NormGradients, RmsNorm, SavedRows};
use steadygrad::reference::layer_norm;
use steadygrad::{Element, Level, RowShape};

use super::subject::{BOTH, Batch, Norm};
use crate::common::{Guarded, assert_same_bits, each_level, each_pool, numbers, widen};
use crate::row_norm::results::Results;

fn assert_same<T: Element>(other: &Results<T>, expected: &Results<T>, context: &dyn Fn() -> String) {
    assert_same_bits(&other.mean, &expected.mean, context);
    assert_same_bits(&other.rstd, &expected.rstd, context);
    assert_same_bits(&other.y, &expected.y, context);
    assert_same_bits(&other.dx, &expected.dx, context);
    assert_same_bits(&other.dgamma, &expected.dgamma, context);
    assert_same_bits(&other.dbeta, &expected.dbeta, context);
}

fn check_equal_bits(norm: Norm) {
    for (rows, cols) in [(1, 70_001), (300, 1000), (4099, 33), (70, 1024), (2, 9)] {
        let batch = Batch::<f32>::new(norm, rows, cols, 0, 1e-5);
        let expected = batch.run(0);
        let same =
            |other: &Results<f32>, context: &dyn Fn() -> String| assert_same(other, &expected, context);
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

/// Rows of whole lines, of which one or four are taken at a time, begin at each element of a line.
fn check_places<T: Element>(norm: Norm) {
    for (rows, cols) in [(18, 512), (19, 1536)] {
        let batch = Batch::<T>::new(norm, rows, cols, 0, 1e-5);
        each_level(|level| {
            let expected = batch.run(0);
            for offset in 1..64 / size_of::<T>() {
                let context = || format!("{norm:?} of {rows}x{cols} at {level}, {offset} elements on");
                assert_same(&batch.run(offset), &expected, &context);
            }
        });
    }
}

#[test]
fn row_norms_have_the_same_bits_wherever_memory_begins() {
    for norm in BOTH {
        check_places::<f32>(norm);
        check_places::<f64>(norm);
    }
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

proptest! {
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
