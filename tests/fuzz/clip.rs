//! Clipping by norm and by value: any bits in any list, any limit, every level against the reference.

use steadygrad::Level;
use steadygrad::clip::{ClipNorm, ClipRule, ClipValue, NonFinite};
use steadygrad::reference;

use super::reader::{Bits, Reader, Tolerance, assert_close};

/// Decodes and checks one case.
pub(crate) fn run(data: &[u8]) {
    let mut reader = Reader::new(data);
    match reader.byte() % 4 {
        0 => clip_norm::<f32>(&mut reader),
        1 => clip_norm::<f64>(&mut reader),
        2 => clip_value::<f32>(&mut reader),
        _ => clip_value::<f64>(&mut reader),
    }
}

fn clip_norm<T: Bits>(reader: &mut Reader<'_>) {
    let op = ClipNorm {
        max_norm: parameter(reader),
        p: reader.pick(&[1.0, 2.0, f64::INFINITY, 0.0]),
        rule: reader.pick(&[ClipRule::Exact, ClipRule::Torch { eps: 1e-6 }]),
        non_finite: reader.pick(&[NonFinite::Error, NonFinite::Skip, NonFinite::Propagate]),
    };
    let before: Vec<Vec<T>> = tensors(reader);
    let first_bad = before.iter().position(|tensor| tensor.iter().any(|g| !g.is_finite()));
    for level in Level::available() {
        let mut after = before.clone();
        let mut grads: Vec<&mut [T]> = after.iter_mut().map(Vec::as_mut_slice).collect();
        let result = Level::scoped(level, || op.clip(&mut grads)).expect("an available level");
        let valid = op.max_norm >= 0.0 && op.p > 0.0;
        assert_eq!(result.is_ok(), valid && !(first_bad.is_some() && op.non_finite == NonFinite::Error));
        let (norm, factor) = match result {
            Ok(report) => {
                assert_eq!(report.non_finite, first_bad);
                let skipped = first_bad.is_some() && op.non_finite == NonFinite::Skip;
                (report.norm, if skipped { 1.0 } else { report.scale })
            }
            Err(_) => (0.0, 1.0),
        };
        let eps = if let ClipRule::Torch { eps } = op.rule { eps } else { 0.0 };
        for (&after, &before) in after.iter().flatten().zip(before.iter().flatten()) {
            let mut expected = [before.to_f64()];
            // A factor of 1 is no product: NaN payloads and subnormals stay.
            if factor != 1.0 {
                // Below the normal numbers the report has lost bits of the factor, which the product has not.
                let lost = factor.abs() < f64::MIN_POSITIVE && first_bad.is_none();
                if lost && norm.is_infinite() {
                    continue;
                }
                let divisor = if lost { norm + eps } else { 1.0 };
                expected[0] /= divisor;
                reference::clip_norm::clip(&mut expected, if lost { op.max_norm } else { factor });
            }
            assert_close((op, level), expected[0], after, Tolerance { relative: 4.0, absolute: 0.0 });
        }
    }
}

fn clip_value<T: Bits>(reader: &mut Reader<'_>) {
    let value = ClipValue { min: -parameter(reader), max: parameter(reader) };
    let before: Vec<Vec<T>> = tensors(reader);
    for level in Level::available() {
        let mut after = before.clone();
        let mut grads: Vec<&mut [T]> = after.iter_mut().map(Vec::as_mut_slice).collect();
        let result = Level::scoped(level, || value.clip(&mut grads)).expect("an available level");
        assert_eq!(result.is_ok(), value.min <= value.max);
        for (&after, &before) in after.iter().flatten().zip(before.iter().flatten()) {
            let limits = (T::from_f64(value.min), T::from_f64(value.max));
            let expected =
                if result.is_ok() { reference::clip_value::clip(before, limits.0, limits.1) } else { before };
            assert!(
                after == expected || after.is_nan() && expected.is_nan(),
                "{value:?} of {before:?} at {level}"
            );
        }
    }
}

/// Up to five tensors with elements of any kind.
fn tensors<T: Bits>(reader: &mut Reader<'_>) -> Vec<Vec<T>> {
    (0..reader.up_to(5))
        .map(|_| {
            let len = reader.up_to(200);
            reader.floats(len)
        })
        .collect()
}

/// Mostly a sensible limit; sometimes one that must be refused.
fn parameter(reader: &mut Reader<'_>) -> f64 {
    if reader.byte() < 32 { reader.float() } else { reader.ordinary().abs() }
}
