//! Dropout, penalties and constraints against their formulas, at every level, length and special value.

mod common;

use common::{
    Guarded, Tolerance, assert_close, assert_equal_everywhere, assert_same_bits, assert_terms, each_level,
    lengths, special_values, tolerance,
};
use proptest::prelude::*;
use steadygrad::reference::{self, philox};
use steadygrad::regularize::{
    AlphaDropout, Dropout, ElasticNet, GroupLasso, MaskShape, MaxNorm, Orthogonality,
};
use steadygrad::{ChannelShape, Element, Error, GradCheck, Philox, RowShape, WeightShape};

const STREAM: Philox = Philox { key: 11, counter: 5 };

/// Lengths of a list that reach tails, block edges and the cuts between tasks.
const LIST: [usize; 8] = [0, 64, 150_001, 1, 16_384, 0, 5, 70_003];

fn argument(error: Error) -> &'static str {
    match error {
        Error::Length { argument, .. }
        | Error::OutOfRange { argument, .. }
        | Error::Overflow { argument } => argument,
        other => panic!("{other:?}"),
    }
}

fn dense(outputs: usize, inputs: usize) -> WeightShape {
    WeightShape { outputs, inputs, field: 1 }
}

// --------------------------------------------------------------------------------------------------- dropout

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

// --------------------------------------------------------------------------------------- penalty and proximal

const NETS: [ElasticNet; 4] = [
    ElasticNet { l1: 0.0, l2: 0.0 },
    ElasticNet { l1: 0.5, l2: 0.0 },
    ElasticNet { l1: 0.0, l2: 0.25 },
    ElasticNet { l1: 0.75, l2: 0.5 },
];

#[track_caller]
fn check_penalty<T: Element>(op: ElasticNet, weights: &[T]) {
    let len = weights.len();
    let before: Vec<T> = common::numbers(7, len, 1.0);
    each_level(|level| {
        let mut grad = Guarded::of(&before, len % 5);
        let value = op.add_gradient(&[weights], &mut [grad.slice()]).unwrap();
        assert_eq!(op.value(&[weights]).unwrap().is_nan(), value.is_nan());
        let (mut exact, mut finite) = (0.0, true);
        for i in 0..len {
            let w = weights[i].to_f64();
            exact += reference::penalty::value(w, op.l1, op.l2);
            let (before, part) = (before[i].to_f64(), reference::penalty::gradient(w, op.l1, op.l2));
            let largest = if part.is_finite() { before.abs() + part.abs() } else { 0.0 };
            assert_terms(grad.checked()[i], before + part, largest, || format!("{op:?} of {w} at {level}"));
            finite &= w.is_finite();
        }
        // f64 whatever the type: a few roundings a term.
        let close = (value - exact).abs() <= 1e-13 * exact || value.is_nan() && exact.is_nan();
        assert!(close || value == exact, "{value} is not {exact}: {op:?} at {level}");
        assert!(finite || !value.is_finite() || op == NETS[0]);
    });
}

#[test]
fn penalty_value_and_gradient_match_reference() {
    for op in NETS {
        for len in lengths().chain([1023, 1024, 1025, 2100]) {
            check_penalty::<f32>(op, &common::numbers(1, len, 1.0));
            check_penalty::<f64>(op, &common::numbers(2, len, 1.0));
        }
        for w in special_values::<f32>() {
            check_penalty(op, &[w; 3]);
        }
        for w in special_values::<f64>() {
            check_penalty(op, &[w]);
        }
    }
}

#[test]
fn penalty_gradient_matches_finite_differences() {
    let op = ElasticNet { l1: 0.3, l2: 0.7 };
    let forward = |w: &[f64], y: &mut [f64]| y[0] = op.value(&[w]).unwrap();
    let backward = |w: &[f64], dy: &[f64], dw: &mut [f64]| {
        dw.fill(0.0);
        op.add_gradient(&[w], &mut [dw]).unwrap();
        dw.iter_mut().for_each(|d| *d *= dy[0]);
    };
    GradCheck::default().check(&common::numbers(1, 9, 1.0), 1, forward, backward).unwrap();
}

