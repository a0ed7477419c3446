//! Group lasso and max norm, which look at whole units.

use proptest::prelude::*;
use steadygrad::regularize::{GroupLasso, MaxNorm};
use steadygrad::{Element, GradCheck, WeightShape, reference};

use crate::common::{
    self, Guarded, argument, assert_equal_everywhere, assert_same_bits, assert_terms, each_level, lengths,
};

pub(crate) fn dense(outputs: usize, inputs: usize) -> WeightShape {
    WeightShape { outputs, inputs, field: 1 }
}

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

proptest! {
    #[test]
    fn group_lasso_and_max_norm_match_reference_for_any_shape(
        rows in 0..9_usize, cols in 0..60_usize, seed: u16,
    ) {
        check_units::<f64>(rows, cols, u64::from(seed));
    }
}
