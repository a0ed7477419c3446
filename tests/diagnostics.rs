//! Measurements against plain loops, observed passes against unobserved ones, and verdicts on networks built to be sick.

mod common;
#[path = "diagnostics/jacobian.rs"]
mod jacobian;
#[path = "diagnostics/observed.rs"]
mod observed;
#[path = "diagnostics/verdict.rs"]
mod verdict;

use common::{each_level, each_pool, numbers, special_values};
use proptest::prelude::*;
use steadygrad::diagnostics::{Activity, Change, FlatRegion, Magnitude};
use steadygrad::reference::observe as reference;
use steadygrad::{Activation, Element, Error, Level, RowShape};

/// Relative error of a norm that is taken in `f64`.
const NORM: f64 = 1e-12;

#[track_caller]
fn assert_norm(actual: f64, expected: f64) {
    let close = (actual - expected).abs() <= NORM * expected;
    assert!(
        close || actual == expected || actual.is_nan() && expected.is_nan(),
        "{actual:e} is not {expected:e}"
    );
}

fn wide<T: Element>(x: &[T]) -> Vec<f64> {
    x.iter().map(|&x| Element::to_f64(x)).collect()
}

/// Runs `body` in every pool and at the levels with FMA, and holds its bits together.
fn assert_equal_everywhere(body: impl Fn() -> Vec<f64> + Sync) {
    let bits = || body().iter().map(|x| x.to_bits()).collect::<Vec<u64>>();
    let expected = bits();
    each_pool(|threads| assert_eq!(bits(), expected, "on {threads} threads"));
    let fused = Level::available().filter(|&level| level != Level::Portable);
    let of_levels: Vec<Vec<u64>> = fused.map(|level| Level::scoped(level, bits).unwrap()).collect();
    assert!(of_levels.windows(2).all(|pair| pair[0] == pair[1]), "levels differ");
}

/// Shapes that reach every tail, more than a strip of columns, and more rows than are counted at a time.
fn shapes() -> Vec<RowShape> {
    let mut shapes: Vec<RowShape> = (1..=70).map(|cols| RowShape { rows: 3, cols }).collect();
    for (rows, cols) in
        [(0, 5), (1, 1), (1, 300), (2, 255), (2, 256), (2, 257), (7, 513), (9000, 3), (4096, 33)]
    {
        shapes.push(RowShape { rows, cols });
    }
    shapes
}

/// Outputs of which about a third are flat, and some units always.
fn outputs<T: Element>(shape: RowShape, seed: u64) -> Vec<T> {
    let mut y: Vec<T> = numbers(seed, shape.rows * shape.cols, 0.7);
    for (at, y) in y.iter_mut().enumerate() {
        if at % shape.cols % 5 == 2 {
            *y = T::from_f64(if at % 2 == 0 { -1.0 } else { 1.0 });
        }
    }
    y
}

fn activity<T: Element>() {
    let region = FlatRegion { low: -0.5, high: 0.75 };
    for shape in shapes() {
        // An odd place in a larger slice.
        let offset = shape.cols % 7;
        let mut y = vec![T::nan(); offset];
        y.extend(outputs::<T>(shape, shape.cols as u64));
        let y = &y[offset..];
        let (exact, bounds) = (wide(y), [region.low, region.high]);
        each_level(|level| {
            let actual = Activity::of(shape, region, y).unwrap();
            assert_norm(actual.values.norm, reference::norm(&exact));
            assert_eq!(actual.values.elements, y.len() as u64);
            assert_eq!(actual.values.non_finite, 0);
            assert_eq!(actual.flat, reference::flat(&exact, bounds) as u64, "{shape:?} {level}");
            let dead = if y.is_empty() { 0 } else { reference::dead_units(shape.cols, &exact, bounds) };
            assert_eq!(actual.dead_units, dead as u64, "{shape:?} {level}");
            assert_eq!((actual.units, actual.region), (shape.cols as u64, region));
        });
    }
}

#[test]
fn activity_matches_reference() {
    activity::<f32>();
    activity::<f64>();
}

fn change<T: Element>() {
    for len in (0..=145).chain([1023, 1024, 1025, 70_001]) {
        let (before, update): (Vec<T>, Vec<T>) = (numbers(1, len + 3, 2.0), numbers(2, len + 3, 1e-3));
        let after: Vec<T> = before.iter().zip(&update).map(|(&before, &update)| before + update).collect();
        let (before, after) = (&before[3..], &after[3..]);
        let [norm, of_update] = reference::change(&wide(before), &wide(after));
        each_level(|_| {
            let actual = Change::between(before, after).unwrap();
            assert_norm(actual.before.norm, norm);
            // The difference itself is rounded to the type where that is f64.
            assert_norm(actual.update.norm, of_update);
            assert_eq!((actual.before.elements, actual.update.elements), (len as u64, len as u64));
        });
    }
}

#[test]
fn change_matches_reference() {
    change::<f32>();
    change::<f64>();
}

