//! Losses of one element and its target.

use steadygrad::loss::{PointwiseLoss, Reduction};
use steadygrad::{Element, Error, reference};

use super::subject::{REDUCTIONS, assert_invariant, assert_loss, divisor, probabilities};
use crate::common::{self, Guarded, Tolerance, assert_close, assert_same_bits, each_level, numbers, widen};

const POINTWISE: [PointwiseLoss; 11] = [
    PointwiseLoss::Squared,
    PointwiseLoss::Absolute,
    PointwiseLoss::Huber { delta: 1.0 },
    PointwiseLoss::Huber { delta: f64::INFINITY },
    PointwiseLoss::SmoothAbsolute { beta: 0.5 },
    PointwiseLoss::SmoothAbsolute { beta: 0.0 },
    PointwiseLoss::BinaryCrossEntropy,
    PointwiseLoss::KlDivergence,
    PointwiseLoss::KlDivergenceOfLogarithms,
    PointwiseLoss::SigmoidSquared,
    PointwiseLoss::SmoothAbsolute { beta: 2.0 },
];

/// Elements and targets where the loss has a value.
fn pointwise_inputs<T: Element>(loss: PointwiseLoss, len: usize) -> (Vec<T>, Vec<T>) {
    let seed = len as u64;
    let below_0 = |x: Vec<T>| x.into_iter().map(|x: T| -x.abs()).collect();
    match loss {
        PointwiseLoss::BinaryCrossEntropy => (probabilities(seed, len), probabilities(seed + 1, len)),
        PointwiseLoss::KlDivergence => (below_0(numbers(seed, len, 2.0)), probabilities(seed + 1, len)),
        PointwiseLoss::KlDivergenceOfLogarithms => {
            (below_0(numbers(seed, len, 2.0)), below_0(numbers(seed + 1, len, 2.0)))
        }
        PointwiseLoss::SigmoidSquared => (numbers(seed, len, 4.0), probabilities(seed + 1, len)),
        _ => (numbers(seed, len, 2.0), numbers(seed + 1, len, 2.0)),
    }
}

fn check_pointwise<T: Element>(loss: PointwiseLoss, reduction: Reduction, x: &[T], t: &[T], offset: usize) {
    let divisor = divisor(reduction, x.len() as f64);
    let (wide, wide_t) = (widen(x), widen(t));
    let exact = |i: usize| {
        let (x, t) = (wide[i], wide_t[i]);
        let (value, gradient) =
            (reference::pointwise::forward(loss, x, t), reference::pointwise::backward(loss, x, t));
        // What the rounding of `T` is relative to, where logarithms or σ − t cancel.
        let terms = match loss {
            PointwiseLoss::KlDivergence => t * x.abs() + value.abs(),
            PointwiseLoss::SigmoidSquared => 1.0,
            _ => value.abs(),
        };
        let gradient_terms = match loss {
            PointwiseLoss::SigmoidSquared => gradient.abs() + x.abs().neg().exp(),
            _ => gradient.abs(),
        };
        (value, terms, gradient, gradient_terms)
    };
    use core::ops::Neg;
    let all: Vec<_> = (0..x.len()).map(exact).collect();
    let sum = all.iter().map(|e| e.0).sum::<f64>() / divisor;
    let terms = all.iter().map(|e| e.1).sum::<f64>() / divisor;
    each_level(|level| {
        let context = || format!("{loss:?} {reduction:?} of {x:?} and {t:?} at {level}");
        let mut dx = Guarded::new(x.len(), offset);
        let value = loss.forward(reduction, x, t).unwrap();
        assert_loss::<T>(value, sum, terms, context);
        let with_gradient = loss.forward_backward(reduction, x, t, dx.slice()).unwrap();
        let mut in_place = Guarded::of(x, offset);
        let in_place_loss = loss.forward_backward_in_place(reduction, t, in_place.slice()).unwrap();
        for other in [with_gradient, in_place_loss] {
            assert!(value.to_bits() == other.to_bits() || value.is_nan() && other.is_nan(), "{}", context());
        }
        assert_same_bits(dx.checked(), in_place.checked(), context);
        for (&dx, &(_, _, gradient, terms)) in dx.checked().iter().zip(&all) {
            let tolerance = Tolerance { ulp: 4.5, epsilons: 4.0 * terms / divisor };
            assert_close(dx, gradient / divisor, tolerance, context);
        }
    });
}

