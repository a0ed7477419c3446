//! Dropout and alpha dropout, of every mask shape.

use proptest::prelude::*;
use steadygrad::reference::{self, philox};
use steadygrad::regularize::{AlphaDropout, Dropout, MaskShape};
use steadygrad::{ChannelShape, Element, GradCheck, Philox, RowShape};

use crate::common::{
    self, Guarded, argument, assert_close, assert_equal_everywhere, assert_same_bits, assert_terms,
    each_level, lengths, special_values, tolerance,
};

const STREAM: Philox = Philox { key: 11, counter: 5 };

/// The draw of element `i`, from the shape's definition.
fn draw_of(shape: MaskShape, i: usize) -> u64 {
    let MaskShape { repeats, units, inner, .. } = shape;
    (i / (repeats * units * inner) * units + i / inner % units) as u64
}

#[track_caller]
fn check_dropout<T: Element>(p: f64, shape: MaskShape, stream: Philox, x: &[T]) {
    let (plain, alpha, len) = (Dropout { p }, AlphaDropout { p }, x.len());
    each_level(|level| {
        let [mut y, mut dx, mut alpha_y, mut alpha_dx] = [3, 1, 0, 7].map(|k| Guarded::<T>::new(len, k));
        let (mut in_place, mut grad) = (Guarded::of(x, 2), Guarded::of(x, 1));
        plain.forward(shape, stream, x, y.slice()).unwrap();
        plain.backward(shape, stream, x, dx.slice()).unwrap();
        plain.forward_in_place(shape, stream, in_place.slice()).unwrap();
        plain.backward_in_place(shape, stream, grad.slice()).unwrap();
        alpha.forward(shape, stream, x, alpha_y.slice()).unwrap();
        alpha.backward(shape, stream, x, alpha_dx.slice()).unwrap();
        for same in [&dx, &in_place, &grad] {
            assert_same_bits(y.checked(), same.checked(), || format!("{shape:?} at {level}"));
        }
        for i in 0..len {
            let dropped = philox::happens(stream.key, stream.counter, draw_of(shape, i), p);
            let v = x[i].to_f64();
            let context = || format!("{v} at {i} of {shape:?}, p {p}, {level}");
            // PyTorch multiplies by zeros where p is 1.
            let exact = if p == 1.0 { v * 0.0 } else { reference::dropout::forward(v, dropped, p) };
            assert_close(y.checked()[i], exact, tolerance::ACTIVATION, context);
            let exact = reference::dropout::alpha_forward(v, dropped, p);
            // Its terms are a·x and a·α′·p, and α′ is below 2; for p near 1 a is large, and they cancel.
            let a = if p == 1.0 { 1.0 } else { reference::dropout::alpha_scale(p).max(1.0) };
            let largest = if exact.is_finite() { a * v.abs().max(2.0) } else { 0.0 };
            assert_terms(alpha_y.checked()[i], exact, largest, context);
            let exact = if p == 1.0 { v * 0.0 } else { reference::dropout::alpha_backward(v, dropped, p) };
            assert_close(alpha_dx.checked()[i], exact, tolerance::ACTIVATION, context);
        }
    });
}

#[test]
fn dropout_forward_and_backward_match_reference() {
    for p in [0.0, 0.3, 0.5, 1.0] {
        for len in lengths() {
            check_dropout::<f32>(p, MaskShape::elements(len), STREAM, &common::numbers(1, len, 1.0));
            check_dropout::<f64>(p, MaskShape::elements(len), STREAM, &common::numbers(2, len, 1.0));
        }
    }
}

