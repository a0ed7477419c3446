//! Dropout, penalties and constraints: any bits, any shape, every level against the reference.

use steadygrad::reference::{self, philox};
use steadygrad::regularize::{
    AlphaDropout, Dropout, ElasticNet, GroupLasso, MaskShape, MaxNorm, Orthogonality,
};
use steadygrad::{Element, Level, Philox, WeightShape};

use super::reader::{Bits, Reader, Tolerance, assert_close, assert_refused};

/// Decodes and checks one case.
pub(crate) fn run(data: &[u8]) {
    let mut reader = Reader::new(data);
    match reader.byte() % 8 {
        0 => dropout::<f32>(&mut reader),
        1 => dropout::<f64>(&mut reader),
        2 => penalty_and_proximal::<f32>(&mut reader),
        3 => penalty_and_proximal::<f64>(&mut reader),
        4 => group_lasso_and_max_norm::<f32>(&mut reader),
        5 => group_lasso_and_max_norm::<f64>(&mut reader),
        6 => orthogonality::<f32>(&mut reader),
        _ => orthogonality::<f64>(&mut reader),
    }
}

fn at<R>(level: Level, body: impl FnOnce() -> R) -> R {
    Level::scoped(level, body).expect("an available level")
}

fn dropout<T: Bits>(reader: &mut Reader<'_>) {
    let (outer, repeats) = (reader.up_to(4), reader.up_to(4));
    let shape = MaskShape { outer, repeats, units: reader.up_to(100), inner: reader.up_to(4) };
    let stream = Philox { key: reader.long(), counter: reader.long() };
    let p = reader.pick(&[0.0, 0.1, 0.5, 0.999, 1.0, -0.5, f64::NAN]);
    let len = shape.elements_in_all().expect("small");
    let (x, excess): (Vec<T>, usize) = (reader.floats(len), reader.up_to(3));
    for level in Level::available() {
        let mut y = vec![T::nan(); len + excess];
        let mut alpha = y.clone();
        let plain = at(level, || Dropout { p }.forward(shape, stream, &x, &mut y));
        let selu = at(level, || AlphaDropout { p }.forward(shape, stream, &x, &mut alpha));
        if excess > 0 || !(0.0..=1.0).contains(&p) {
            assert_refused(plain, &y);
            assert_refused(selu, &alpha);
            continue;
        }
        for i in 0..len {
            let MaskShape { units, inner, .. } = shape;
            let draw = i / (repeats * units * inner) * units + i / inner % units;
            let dropped = philox::happens(stream.key, stream.counter, draw as u64, p);
            let v = x[i].to_f64();
            let expected = if p == 1.0 { v * 0.0 } else { reference::dropout::forward(v, dropped, p) };
            let tolerance = Tolerance { relative: 4.0, absolute: 0.0 };
            assert_close((p, shape, level), expected, y[i], tolerance);
            let expected = reference::dropout::alpha_forward(v, dropped, p);
            // a·α′·p, and what it cancels.
            let tolerance = Tolerance { relative: 8.0, absolute: 64.0 };
            assert_close((p, shape, level), expected, alpha[i], tolerance);
        }
    }
}

fn penalty_and_proximal<T: Bits>(reader: &mut Reader<'_>) {
    let op = ElasticNet { l1: reader.ordinary(), l2: reader.ordinary() };
    let (step, len) = (reader.ordinary(), reader.up_to(200));
    let (weights, before): (Vec<T>, Vec<T>) = (reader.floats(len), reader.ordinaries(len));
    let valid = op.l1 >= 0.0 && op.l2 >= 0.0;
    for level in Level::available() {
        let (mut grad, mut next) = (before.clone(), weights.clone());
        let value = at(level, || op.add_gradient(&[&weights], &mut [&mut grad]));
        assert_eq!(value.is_ok(), valid);
        let stepped = at(level, || op.proximal(step, &mut [&mut next]));
        assert_eq!(stepped.is_ok(), valid && step >= 0.0);
        for i in 0..len {
            let w = weights[i].to_f64();
            let part = if valid { reference::penalty::gradient(w, op.l1, op.l2) } else { 0.0 };
            let tolerance = Tolerance { relative: 4.0, absolute: 256.0 };
            assert_close((op, w, level), before[i].to_f64() + part, grad[i], tolerance);
            let expected =
                if stepped.is_ok() { reference::proximal::proximal(w, step, op.l1, op.l2) } else { w };
            let size = if w.is_finite() { w.abs().min(256.0) } else { 0.0 };
            let tolerance = Tolerance { relative: 4.0, absolute: 4.0 * size };
            assert_close((op, step, w, level), expected, next[i], tolerance);
        }
    }
}

