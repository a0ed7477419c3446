//! Binary cross-entropy with logits, with and without weights of the positive class.

use steadygrad::loss::{BinaryCrossEntropyWithLogits, Reduction};
use steadygrad::{Element, Error, reference};

use super::subject::{REDUCTIONS, assert_invariant, assert_loss, divisor, probabilities, shape, weights};
use crate::common::{Guarded, Tolerance, assert_close, assert_same_bits, each_level, numbers};

fn check_logits<T: Element>(rows: usize, cols: usize, pos_weight: Option<&[T]>, offset: usize) {
    let reduction = REDUCTIONS[(rows + cols) % 3];
    let loss = BinaryCrossEntropyWithLogits { reduction };
    let (x, t) = (numbers::<T>(cols as u64, rows * cols, 8.0), probabilities::<T>(9, rows * cols));
    let divisor = divisor(reduction, (rows * cols) as f64);
    let exact = |i: usize| {
        let weight = pos_weight.map_or(1.0, |weights| weights[i % cols].to_f64());
        let (x, t) = (x[i].to_f64(), t[i].to_f64());
        (
            reference::binary_cross_entropy_with_logits::forward(x, t, weight),
            reference::binary_cross_entropy_with_logits::backward(x, t, weight),
        )
    };
    let all: Vec<(f64, f64)> = (0..rows * cols).map(exact).collect();
    let sum = if divisor == 0.0 { f64::NAN } else { all.iter().map(|e| e.0).sum::<f64>() / divisor };
    each_level(|level| {
        let context = || format!("{reduction:?} of {rows} rows of {cols} at {level}");
        let shape = shape(rows, cols);
        let value = loss.forward(shape, &x, &t, pos_weight).unwrap();
        assert_loss::<T>(value, sum, sum, context);
        let (mut dx, mut in_place) = (Guarded::new(x.len(), offset), Guarded::of(&x, offset));
        let with_gradient = loss.forward_backward(shape, &x, &t, pos_weight, dx.slice()).unwrap();
        let in_place_loss = loss.forward_backward_in_place(shape, &t, pos_weight, in_place.slice()).unwrap();
        for other in [with_gradient, in_place_loss] {
            assert!(value.to_bits() == other.to_bits() || value.is_nan() && other.is_nan(), "{}", context());
        }
        assert_same_bits(dx.checked(), in_place.checked(), context);
        for (&dx, &(_, gradient)) in dx.checked().iter().zip(&all) {
            // σ and t cancel.
            let tolerance = Tolerance { ulp: 4.5, epsilons: 12.0 / divisor };
            assert_close(dx, gradient / divisor, tolerance, context);
        }
    });
}

fn logits_of_every_width<T: Element>() {
    for cols in 0..=145 {
        let rows = if cols == 0 { 0 } else { 1 + cols % 3 };
        check_logits::<T>(rows, cols, None, cols % 5);
        check_logits::<T>(rows, cols, Some(&weights(cols)), cols % 5);
    }
}

#[test]
fn binary_cross_entropy_with_logits_backward_matches_reference() {
    logits_of_every_width::<f32>();
    logits_of_every_width::<f64>();
    // A weight for all, past a block of work.
    check_logits::<f32>(40_001, 1, Some(&[3.0]), 1);
}

#[test]
fn binary_cross_entropy_with_logits_backward_matches_finite_differences() {
    let h = 1e-6_f64;
    for (x, t, weight) in [(0.3, 0.9, 1.0), (-2.0, 0.0, 3.0), (1.5, 1.0, 0.5), (-0.7, 0.4, 2.0)] {
        let value = |x| reference::binary_cross_entropy_with_logits::forward(x, t, weight);
        let difference = (value(x + h) - value(x - h)) / (2.0 * h);
        let analytic = reference::binary_cross_entropy_with_logits::backward(x, t, weight);
        assert!((difference - analytic).abs() < 1e-8, "{difference} against {analytic}");
    }
}