#[test]
fn penalty_and_proximal_same_bits_in_any_pool_and_on_avx2_and_avx512() {
    let weights: Vec<Vec<f32>> = LIST.iter().map(|&len| common::numbers(len as u64, len, 1.0)).collect();
    let slices: Vec<&[f32]> = weights.iter().map(Vec::as_slice).collect();
    let values = std::sync::Mutex::new(Vec::new());
    assert_equal_everywhere(|| {
        let (mut grads, mut next) = (weights.clone(), weights.clone());
        let op = NETS[3];
        let value = op
            .add_gradient(&slices, &mut grads.iter_mut().map(Vec::as_mut_slice).collect::<Vec<_>>())
            .unwrap();
        values.lock().unwrap().push(value.to_bits());
        op.proximal(0.3, &mut next.iter_mut().map(Vec::as_mut_slice).collect::<Vec<_>>()).unwrap();
        vec![grads.concat(), next.concat()]
    });
    let values = values.into_inner().unwrap();
    assert!(values.iter().all(|&value| value == values[0]), "{values:?}");
}

#[track_caller]
fn check_proximal<T: Element>(op: ElasticNet, step: f64, weights: &[T]) {
    each_level(|level| {
        let mut next = Guarded::of(weights, weights.len() % 5);
        op.proximal(step, &mut [next.slice()]).unwrap();
        for (&w, &next) in weights.iter().zip(next.checked()) {
            let w = w.to_f64();
            let exact = reference::proximal::proximal(w, step, op.l1, op.l2);
            let largest = if exact.is_finite() { w.abs() } else { 0.0 };
            assert_terms(next, exact, largest, || format!("{op:?} of {w} at {level}"));
        }
    });
}

#[test]
fn proximal_matches_reference() {
    for op in NETS {
        for len in lengths() {
            check_proximal::<f32>(op, 0.5, &common::numbers(1, len, 1.0));
            check_proximal::<f64>(op, 0.25, &common::numbers(2, len, 1.0));
        }
        check_proximal(op, 0.5, &special_values::<f32>());
        check_proximal(op, 0.5, &special_values::<f64>());
    }
}

#[test]
fn proximal_is_the_minimiser_on_a_fine_grid() {
    for op in NETS {
        for step in [0.1, 1.0, 3.0] {
            for w in [-2.5, -0.4, -0.01, 0.0, 0.05, 0.8, 3.0_f64] {
                let objective =
                    |u: f64| 0.5 * (u - w).powi(2) + step * (op.l1 * u.abs() + 0.5 * op.l2 * u * u);
                let mut next = [w];
                op.proximal(step, &mut [&mut next]).unwrap();
                let least =
                    (-40_000..=40_000).map(|k| objective(f64::from(k) * 1e-4)).fold(f64::MAX, f64::min);
                assert!(objective(next[0]) <= least + 1e-12, "{op:?} step {step} of {w}: {}", next[0]);
            }
        }
    }
}

#[test]
fn penalty_and_proximal_name_the_bad_argument() {
    let weights: [&[f32]; 2] = [&[1.0, 2.0], &[3.0]];
    let (mut a, mut b) = (Guarded::<f32>::new(2, 0), Guarded::<f32>::new(1, 0));
    for bad in [-1.0, f64::NAN, f64::INFINITY, 1e300] {
        for (op, name) in [(ElasticNet { l1: bad, l2: 0.0 }, "l1"), (ElasticNet { l1: 0.0, l2: bad }, "l2")] {
            assert_eq!(argument(op.value(&weights).unwrap_err()), name);
            let refused = op.add_gradient(&weights, &mut [a.slice(), b.slice()]);
            assert_eq!(argument(refused.unwrap_err()), name);
            assert_eq!(argument(op.proximal(1.0, &mut [a.slice()]).unwrap_err()), name);
        }
        if bad != 1e300 {
            assert_eq!(argument(NETS[3].proximal(bad, &mut [a.slice()]).unwrap_err()), "step");
        }
    }
    assert_eq!(argument(NETS[3].add_gradient(&weights, &mut [a.slice()]).unwrap_err()), "weights");
    let refused = NETS[3].add_gradient(&weights, &mut [b.slice(), a.slice()]);
    assert_eq!(argument(refused.unwrap_err()), "weights");
    assert!(a.is_untouched() && b.is_untouched());
    assert_eq!(NETS[3].value::<f32>(&[]), Ok(0.0));
}

