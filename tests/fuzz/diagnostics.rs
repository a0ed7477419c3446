//! What is measured: any bits in any shape, every level against the reference, and a verdict on whatever was measured.

use steadygrad::diagnostics::{Activity, Change, FlatRegion, LayerFlow, Magnitude, Thresholds};
use steadygrad::reference::observe as reference;
use steadygrad::{Activation, Level, RowShape};

use super::reader::{Bits, Reader, Tolerance, assert_close};

/// Decodes and checks one case.
pub(crate) fn run(data: &[u8]) {
    let mut reader = Reader::new(data);
    match reader.byte() % 6 {
        0 => activity::<f32>(&mut reader),
        1 => activity::<f64>(&mut reader),
        2 => change::<f32>(&mut reader),
        3 => change::<f64>(&mut reader),
        4 => verdict::<f32>(&mut reader),
        _ => verdict::<f64>(&mut reader),
    }
}

const TOLERANCE: Tolerance = Tolerance { relative: 5000.0, absolute: 0.0 };

fn wide<T: Bits>(x: &[T]) -> Vec<f64> {
    x.iter().map(|&x| steadygrad::Element::to_f64(x)).collect()
}

/// The norm of numbers whose squares may leave the range of `f64`.
fn norm(x: &[f64]) -> f64 {
    let largest = x.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
    let nan = x.iter().any(|x| x.is_nan());
    if nan || largest == 0.0 || largest.is_infinite() {
        return if nan { f64::NAN } else { largest };
    }
    largest * reference::norm(&x.iter().map(|x| x / largest).collect::<Vec<f64>>())
}

fn check(what: impl std::fmt::Debug, magnitude: Magnitude, x: &[f64]) {
    assert_eq!((magnitude.elements, magnitude.non_finite), (x.len() as u64, reference::non_finite(x) as u64));
    assert_close(what, norm(x), magnitude.norm, TOLERANCE);
}

fn activity<T: Bits>(reader: &mut Reader<'_>) {
    let shape = RowShape { rows: reader.up_to(9), cols: 1 + reader.up_to(300) };
    let region = reader.pick(&[
        FlatRegion::NONE,
        Activation::Relu.into(),
        Activation::Tanh.into(),
        FlatRegion { low: 1.0, high: f64::NAN },
        FlatRegion { low: 2.0, high: -3.0 },
    ]);
    let excess = reader.up_to(7) / 7;
    let y: Vec<T> = reader.floats(shape.rows * shape.cols + excess);
    let exact = wide(&y);
    // The bounds are those of the element type.
    let bounds = [region.low, region.high].map(|bound| steadygrad::Element::to_f64(T::from_f64(bound)));
    for level in Level::available() {
        let result = Level::scoped(level, || Activity::of(shape, region, &y)).expect("an available level");
        if excess > 0 {
            assert!(result.is_err(), "a slice that is too long was accepted");
            continue;
        }
        let activity = result.expect("the length of the shape");
        check((shape, level), activity.values, &exact);
        assert_eq!(activity.flat, reference::flat(&exact, bounds) as u64);
        let dead = if exact.is_empty() { 0 } else { reference::dead_units(shape.cols, &exact, bounds) };
        assert_eq!(activity.dead_units, dead as u64);
    }
}

fn change<T: Bits>(reader: &mut Reader<'_>) {
    let len = reader.up_to(1200);
    let (before, after): (Vec<T>, Vec<T>) = (reader.floats(len), reader.floats(len));
    let [exact, exact_after] = [wide(&before), wide(&after)];
    let update: Vec<f64> = exact.iter().zip(&exact_after).map(|(before, after)| after - before).collect();
    for level in Level::available() {
        let result = Level::scoped(level, || Change::between(&before, &after)).expect("an available level");
        let change = result.expect("slices of one length");
        check(level, change.before, &exact);
        check(level, change.update, &update);
        assert!(Change::between(&before, &after[..len.saturating_sub(1)]).is_err() || len == 0);
    }
}

/// Any measurements have a verdict whose layer exists, and a table with a line each.
fn verdict<T: Bits>(reader: &mut Reader<'_>) {
    let mut layers = vec![LayerFlow::default(); reader.up_to(6)];
    for layer in &mut layers {
        let [a, b]: [Vec<T>; 2] = [(); 2].map(|()| reader.floats(3));
        let wanted = reader.byte();
        if wanted & 1 > 0 {
            layer.observe_gradient(&a);
        }
        if wanted & 2 > 0 {
            layer.observe_step(&a, &b).expect("slices of one length");
        }
        if wanted & 4 > 0 {
            let region = reader.pick(&[Activation::Relu, Activation::Sigmoid, Activation::Gelu]);
            layer
                .observe_activations(RowShape { rows: 3, cols: 1 }, region, &b)
                .expect("the length of the shape");
        }
    }
    let diagnosis = Thresholds::default().diagnose(&layers).expect("thresholds in their range");
    assert!(diagnosis.to_string().lines().count() >= layers.len() + 3);
    let spoilt = layers.iter().any(|layer| layer.non_finite() > 0);
    assert!(!spoilt || diagnosis.verdict.name() == "exploding");
}
