//! The losses against their formulas in `f64`, at every level, shape and special value.

mod common;

use common::{Guarded, Tolerance, assert_close, assert_same_bits, each_level, each_pool, numbers, tolerance};
use proptest::prelude::*;
use steadygrad::loss::{
    BinaryCrossEntropyWithLogits, CrossEntropy, NegativeLogLikelihood, PointwiseLoss, Reduction, Softmax,
    Targets,
};
use steadygrad::{Element, Error, Level, RowShape, reference};

const REDUCTIONS: [Reduction; 3] = [Reduction::Mean, Reduction::Sum, Reduction::SumOver(2.5)];

fn shape(rows: usize, cols: usize) -> RowShape {
    RowShape { rows, cols }
}

fn widen<T: Element>(x: &[T]) -> Vec<f64> {
    x.iter().map(|&x| Element::to_f64(x)).collect()
}

/// Deterministic weights in `[0.25, 2.25]`.
fn weights<T: Element>(len: usize) -> Vec<T> {
    (0..len).map(|i| T::from_f64(0.25 + (i * 7 % 9) as f64 * 0.25)).collect()
}

/// Deterministic numbers in `[0, 1]`, both ends among them.
fn probabilities<T: Element>(seed: u64, len: usize) -> Vec<T> {
    let numbers = numbers::<T>(seed, len, 0.4);
    numbers.into_iter().map(|x| (x + T::from_f64(0.5)).max(T::zero()).min(T::one())).collect()
}

/// Fails where a loss is further from `exact` than the bound, relative to the sum of its terms' magnitudes.
#[track_caller]
fn assert_loss<T: Element>(actual: f64, exact: f64, terms: f64, context: impl FnOnce() -> String) {
    let same = actual == exact || actual.is_nan() && exact.is_nan();
    let error = (actual - exact).abs() / (terms * T::epsilon().to_f64());
    assert!(
        same || error <= tolerance::LOSS,
        "{actual:e} is {error:.2} epsilons from {exact:e}: {}",
        context()
    );
}

/// ULPs by which the reference itself may be off, which adds a row of `cols` up in `f64`, one after the other.
fn reference_ulps<T: Element>(cols: usize) -> f64 {
    if T::epsilon().to_f64() < 1e-10 { 8.0 + 0.5 * cols as f64 } else { 0.0 }
}

/// What `reduction` divides by.
fn divisor(reduction: Reduction, count: f64) -> f64 {
    match reduction {
        Reduction::Mean => count,
        Reduction::Sum => 1.0,
        Reduction::SumOver(divisor) => divisor,
    }
}

// Cross-entropy.

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