// ------------------------------------------------------------------------------- group lasso and max norm

#[track_caller]
fn check_units<T: Element>(rows: usize, cols: usize, seed: u64) {
    let (len, shape, lambda, step) = (rows * cols, dense(rows, cols), 0.5, 0.75);
    let (weights, before): (Vec<T>, Vec<T>) =
        (common::numbers(seed, len, 1.0), common::numbers(seed + 1, len, 1.0));
    let exact: Vec<f64> = weights.iter().copied().map(Element::to_f64).collect();
    let units = |k: usize| k * cols..(k + 1) * cols;
    // A norm is off by the length of its sum; the factor of a shrunk unit cancels.
    each_level(|level| {
        let mut grad = Guarded::of(&before, 3);
        let value = GroupLasso { lambda }.add_gradient(shape, &weights, grad.slice()).unwrap();
        assert_eq!(GroupLasso { lambda }.value(shape, &weights).unwrap(), value);
        let (mut shrunk, mut limited) = (Guarded::of(&weights, 1), Guarded::of(&weights, 2));
        GroupLasso { lambda }.proximal(shape, step, shrunk.slice()).unwrap();
        let over = MaxNorm { max: 1.5 }.constrain(shape, limited.slice()).unwrap();
        let (mut exact_value, mut exact_over) = (0.0, 0);
        for row in 0..rows {
            let unit = &exact[units(row)];
            exact_value += reference::group_lasso::value(unit, lambda);
            exact_over += usize::from(reference::group_lasso::norm(unit) > 1.5);
            let mut exact_grad: Vec<f64> = before[units(row)].iter().copied().map(Element::to_f64).collect();
            let (mut exact_shrunk, mut exact_limited) = (unit.to_vec(), unit.to_vec());
            reference::group_lasso::gradient(unit, lambda, &mut exact_grad);
            reference::group_lasso::proximal(&mut exact_shrunk, step, lambda);
            reference::max_norm::constrain(&mut exact_limited, 1.5);
            for (k, i) in units(row).enumerate() {
                let context = || format!("{rows}x{cols} at {i}, {level}");
                let largest = exact_grad[k].abs() + lambda + before[i].to_f64().abs();
                assert_terms(grad.checked()[i], exact_grad[k], largest, context);
                assert_terms(shrunk.checked()[i], exact_shrunk[k], unit[k].abs(), context);
                assert_terms(limited.checked()[i], exact_limited[k], unit[k].abs(), context);
            }
        }
        assert!((value - exact_value).abs() <= 1e-13 * exact_value, "{value} is not {exact_value}");
        assert_eq!(over, exact_over);
    });
}

#[test]
fn group_lasso_and_max_norm_match_reference() {
    for cols in lengths().skip(1) {
        check_units::<f32>(3, cols, 1);
        check_units::<f64>(2, cols, 2);
    }
}

#[test]
fn max_norm_and_group_lasso_match_reference_without_units_or_weights() {
    check_units::<f32>(0, 3, 3);
    check_units::<f64>(3, 0, 3);
}

#[test]
fn group_lasso_matches_finite_differences_and_reference_at_zero() {
    let (op, shape) = (GroupLasso { lambda: 0.3 }, dense(3, 4));
    let forward = |w: &[f64], y: &mut [f64]| y[0] = op.value(shape, w).unwrap();
    let backward = |w: &[f64], dy: &[f64], dw: &mut [f64]| {
        dw.fill(0.0);
        op.add_gradient(shape, w, dw).unwrap();
        dw.iter_mut().for_each(|d| *d *= dy[0]);
    };
    GradCheck::default().check(&common::numbers(1, 12, 1.0), 1, forward, backward).unwrap();
    let mut grad = [1.0_f32; 12];
    assert_eq!(op.add_gradient(shape, &[0.0; 12], &mut grad), Ok(0.0));
    assert_eq!(grad, [1.0; 12]);
}

