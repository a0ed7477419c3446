//! Weights of residual branches: factors of the papers, and what they keep.

use steadygrad::init::{Branch, BranchLayer, Distribution, Fan};
use steadygrad::linear::Dense;
use steadygrad::{Activation, Error, Init, RowShape};

use super::subject::{drawn, rng, row, sums_of};
use crate::common::{self, Guarded};

/// The sum of all branches keeps to a small multiple of what goes around, where unscaled ones double it each time.
#[test]
fn branch_keeps_the_sum_of_all_branches() {
    const WIDTH: usize = 64;
    const BRANCHES: usize = 24;
    let layer = Dense { inputs: WIDTH, outputs: WIDTH };
    let shape = RowShape { rows: WIDTH, cols: WIDTH };
    let he =
        Init::Kaiming { gain: std::f64::consts::SQRT_2, fan: Fan::In, distribution: Distribution::Normal };
    // x + W₂·relu(W₁·x), again and again: the variance over that of the input.
    let growth = |branch: Option<Branch>, seed: u64| {
        let mut generator = rng(seed);
        let mut x: Vec<f64> = common::numbers(seed, 32 * WIDTH, 0.85);
        let square = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>();
        let start = square(&x);
        let mut draw = |place| {
            let mut weights = vec![f64::NAN; WIDTH * WIDTH];
            match branch {
                Some(branch) => branch.fill(place, he, shape, &mut generator, &mut weights),
                None => he.fill(shape, &mut generator, &mut weights),
            }
            .unwrap();
            weights
        };
        for _ in 0..BRANCHES {
            let weights = [draw(BranchLayer::Inner), draw(BranchLayer::Last)];
            let sums = sums_of(&[layer; 2], Activation::Relu, &weights, &x).pop().unwrap();
            x.iter_mut().zip(sums).for_each(|(x, sum)| *x += sum);
        }
        square(&x) / start
    };
    for seed in 0..20 {
        assert!(growth(None, seed) > 1e6);
        let scaled = growth(Some(Branch::Scaled { branches: BRANCHES }), seed);
        // (1 + 2/24)²⁴ is 6.8.
        assert!((3.0..15.0).contains(&scaled), "{scaled}");
        assert_eq!(growth(Some(Branch::Fixup { branches: BRANCHES, layers: 2 }), seed), 1.0);
        assert_eq!(growth(Some(Branch::ZeroLast), seed), 1.0);
    }
}

#[test]
fn branch_factors_are_those_of_the_papers() {
    for branches in [1, 2, 24, 96, 1000] {
        let n = branches as f64;
        let scaled = Branch::Scaled { branches };
        assert!((scaled.factor(BranchLayer::Last).unwrap() - 1.0 / n.sqrt()).abs() < 1e-15);
        assert_eq!(scaled.factor(BranchLayer::Inner), Ok(1.0));
        for (layers, exponent) in [(2, -0.5), (3, -0.25), (5, -0.125)] {
            let fixup = Branch::Fixup { branches, layers };
            assert!((fixup.factor(BranchLayer::Inner).unwrap() - n.powf(exponent)).abs() < 1e-15);
            assert_eq!(fixup.factor(BranchLayer::Last), Ok(0.0));
        }
    }
    assert_eq!(Branch::ZeroLast.factor(BranchLayer::Inner), Ok(1.0));
    // The weights are the initialiser's times the factor.
    let plain: Vec<f32> = drawn(Init::Normal { mean: 0.0, std: 1.0 }, row(50), 3);
    let mut weights = Guarded::<f32>::new(50, 3);
    let normal = Init::Normal { mean: 0.0, std: 1.0 };
    let quarter = Branch::Scaled { branches: 16 };
    quarter.fill(BranchLayer::Last, normal, row(50), &mut rng(3), weights.slice()).unwrap();
    assert!(weights.checked().iter().zip(&plain).all(|(w, plain)| *w == plain / 4.0));
}

#[test]
fn branch_names_the_bad_argument() {
    let normal = Init::Normal { mean: 0.0, std: 1.0 };
    let refused = |branch: Branch, layer, init: Init, cols| {
        let mut weights = Guarded::<f32>::new(6, 0);
        let error = branch.fill(layer, init, row(cols), &mut rng(1), weights.slice()).unwrap_err();
        assert!(weights.is_untouched());
        match error {
            Error::OutOfRange { argument, .. } | Error::Length { argument, .. } => argument,
            other => panic!("{other:?}"),
        }
    };
    for layer in [BranchLayer::Inner, BranchLayer::Last] {
        assert_eq!(refused(Branch::Scaled { branches: 0 }, layer, normal, 6), "branches");
        assert_eq!(refused(Branch::Fixup { branches: 0, layers: 2 }, layer, normal, 6), "branches");
        assert_eq!(refused(Branch::Fixup { branches: 3, layers: 1 }, layer, normal, 6), "layers");
        assert_eq!(refused(Branch::ZeroLast, layer, normal, 5), "weights");
        let bad = Init::Normal { mean: 0.0, std: -1.0 };
        assert_eq!(refused(Branch::ZeroLast, layer, bad, 6), "std");
    }
}
