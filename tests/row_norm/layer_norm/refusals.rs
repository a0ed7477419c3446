//! What the norms refuse: errors name the argument, and nothing is written.

use steadygrad::RowShape;
use steadygrad::norm::{LayerNorm, NormGradients, RmsNorm};

use super::subject::{BOTH, Batch, Norm};
use crate::common::{Guarded, argument};

/// Lengths of one call: one of them wrong.
#[derive(Clone, Copy)]
struct Lengths {
    x: usize,
    gamma: usize,
    beta: usize,
    mean: usize,
    rstd: usize,
    out: usize,
    scratch: usize,
}

/// The arguments that a forward and a backward of `norm` name, nothing being written.
fn refused(norm: Norm, eps: f64, shape: RowShape, lengths: Lengths) -> [Option<&'static str>; 2] {
    let Lengths { x, gamma, beta, mean, rstd, out, scratch } = lengths;
    let (x, gamma, beta) = (vec![1.0_f32; x], vec![1.0; gamma], vec![1.0; beta]);
    let mut batch = Batch::new(norm, 2, 3, 0, eps);
    (batch.shape, batch.gamma, batch.beta) = (shape, Some(gamma.clone()), Some(beta.clone()));
    let [mut saved_mean, mut saved_rstd] = [mean, rstd].map(|len| Guarded::<f64>::new(len, 0));
    let [mut y, mut dx] = [out, out].map(|len| Guarded::<f32>::new(len, 0));
    let [mut dgamma, mut dbeta] = [gamma.len(), beta.len()].map(|len| Guarded::<f32>::new(len, 0));
    let mut scratch = vec![0.0; scratch];
    let forward = match norm {
        Norm::Layer => batch.forward(&x, saved_mean.slice(), saved_rstd.slice(), y.slice()),
        Norm::Rms => RmsNorm { eps }.forward(shape, &x, batch.affine(), saved_rstd.slice(), y.slice()),
    };
    let (mean, rstd) = (vec![0.0; mean], vec![1.0; rstd]);
    let gradients =
        NormGradients { input: dx.slice(), gamma: Some(dgamma.slice()), beta: Some(dbeta.slice()) };
    let backward = batch.backward(&x, (&mean, &rstd), &x, &mut scratch, gradients);
    if forward.is_err() {
        assert!(y.is_untouched() && saved_mean.is_untouched() && saved_rstd.is_untouched());
    }
    if backward.is_err() {
        assert!(dx.is_untouched() && dgamma.is_untouched() && dbeta.is_untouched());
    }
    [forward.err().map(argument), backward.err().map(argument)]
}

#[test]
fn layer_norm_names_the_bad_argument() {
    // Two sums of a vector of columns each, and a line before the first.
    let (shape, scratch) = (RowShape { rows: 2, cols: 3 }, 2 * 16 + 8);
    let good = Lengths { x: 6, gamma: 3, beta: 3, mean: 2, rstd: 2, out: 6, scratch };
    let layer = |lengths| refused(Norm::Layer, 1e-5, shape, lengths);
    let rms = |lengths| refused(Norm::Rms, 1e-5, shape, lengths);
    assert_eq!((layer(good), rms(good)), ([None; 2], [None; 2]));
    assert_eq!(layer(Lengths { x: 5, ..good }), [Some("x"), Some("dy")]);
    assert_eq!(rms(Lengths { x: 5, ..good }), [Some("x"), Some("dy")]);
    assert_eq!(layer(Lengths { out: 7, ..good }), [Some("y"), Some("gradients.input")]);
    assert_eq!(rms(Lengths { out: 7, ..good }), [Some("y"), Some("gradients.input")]);
    assert_eq!(layer(Lengths { gamma: 2, ..good }), [Some("affine.gamma"), Some("gamma")]);
    assert_eq!(rms(Lengths { gamma: 2, ..good }), [Some("affine.gamma"), Some("gamma")]);
    assert_eq!(layer(Lengths { beta: 4, ..good }), [Some("affine.beta"), Some("gradients.beta")]);
    assert_eq!(rms(Lengths { beta: 4, ..good }), [Some("affine.beta"), Some("gradients.beta")]);
    assert_eq!(layer(Lengths { mean: 3, ..good }), [Some("mean"), Some("saved.mean")]);
    assert_eq!(layer(Lengths { rstd: 1, ..good }), [Some("rstd"), Some("saved.rstd")]);
    assert_eq!(rms(Lengths { rstd: 1, ..good }), [Some("rstd"), Some("rstd")]);
    assert_eq!(layer(Lengths { scratch: scratch - 1, ..good }), [None, Some("scratch")]);
    assert_eq!(rms(Lengths { scratch: scratch - 1, ..good }), [None, Some("scratch")]);
    for norm in BOTH {
        for eps in [-1e-5, f64::NAN, f64::INFINITY] {
            assert_eq!(refused(norm, eps, shape, good), [Some("eps"); 2]);
        }
        let empty = Lengths { x: 0, gamma: 0, beta: 0, mean: 2, rstd: 2, out: 0, scratch: 0 };
        assert_eq!(refused(norm, 0.0, RowShape { rows: 2, cols: 0 }, empty), [Some("cols"); 2]);
        let huge = RowShape { rows: usize::MAX, cols: 2 };
        assert_eq!(refused(norm, 0.0, huge, good), [Some("shape"); 2]);
    }
    assert_eq!(LayerNorm::default().backward_scratch_len(shape), scratch);
    assert!(LayerNorm::default().backward_scratch_len(RowShape { rows: 1, cols: usize::MAX }) > 1 << 60);
}
