//! Group norm and instance norm against their reference, and that against finite differences.

use proptest::prelude::*;
use steadygrad::Element;
use steadygrad::gradcheck::GradCheck;
use steadygrad::norm::{InstanceNorm, NormGradients, SavedRows};
use steadygrad::reference::group_norm as reference;

use super::subject::{Batch, shape};
use crate::common::{self, Tolerance, assert_close, assert_same_bits, each_level, numbers, tolerance};

fn every_shape<T: Element>() {
    for inner in common::lengths().filter(|&inner| inner > 0) {
        Batch::<T>::new(2, shape(1 + inner % 3, 4, inner), inner % 4).check(inner % 5);
    }
    for (channels, groups) in [(1, 1), (6, 1), (6, 2), (6, 3), (6, 6), (34, 2), (70, 1)] {
        for inner in [1, 2, 7, 16, 33] {
            for form in 0..4 {
                Batch::<T>::new(groups, shape(3, channels, inner), form).check(form);
            }
        }
    }
    // Many samples, so that a block of rows begins within one, and channels past any block.
    Batch::<T>::new(3, shape(700, 9, 11), 0).check(1);
    Batch::<T>::new(2, shape(2, 4, 40_000), 0).check(0);
}

#[test]
fn group_norm_forward_and_backward_match_reference() {
    every_shape::<f32>();
    every_shape::<f64>();
}

fn instances<T: Element>() {
    for (outer, channels, inner) in [(1, 1, 2), (3, 5, 9), (2, 17, 49), (40, 3, 100), (2, 2, 5000)] {
        let batch = Batch::<T>::new(channels, shape(outer, channels, inner), 0);
        batch.check(1);
        let norm = InstanceNorm { eps: batch.norm.eps };
        let rows = outer * channels;
        each_level(|level| {
            let (mut mean, mut rstd, mut y) =
                (vec![0.0; rows], vec![0.0; rows], vec![T::nan(); batch.x.len()]);
            norm.forward(batch.shape, &batch.x, batch.affine(), &mut mean, &mut rstd, &mut y).unwrap();
            let mut inferred = vec![T::nan(); batch.x.len()];
            norm.infer(batch.shape, &batch.x, batch.affine(), &mut inferred).unwrap();
            let (mut dx, mut dgamma, mut dbeta) =
                (vec![T::nan(); y.len()], vec![T::one(); channels], vec![T::one(); channels]);
            let mut scratch = vec![f64::NAN; norm.backward_scratch_len(batch.shape)];
            let gradients =
                NormGradients { input: &mut dx, gamma: Some(&mut dgamma), beta: Some(&mut dbeta) };
            let saved = SavedRows { x: &batch.x, mean: &mean, rstd: &rstd };
            let gamma = batch.affine().gamma;
            norm.backward(batch.shape, &batch.dy, gamma, saved, &mut scratch, gradients).unwrap();
            let all = batch.run(0);
            for (a, b) in [(&y, &all.y), (&inferred, &all.y), (&dx, &all.dx), (&dgamma, &all.dgamma)] {
                assert_same_bits(a, b, || format!("{:?} at {level}", batch.shape));
            }
            assert_same_bits(&dbeta, &all.dbeta, || format!("{:?} at {level}", batch.shape));
        });
    }
}

#[test]
fn instance_norm_matches_reference_and_is_a_group_a_channel() {
    instances::<f32>();
    instances::<f64>();
}

#[test]
fn group_norm_backward_matches_finite_differences() {
    for (channels, inner) in [(1, 2), (2, 1), (3, 5), (4, 3)] {
        let elements = channels * inner;
        let point: Vec<f64> = numbers(elements as u64, elements + 2 * channels, 1.0);
        let forward = |point: &[f64], y: &mut [f64]| {
            let (x, affine) = point.split_at(elements);
            let measured = reference::group_norm_measure(x, 1e-2);
            reference::group_norm_forward(x, measured, affine.split_at(channels), inner, y);
        };
        let backward = |point: &[f64], dy: &[f64], gradient: &mut [f64]| {
            let (x, affine) = point.split_at(elements);
            let measured = reference::group_norm_measure(x, 1e-2);
            let (dx, parameters) = gradient.split_at_mut(elements);
            reference::group_norm_backward(x, dy, measured, (&affine[..channels], inner), dx);
            parameters.fill(0.0);
            let parameters = parameters.split_at_mut(channels);
            reference::group_norm_backward_parameters(x, dy, measured, inner, parameters);
        };
        GradCheck::default().check(&point, elements, forward, backward).unwrap();
    }
}

#[test]
#[should_panic(expected = "ULP from")]
fn group_norm_comparison_can_fail() {
    let mut batch = Batch::<f32>::new(2, shape(2, 4, 9), 0);
    let exact = batch.exact();
    batch.x[40] += 1e-4;
    let actual = batch.run(0);
    for i in 0..72 {
        let bound = Tolerance { ulp: 0.0, epsilons: tolerance::ROW_NORM * exact.y_terms[i] };
        assert_close(actual.y[i], exact.values.y[i], bound, || format!("{i}"));
    }
}

proptest! {
    #[test]
    fn group_norm_matches_reference_for_any_shape(
        outer in 0..9_usize, groups in 1..9_usize, count in 1..9_usize, inner in 1..70_usize,
        form in 0..4_usize, offset in 0..9_usize,
    ) {
        Batch::<f32>::new(groups, shape(outer, groups * count, inner), form).check(offset);
        Batch::<f64>::new(groups, shape(outer, groups * count, inner), form).check(offset);
    }
}