#[test]
fn group_lasso_proximal_is_the_minimiser_on_a_fine_grid() {
    let op = GroupLasso { lambda: 0.5 };
    for (w, step) in [([1.0, -0.5], 1.0), ([0.2, 0.1], 1.0), ([-2.0, 3.0], 2.0), ([0.3, 0.4], 1.0)] {
        let objective = |u: [f64; 2]| {
            let square = |a: f64, b: f64| (a - b) * (a - b);
            0.5 * (square(u[0], w[0]) + square(u[1], w[1])) + step * 0.5 * u[0].hypot(u[1])
        };
        let mut next = w;
        op.proximal(dense(1, 2), step, &mut next).unwrap();
        for i in -400..=400 {
            for j in -400..=400 {
                let u = [next[0] + f64::from(i) * 2e-3, next[1] + f64::from(j) * 2e-3];
                assert!(objective(next) <= objective(u) + 1e-12, "{w:?}: {next:?} is not {u:?}");
            }
        }
    }
}

#[test]
fn group_lasso_and_max_norm_do_not_overflow() {
    for size in [1e200, 1e-200, 1e300, 1e-310] {
        let shape = dense(1, 2);
        let weights = [3.0 * size, 4.0 * size];
        let mut grad = [0.0_f64; 2];
        let value = GroupLasso { lambda: 1.0 }.add_gradient(shape, &weights, &mut grad).unwrap();
        assert!((value / size - 5.0).abs() < 1e-12, "{value}");
        assert!((grad[0] - 0.6).abs() < 1e-12 && (grad[1] - 0.8).abs() < 1e-12, "{grad:?}");
        let mut limited = weights;
        assert_eq!(MaxNorm { max: size }.constrain(shape, &mut limited), Ok(1));
        assert!((limited[0] / size - 0.6).abs() < 1e-12, "{limited:?}");
    }
    // A subnormal f32, whose inverse is past the largest.
    let mut grad = [0.0_f32; 2];
    GroupLasso { lambda: 1.0 }.add_gradient(dense(1, 2), &[3e-43, 4e-43], &mut grad).unwrap();
    let exact = [3e-43_f32, 4e-43].map(f64::from);
    let norm = exact[0].hypot(exact[1]);
    for (grad, exact) in grad.iter().zip(exact) {
        assert!((f64::from(*grad) - exact / norm).abs() < 1e-6, "{grad}");
    }
}

#[test]
fn max_norm_keeps_direction_limit_and_what_is_under_it() {
    let shape = WeightShape { outputs: 50, inputs: 11, field: 9 };
    let before: Vec<f32> = common::numbers(1, 50 * 99, 0.1);
    let mut after = before.clone();
    let over = MaxNorm { max: 1.1 }.constrain(shape, &mut after).unwrap();
    assert!(over > 5 && over < 45, "{over}");
    let norm = |w: &[f32]| w.iter().map(|&w| f64::from(w).powi(2)).sum::<f64>().sqrt();
    for (before, after) in before.chunks(99).zip(after.chunks(99)) {
        assert!(norm(after) <= 1.1 * (1.0 + 1e-6));
        let factor = (1.1 / norm(before)).min(1.0);
        for (b, a) in before.iter().zip(after) {
            assert!((f64::from(*b) * factor - f64::from(*a)).abs() <= 2e-7 * f64::from(*b).abs());
        }
        assert!(factor < 1.0 || before == after);
    }
    let once = after.clone();
    assert_eq!(MaxNorm { max: 1.1 }.constrain(shape, &mut after), Ok(0));
    assert_same_bits(&after, &once, || "twice".into());
    // No limit, a limit of 0, and a NaN that stays in its unit.
    assert_eq!(MaxNorm { max: f64::INFINITY }.constrain(shape, &mut after), Ok(0));
    let mut weights = [f32::NAN, 1.0, 3.0, 4.0];
    assert_eq!(MaxNorm { max: 0.0 }.constrain(dense(2, 2), &mut weights), Ok(1));
    assert!(weights[0].is_nan() && weights[1..] == [1.0, 0.0, 0.0]);
}

#[test]
fn max_norm_and_group_lasso_same_bits_in_any_pool_and_on_avx2_and_avx512() {
    let (shape, weights) = (dense(700, 301), common::numbers::<f32>(1, 700 * 301, 0.1));
    assert_equal_everywhere(|| {
        let (mut grad, mut limited, mut shrunk) = (weights.clone(), weights.clone(), weights.clone());
        let op = GroupLasso { lambda: 0.5 };
        let value = op.add_gradient(shape, &weights, &mut grad).unwrap();
        MaxNorm { max: 1.9 }.constrain(shape, &mut limited).unwrap();
        op.proximal(shape, 0.5, &mut shrunk).unwrap();
        vec![grad, limited, shrunk, vec![value as f32, (value - f64::from(value as f32)) as f32]]
    });
}