fn pointwise_of_every_length<T: Element>() {
    for loss in POINTWISE {
        for len in common::lengths() {
            let (x, t) = pointwise_inputs::<T>(loss, len);
            check_pointwise(loss, REDUCTIONS[len % 3], &x, &t, len % 5);
        }
    }
}

#[test]
fn pointwise_backward_matches_reference() {
    pointwise_of_every_length::<f32>();
    pointwise_of_every_length::<f64>();
}

#[test]
fn pointwise_backward_matches_finite_differences() {
    // The reference itself, in f64, away from the kinks.
    let h = 1e-6_f64;
    for loss in POINTWISE {
        for (x, t) in [(0.31, 0.9), (0.8, 0.1), (0.2, 0.27), (0.97, 0.0), (0.4, 1.0)] {
            let difference = (reference::pointwise::forward(loss, x + h, t)
                - reference::pointwise::forward(loss, x - h, t))
                / (2.0 * h);
            let analytic = reference::pointwise::backward(loss, x, t);
            let scale = 1.0 + analytic.abs();
            assert!(
                (difference - analytic).abs() < 1e-8 * scale,
                "{loss:?}: {difference} against {analytic}"
            );
        }
    }
}

/// The summed loss and the gradient of one element.
fn pointwise<T: Element>(loss: PointwiseLoss, x: T, t: T) -> (f64, T) {
    let mut dx = [T::nan()];
    (loss.forward_backward(Reduction::Sum, &[x], &[t], &mut dx).unwrap(), dx[0])
}

#[test]
fn pointwise_backward_special_values() {
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    each_level(|level| {
        for loss in POINTWISE {
            assert!(pointwise(loss, nan, 0.5).0.is_nan(), "{loss:?} at {level}");
            assert!(pointwise(loss, 0.5, nan).0.is_nan(), "{loss:?} at {level}");
            let of_x = !matches!(loss, PointwiseLoss::KlDivergence | PointwiseLoss::KlDivergenceOfLogarithms);
            assert_eq!(pointwise(loss, nan, 0.5).1.is_nan(), of_x, "{loss:?} at {level}");
            assert!(pointwise(loss, 0.5, nan).1.is_nan(), "{loss:?} at {level}");
            // NaN at any place of any length.
            for at in 0..40 {
                let (mut x, mut dx) = (vec![0.5_f32; 40], vec![0.0; 40]);
                x[at] = f32::NAN;
                let t = [0.25; 40];
                assert!(loss.forward_backward(Reduction::Mean, &x, &t, &mut dx).unwrap().is_nan());
                assert_eq!(dx.iter().filter(|dx| dx.is_nan()).count(), usize::from(of_x));
            }
        }
        let is = |loss, x: f64, t: f64, value, gradient| {
            assert_eq!(pointwise(loss, x, t), (value, gradient), "{loss:?} of {x}, {t} at {level}");
        };
        let huber = PointwiseLoss::Huber { delta: 1.0 };
        let smooth = PointwiseLoss::SmoothAbsolute { beta: 1.0 };
        for loss in [PointwiseLoss::Absolute, huber, smooth] {
            is(loss, inf, 0.0, inf, 1.0);
            is(loss, -inf, 0.0, inf, -1.0);
            is(loss, 2.0, 2.0, 0.0, 0.0);
        }
        is(PointwiseLoss::SmoothAbsolute { beta: 0.0 }, 2.0, 2.0, 0.0, 0.0);
        is(PointwiseLoss::SmoothAbsolute { beta: 1e-320 }, 2.0, 1.0, 1.0, 1.0);
        is(PointwiseLoss::Squared, inf, 0.0, inf, inf);
        // PyTorch's clamps: a logarithm of −100, a gradient of 10¹².
        is(PointwiseLoss::BinaryCrossEntropy, 0.0, 0.0, 0.0, 0.0);
        is(PointwiseLoss::BinaryCrossEntropy, 1.0, 1.0, 0.0, 0.0);
        is(PointwiseLoss::BinaryCrossEntropy, 0.0, 1.0, 100.0, -1e12);
        is(PointwiseLoss::BinaryCrossEntropy, 1.0, 0.0, 100.0, 1e12);
        is(PointwiseLoss::BinaryCrossEntropy, 1e-60, 1.0, 100.0, -1e12);
        for x in [-0.5, 1.5] {
            assert!(pointwise(PointwiseLoss::BinaryCrossEntropy, x, 0.5).0.is_nan(), "{x} at {level}");
        }
        is(PointwiseLoss::KlDivergence, -3.0, 0.0, 0.0, 0.0);
        is(PointwiseLoss::KlDivergence, -inf, 0.25, inf, -0.25);
        assert!(pointwise(PointwiseLoss::KlDivergence, -inf, 0.0).0.is_nan());
        assert!(pointwise(PointwiseLoss::KlDivergence, -1.0, -0.5).0.is_nan());
        assert!(pointwise(PointwiseLoss::KlDivergenceOfLogarithms, -1.0, -inf).0.is_nan());
        // The disease: a wrong and certain sigmoid has next to no gradient.
        is(PointwiseLoss::SigmoidSquared, inf, 0.0, 0.5, 0.0);
        is(PointwiseLoss::SigmoidSquared, -inf, 1.0, 0.5, 0.0);
        let (loss, gradient) = pointwise(PointwiseLoss::SigmoidSquared, 40.0_f32, 0.0);
        assert!(loss == 0.5 && (0.0..1e-17).contains(&gradient), "{loss}, {gradient} at {level}");
        // Squares of f32 are taken in f64.
        let (loss, _) = pointwise(PointwiseLoss::Squared, 1e25_f32, 0.0);
        assert!((loss / 1e50 - 1.0).abs() < 1e-6, "{loss} at {level}");
    });
}