fn magnitude<T: Element>() {
    for len in (0..=145).chain([16_383, 16_384, 16_385, 70_001]) {
        let x: Vec<T> = numbers(len as u64, len, 1.0);
        each_level(|_| {
            let actual = Magnitude::of(&x);
            assert_norm(actual.norm, reference::norm(&wide(&x)));
            assert_eq!((actual.elements, actual.non_finite), (len as u64, 0));
        });
    }
    assert_eq!(Magnitude::of(&[] as &[T]).rms(), 0.0);
}

#[test]
fn magnitude_matches_reference() {
    magnitude::<f32>();
    magnitude::<f64>();
}

/// NaN and infinities at every place of every kind of tail are counted, and make the norm what they are.
fn non_finite<T: Element>() {
    for len in [1, 15, 16, 31, 32, 33, 97, 20_000] {
        for bad in [T::nan(), T::infinity(), T::neg_infinity()] {
            let places = if len > 100 { vec![0, 1023, 1024, 16_384, len - 1] } else { (0..len).collect() };
            for place in places {
                let mut x: Vec<T> = numbers(5, len, 1.0);
                let whole = x.clone();
                x[place] = bad;
                each_level(|_| {
                    let magnitude = Magnitude::of(&x);
                    assert_eq!(magnitude.non_finite, 1);
                    assert_eq!(magnitude.norm.is_nan(), bad.is_nan());
                    assert!(!magnitude.norm.is_finite());
                    let activity =
                        Activity::of(RowShape { rows: 1, cols: len }, Activation::Relu, &x).unwrap();
                    assert_eq!(
                        (activity.values.non_finite, activity.values.norm.is_nan()),
                        (1, bad.is_nan())
                    );
                    let change = Change::between(&whole, &x).unwrap();
                    assert_eq!((change.before.non_finite, change.update.non_finite), (0, 1));
                    assert!(change.before.norm.is_finite() && !change.update.norm.is_finite());
                    let change = Change::between(&x, &whole).unwrap();
                    assert_eq!((change.before.non_finite, change.update.non_finite), (1, 1));
                });
            }
        }
    }
}

#[test]
fn activity_magnitude_and_change_count_what_is_not_finite() {
    non_finite::<f32>();
    non_finite::<f64>();
}

#[test]
fn activity_magnitude_and_change_hold_every_magnitude() {
    each_level(|_| {
        for value in [1e-300_f64, 1e-200, 1e-20, 1e20, 1e200, 1e300] {
            for len in [1, 33, 2000] {
                let (x, root) = (vec![value; len], (len as f64).sqrt());
                let close =
                    |actual: f64, exact: f64| assert!((actual / exact - 1.0).abs() < 1e-12, "{actual:e}");
                close(Magnitude::of(&x).norm, value * root);
                let shape = RowShape { rows: 1, cols: len };
                close(Activity::of(shape, FlatRegion::NONE, &x).unwrap().values.norm, value * root);
                let twice: Vec<f64> = x.iter().map(|x| 2.0 * x).collect();
                let change = Change::between(&x, &twice).unwrap();
                close(change.before.norm, value * root);
                close(change.update.norm, value * root);
            }
        }
        for value in [1e-45_f32, 1e-38, 3e38] {
            let (x, norm) = (vec![value; 40], f64::from(value) * 40.0_f64.sqrt());
            assert_norm(Magnitude::of(&x).norm, norm);
            assert_norm(Change::between(&x, &[0.0; 40]).unwrap().update.norm, norm);
        }
        // The difference of two numbers is past the largest, of f32 in f64 is not.
        assert_norm(Change::between(&[3e38_f32], &[-3e38]).unwrap().update.norm, 2.0 * f64::from(3e38_f32));
    });
}

#[test]
fn activity_special_values() {
    let y = special_values::<f32>();
    let (shape, region) = (RowShape { rows: 1, cols: y.len() }, FlatRegion::from(Activation::Relu));
    each_level(|_| {
        let activity = Activity::of(shape, region, &y).unwrap();
        assert_eq!(activity.flat, reference::flat(&wide(&y), [region.low, region.high]) as u64);
        // The slope of ReLU at infinity is 1.
        assert!(!reference::is_flat(f64::INFINITY, [region.low, region.high]));
        // A NaN is not flat, and a unit that was NaN once is not dead.
        let two = RowShape { rows: 2, cols: 2 };
        let activity = Activity::of(two, region, &[0.0, f32::NAN, -0.0, 0.0]).unwrap();
        assert_eq!((activity.flat, activity.dead_units), (3, 1));
        assert_eq!(activity.values.non_finite, 1);
    });
    // No samples: no unit is dead.
    let empty = Activity::of(RowShape { rows: 0, cols: 4 }, region, &[] as &[f32]).unwrap();
    assert_eq!((empty.units, empty.dead_units, empty.flat_share(), empty.dead_share()), (4, 0, 0.0, 0.0));
}