/// Runs `body` in every pool and at every fused level, and fails where any bit differs.
fn assert_invariant<T: Element>(body: impl Fn() -> (f64, Vec<T>) + Sync) {
    let (loss, dx) = body();
    each_pool(|threads| {
        let (other, other_dx) = body();
        assert_eq!(loss.to_bits(), other.to_bits(), "on {threads} threads");
        assert_same_bits(&other_dx, &dx, || format!("on {threads} threads"));
    });
    let fused: Vec<Level> = Level::available().filter(|&level| level != Level::Portable).collect();
    for pair in fused.windows(2) {
        let [a, b] = [pair[0], pair[1]].map(|level| Level::scoped(level, &body).unwrap());
        assert_eq!(a.0.to_bits(), b.0.to_bits(), "at {pair:?}");
        assert_same_bits(&a.1, &b.1, || format!("at {pair:?}"));
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

// Softmax.

fn check_softmax<T: Element>(rows: usize, cols: usize, x: &[T], dy: &[T], offset: usize) {
    for softmax in [Softmax::Probabilities, Softmax::Logarithms] {
        let (mut exact_y, mut exact_dx) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        let (wide, wide_dy) = (widen(x), widen(dy));
        let mut sizes = vec![0.0; x.len()];
        for at in (0..rows).map(|row| row * cols..(row + 1) * cols) {
            let (y, dx) = (&mut exact_y[at.clone()], &mut exact_dx[at.clone()]);
            let (x, dy) = (&wide[at.clone()], &wide_dy[at.clone()]);
            let largest = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = match softmax {
                Softmax::Probabilities => {
                    reference::softmax::softmax_forward(x, y);
                    reference::softmax::softmax_backward(y, dy, dx);
                    y.iter().zip(dy).map(|(y, dy)| (y * dy).abs()).sum()
                }
                Softmax::Logarithms => {
                    reference::softmax::log_softmax_forward(x, y);
                    reference::softmax::log_softmax_backward(y, dy, dx);
                    dy.iter().map(|dy| dy.abs()).sum()
                }
            };
            for (c, size) in sizes[at].iter_mut().enumerate() {
                let below = 8.0 + (largest - x[c]).min(200.0);
                *size = match softmax {
                    // A subnormal probability has lost bits, which the difference multiplies.
                    Softmax::Probabilities => {
                        (y[c] * (below + 20.0) + T::min_positive_value().to_f64()) * (dy[c].abs() + sum)
                    }
                    Softmax::Logarithms => dy[c].abs() + y[c].exp() * sum * (below + y[c].abs()),
                };
            }
        }
        each_level(|level| {
            let context = || format!("{softmax:?} of {rows} rows of {cols} at {level}");
            let shape = shape(rows, cols);
            let (mut y, mut dx) = (Guarded::new(x.len(), offset), Guarded::new(x.len(), offset));
            softmax.forward(shape, x, y.slice()).unwrap();
            softmax.backward(shape, x, dy, dx.slice()).unwrap();
            let mut in_place = Guarded::of(x, offset);
            softmax.forward_in_place(shape, in_place.slice()).unwrap();
            assert_same_bits(y.checked(), in_place.checked(), context);
            let mut from_output = Guarded::new(x.len(), offset);
            softmax.backward_from_output(shape, y.checked(), dy, from_output.slice()).unwrap();
            assert_same_bits(dx.checked(), from_output.checked(), context);
            let mut in_place = Guarded::of(dy, offset);
            softmax.backward_from_output_in_place(shape, y.checked(), in_place.slice()).unwrap();
            assert_same_bits(dx.checked(), in_place.checked(), context);
            for (i, (&y, &dx)) in y.checked().iter().zip(dx.checked()).enumerate() {
                let row = &wide[i / cols * cols..][..cols];
                let below = row.iter().copied().fold(f64::NEG_INFINITY, f64::max) - wide[i];
                let tolerance = match softmax {
                    Softmax::Probabilities => {
                        Tolerance { ulp: 4.5 + reference_ulps::<T>(cols) + below.min(200.0), epsilons: 0.0 }
                    }
                    Softmax::Logarithms => Tolerance { ulp: 4.5, epsilons: 2.0 + reference_ulps::<T>(cols) },
                };
                assert_close(y, exact_y[i], tolerance, context);
                assert_close(dx, exact_dx[i], Tolerance { ulp: 4.5, epsilons: sizes[i] }, context);
            }
        });
    }
}

fn softmax_of_every_width<T: Element>() {
    for cols in (1..=145).chain([1000]) {
        let rows = cols % 4;
        check_softmax::<T>(
            rows,
            cols,
            &numbers(cols as u64, rows * cols, 4.0),
            &numbers(2, rows * cols, 2.0),
            cols % 3,
        );
    }
    // Of every exponential, down to those that underflow.
    let x: Vec<T> = (0..2000).map(|i| T::from_f64(f64::from(i) * -0.43)).collect();
    let y = |x: &[T]| {
        let mut y = vec![T::nan(); x.len()];
        Softmax::Probabilities.forward(shape(1, x.len()), x, &mut y).unwrap();
        y
    };
    assert!(y(&x).iter().all(|y| (T::zero()..=T::one()).contains(y)));
}

#[test]
fn softmax_forward_and_backward_match_reference() {
    softmax_of_every_width::<f32>();
    softmax_of_every_width::<f64>();
}

#[test]
fn softmax_backward_matches_finite_differences() {
    // The reference itself, in f64: Σ dy · y along each x.
    let (x, dy, h) = ([0.3, -1.2, 2.0, 0.7], [1.0, -0.5, 0.25, 2.0], 1e-6);
    type Forward = fn(&[f64], &mut [f64]);
    type Backward = fn(&[f64], &[f64], &mut [f64]);
    let both: [(Forward, Backward); 2] = [
        (reference::softmax::softmax_forward, reference::softmax::softmax_backward),
        (reference::softmax::log_softmax_forward, reference::softmax::log_softmax_backward),
    ];
    for (forward, backward) in both {
        let value = |x: [f64; 4]| {
            let mut y = [0.0; 4];
            forward(&x, &mut y);
            y.iter().zip(dy).map(|(y, dy)| y * dy).sum::<f64>()
        };
        let (mut y, mut dx) = ([0.0; 4], [0.0; 4]);
        forward(&x, &mut y);
        backward(&y, &dy, &mut dx);
        for c in 0..4 {
            let (mut above, mut below) = (x, x);
            above[c] += h;
            below[c] -= h;
            assert!(((value(above) - value(below)) / (2.0 * h) - dx[c]).abs() < 1e-8);
        }
    }
}

#[test]
fn softmax_forward_special_values() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let rows = [[-inf, 1.0], [-inf, -inf], [inf, 1.0], [nan, 0.0], [1e30, -1e30], [3e38, -3e38]].concat();
    let bits = |y: &[f32]| y.iter().map(|y| if y.is_nan() { 9.0 } else { *y }).collect::<Vec<_>>();
    each_level(|level| {
        let mut y = [0.0_f32; 12];
        Softmax::Probabilities.forward(shape(6, 2), &rows, &mut y).unwrap();
        assert_eq!(bits(&y), [0.0, 1.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 1.0, 0.0, 1.0, 0.0], "at {level}");
        Softmax::Logarithms.forward(shape(6, 2), &rows, &mut y).unwrap();
        assert_eq!(bits(&y), [-inf, 0.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 0.0, -2e30, 0.0, -inf], "at {level}");
    });
}

#[test]
fn softmax_backward_same_bits_in_any_pool_and_on_avx2_and_avx512() {
    let (rows, cols) = (300, 703);
    let (x, dy) = (numbers::<f32>(1, rows * cols, 3.0), numbers::<f32>(2, rows * cols, 3.0));
    for softmax in [Softmax::Probabilities, Softmax::Logarithms] {
        assert_invariant(|| {
            let mut dx = vec![f32::NAN; rows * cols];
            softmax.backward(shape(rows, cols), &x, &dy, &mut dx).unwrap();
            (0.0, dx)
        });
    }
}

#[test]
fn softmax_names_the_bad_argument() {
    let (x, two) = ([0.0_f32; 6], shape(2, 3));
    let mut out = Guarded::<f32>::new(5, 0);
    let length = |argument, expected, actual| Err(Error::Length { argument, expected, actual });
    for softmax in [Softmax::Probabilities, Softmax::Logarithms] {
        assert_eq!(softmax.forward(two, &x[..4], out.slice()), length("x", 6, 4));
        assert_eq!(softmax.forward(two, &x, out.slice()), length("y", 6, 5));
        assert_eq!(softmax.forward_in_place(two, out.slice()), length("x", 6, 5));
        assert_eq!(softmax.backward(two, &x, &x[..4], out.slice()), length("dy", 6, 4));
        assert_eq!(softmax.backward_from_output(two, &x, &x, out.slice()), length("dx", 6, 5));
        assert_eq!(softmax.backward_from_output_in_place(two, &x, out.slice()), length("grad", 6, 5));
        assert_eq!(
            softmax.forward_in_place(shape(5, 0), out.slice()),
            Err(Error::Empty { dimension: "cols" })
        );
        assert_eq!(softmax.forward::<f32>(shape(0, 0), &[], &mut []), Ok(()));
    }
    assert!(out.is_untouched());
}

// Pointwise losses.

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

// Binary cross-entropy with logits.

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

// Negative log-likelihood.

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

#[test]
#[should_panic(expected = "epsilons from")]
fn loss_comparison_can_fail() {
    let exact = 4.0_f64.ln();
    assert_loss::<f32>(exact * (1.0 + 2e-5), exact, exact, || "a wrong answer".into());
}

proptest! {
    #[test]
    fn cross_entropy_backward_matches_reference_on_any_shape(
        rows in 0..6_usize, cols in 1..300_usize, which in 0..12_usize, offset in 0..16_usize,
    ) {
        batches::<f32>(rows, cols).nth(which).unwrap().check(offset);
    }

    #[test]
    fn softmax_backward_matches_reference_on_any_shape(
        rows in 0..6_usize, cols in 1..300_usize, offset in 0..16_usize, deviation in 0.1..20.0,
    ) {
        let n = rows * cols;
        check_softmax::<f32>(rows, cols, &numbers(3, n, deviation), &numbers(4, n, 1.0), offset);
    }
}
