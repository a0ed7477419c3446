//! Both norms against their references, and those against finite differences.

use proptest::prelude::*;
use steadygrad::Element;
use steadygrad::gradcheck::GradCheck;
use steadygrad::reference::{layer_norm, rms_norm};

use super::subject::{Batch, Norm};
use crate::common::{self, Tolerance, assert_close, numbers, tolerance};

fn every_width<T: Element>(norm: Norm) {
    // With two values x̂ is ±1 but for eps, and dx all but cancels: eps keeps the terms of the size of the result.
    for cols in common::lengths().filter(|&cols| cols > 0).chain([1000, 4099]) {
        for form in 0..4 {
            Batch::<T>::new(norm, 1 + cols % 6, cols, form, 1e-3).check(cols % 5);
        }
    }
    // Every number of rows around the four side by side, and rows of more than one block.
    for rows in (0..20).chain([67, 130]) {
        Batch::<T>::new(norm, rows, 19, rows % 4, 1e-3).check(rows % 3);
    }
    // Rows past the length up to which four are taken at once.
    Batch::<T>::new(norm, 5, 16 * 1024 + 3, 0, 1e-3).check(1);
}

#[test]
fn layer_norm_forward_and_backward_match_reference() {
    every_width::<f32>(Norm::Layer);
    every_width::<f64>(Norm::Layer);
}

#[test]
fn rms_norm_forward_and_backward_match_reference() {
    every_width::<f32>(Norm::Rms);
    every_width::<f64>(Norm::Rms);
}

/// The gradient of all of `[x, γ, β]` by the references.
fn reference_backward(norm: Norm, cols: usize, point: &[f64], dy: &[f64], gradient: &mut [f64]) {
    let rows = dy.len() / cols;
    let (x, affine) = point.split_at(rows * cols);
    let (gamma, _) = affine.split_at(cols);
    let (dx, parameters) = gradient.split_at_mut(rows * cols);
    let (dgamma, dbeta) = parameters.split_at_mut(cols);
    dgamma.fill(0.0);
    dbeta.fill(0.0);
    for ((x, dy), dx) in x.chunks(cols).zip(dy.chunks(cols)).zip(dx.chunks_mut(cols)) {
        match norm {
            Norm::Layer => {
                let measured = layer_norm::layer_norm_measure(x, 1e-2);
                layer_norm::layer_norm_backward(x, dy, measured, gamma, dx);
                layer_norm::layer_norm_backward_parameters(x, dy, measured, dgamma, dbeta);
            }
            Norm::Rms => {
                let rstd = rms_norm::rms_norm_measure(x, 1e-2);
                rms_norm::rms_norm_backward(x, dy, rstd, gamma, dx);
                rms_norm::rms_norm_backward_parameters(x, dy, rstd, dgamma, dbeta);
            }
        }
    }
}

fn reference_forward(norm: Norm, cols: usize, point: &[f64], y: &mut [f64]) {
    let (x, affine) = point.split_at(y.len());
    let (gamma, beta) = affine.split_at(cols);
    for (x, y) in x.chunks(cols).zip(y.chunks_mut(cols)) {
        match norm {
            Norm::Layer => {
                let measured = layer_norm::layer_norm_measure(x, 1e-2);
                layer_norm::layer_norm_forward(x, measured, gamma, beta, y);
            }
            Norm::Rms => {
                let rstd = rms_norm::rms_norm_measure(x, 1e-2);
                rms_norm::rms_norm_forward(x, rstd, gamma, beta, y);
            }
        }
    }
}

fn check_finite_differences(norm: Norm) {
    for (rows, cols) in [(1, 1), (1, 2), (3, 7), (2, 20)] {
        let point: Vec<f64> = numbers(cols as u64, (rows + 2) * cols, 1.0);
        let forward = |point: &[f64], y: &mut [f64]| reference_forward(norm, cols, point, y);
        let backward = |point: &[f64], dy: &[f64], gradient: &mut [f64]| {
            reference_backward(norm, cols, point, dy, gradient);
        };
        GradCheck::default().check(&point, rows * cols, forward, backward).unwrap();
    }
}

#[test]
fn layer_norm_backward_matches_finite_differences() {
    check_finite_differences(Norm::Layer);
}

#[test]
fn rms_norm_backward_matches_finite_differences() {
    check_finite_differences(Norm::Rms);
}

#[test]
#[should_panic(expected = "ULP from")]
fn layer_norm_comparison_can_fail() {
    let mut batch = Batch::<f32>::new(Norm::Layer, 2, 33, 0, 1e-5);
    let exact = batch.exact();
    batch.x[40] += 1e-4;
    let actual = batch.run(0);
    for i in 33..66 {
        let bound = Tolerance { ulp: 0.0, epsilons: tolerance::ROW_NORM * exact.y_terms[i] };
        assert_close(actual.y[i], exact.values.y[i], bound, || format!("{i}"));
    }
}

proptest! {
    #[test]
    fn layer_norm_matches_reference_for_any_shape(
        layer in any::<bool>(), rows in 0..40_usize, cols in 1..200_usize, form in 0..4_usize, offset in 0..9_usize,
    ) {
        let norm = if layer { Norm::Layer } else { Norm::Rms };
        Batch::<f32>::new(norm, rows, cols, form, 1e-3).check(offset);
        Batch::<f64>::new(norm, rows, cols, form, 1e-3).check(offset);
    }
}
