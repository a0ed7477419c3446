//! Cross-entropy of classes and of probabilities, weighted and smoothed.

use proptest::prelude::*;
use steadygrad::loss::{CrossEntropy, Reduction, Targets};
use steadygrad::{Element, Error, RowShape, reference};

use super::subject::{
    REDUCTIONS, assert_invariant, assert_loss, divisor, probabilities, reference_ulps, shape, weights,
};
use crate::common::{
    Guarded, Tolerance, assert_close, assert_same_bits, each_level, numbers, tolerance, widen,
};

/// One batch, and the loss it is given to.
#[derive(Clone, Debug)]
struct Batch<T> {
    loss: CrossEntropy,
    shape: RowShape,
    logits: Vec<T>,
    classes: Vec<i64>,
    /// In the place of the classes.
    probabilities: Option<Vec<T>>,
    weights: Option<Vec<T>>,
}

/// The exact loss, the sum of its terms' magnitudes, and per element the gradient and the magnitude of its terms.
struct Exact {
    loss: f64,
    terms: f64,
    gradient: Vec<f64>,
    gradient_terms: Vec<f64>,
}

impl<T: Element> Batch<T> {
    fn targets(&self) -> Targets<'_, T> {
        self.probabilities.as_deref().map_or(Targets::Classes(&self.classes), Targets::Probabilities)
    }

    fn exact(&self) -> Exact {
        let RowShape { rows, cols } = self.shape;
        let weights = self.weights.as_deref().map_or(vec![1.0; cols], widen);
        let ignored =
            |row: usize| self.probabilities.is_none() && self.classes[row] == self.loss.ignore_index;
        let counted: f64 = (0..rows)
            .filter(|&row| !ignored(row))
            .map(|row| if self.probabilities.is_some() { 1.0 } else { weights[self.classes[row] as usize] })
            .sum();
        let divisor = divisor(self.loss.reduction, counted);
        let mut exact = Exact {
            loss: 0.0,
            terms: 0.0,
            gradient: vec![0.0; rows * cols],
            gradient_terms: vec![0.0; rows * cols],
        };
        for row in (0..rows).filter(|&row| !ignored(row)) {
            let at = row * cols..(row + 1) * cols;
            let x = widen(&self.logits[at.clone()]);
            let v: Vec<f64> = (0..cols)
                .map(|c| {
                    let q = match &self.probabilities {
                        Some(q) => q[at.start + c].to_f64(),
                        None => f64::from(self.classes[row] == c as i64),
                    };
                    let (smoothing, classes) = (self.loss.label_smoothing, cols as f64);
                    reference::cross_entropy::target(q, weights[c], smoothing, classes)
                })
                .collect();
            let loss = reference::cross_entropy::forward(&x, &v);
            exact.loss += loss / divisor;
            // In f64 the reference rounds as much, relative to its logits.
            let rounded = reference_ulps::<T>(cols) * v.iter().sum::<f64>();
            exact.terms += (loss.abs() + rounded) / divisor;
            let gradient = &mut exact.gradient[at.clone()];
            reference::cross_entropy::backward(&x, &v, gradient);
            gradient.iter_mut().for_each(|dx| *dx /= divisor);
            let largest = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            for (c, terms) in exact.gradient_terms[at].iter_mut().enumerate() {
                let first = exact.gradient[row * cols + c] + v[c] / divisor;
                *terms = first.abs() * (1.0 + (largest - x[c]).min(200.0)) + (v[c] / divisor).abs();
            }
        }
        if counted == 0.0 && self.loss.reduction == Reduction::Mean {
            exact.loss = f64::NAN;
        }
        exact
    }

    fn check(&self, offset: usize) {
        let exact = self.exact();
        let logits = Guarded::of(&self.logits, offset);
        let weights = self.weights.as_deref();
        each_level(|level| {
            let context = || format!("{self:?} at {level}");
            let loss = self.loss.forward(self.shape, logits.checked(), self.targets(), weights).unwrap();
            assert_loss::<T>(loss, exact.loss, exact.terms, context);
            let mut dx = Guarded::new(self.logits.len(), offset);
            let (targets, out) = (self.targets(), dx.slice());
            let with_gradient =
                self.loss.forward_backward(self.shape, logits.checked(), targets, weights, out).unwrap();
            let mut in_place = Guarded::of(&self.logits, offset);
            let (targets, out) = (self.targets(), in_place.slice());
            let in_place_loss =
                self.loss.forward_backward_in_place(self.shape, targets, weights, out).unwrap();
            for other in [with_gradient, in_place_loss] {
                assert!(
                    loss.to_bits() == other.to_bits() || loss.is_nan() && other.is_nan(),
                    "{}",
                    context()
                );
            }
            assert_same_bits(dx.checked(), in_place.checked(), context);
            for (i, &dx) in dx.checked().iter().enumerate() {
                let epsilons = (tolerance::LOSS_GRADIENT + reference_ulps::<T>(self.shape.cols))
                    * exact.gradient_terms[i];
                assert_close(dx, exact.gradient[i], Tolerance { ulp: 4.5, epsilons }, || {
                    format!("element {i} of {}", context())
                });
            }
        });
    }
}

