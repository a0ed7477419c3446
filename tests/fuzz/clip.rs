//! Clipping by norm, by value, by unit and by sample: any bits, any limit, every level against the reference.

use steadygrad::clip::{ClipAdaptive, ClipNorm, ClipPerSample, ClipRule, ClipValue, NonFinite};
use steadygrad::{Element, Level, RowShape, reference};

use super::reader::{Bits, Reader, Tolerance, assert_close};

/// Decodes and checks one case.
pub(crate) fn run(data: &[u8]) {
    let mut reader = Reader::new(data);
    match reader.byte() % 8 {
        0 => clip_norm::<f32>(&mut reader),
        1 => clip_norm::<f64>(&mut reader),
        2 => clip_value::<f32>(&mut reader),
        3 => clip_value::<f64>(&mut reader),
        4 => adaptive::<f32>(&mut reader),
        5 => adaptive::<f64>(&mut reader),
        6 => per_sample::<f32>(&mut reader),
        _ => per_sample::<f64>(&mut reader),
    }
}

fn policy(reader: &mut Reader<'_>) -> NonFinite {
    reader.pick(&[NonFinite::Error, NonFinite::Skip, NonFinite::Propagate])
}

fn all_finite<T: Element>(x: &[T]) -> bool {
    x.iter().all(|x| x.is_finite())
}

fn adaptive<T: Bits>(reader: &mut Reader<'_>) {
    let shape = RowShape { rows: reader.up_to(6), cols: reader.up_to(90) };
    let op = ClipAdaptive { ratio: parameter(reader), eps: parameter(reader), non_finite: policy(reader) };
    let elements = shape.rows * shape.cols;
    let (params, before): (Vec<T>, Vec<T>) = (reader.floats(elements), reader.floats(elements));
    let valid = op.ratio >= 0.0 && op.eps >= 0.0 && op.eps.is_finite();
    let finite = all_finite(&params) && all_finite(&before);
    for level in Level::available() {
        let mut after = before.clone();
        let result =
            Level::scoped(level, || op.clip(shape, &params, &mut after)).expect("an available level");
        assert_eq!(result.is_ok(), valid && (finite || op.non_finite != NonFinite::Error));
        let untouched = result.map_or(true, |report| report.scale == 1.0);
        for unit in 0..shape.rows {
            let unit = unit * shape.cols..(unit + 1) * shape.cols;
            let (params, before, after) = (&params[unit.clone()], &before[unit.clone()], &after[unit]);
            if untouched || op.non_finite == NonFinite::Skip && !finite {
                assert!(before.iter().zip(after).all(|(a, b)| a == b || a.is_nan() && b.is_nan()));
            } else if all_finite(params) && all_finite(before) {
                let limit = reference::clip_norm::adaptive_limit(op.ratio, norm(params), op.eps);
                let norm = norm(before);
                // The formula's own quotient leaves the range.
                if norm.is_infinite() || limit / norm < f64::MIN_POSITIVE {
                    continue;
                }
                let mut expected: Vec<f64> = before.iter().map(|&g| g.to_f64()).collect();
                reference::clip_norm::clip(&mut expected, reference::clip_norm::scale(norm, limit));
                for (&after, expected) in after.iter().zip(expected) {
                    let tolerance = Tolerance { relative: 64.0, absolute: 0.0 };
                    assert_close((op, shape, level), expected, after, tolerance);
                }
            }
        }
    }
}

fn per_sample<T: Bits>(reader: &mut Reader<'_>) {
    let shape = RowShape { rows: reader.up_to(6), cols: reader.up_to(90) };
    let op = ClipPerSample { max_norm: parameter(reader), non_finite: policy(reader) };
    let grads: Vec<T> = reader.floats(shape.rows * shape.cols);
    for level in Level::available() {
        let mut norms = vec![0.0; shape.rows];
        let mut scaled = grads.clone();
        let result = Level::scoped(level, || {
            ClipPerSample::add_norms(shape, &grads, &mut norms).expect("a row a norm");
            let report = op.factors(&mut norms)?;
            ClipPerSample::scale(shape, &norms, &mut scaled).map(|()| report)
        })
        .expect("an available level");
        let overflowing = norms.iter().any(|norm| !norm.is_finite());
        let refused = op.non_finite == NonFinite::Error && (overflowing || !all_finite(&grads));
        assert_eq!(result.is_ok(), op.max_norm >= 0.0 && !refused);
        if result.is_err() {
            continue;
        }
        for (sample, &factor) in norms.iter().enumerate() {
            for at in sample * shape.cols..(sample + 1) * shape.cols {
                let expected = if factor == 0.0 { 0.0 } else { grads[at].to_f64() * factor };
                assert_close(
                    (op, shape, level),
                    expected,
                    scaled[at],
                    Tolerance { relative: 4.0, absolute: 0.0 },
                );
            }
        }
    }
}

/// The 2-norm in `f64`, of numbers scaled so that no square leaves the range.
fn norm<T: Element>(x: &[T]) -> f64 {
    let largest = x.iter().map(|&x| x.to_f64().abs()).fold(0.0, f64::max);
    if largest == 0.0 {
        return 0.0;
    }
    let scaled: Vec<f64> = x.iter().map(|&x| x.to_f64() / largest).collect();
    largest * reference::norm_partial::norm_2(&scaled)
}

fn clip_norm<T: Bits>(reader: &mut Reader<'_>) {
    let op = ClipNorm {
        max_norm: parameter(reader),
        p: reader.pick(&[1.0, 2.0, f64::INFINITY, 0.0, 0.5, 3.0]),
        rule: reader.pick(&[ClipRule::Exact, ClipRule::Torch { eps: 1e-6 }]),
        non_finite: policy(reader),
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