#[test]
fn dropout_of_every_mask_shape_matches_reference() {
    let mut shapes = vec![
        MaskShape::channels(ChannelShape { outer: 3, channels: 5, inner: 49 }),
        MaskShape::channels(ChannelShape { outer: 9, channels: 70, inner: 1 }),
        MaskShape::channels_last(3, 10, 37),
        MaskShape::rows(RowShape { rows: 130, cols: 3 }),
        MaskShape::time_major(7, 3, 11),
        MaskShape::batch_major(3, 7, 11),
        MaskShape { outer: 2, repeats: 3, units: 4, inner: 5 },
        // Past a tile of factors, in one row and in several.
        MaskShape::elements(5000),
        MaskShape::time_major(3, 1, 4500),
        MaskShape { outer: 2, repeats: 2, units: 2100, inner: 2 },
    ];
    for zero in [[0, 1, 2, 3], [1, 0, 2, 3], [1, 2, 0, 3], [1, 2, 3, 0]] {
        let [outer, repeats, units, inner] = zero;
        shapes.push(MaskShape { outer, repeats, units, inner });
    }
    for shape in shapes {
        let len = shape.elements_in_all().unwrap();
        check_dropout::<f32>(0.4, shape, STREAM, &common::numbers(1, len, 1.0));
        check_dropout::<f64>(0.4, shape, STREAM, &common::numbers(2, len, 1.0));
    }
}

#[test]
fn dropout_special_values_are_pytorchs() {
    // torch 2.15: dropped NaN and infinities are NaN, dropped negatives −0; p = 1 is a product with zeros.
    let special = special_values::<f32>();
    for p in [0.0, 0.5, 1.0] {
        check_dropout(p, MaskShape::elements(special.len()), STREAM, &special);
    }
    let mut y = [0.5_f32; 4];
    let x = [1.0, f32::NAN, f32::INFINITY, -2.0];
    Dropout { p: 1.0 }.forward(MaskShape::elements(4), STREAM, &x, &mut y).unwrap();
    assert!(y[0] == 0.0 && y[1].is_nan() && y[2].is_nan() && y[3] == 0.0 && y[3].is_sign_negative());
    Dropout { p: 0.0 }.forward(MaskShape::elements(4), STREAM, &x, &mut y).unwrap();
    assert_same_bits(&y, &x, || "p = 0".into());
}

#[test]
fn dropout_forward_keeps_the_mean() {
    let len = 200_000;
    for p in [0.01, 0.3, 0.5, 0.9] {
        let mut y = vec![0.0_f32; len];
        Dropout { p }.forward(MaskShape::elements(len), STREAM, &vec![1.0; len], &mut y).unwrap();
        let mean = y.iter().map(|&y| f64::from(y)).sum::<f64>() / len as f64;
        assert!((mean - 1.0).abs() < 4.0 * (p / (1.0 - p) / len as f64).sqrt(), "{mean} at {p}");
    }
}

#[test]
fn dropout_alpha_keeps_mean_and_variance() {
    let len = 200_000;
    let x: Vec<f64> = common::numbers(1, len, (3.0_f64 / 4.0).sqrt());
    for p in [0.1, 0.5] {
        let mut y = vec![0.0; len];
        AlphaDropout { p }.forward(MaskShape::elements(len), STREAM, &x, &mut y).unwrap();
        let mean = y.iter().sum::<f64>() / len as f64;
        let variance = y.iter().map(|y| y * y).sum::<f64>() / len as f64 - mean * mean;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.02, "{mean} {variance} at {p}");
    }
}

#[test]
fn dropout_draws_are_independent_of_the_counter_before() {
    let len = 4096;
    let mask = |stream: Philox| {
        let mut y = vec![0.0_f32; len];
        Dropout::default().forward(MaskShape::elements(len), stream, &vec![1.0; len], &mut y).unwrap();
        y
    };
    let first = mask(STREAM);
    for other in [Philox { counter: 6, ..STREAM }, Philox { key: 12, ..STREAM }] {
        let equal = mask(other).iter().zip(&first).filter(|(a, b)| a == b).count();
        assert!((1900..2200).contains(&equal), "{equal} of {len}");
    }
}

