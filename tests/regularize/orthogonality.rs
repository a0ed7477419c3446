//! The penalty on units that are not orthogonal.

use steadygrad::regularize::Orthogonality;
use steadygrad::{Element, GradCheck, WeightShape, reference};

use super::units::dense;
use crate::common::{
    self, Guarded, Tolerance, argument, assert_close, assert_equal_everywhere, each_level, tolerance,
};

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
