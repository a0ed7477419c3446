//! Elementary functions over slices: any bits, any length, every level against the reference.

use steadygrad::math::{self, reference};
use steadygrad::{Error, Level};

use super::reader::{Bits, Reader, Tolerance, assert_close, assert_refused};

type Function<T> = fn(&[T], &mut [T]) -> Result<(), Error>;

/// A kernel's name, the kernel, and its reference in `f64`.
type Row<T> = (&'static str, Function<T>, fn(f64) -> f64);

fn functions<T: Bits>() -> [Row<T>; 11] {
    [
        ("exp", math::exp, f64::exp),
        ("expm1", math::expm1, f64::exp_m1),
        ("ln", math::ln, f64::ln),
        ("ln_1p", math::ln_1p, f64::ln_1p),
        ("tanh", math::tanh, f64::tanh),
        ("sigmoid", math::sigmoid, reference::sigmoid),
        ("softplus", math::softplus, reference::softplus),
        ("log_sigmoid", math::log_sigmoid, reference::log_sigmoid),
        ("erf", math::erf, libm::erf),
        ("erfc", math::erfc, libm::erfc),
        ("normal_cdf", math::normal_cdf, |x| 0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2)),
    ]
}

/// Decodes and checks one case.
pub(crate) fn run(data: &[u8]) {
    let mut reader = Reader::new(data);
    if reader.byte().is_multiple_of(2) { check::<f32>(&mut reader) } else { check::<f64>(&mut reader) }
}

fn check<T: Bits>(reader: &mut Reader<'_>) {
    let (name, function, reference) = reader.pick(&functions::<T>());
    let (len, excess) = (reader.up_to(300), reader.up_to(3));
    let x = reader.floats::<T>(len);
    for level in Level::available() {
        let mut y = vec![T::nan(); len + excess];
        let result = Level::scoped(level, || function(&x, &mut y)).expect("an available level");
        if excess > 0 {
            assert_refused(result, &y);
            continue;
        }
        result.expect("equal lengths");
        for (&x, &y) in x.iter().zip(&y) {
            assert_close((name, level, x), reference(x.to_f64()), y, tolerance(name, x.to_f64()));
        }
    }
}

/// e^(−x²) amplifies the rounding of x² in the references of the normal tails, and in kernels without FMA.
fn tolerance(name: &str, x: f64) -> Tolerance {
    let tail = if matches!(name, "erfc" | "normal_cdf") { x * x } else { 0.0 };
    Tolerance { relative: 8.0 + tail, absolute: 0.0 }
}