/// A batch of each form: classes with one row ignored, or probabilities; smoothed or not, weighted or not.
fn batches<T: Element>(rows: usize, cols: usize) -> impl Iterator<Item = Batch<T>> {
    let batch = move |form: usize, label_smoothing: f64| {
        let reduction = REDUCTIONS[(rows + cols + form) % 3];
        let classes = (0..rows).map(|row| if row == 1 { -100 } else { ((row * 5 + 3) % cols) as i64 });
        Batch {
            loss: CrossEntropy { label_smoothing, reduction, ..CrossEntropy::default() },
            shape: shape(rows, cols),
            logits: numbers((rows * 1000 + cols) as u64, rows * cols, 3.0),
            classes: classes.collect(),
            probabilities: (form & 1 == 1).then(|| probabilities(5, rows * cols)),
            weights: (form & 2 == 2).then(|| weights(cols)),
        }
    };
    (0..4).flat_map(move |form| [0.0, 0.1, 1.0].map(|smoothing| batch(form, smoothing)))
}

fn cross_entropy_of_every_width<T: Element>() {
    for cols in (1..=145).chain([255, 1000, 4099]) {
        for batch in batches::<T>(1 + cols % 3, cols) {
            batch.check(cols % 5);
        }
    }
}

#[test]
fn cross_entropy_backward_matches_reference() {
    cross_entropy_of_every_width::<f32>();
    cross_entropy_of_every_width::<f64>();
}

#[test]
fn cross_entropy_backward_of_many_and_of_huge_rows() {
    for (rows, cols) in [(0, 3), (0, 0), (700, 3), (8000, 5), (33, 1000), (1, 100_003)] {
        for batch in batches::<f32>(rows, cols).take(if rows == 1 { 12 } else { 4 }) {
            batch.check(1);
        }
    }
}

#[test]
fn cross_entropy_backward_matches_finite_differences() {
    // The reference itself, in f64.
    let (x, h) = ([0.3, -1.2, 2.0, 0.7, -0.4], 1e-6_f64);
    for v in [[0.0, 0.0, 1.0, 0.0, 0.0], [0.2, 0.5, 0.1, 0.9, 0.0]] {
        let mut dx = [0.0; 5];
        reference::cross_entropy::backward(&x, &v, &mut dx);
        for c in 0..5 {
            let (mut above, mut below) = (x, x);
            above[c] += h;
            below[c] -= h;
            let difference = (reference::cross_entropy::forward(&above, &v)
                - reference::cross_entropy::forward(&below, &v))
                / (2.0 * h);
            assert!((difference - dx[c]).abs() < 1e-8, "{difference} against {}", dx[c]);
        }
    }
}

/// The loss and gradient of rows of `cols` classes with these targets, summed.
fn summed<T: Element>(cols: usize, logits: &[T], classes: &[i64]) -> (f64, Vec<T>) {
    let loss = CrossEntropy { reduction: Reduction::Sum, ..CrossEntropy::default() };
    let mut dx = vec![T::nan(); logits.len()];
    let targets = Targets::Classes(classes);
    let loss = loss.forward_backward(shape(classes.len(), cols), logits, targets, None, &mut dx).unwrap();
    (loss, dx)
}