#[test]
fn pointwise_forward_of_nothing_is_nan_as_a_mean_and_zero_as_a_sum() {
    for loss in POINTWISE {
        assert!(loss.forward::<f32>(Reduction::Mean, &[], &[]).unwrap().is_nan());
        assert_eq!(loss.forward_backward::<f32>(Reduction::Sum, &[], &[], &mut []), Ok(0.0));
    }
}

#[test]
fn pointwise_backward_same_bits_in_any_pool_and_on_avx2_and_avx512() {
    for loss in POINTWISE {
        let (x, t) = pointwise_inputs::<f32>(loss, 200_003);
        assert_invariant(|| {
            let mut dx = vec![f32::NAN; x.len()];
            (loss.forward_backward(Reduction::Mean, &x, &t, &mut dx).unwrap(), dx)
        });
    }
}

#[test]
fn pointwise_names_the_bad_argument() {
    let (x, mut out) = ([0.5_f32; 5], Guarded::<f32>::new(4, 0));
    let length = |argument, actual| Err(Error::Length { argument, expected: 5, actual });
    let squared = PointwiseLoss::Squared;
    assert_eq!(squared.forward(Reduction::Mean, &x, &x[..3]), length("targets", 3));
    assert_eq!(squared.forward_backward(Reduction::Mean, &x, &x[..3], out.slice()), length("targets", 3));
    assert_eq!(squared.forward_backward(Reduction::Mean, &x, &x, out.slice()), length("dx", 4));
    let refused = squared.forward_backward_in_place(Reduction::Mean, &x, out.slice());
    assert_eq!(refused, Err(Error::Length { argument: "targets", expected: 4, actual: 5 }));
    let bad = [
        PointwiseLoss::Huber { delta: 0.0 },
        PointwiseLoss::Huber { delta: f64::NAN },
        PointwiseLoss::SmoothAbsolute { beta: -1.0 },
        PointwiseLoss::SmoothAbsolute { beta: f64::NAN },
    ];
    for loss in bad {
        let refused = loss.forward_backward(Reduction::Mean, &x[..4], &x[..4], out.slice());
        assert!(matches!(refused, Err(Error::OutOfRange { .. })), "{loss:?}");
    }
    let reduction = Reduction::SumOver(f64::NAN);
    let refused = squared.forward_backward(reduction, &x[..4], &x[..4], out.slice());
    assert!(matches!(refused, Err(Error::OutOfRange { argument: "reduction", .. })));
    assert!(out.is_untouched());
}