#[test]
fn activity_is_the_same_everywhere() {
    for shape in [
        RowShape { rows: 4096, cols: 70 },
        RowShape { rows: 200, cols: 1000 },
        RowShape { rows: 1, cols: 200_000 },
    ] {
        let y = outputs::<f32>(shape, 9);
        assert_equal_everywhere(|| {
            let activity = Activity::of(shape, FlatRegion { low: -0.5, high: 0.5 }, &y).unwrap();
            vec![
                activity.values.norm,
                activity.flat as f64,
                activity.dead_units as f64,
                Magnitude::of(&y).norm,
            ]
        });
    }
    let (before, after): (Vec<f64>, Vec<f64>) = (numbers(1, 300_000, 1.0), numbers(2, 300_000, 1.0));
    assert_equal_everywhere(|| {
        let change = Change::between(&before, &after).unwrap();
        vec![change.before.norm, change.update.norm]
    });
}

#[test]
fn activity_and_change_name_the_bad_argument() {
    let of =
        |rows, cols, len| Activity::of(RowShape { rows, cols }, Activation::Relu, &vec![0.0_f32; len]).err();
    assert_eq!(of(2, 3, 5), Some(Error::Length { argument: "y", expected: 6, actual: 5 }));
    assert_eq!(of(2, 0, 0), Some(Error::Empty { dimension: "cols" }));
    assert_eq!(of(usize::MAX, 2, 0), Some(Error::Overflow { argument: "shape" }));
    let error = Error::Length { argument: "after", expected: 2, actual: 1 };
    assert_eq!(Change::between(&[0.0_f32; 2], &[0.0]), Err(error));
}

/// Where the output says flat, the derivative is at most a sixteenth of its largest value, and elsewhere it is more.
#[test]
fn activity_is_flat_where_the_slope_is() {
    let activations = [
        Activation::Relu,
        Activation::Relu6,
        Activation::Elu { alpha: 1.0 },
        Activation::Elu { alpha: 0.3 },
        Activation::Celu { alpha: 2.0 },
        Activation::Selu,
        Activation::Softplus { beta: 2.0, threshold: 20.0 },
        Activation::LogSigmoid,
        Activation::Softsign,
        Activation::Tanh,
        Activation::Sigmoid,
        Activation::HardTanh { min: -1.0, max: 2.0 },
        Activation::HardSigmoid,
    ];
    // Twice the points would find the same: none lies on an edge.
    let x: Vec<f64> = (-1000..1000).map(|i| f64::from(i) * 0.01 + 0.0031).collect();
    let (mut y, mut slope) = (x.clone(), x.clone());
    for activation in activations {
        activation.forward(&x, &mut y).unwrap();
        activation.backward(&x, &vec![1.0; x.len()], &mut slope).unwrap();
        let region = FlatRegion::from(activation);
        // The slope that flat ends are held against: on the side of the exponential, that at 0.
        let largest = match activation {
            Activation::Elu { alpha } => alpha,
            Activation::Selu => 1.758_099_340_847_376_6,
            Activation::Sigmoid => 0.25,
            Activation::HardSigmoid => 1.0 / 6.0,
            _ => 1.0,
        };
        for ((x, y), slope) in x.iter().zip(&y).zip(&slope) {
            let flat = reference::is_flat(*y, [region.low, region.high]);
            assert_eq!(flat, *slope <= largest / 16.0, "{activation:?} at {x}: y {y}, slope {slope}");
        }
        assert!(region.low > f64::NEG_INFINITY || region.high < f64::INFINITY);
    }
    for activation in [Activation::Identity, Activation::Gelu, Activation::LeakyRelu { slope: 0.01 }] {
        assert_eq!(FlatRegion::from(activation), FlatRegion::NONE);
    }
}

proptest! {
    /// A batch counts what its halves count, and its norm is that of both.
    #[test]
    fn activity_of_halves_adds_up(cols in 1_usize..80, rows in (1_usize..9, 1_usize..9), seed in 0_u64..1000) {
        let (whole, region) = (RowShape { rows: rows.0 + rows.1, cols }, FlatRegion { low: -0.3, high: 0.9 });
        let y = outputs::<f32>(whole, seed);
        let (first, second) = y.split_at(rows.0 * cols);
        let all = Activity::of(whole, region, &y).unwrap();
        let first = Activity::of(RowShape { rows: rows.0, cols }, region, first).unwrap();
        let second = Activity::of(RowShape { rows: rows.1, cols }, region, second).unwrap();
        prop_assert_eq!(all.flat, first.flat + second.flat);
        prop_assert!(all.dead_units <= first.dead_units.min(second.dead_units));
        let norm = first.values.norm.hypot(second.values.norm);
        prop_assert!((all.values.norm - norm).abs() <= NORM * norm);
    }

    /// Changes scale with what is changed, by powers of two to the bit.
    #[test]
    fn change_scales(len in 1_usize..200, seed in 0_u64..1000, power in -20_i32..20) {
        let factor = 2.0_f64.powi(power);
        let (before, after): (Vec<f64>, Vec<f64>) = (numbers(seed, len, 1.0), numbers(seed + 1, len, 1.0));
        let scaled = |x: &[f64]| x.iter().map(|x| x * factor).collect::<Vec<f64>>();
        let one = Change::between(&before, &after).unwrap();
        let other = Change::between(&scaled(&before), &scaled(&after)).unwrap();
        prop_assert_eq!(one.before.norm * factor, other.before.norm);
        prop_assert_eq!(one.update.norm * factor, other.update.norm);
    }
}