fn cross_entropy_special_values_of<T: Element>() {
    let real = T::from_f64;
    let (inf, nan) = (T::infinity(), T::nan());
    each_level(|level| {
        // As PyTorch: −∞ has probability 0, also where it is the target.
        let (loss, dx) = summed(2, &[-inf, real(1.0)], &[1]);
        assert_eq!((loss, dx), (0.0, vec![T::zero(), T::zero()]), "at {level}");
        let (loss, dx) = summed(2, &[-inf, real(1.0)], &[0]);
        assert_eq!((loss, dx), (f64::INFINITY, vec![real(-1.0), T::one()]), "at {level}");
        let (loss, dx) = summed(3, &[real(1e30), real(-1e30), T::zero()], &[2]);
        assert_eq!((loss, dx), (real(1e30).to_f64(), vec![T::one(), T::zero(), real(-1.0)]), "at {level}");
        // NaN or +∞ anywhere, or −∞ everywhere, make a NaN of the row and of no other.
        for len in [1, 2, 16, 17, 40, 100] {
            for bad in [nan, inf] {
                for at in 0..len {
                    let mut logits = vec![T::one(); 3 * len];
                    logits[len + at] = bad;
                    let (loss, dx) = summed(len, &logits, &[0, 0, 0]);
                    assert!(loss.is_nan(), "{bad:?} at {at} of {len}, {level}");
                    assert!(
                        dx[len..2 * len].iter().all(|dx| dx.is_nan()),
                        "{bad:?} at {at} of {len}, {level}"
                    );
                    assert!(dx[..len].iter().chain(&dx[2 * len..]).all(|dx| dx.is_finite()));
                }
            }
            let (loss, dx) = summed(len, &vec![-inf; len], &[0]);
            assert!(loss.is_nan() && dx.iter().all(|dx| dx.is_nan()), "{len} times −∞ at {level}");
            // An ignored row may hold anything.
            let (loss, dx) = summed(len, &vec![nan; len], &[-100]);
            assert!(loss == 0.0 && dx.iter().all(|&dx| dx == T::zero()), "ignored at {level}");
        }
    });
}

#[test]
fn cross_entropy_backward_special_values() {
    cross_entropy_special_values_of::<f32>();
    cross_entropy_special_values_of::<f64>();
}

#[test]
fn cross_entropy_forward_of_nothing_is_nan_as_a_mean_and_zero_as_a_sum() {
    let (mean, mut dx) = (CrossEntropy::default(), [f32::NAN; 4]);
    let ignored = Targets::Classes(&[-100, -100]);
    assert!(mean.forward_backward(shape(2, 2), &[f32::NAN; 4], ignored, None, &mut dx).unwrap().is_nan());
    assert_eq!(dx, [0.0; 4]);
    let sum = CrossEntropy { reduction: Reduction::Sum, ..mean };
    for cols in [0, 3] {
        for targets in [Targets::Classes(&[]), Targets::Probabilities(&[])] {
            let weights = [1.0_f32; 3];
            assert!(mean.forward(shape(0, cols), &[], targets, Some(&weights[..cols])).unwrap().is_nan());
            assert_eq!(sum.forward(shape(0, cols), &[], targets, Some(&weights[..cols])), Ok(0.0));
        }
    }
}

#[test]
fn cross_entropy_backward_keeps_the_digits_of_a_certain_row() {
    // ln(1 + 50 e^−20), where a sum in f32 is 1 and its logarithm 0.
    let exact = 50.0 * (-20.0_f64).exp();
    each_level(|level| {
        let mut logits = [0.0_f32; 51];
        logits[7] = 20.0;
        let (loss, dx) = summed(51, &logits, &[7]);
        assert!((loss / exact - 1.0).abs() < 1e-6, "{loss:e} against {exact:e} at {level}");
        assert!((f64::from(dx[7]) / exact + 1.0).abs() < 1e-6, "{:e} against {exact:e} at {level}", dx[7]);
    });
}

#[test]
fn cross_entropy_backward_is_pytorchs() {
    // F.cross_entropy([[3, 1, .5]], [[.2, .8, .3]], weight = [1, 2, 3], label_smoothing = .3), torch 2.
    let (loss, mut dx) = (CrossEntropy { label_smoothing: 0.3, ..CrossEntropy::default() }, [0.0_f64; 3]);
    let targets = Targets::Probabilities(&[0.2, 0.8, 0.3]);
    let weights = Some(&[1.0, 2.0, 3.0][..]);
    let value = loss.forward_backward(shape(1, 3), &[3.0, 1.0, 0.5], targets, weights, &mut dx).unwrap();
    assert!((value - 5.454_867_901_329_846_4).abs() < 1e-14);
    for (dx, expected) in
        dx.iter().zip([1.805_308_458_468_163_3, -1.043_197_600_466_971_2, -0.762_110_858_001_192_3])
    {
        assert!((dx - expected).abs() < 1e-14, "{dx} against {expected}");
    }
    // … and with classes [1, 0] of which 1 is ignored, for logits [[3, 1, .5], [1, 2, 3]].
    let (loss, mut dx) = (CrossEntropy { ignore_index: 1, ..loss }, [0.0_f64; 6]);
    let logits = [3.0, 1.0, 0.5, 1.0, 2.0, 3.0];
    let value =
        loss.forward_backward(shape(2, 3), &logits, Targets::Classes(&[1, 0]), weights, &mut dx).unwrap();
    assert!((value - 2.329_887_753_777_694_7).abs() < 1e-14);
    let expected =
        [0.0, 0.0, 0.0, -0.682_960_254_878_505_4, 0.118_147_012_371_236_88, 0.564_813_242_507_268_2];
    for (dx, expected) in dx.iter().zip(expected) {
        assert!((dx - expected).abs() < 1e-14, "{dx} against {expected}");
    }
}