#[test]
fn group_lasso_and_max_norm_name_the_bad_argument() {
    let (shape, good) = (dense(2, 2), [1.0_f32; 4]);
    let mut out = Guarded::<f32>::new(4, 0);
    let op = GroupLasso { lambda: 0.5 };
    for bad in [-1.0, f64::NAN] {
        let op_bad = GroupLasso { lambda: bad };
        assert_eq!(argument(op_bad.value(shape, &good).unwrap_err()), "lambda");
        assert_eq!(argument(op_bad.add_gradient(shape, &good, out.slice()).unwrap_err()), "lambda");
        assert_eq!(argument(op.proximal(shape, bad, out.slice()).unwrap_err()), "step");
        assert_eq!(argument(MaxNorm { max: bad }.constrain(shape, out.slice()).unwrap_err()), "max");
    }
    assert_eq!(argument(op.value(shape, &good[..3]).unwrap_err()), "weights");
    assert_eq!(argument(op.add_gradient(shape, &good, &mut out.slice()[..3]).unwrap_err()), "grad");
    assert_eq!(argument(op.proximal(shape, 1.0, &mut out.slice()[..3]).unwrap_err()), "weights");
    assert_eq!(argument(MaxNorm::default().constrain(shape, &mut out.slice()[..3]).unwrap_err()), "weights");
    let huge = WeightShape { outputs: usize::MAX, inputs: 2, field: 1 };
    assert_eq!(argument(op.value(huge, &good).unwrap_err()), "shape");
    assert!(out.is_untouched());
}

// --------------------------------------------------------------------------------------------- orthogonality

#[track_caller]
fn check_orthogonality<T: Element>(rows: usize, cols: usize) {
    let (shape, op) = (dense(rows, cols), Orthogonality { lambda: 0.125 });
    let (weights, before): (Vec<T>, Vec<T>) =
        (common::numbers(1, rows * cols, 0.5), common::numbers(2, rows * cols, 1.0));
    let exact: Vec<f64> = weights.iter().copied().map(Element::to_f64).collect();
    let mut exact_grad: Vec<f64> = before.iter().copied().map(Element::to_f64).collect();
    let exact_value = reference::orthogonality::value(rows, cols, &exact, op.lambda);
    reference::orthogonality::gradient(rows, cols, &exact, op.lambda, &mut exact_grad);
    // Chains of as many roundings as the products are long, of terms of about this size.
    let terms = (rows + cols) as f64;
    let size = exact.iter().fold(1.0_f64, |m, w| m.max(w.abs())).powi(3) * terms;
    each_level(|level| {
        let mut scratch = vec![T::nan(); op.scratch_len::<T>(shape).unwrap()];
        let mut grad = Guarded::of(&before, 3);
        let value = op.add_gradient(shape, &weights, &mut scratch, grad.slice()).unwrap();
        assert_eq!(op.value(shape, &weights, &mut scratch).unwrap(), value);
        let allowed = 4.0 * T::epsilon().to_f64() * terms * (1.0 + exact_value);
        assert!((value - exact_value).abs() <= allowed, "{value} is not {exact_value} at {level}");
        for (i, (&grad, &exact)) in grad.checked().iter().zip(&exact_grad).enumerate() {
            let tolerance = Tolerance { ulp: tolerance::TERMS, epsilons: size };
            assert_close(grad, exact, tolerance, || format!("{rows}x{cols} at {i}, {level}"));
        }
    });
}

#[test]
fn orthogonality_matches_reference() {
    for (rows, cols) in [(1, 1), (3, 5), (5, 3), (17, 17), (2, 130), (130, 2), (33, 70), (0, 3), (3, 0)] {
        check_orthogonality::<f32>(rows, cols);
        check_orthogonality::<f64>(rows, cols);
    }
}

