//! What the norms refuse: errors name the argument, and nothing is written.

use steadygrad::norm::{Affine, GroupNorm, InstanceNorm, NormGradients, SavedRows};
use steadygrad::{ChannelShape, Error};

use super::subject::shape;
use crate::common::{Guarded, argument};

/// The argument or dimension that an error names.
fn name(result: Result<(), Error>) -> &'static str {
    argument(result.expect_err("a bad argument"))
}

/// What a forward and a backward call their bad argument, where `longer` has one element more than it should.
fn refused(norm: GroupNorm, of: ChannelShape, longer: &str) -> [Result<(), Error>; 2] {
    let len = |name: &str, right: usize| right + usize::from(name == longer);
    let (elements, rows) = (24, 8);
    let x = vec![1.0_f32; len("x", elements)];
    let (gamma, beta) = (vec![1.0; len("gamma", 6)], vec![1.0; len("beta", 6)]);
    let [mut mean, mut rstd] = ["mean", "rstd"].map(|name| Guarded::<f64>::new(len(name, rows), 0));
    let mut y = Guarded::<f32>::new(len("out", elements), 0);
    let affine = Affine { gamma: Some(&gamma[..]), beta: Some(&beta[..]) };
    let forward = norm.forward(of, &x, affine, mean.slice(), rstd.slice(), y.slice());
    if forward.is_err() {
        assert!(mean.is_untouched() && rstd.is_untouched() && y.is_untouched(), "{longer}");
    }
    let (mean, rstd) = (vec![0.0; len("mean", rows)], vec![1.0; len("rstd", rows)]);
    let mut dx = Guarded::<f32>::new(len("out", elements), 0);
    let [mut dgamma, mut dbeta] = ["dgamma", "dbeta"].map(|name| Guarded::<f32>::new(len(name, 6), 0));
    let needed = GroupNorm { groups: 2, eps: 0.0 }.backward_scratch_len(shape(4, 6, 1));
    let mut scratch = vec![0.0; needed - usize::from(longer == "scratch")];
    let gradients =
        NormGradients { input: dx.slice(), gamma: Some(dgamma.slice()), beta: Some(dbeta.slice()) };
    let (dy, saved) = (vec![1.0; len("dy", elements)], SavedRows { x: &x, mean: &mean, rstd: &rstd });
    let backward = norm.backward(of, &dy, affine.gamma, saved, &mut scratch, gradients);
    if backward.is_err() {
        assert!(dx.is_untouched() && dgamma.is_untouched() && dbeta.is_untouched(), "{longer}");
    }
    [forward, backward]
}

#[test]
fn group_norm_names_the_bad_argument() {
    let (good, of) = (GroupNorm { groups: 2, eps: 0.0 }, shape(4, 6, 1));
    assert_eq!(refused(good, of, ""), [Ok(()), Ok(())]);
    for (longer, forward, backward) in [
        ("x", Some("x"), Some("saved.x")),
        ("dy", None, Some("dy")),
        ("gamma", Some("affine.gamma"), Some("gamma")),
        ("beta", Some("affine.beta"), None),
        ("mean", Some("mean"), Some("saved.mean")),
        ("rstd", Some("rstd"), Some("saved.rstd")),
        ("out", Some("y"), Some("gradients.input")),
        ("dgamma", None, Some("gradients.gamma")),
        ("dbeta", None, Some("gradients.beta")),
        ("scratch", None, Some("scratch")),
    ] {
        let results = refused(good, of, longer);
        for (result, expected) in results.into_iter().zip([forward, backward]) {
            assert_eq!(result.is_err().then(|| name(result)), expected, "{longer}");
        }
    }
    for eps in [-1e-5, f64::NAN, f64::INFINITY] {
        assert_eq!(refused(GroupNorm { eps, ..good }, of, "").map(name), ["eps"; 2]);
    }
    for groups in [0, 4, 7, usize::MAX] {
        assert_eq!(refused(GroupNorm { groups, ..good }, of, "").map(name), ["groups"; 2]);
    }
    assert_eq!(refused(good, shape(4, 0, 6), "").map(name), ["channels"; 2]);
    assert_eq!(refused(good, shape(4, 6, 0), "").map(name), ["inner"; 2]);
    assert_eq!(refused(good, shape(usize::MAX, 6, 2), "").map(name), ["shape"; 2]);
    assert_eq!(GroupNorm { groups: 4, ..good }.backward_scratch_len(of), 0);
}

#[test]
fn instance_norm_names_the_bad_argument() {
    let norm = InstanceNorm::default();
    let infer = |norm: InstanceNorm, of: ChannelShape, x: &[f32]| {
        let mut y = Guarded::new(x.len(), 0);
        let result = norm.infer(of, x, Affine::default(), y.slice());
        assert!(y.is_untouched());
        name(result)
    };
    assert_eq!(infer(norm, shape(2, 3, 1), &[1.0; 6]), "shape");
    assert_eq!(infer(norm, shape(2, 0, 1), &[]), "channels");
    assert_eq!(infer(norm, shape(2, 3, 0), &[]), "inner");
    assert_eq!(infer(norm, shape(2, 3, 2), &[1.0; 11]), "x");
    assert_eq!(infer(InstanceNorm { eps: f64::NAN }, shape(2, 3, 2), &[1.0; 12]), "eps");
    assert_eq!(norm.backward_scratch_len(shape(2, 3, 1)), 0);
}