#[test]
fn cross_entropy_backward_same_bits_in_any_pool_and_on_avx2_and_avx512() {
    for (rows, cols) in [(9000, 11), (70, 1003)] {
        for batch in batches::<f32>(rows, cols).take(12) {
            assert_invariant(|| {
                let mut dx = vec![f32::NAN; rows * cols];
                let (targets, weights) = (batch.targets(), batch.weights.as_deref());
                let loss = batch.loss.forward_backward(batch.shape, &batch.logits, targets, weights, &mut dx);
                (loss.unwrap(), dx)
            });
        }
    }
}

#[test]
fn cross_entropy_names_the_bad_argument() {
    let (loss, logits) = (CrossEntropy::default(), [0.0_f32; 6]);
    let mut out = Guarded::<f32>::new(6, 0);
    let classes = Targets::Classes(&[0, 1]);
    let length = |argument, expected, actual| Err(Error::Length { argument, expected, actual });
    let two = shape(2, 3);
    let mut run = |loss: CrossEntropy, shape, logits: &[f32], targets, weights: Option<&[f32]>, dx: usize| {
        let forward = loss.forward(shape, logits, targets, weights);
        let backward = loss.forward_backward(shape, logits, targets, weights, &mut out.slice()[..dx]);
        assert!(out.is_untouched());
        (forward, backward)
    };
    assert_eq!(run(loss, two, &logits[..5], classes, None, 6).1, length("logits", 6, 5));
    assert_eq!(run(loss, two, &logits, classes, None, 5).1, length("dlogits", 6, 5));
    assert_eq!(run(loss, two, &logits, Targets::Classes(&[0]), None, 6).1, length("targets", 2, 1));
    let probabilities = Targets::Probabilities(&[0.0; 5]);
    assert_eq!(run(loss, two, &logits, probabilities, None, 6).1, length("targets", 6, 5));
    assert_eq!(run(loss, two, &logits, classes, Some(&[1.0]), 6).1, length("class_weights", 3, 1));
    for bad in &[[0, 3], [0, -1], [0, i64::MIN], [0, i64::MAX]] {
        let class = bad[1];
        let refused = Err(Error::ClassIndex { argument: "targets", row: 1, class, classes: 3 });
        assert_eq!(run(loss, two, &logits, Targets::Classes(bad), None, 6), (refused, refused));
    }
    let empty = Err(Error::Empty { dimension: "cols" });
    assert_eq!(run(loss, shape(2, 0), &[], Targets::Classes(&[0, 0]), None, 0), (empty, empty));
    let overflow = Err(Error::Overflow { argument: "shape" });
    assert_eq!(run(loss, shape(usize::MAX, 2), &logits, classes, None, 6), (overflow, overflow));
    for label_smoothing in [-0.1, 1.1, f64::NAN] {
        let bad = CrossEntropy { label_smoothing, ..loss };
        assert!(matches!(run(bad, two, &logits, classes, None, 6).1, Err(Error::OutOfRange { .. })));
    }
    for divisor in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let bad = CrossEntropy { reduction: Reduction::SumOver(divisor), ..loss };
        assert!(matches!(run(bad, two, &logits, classes, None, 6).1, Err(Error::OutOfRange { .. })));
    }
}

proptest! {
    #[test]
    fn cross_entropy_backward_matches_reference_on_any_shape(
        rows in 0..6_usize, cols in 1..300_usize, which in 0..12_usize, offset in 0..16_usize,
    ) {
        batches::<f32>(rows, cols).nth(which).unwrap().check(offset);
    }
}