#[test]
fn orthogonality_gradient_matches_finite_differences() {
    for (rows, cols) in [(2, 4), (4, 2), (3, 3)] {
        let (op, shape) = (Orthogonality { lambda: 0.3 }, dense(rows, cols));
        let len = op.scratch_len::<f64>(shape).unwrap();
        let forward = |w: &[f64], y: &mut [f64]| y[0] = op.value(shape, w, &mut vec![0.0; len]).unwrap();
        let backward = |w: &[f64], dy: &[f64], dw: &mut [f64]| {
            dw.fill(0.0);
            op.add_gradient(shape, w, &mut vec![0.0; len], dw).unwrap();
            dw.iter_mut().for_each(|d| *d *= dy[0]);
        };
        GradCheck::default().check(&common::numbers(1, rows * cols, 0.5), 1, forward, backward).unwrap();
    }
}

#[test]
fn orthogonality_of_a_rotation_is_nothing() {
    let (op, shape) = (Orthogonality { lambda: 1.0 }, dense(2, 2));
    let (sin, cos) = 0.7_f64.sin_cos();
    let mut scratch = vec![0.0; op.scratch_len::<f64>(shape).unwrap()];
    let mut grad = [0.0; 4];
    let value = op.add_gradient(shape, &[cos, -sin, sin, cos], &mut scratch, &mut grad).unwrap();
    assert!(value < 1e-30 && grad.iter().all(|g| g.abs() < 1e-15));
}

#[test]
fn orthogonality_same_bits_in_any_pool_and_on_avx2_and_avx512() {
    let (op, shape) = (Orthogonality { lambda: 0.1 }, dense(300, 190));
    let weights: Vec<f32> = common::numbers(1, 300 * 190, 0.1);
    assert_equal_everywhere(|| {
        let mut scratch = vec![0.0; op.scratch_len::<f32>(shape).unwrap()];
        let mut grad = vec![0.0; weights.len()];
        let value = op.add_gradient(shape, &weights, &mut scratch, &mut grad).unwrap();
        vec![grad, vec![value as f32, (value - f64::from(value as f32)) as f32]]
    });
}

#[test]
fn orthogonality_names_the_bad_argument() {
    let (shape, good) = (dense(2, 2), [1.0_f32; 4]);
    let op = Orthogonality { lambda: 0.5 };
    let len = op.scratch_len::<f32>(shape).unwrap();
    let (mut out, mut scratch) = (Guarded::<f32>::new(4, 0), Guarded::<f32>::new(len, 0));
    for lambda in [-1.0, f64::NAN, 1e38] {
        let refused = Orthogonality { lambda }.add_gradient(shape, &good, scratch.slice(), out.slice());
        assert_eq!(argument(refused.unwrap_err()), "lambda");
    }
    let refused = op.add_gradient(shape, &good[..3], scratch.slice(), out.slice());
    assert_eq!(argument(refused.unwrap_err()), "weights");
    let refused = op.add_gradient(shape, &good, &mut scratch.slice()[..len - 1], out.slice());
    assert_eq!(argument(refused.unwrap_err()), "scratch");
    let refused = op.add_gradient(shape, &good, scratch.slice(), &mut out.slice()[..3]);
    assert_eq!(argument(refused.unwrap_err()), "grad");
    let huge = WeightShape { outputs: usize::MAX, inputs: 2, field: 1 };
    assert_eq!(argument(op.value(huge, &good, scratch.slice()).unwrap_err()), "shape");
    assert!(out.is_untouched() && scratch.is_untouched());
}

#[test]
#[should_panic(expected = "is not")]
fn regularize_comparison_can_fail() {
    let value = NETS[3].value(&[&[1.0_f32]]).unwrap();
    assert!((value - 0.9).abs() < 1e-3, "{value} is not 0.9");
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

    #[test]
    fn penalty_and_proximal_match_reference_for_any_coefficients(
        l1 in 0.0..2.0_f64, l2 in 0.0..2.0_f64, step in 0.0..2.0_f64, len in 0..300_usize,
    ) {
        let (op, weights) = (ElasticNet { l1, l2 }, common::numbers::<f64>(1, len, 1.0));
        check_penalty(op, &weights);
        check_proximal(op, step, &weights);
    }

    #[test]
    fn group_lasso_and_max_norm_match_reference_for_any_shape(
        rows in 0..9_usize, cols in 0..60_usize, seed: u16,
    ) {
        check_units::<f64>(rows, cols, u64::from(seed));
    }
}