#[test]
fn binary_cross_entropy_with_logits_backward_special_values() {
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    let loss = BinaryCrossEntropyWithLogits { reduction: Reduction::Sum };
    each_level(|level| {
        let run = |x: f64, t: f64, weight: f64| {
            let mut dx = [nan];
            (loss.forward_backward(shape(1, 1), &[x], &[t], Some(&[weight]), &mut dx).unwrap(), dx[0])
        };
        // PyTorch's numbers.
        for (x, t, weight, value, gradient) in [
            (inf, 0.0, 2.0, inf, 1.0),
            (inf, 0.5, 1.0, inf, 0.5),
            (1e30, 0.0, 1.0, 1e30, 1.0),
            (1e30, 1.0, 1.0, 0.0, 0.0),
            (-1e30, 1.0, 2.0, 2e30, -2.0),
            (-1e30, 0.0, 2.0, 0.0, 0.0),
            (-800.0, 0.5, 2.0, 800.0, -1.0),
            (800.0, 0.5, 2.0, 400.0, 0.5),
        ] {
            assert_eq!(run(x, t, weight), (value, gradient), "{x}, {t}, {weight} at {level}");
        }
        for (x, t, weight, gradient) in [(inf, 1.0, 2.0, 0.0), (-inf, 0.0, 1.0, 0.0)] {
            let (value, dx) = run(x, t, weight);
            assert!(value.is_nan() && dx == gradient, "{x}, {t}: {value}, {dx} at {level}");
        }
        let (value, dx) = run(nan, 0.5, 1.0);
        assert!(value.is_nan() && dx.is_nan());
        // Where PyTorch's f32 cancels to 0: softplus(−20).
        let value = loss.forward(shape(1, 1), &[-20.0_f32], &[0.0], None).unwrap();
        assert!((value / (-20.0_f64).exp().ln_1p() - 1.0).abs() < 1e-6, "{value:e} at {level}");
    });
}

#[test]
fn binary_cross_entropy_with_logits_backward_same_bits_in_any_pool_and_on_avx2_and_avx512() {
    let (rows, cols) = (400, 501);
    let (x, t) = (numbers::<f32>(1, rows * cols, 3.0), probabilities::<f32>(2, rows * cols));
    for pos_weight in [None, Some(weights(cols))] {
        assert_invariant(|| {
            let (loss, mut dx) = (BinaryCrossEntropyWithLogits::default(), vec![f32::NAN; x.len()]);
            let shape = shape(rows, cols);
            (loss.forward_backward(shape, &x, &t, pos_weight.as_deref(), &mut dx).unwrap(), dx)
        });
    }
}

#[test]
fn binary_cross_entropy_with_logits_names_the_bad_argument() {
    let (x, two, mut out) = ([0.5_f32; 6], shape(2, 3), Guarded::<f32>::new(5, 0));
    let loss = BinaryCrossEntropyWithLogits::default();
    let length = |argument, expected, actual| Err(Error::Length { argument, expected, actual });
    assert_eq!(loss.forward(two, &x[..1], &x, None), length("logits", 6, 1));
    assert_eq!(loss.forward_backward(two, &x, &x[..1], None, out.slice()), length("targets", 6, 1));
    assert_eq!(loss.forward_backward(two, &x, &x, None, out.slice()), length("dlogits", 6, 5));
    assert_eq!(loss.forward_backward_in_place(two, &x, None, out.slice()), length("logits", 6, 5));
    let five = shape(5, 1);
    let refused = loss.forward_backward(five, &x[..5], &x[..5], Some(&x), out.slice());
    assert_eq!(refused, length("pos_weight", 1, 6));
    let refused = loss.forward_backward(shape(5, 0), &x[..5], &x[..5], None, out.slice());
    assert_eq!(refused, Err(Error::Empty { dimension: "cols" }));
    let bad = BinaryCrossEntropyWithLogits { reduction: Reduction::SumOver(-1.0) };
    let refused = bad.forward_backward(five, &x[..5], &x[..5], None, out.slice());
    assert!(matches!(refused, Err(Error::OutOfRange { argument: "reduction", .. })));
    assert!(out.is_untouched());
}
