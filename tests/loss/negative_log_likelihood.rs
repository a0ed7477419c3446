//! Negative log-likelihood of classes.

use steadygrad::loss::{NegativeLogLikelihood, Reduction};
use steadygrad::{Element, Error, reference};

use super::subject::{REDUCTIONS, assert_invariant, assert_loss, divisor, shape, weights};
use crate::common::{Guarded, Tolerance, assert_close, each_level, numbers, widen};

fn check_likelihood<T: Element>(rows: usize, cols: usize, reduction: Reduction, class_weights: Option<&[T]>) {
    let loss = NegativeLogLikelihood { reduction, ..NegativeLogLikelihood::default() };
    let x = numbers::<T>(rows as u64, rows * cols, 2.0);
    let classes: Vec<i64> =
        (0..rows).map(|row| if row % 4 == 1 { -100 } else { (row * 3 % cols) as i64 }).collect();
    let weight = |class: usize| class_weights.map_or(1.0, |weights| weights[class].to_f64());
    let (mut sum, mut terms, mut total, mut exact) = (0.0, 0.0, 0.0, vec![0.0; rows * cols]);
    for (row, &class) in classes.iter().enumerate().filter(|(_, class)| **class >= 0) {
        let (at, class) = (row * cols..(row + 1) * cols, class as usize);
        let part = reference::negative_log_likelihood::forward(&widen(&x[at.clone()]), class, weight(class));
        reference::negative_log_likelihood::backward(class, weight(class), &mut exact[at]);
        (sum, terms, total) = (sum + part, terms + part.abs(), total + weight(class));
    }
    let divisor = divisor(reduction, total);
    each_level(|level| {
        let context = || format!("{reduction:?} of {rows} rows of {cols} at {level}");
        let (shape, targets, mut dx) = (shape(rows, cols), &classes, Guarded::new(x.len(), 1));
        let value = loss.forward_backward(shape, &x, targets, class_weights, dx.slice()).unwrap();
        assert_loss::<f64>(value, sum / divisor, terms / divisor, context);
        let forward = loss.forward(shape, &x, targets, class_weights).unwrap();
        assert!(value.to_bits() == forward.to_bits() || value.is_nan() && forward.is_nan());
        for (&dx, &exact) in dx.checked().iter().zip(&exact) {
            assert_close(dx, exact / divisor, Tolerance { ulp: 0.5, epsilons: 0.0 }, context);
        }
    });
}

#[test]
fn negative_log_likelihood_backward_matches_reference() {
    for (rows, cols) in [(0, 0), (0, 4), (1, 1), (2, 7), (33, 5), (70_000, 2)] {
        for reduction in REDUCTIONS {
            check_likelihood::<f32>(rows, cols, reduction, None);
            check_likelihood::<f64>(rows, cols, reduction, Some(&weights(cols)));
        }
    }
}

#[test]
fn negative_log_likelihood_backward_special_values() {
    // An ignored row may hold anything; all ignored is a mean of nothing.
    let (loss, mut dx) = (NegativeLogLikelihood::default(), [f64::NAN; 4]);
    let x = [f64::NAN, f64::NAN, -1.0, f64::NEG_INFINITY];
    assert_eq!(loss.forward_backward(shape(2, 2), &x, &[-100, 0], None, &mut dx), Ok(1.0));
    assert_eq!(dx, [0.0, 0.0, -1.0, 0.0]);
    assert_eq!(loss.forward_backward(shape(2, 2), &x, &[-100, 1], None, &mut dx), Ok(f64::INFINITY));
    assert!(loss.forward_backward(shape(2, 2), &x, &[-100, -100], None, &mut dx).unwrap().is_nan());
    assert_eq!(dx, [0.0; 4]);
}

#[test]
fn negative_log_likelihood_backward_same_bits_in_any_pool() {
    let x = numbers::<f32>(1, 90_000 * 2, 3.0);
    let classes: Vec<i64> = (0..90_000).map(|row| row % 2).collect();
    assert_invariant(|| {
        let (loss, mut dx) = (NegativeLogLikelihood::default(), vec![f32::NAN; x.len()]);
        (loss.forward_backward(shape(90_000, 2), &x, &classes, Some(&[0.3, 0.7]), &mut dx).unwrap(), dx)
    });
}

#[test]
fn negative_log_likelihood_names_the_bad_argument() {
    let (x, two, mut out) = ([0.5_f32; 6], shape(2, 3), Guarded::<f32>::new(5, 0));
    let loss = NegativeLogLikelihood::default();
    let length = |argument, expected, actual| Err(Error::Length { argument, expected, actual });
    assert_eq!(loss.forward(two, &x[..1], &[0, 0], None), length("x", 6, 1));
    assert_eq!(loss.forward_backward(two, &x, &[0, 0], None, out.slice()), length("dx", 6, 5));
    assert_eq!(loss.forward(two, &x, &[0], None), length("targets", 2, 1));
    assert_eq!(loss.forward(two, &x, &[0, 0], Some(&x)), length("class_weights", 3, 6));
    let refused = loss.forward_backward(shape(5, 1), &x[..5], &[0, 0, 1, 0, -7], None, out.slice());
    assert_eq!(refused, Err(Error::ClassIndex { argument: "targets", row: 2, class: 1, classes: 1 }));
    assert!(out.is_untouched());
}
