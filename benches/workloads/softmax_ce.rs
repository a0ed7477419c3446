//! `softmax_ce/<rows>x<classes>`: cross-entropy of class indices, forward and gradient.

use std::hint::black_box;

use steadygrad::RowShape;
use steadygrad::loss::{CrossEntropy, Targets};

use crate::timing::{Bench, Work, normal};

pub(crate) fn names() -> Vec<String> {
    ["700x10000", "64x1000", "4096x32000"].map(|shape| format!("softmax_ce/{shape}")).to_vec()
}

pub(crate) fn run(bench: &Bench, parts: &[&str]) -> Option<()> {
    let [_, shape] = *parts else { return None };
    let (rows, cols) = shape.split_once('x')?;
    let shape = RowShape { rows: rows.parse().ok()?, cols: cols.parse().ok()? };
    let elements = shape.elements().ok()?;
    let logits: Vec<f32> = normal(elements);
    let targets: Vec<i64> = (0..shape.rows).map(|row| (row * 7919 % shape.cols) as i64).collect();
    let mut dlogits = vec![0.0; elements];
    bench.measure(&parts.join("/"), "fwd+bwd", "f32", Work { bytes: 8 * elements, flops: 0 }, || {
        let targets = Targets::Classes(black_box(&targets));
        let loss = CrossEntropy::default();
        let loss = loss.forward_backward(shape, black_box(&logits), targets, None, black_box(&mut dlogits));
        black_box(loss.unwrap());
    });
    Some(())
}