fn group_lasso_and_max_norm<T: Bits>(reader: &mut Reader<'_>) {
    let (rows, cols) = (reader.up_to(8), reader.up_to(40));
    let shape = WeightShape { outputs: rows, inputs: cols, field: 1 };
    let (lambda, max, step) = (reader.ordinary().abs(), reader.ordinary().abs(), 0.5);
    let weights: Vec<T> = reader.ordinaries(rows * cols);
    for level in Level::available() {
        let mut grad = vec![T::zero(); rows * cols];
        let (mut next, mut limited) = (weights.clone(), weights.clone());
        let lasso = GroupLasso { lambda };
        at(level, || lasso.add_gradient(shape, &weights, &mut grad)).expect("valid");
        at(level, || lasso.proximal(shape, step, &mut next)).expect("valid");
        at(level, || MaxNorm { max }.constrain(shape, &mut limited)).expect("valid");
        for row in 0..rows {
            let all = row * cols..(row + 1) * cols;
            let unit: Vec<f64> = weights[all.clone()].iter().copied().map(Element::to_f64).collect();
            let mut exact_grad = vec![0.0; cols];
            let (mut exact_next, mut exact_limited) = (unit.clone(), unit.clone());
            reference::group_lasso::gradient(&unit, lambda, &mut exact_grad);
            reference::group_lasso::proximal(&mut exact_next, step, lambda);
            reference::max_norm::constrain(&mut exact_limited, max);
            for (k, i) in all.enumerate() {
                let tolerance = Tolerance { relative: 16.0, absolute: 64.0 };
                assert_close((lambda, level), exact_grad[k], grad[i], tolerance);
                assert_close((lambda, level), exact_next[k], next[i], tolerance);
                assert_close((max, level), exact_limited[k], limited[i], tolerance);
            }
        }
    }
}

fn orthogonality<T: Bits>(reader: &mut Reader<'_>) {
    let (rows, cols) = (reader.up_to(9), reader.up_to(20));
    let shape = WeightShape { outputs: rows, inputs: cols, field: 1 };
    let op = Orthogonality { lambda: reader.ordinary().abs() / 16.0 };
    let weights: Vec<T> = reader.ordinaries(rows * cols);
    let exact: Vec<f64> = weights.iter().copied().map(Element::to_f64).collect();
    let mut exact_grad = vec![0.0; rows * cols];
    reference::orthogonality::gradient(rows, cols, &exact, op.lambda, &mut exact_grad);
    for level in Level::available() {
        let mut scratch = vec![T::nan(); op.scratch_len::<T>(shape).expect("small")];
        let mut grad = vec![T::zero(); rows * cols];
        let value = at(level, || op.add_gradient(shape, &weights, &mut scratch, &mut grad)).expect("valid");
        let expected = reference::orthogonality::value(rows, cols, &exact, op.lambda);
        let tolerance = T::epsilon().to_f64() * (1e3 * expected + 1e5);
        assert!((value - expected).abs() <= tolerance, "{value} is not {expected} at {level}");
        for (&expected, &grad) in exact_grad.iter().zip(&grad) {
            // Sums of up to 20·20 terms of 16³.
            assert_close((op, level), expected, grad, Tolerance { relative: 16.0, absolute: 3e7 });
        }
    }
}
