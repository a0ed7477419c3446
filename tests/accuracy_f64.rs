//! The `f64` functions against mpmath's values at 200 bits (`tests/accuracy/f64_table.py`), at every level.

use steadygrad::{Error, Level, math};

type Function = fn(&[f64], &mut [f64]) -> Result<(), Error>;

/// The functions in the order of the table.
const FUNCTIONS: [(&str, Function); 12] = [
    ("exp", math::exp),
    ("expm1", math::expm1),
    ("ln", math::ln),
    ("ln_1p", math::ln_1p),
    ("tanh", math::tanh),
    ("sigmoid", math::sigmoid),
    ("softplus", math::softplus),
    ("log_sigmoid", math::log_sigmoid),
    ("erf", math::erf),
    ("erfc", math::erfc),
    ("normal_cdf", math::normal_cdf),
    ("normal_pdf", math::normal_pdf),
];

static TABLE: &[u8] = include_bytes!("accuracy/f64_table.bin");

/// The largest error in units in the last place of the exact value.
fn bound(level: Level) -> f64 {
    if level == Level::Portable { 4.0 } else { 2.0 }
}

/// f(x): `rounded`, and what its magnitude lacks in units in the last place.
struct Point {
    x: f64,
    rounded: f64,
    excess: f64,
}

/// Takes the points of the next function off the table.
fn next_function(table: &mut &[u8]) -> Vec<Point> {
    let count = u32::from_le_bytes(take(table));
    (0..count)
        .map(|_| {
            let x = f64::from_le_bytes(take(table));
            let rounded = f64::from_le_bytes(take(table));
            let excess = f64::from(i16::from_le_bytes(take(table))) / 65536.0;
            Point { x, rounded, excess }
        })
        .collect()
}

fn take<const N: usize>(table: &mut &[u8]) -> [u8; N] {
    let (bytes, rest) = table.split_first_chunk().expect("the table ends at a whole point");
    *table = rest;
    *bytes
}

/// The error of `actual` in units in the last place of the exact value; 0 or infinite where that is not finite.
fn ulp_error(actual: f64, exact: &Point) -> f64 {
    let rounded = exact.rounded;
    let exact_zero = rounded == 0.0 && exact.excess == 0.0;
    if !rounded.is_finite() || exact_zero {
        let same = actual.to_bits() == rounded.to_bits() || (actual.is_nan() && rounded.is_nan());
        return if same { 0.0 } else { f64::INFINITY };
    }
    if !actual.is_finite() {
        return f64::INFINITY;
    }
    // The unit of the exact value: below a power of two it is the smaller one. The largest number has no upper one.
    let magnitude = rounded.abs();
    let below = exact.excess < 0.0 || magnitude == f64::MAX;
    let unit = if below { magnitude - magnitude.next_down() } else { magnitude.next_up() - magnitude };
    let surplus = (actual - rounded) * 1.0_f64.copysign(rounded);
    (surplus / unit - exact.excess).abs()
}

#[test]
fn math_f64_is_within_its_bound() {
    let mut table = TABLE;
    let mut failures = Vec::new();
    for (name, function) in FUNCTIONS {
        let points = next_function(&mut table);
        let x: Vec<f64> = points.iter().map(|point| point.x).collect();
        for level in Level::available() {
            let mut y = vec![f64::NAN; x.len()];
            Level::scoped(level, || function(&x, &mut y)).unwrap().unwrap();
            let errors =
                points.iter().zip(&y).map(|(point, &actual)| (ulp_error(actual, point), point.x, actual));
            let (worst, at, actual) = errors.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
            println!("{name:12} {level:9} {worst:.3} ULP at {at:e}");
            if worst > bound(level) {
                failures.push(format!("{name} at {level}: {worst} ULP at {at:e}, which gave {actual:e}"));
            }
        }
    }
    assert!(table.is_empty(), "functions without a test: {} bytes are left", table.len());
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn math_f64_comparison_can_fail() {
    let third = Point { x: 3.0, rounded: 1.0 / 3.0, excess: 1.0 / 3.0 };
    assert!((ulp_error(third.rounded, &third) - 1.0 / 3.0).abs() < 1e-12);
    assert!((ulp_error(third.rounded.next_up().next_up(), &third) - 5.0 / 3.0).abs() < 1e-12);
    assert!(ulp_error(third.rounded * (1.0 + 1e-15), &third) > 2.0);
    assert!(ulp_error(f64::NAN, &third).is_infinite());
    assert!(ulp_error(0.0, &Point { x: 0.0, rounded: -0.0, excess: 0.0 }).is_infinite());
    assert!(ulp_error(0.0, &Point { x: 0.0, rounded: f64::NAN, excess: 0.0 }).is_infinite());
}

/// AVX2 and AVX-512 run the same operations in the same order.
#[test]
fn math_f64_gives_equal_bits_at_levels_with_fma() {
    let mut table = TABLE;
    for (name, function) in FUNCTIONS {
        let x: Vec<f64> = next_function(&mut table).iter().map(|point| point.x).collect();
        let results: Vec<Vec<f64>> = Level::available()
            .filter(|&level| level > Level::Portable)
            .map(|level| {
                let mut y = vec![f64::NAN; x.len()];
                Level::scoped(level, || function(&x, &mut y)).unwrap().unwrap();
                y
            })
            .collect();
        for pair in results.windows(2) {
            for ((x, a), b) in x.iter().zip(&pair[0]).zip(&pair[1]) {
                assert!(
                    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()),
                    "{name}({x:e}): {a:e} and {b:e}"
                );
            }
        }
    }
}
