//! Layer-sequential unit variance: sums of variance 1 in every layer.

use steadygrad::init::{Lsuv, LsuvReport};
use steadygrad::linear::Dense;
use steadygrad::{Activation, Element, Error, Init, RowShape};

use super::subject::{moments, rng, sums_of};
use crate::common::{self, assert_same_bits, each_pool};

fn stack<T: Element>(sizes: &[usize]) -> (Vec<Dense>, Vec<Vec<T>>) {
    let layers: Vec<Dense> =
        sizes.windows(2).map(|pair| Dense { inputs: pair[0], outputs: pair[1] }).collect();
    let weights = layers.iter().map(|layer| vec![T::nan(); layer.inputs * layer.outputs]).collect();
    (layers, weights)
}

fn filled<T: Element>(
    op: Lsuv,
    (layers, weights): &mut (Vec<Dense>, Vec<Vec<T>>),
    activation: Activation,
    x: &[T],
    seed: u64,
) -> Result<Vec<LsuvReport>, Error> {
    let mut weights: Vec<&mut [T]> = weights.iter_mut().map(Vec::as_mut_slice).collect();
    op.fill_stack(layers, activation, x, &mut rng(seed), &mut weights)
}

fn unit_variance<T: Element>() {
    for seed in 0..20 {
        for activation in [Activation::Relu, Activation::Tanh, Activation::Gelu, Activation::Sigmoid] {
            let mut net = stack::<T>(&[20, 40, 40, 30, 40, 8]);
            let x: Vec<T> = common::numbers(seed, 200 * 20, 3.0);
            let reports = filled(Lsuv::default(), &mut net, activation, &x, seed).unwrap();
            for (report, sums) in reports.iter().zip(sums_of(&net.0, activation, &net.1, &x)) {
                let sums: Vec<f64> = sums.iter().map(|&x| Element::to_f64(x)).collect();
                let std = moments(&sums)[1];
                assert!((std * std - 1.0).abs() < 0.1, "{activation:?}: variance {}", std * std);
                assert!((report.variance - std * std).abs() < 1e-6);
                assert!(report.iterations <= 2);
            }
        }
    }
}

#[test]
fn lsuv_gives_every_layer_unit_variance() {
    unit_variance::<f32>();
    unit_variance::<f64>();
}

/// The weights are orthogonal ones times a number.
#[test]
fn lsuv_scales_orthogonal_weights() {
    let mut net = stack::<f64>(&[16, 16, 24]);
    let x = common::numbers(3, 100 * 16, 0.1);
    filled(Lsuv::default(), &mut net, Activation::Relu, &x, 5).unwrap();
    let mut generator = rng(5);
    for (layer, weights) in net.0.iter().zip(&net.1) {
        let mut plain = vec![0.0; weights.len()];
        let shape = RowShape { rows: layer.outputs, cols: layer.inputs };
        Init::Orthogonal { gain: 1.0 }.fill(shape, &mut generator, &mut plain).unwrap();
        let scale = weights[0] / plain[0];
        assert!(scale > 0.0);
        assert!(weights.iter().zip(&plain).all(|(w, plain)| (w - scale * plain).abs() < 1e-12 * scale));
    }
}

#[test]
fn lsuv_stops_at_its_iterations() {
    let shape = RowShape { rows: 2, cols: 2 };
    let (mut weights, mut calls) = ([f64::NAN; 4], 0);
    // A layer that ignores its weights.
    let variance = |_: &[f64]| {
        calls += 1;
        Ok(4.0)
    };
    let report =
        Lsuv { iterations: 3, ..Lsuv::default() }.fill(shape, &mut rng(1), variance, &mut weights).unwrap();
    assert_eq!((report, calls), (LsuvReport { variance: 4.0, iterations: 3 }, 4));
    let norm = weights.iter().map(|w| w * w).sum::<f64>();
    assert!((norm - 2.0 / 64.0).abs() < 1e-12, "three times a half of two orthonormal rows: {norm}");
}

#[test]
fn lsuv_is_the_same_in_every_pool() {
    let x: Vec<f32> = common::numbers(1, 300 * 50, 1.0);
    let mut expected = stack::<f32>(&[50, 200, 100]);
    filled(Lsuv::default(), &mut expected, Activation::Relu, &x, 2).unwrap();
    each_pool(|threads| {
        let mut net = stack::<f32>(&[50, 200, 100]);
        filled(Lsuv::default(), &mut net, Activation::Relu, &x, 2).unwrap();
        for (a, b) in net.1.iter().zip(&expected.1) {
            assert_same_bits(a, b, || format!("on {threads} threads"));
        }
    });
}

#[test]
fn lsuv_names_the_bad_argument() {
    let op = Lsuv::default();
    let x: Vec<f32> = common::numbers(1, 40, 1.0);
    let refused = |op: Lsuv, sizes: &[usize], x: &[f32]| {
        let mut net = stack::<f32>(sizes);
        let error = filled(op, &mut net, Activation::Relu, x, 1).unwrap_err();
        assert!(net.1.iter().flatten().all(|w| w.is_nan()), "weights were written although refused");
        error
    };
    let argument = |error| match error {
        Error::OutOfRange { argument, .. } => argument,
        other => panic!("{other:?}"),
    };
    assert_eq!(argument(refused(Lsuv { tolerance: 0.0, ..op }, &[4, 3], &x)), "tolerance");
    assert_eq!(argument(refused(Lsuv { tolerance: f64::NAN, ..op }, &[4, 3], &x)), "tolerance");
    // Data that say nothing, and data that are none.
    assert_eq!(argument(refused(op, &[4, 3, 3], &[0.0; 40])), "variance");
    assert_eq!(argument(refused(op, &[4, 3, 3], &[f32::NAN; 40])), "variance");
    assert_eq!(refused(op, &[4, 3], &x[..39]), Error::Length { argument: "x", expected: 36, actual: 39 });
    assert_eq!(refused(op, &[0, 3], &x), Error::Empty { dimension: "inputs" });
    let mut net = stack::<f32>(&[4, 3, 2]);
    net.0[1].inputs = 4;
    let error = filled(op, &mut net, Activation::Relu, &x, 1);
    assert_eq!(error, Err(Error::LayerSize { layer: 1, expected: 3, actual: 4 }));
    net.0[1].inputs = 3;
    net.1[1].pop();
    let error = filled(op, &mut net, Activation::Relu, &x, 1);
    assert_eq!(error, Err(Error::Length { argument: "weights", expected: 6, actual: 5 }));
    net.1.pop();
    let error = filled(op, &mut net, Activation::Relu, &x, 1);
    assert_eq!(error, Err(Error::Length { argument: "weights", expected: 2, actual: 1 }));
    assert_eq!(filled::<f32>(op, &mut (vec![], vec![]), Activation::Relu, &[], 1), Ok(vec![]));
    // What the caller's network says comes back.
    let error = Error::Unsupported { operation: "this layer" };
    let mut weights = [f32::NAN; 4];
    let result = op.fill(RowShape { rows: 2, cols: 2 }, &mut rng(1), |_| Err(error), &mut weights);
    assert!(result == Err(error) && weights.iter().all(|w| w.is_nan()));
}