#[test]
fn dropout_backward_matches_finite_differences() {
    let shape = MaskShape::rows(RowShape { rows: 6, cols: 2 });
    let (plain, alpha) = (Dropout { p: 0.4 }, AlphaDropout { p: 0.4 });
    let x = common::numbers::<f64>(1, 12, 1.0);
    let forward = |x: &[f64], y: &mut [f64]| plain.forward(shape, STREAM, x, y).unwrap();
    let backward = |_: &[f64], dy: &[f64], dx: &mut [f64]| plain.backward(shape, STREAM, dy, dx).unwrap();
    GradCheck::default().check(&x, 12, forward, backward).unwrap();
    let forward = |x: &[f64], y: &mut [f64]| alpha.forward(shape, STREAM, x, y).unwrap();
    let backward = |_: &[f64], dy: &[f64], dx: &mut [f64]| alpha.backward(shape, STREAM, dy, dx).unwrap();
    GradCheck::default().check(&x, 12, forward, backward).unwrap();
}

#[test]
fn dropout_same_bits_in_any_pool_and_on_avx2_and_avx512() {
    for shape in [
        MaskShape::elements(140_003),
        MaskShape::channels(ChannelShape { outer: 30, channels: 100, inner: 49 }),
        MaskShape::time_major(50, 33, 100),
        MaskShape::batch_major(33, 50, 100),
    ] {
        let x: Vec<f32> = common::numbers(1, shape.elements_in_all().unwrap(), 1.0);
        assert_equal_everywhere(|| {
            let (mut y, mut alpha) = (vec![0.0; x.len()], vec![0.0; x.len()]);
            Dropout { p: 0.3 }.forward(shape, STREAM, &x, &mut y).unwrap();
            AlphaDropout { p: 0.3 }.forward(shape, STREAM, &x, &mut alpha).unwrap();
            vec![y, alpha]
        });
    }
}

#[test]
fn dropout_names_the_bad_argument() {
    let (shape, good, short) = (MaskShape::elements(4), [1.0_f32; 4], [1.0_f32; 3]);
    let mut out = Guarded::<f32>::new(4, 0);
    for p in [-0.1, 1.1, f64::NAN] {
        let op = Dropout { p };
        assert_eq!(argument(op.forward(shape, STREAM, &good, out.slice()).unwrap_err()), "p");
        assert_eq!(argument(op.backward_in_place(shape, STREAM, out.slice()).unwrap_err()), "p");
        let op = AlphaDropout { p };
        assert_eq!(argument(op.forward(shape, STREAM, &good, out.slice()).unwrap_err()), "p");
    }
    let (plain, alpha) = (Dropout::default(), AlphaDropout::default());
    assert_eq!(argument(plain.forward(shape, STREAM, &short, out.slice()).unwrap_err()), "x");
    assert_eq!(argument(plain.forward(shape, STREAM, &good, &mut out.slice()[..3]).unwrap_err()), "y");
    assert_eq!(argument(plain.forward_in_place(shape, STREAM, &mut out.slice()[..3]).unwrap_err()), "x");
    assert_eq!(argument(plain.backward(shape, STREAM, &short, out.slice()).unwrap_err()), "dy");
    assert_eq!(argument(plain.backward(shape, STREAM, &good, &mut out.slice()[..3]).unwrap_err()), "dx");
    assert_eq!(argument(alpha.forward(shape, STREAM, &short, out.slice()).unwrap_err()), "x");
    assert_eq!(argument(alpha.backward(shape, STREAM, &short, out.slice()).unwrap_err()), "dy");
    let huge = MaskShape::time_major(2, usize::MAX, 2);
    assert_eq!(argument(plain.forward(huge, STREAM, &good, out.slice()).unwrap_err()), "shape");
    assert!(out.is_untouched());
}

proptest! {
    #[test]
    fn dropout_matches_reference_for_any_mask_shape(
        p in 0.0..=1.0_f64, outer in 0..5_usize, repeats in 0..5_usize, units in 0..90_usize, inner in 0..20_usize,
        key: u64, counter: u64,
    ) {
        let shape = MaskShape { outer, repeats, units, inner };
        let x: Vec<f32> = common::numbers(key, shape.elements_in_all().unwrap(), 1.0);
        check_dropout(p, shape, Philox { key, counter }, &x);
    }
}
