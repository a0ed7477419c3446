//! Norms of weights: any shape, lengths that fit or do not, every level against the reference.

use steadygrad::norm::{
    SavedSpectral, SpectralNorm, SpectralState, WeightGradients, WeightNorm, WeightStandardization,
};
use steadygrad::reference::{spectral_norm, weight_norm};
use steadygrad::{Element, Level, WeightShape};

use super::reader::{Bits, Reader, Tolerance, assert_close, assert_refused};

/// Decodes and checks one case.
pub(crate) fn run(data: &[u8]) {
    let mut reader = Reader::new(data);
    if reader.byte().is_multiple_of(2) { check::<f32>(&mut reader) } else { check::<f64>(&mut reader) }
}

fn check<T: Bits>(reader: &mut Reader<'_>) {
    match reader.up_to(2) {
        0 => units::<T>(reader, "weight_norm"),
        1 => units::<T>(reader, "weight_standardization"),
        _ => of_matrix::<T>(reader),
    }
}

fn wide<T: Element>(x: &[T]) -> Vec<f64> {
    x.iter().map(|&x| Element::to_f64(x)).collect()
}

/// Results of up to 16 · 16 · width.
const TOLERANCE: Tolerance = Tolerance { relative: 64.0, absolute: 1e5 };

fn units<T: Bits>(reader: &mut Reader<'_>, op: &str) {
    let (outputs, inputs, field) = (reader.up_to(9), reader.up_to(40), reader.up_to(3));
    let (excess, has_gain, eps) = (reader.up_to(8) / 8, reader.up_to(1) == 1, reader.pick(&[1.0, 0.125]));
    let (shape, width) = (WeightShape { outputs, inputs, field }, inputs * field);
    let mut v: Vec<T> = reader.ordinaries(outputs * width);
    for unit in v.chunks_mut(width.max(1)) {
        // A norm of at least 1 keeps gradients of the size of their terms; a few units are zeros, which give NaN.
        if reader.up_to(20) == 20 { unit.fill(T::zero()) } else { unit[0] = unit[0] + T::from_f64(17.0) }
    }
    let (dw, gain): (Vec<T>, Vec<T>) = (reader.ordinaries(v.len()), reader.ordinaries(outputs));
    let gain = has_gain.then_some(&gain[..]);
    for level in Level::available() {
        let (mut w, mut dv) = (vec![T::nan(); v.len() + excess], vec![T::nan(); v.len() + excess]);
        if excess == 0 {
            dv.fill(T::zero());
        }
        let mut dgain = vec![T::zero(); outputs];
        let gradients = WeightGradients { weights: &mut dv, gain: Some(&mut dgain) };
        let (forward, backward) = Level::scoped(level, || {
            if op == "weight_norm" {
                let forward = WeightNorm.forward(shape, &v, gain, &mut w);
                (forward, WeightNorm.backward(shape, &dw, &v, gain, gradients))
            } else {
                let op = WeightStandardization { eps };
                (op.forward(shape, &v, gain, &mut w), op.backward(shape, &dw, &v, gain, gradients))
            }
        })
        .expect("an available level");
        if excess > 0 || outputs > 0 && width == 0 {
            assert_refused(forward, &w);
            assert_refused(backward, if excess > 0 { &dv } else { &[] });
            continue;
        }
        forward.and(backward).expect("a valid case");
        for unit in 0..outputs {
            let at = unit * width..(unit + 1) * width;
            let (v, dw) = (wide(&v[at.clone()]), wide(&dw[at.clone()]));
            let gain = gain.map_or(1.0, |gain| gain[unit].to_f64());
            let (mut exact_w, mut exact_dv) = (vec![0.0; width], vec![0.0; width]);
            let exact_dgain = if op == "weight_norm" {
                weight_norm::weight_norm_forward(&v, gain, &mut exact_w);
                weight_norm::weight_norm_backward(&v, &dw, gain, &mut exact_dv)
            } else {
                let measured = weight_norm::weight_standardization_measure(&v, eps);
                weight_norm::weight_standardization_forward(&v, measured, gain, &mut exact_w);
                weight_norm::weight_standardization_backward(&v, &dw, measured, gain, &mut exact_dv)
            };
            assert_close((op, "dgain", unit, level), exact_dgain, dgain[unit], TOLERANCE);
            for i in 0..width {
                assert_close((op, "w", unit, i, level), exact_w[i], w[at.start + i], TOLERANCE);
                assert_close((op, "dv", unit, i, level), exact_dv[i], dv[at.start + i], TOLERANCE);
            }
        }
    }
}

fn of_matrix<T: Bits>(reader: &mut Reader<'_>) {
    let (rows, cols, excess) = (reader.up_to(20), reader.up_to(40), reader.up_to(8) / 8);
    let norm = SpectralNorm { iterations: reader.up_to(3), ..SpectralNorm::default() };
    let shape = WeightShape { outputs: rows, inputs: cols, field: 1 };
    let (weights, dw): (Vec<T>, Vec<T>) = (reader.ordinaries(rows * cols), reader.ordinaries(rows * cols));
    let (u, v): (Vec<T>, Vec<T>) = (reader.ordinaries(rows), reader.ordinaries(cols));
    for level in Level::available() {
        let (mut u, mut v) = (u.clone(), v.clone());
        let mut normalised = vec![T::nan(); weights.len() + excess];
        let mut scratch = vec![f64::NAN; norm.scratch_len(shape)];
        let state = SpectralState { u: &mut u, v: &mut v };
        let result =
            Level::scoped(level, || norm.forward(shape, &weights, state, &mut scratch, &mut normalised));
        let result = result.expect("an available level");
        if excess > 0 || rows > 0 && cols == 0 {
            assert_refused(result.map(|_| ()), &normalised);
            continue;
        }
        let sigma = result.expect("the lengths of the shape");
        // A σ near 0 is a state that the weights do not reach: its quotients are not compared.
        let (weights, dw64, u64, v64) = (wide(&weights), wide(&dw), wide(&u), wide(&v));
        let expected = spectral_norm::spectral_norm_sigma(&weights, &u64, &v64);
        // Numbers up to 16, in f64 on both sides.
        let bound = 1e-9 * (1.0 + u64.iter().chain(&v64).fold(0.0_f64, |sum, x| sum + x.abs()).powi(2));
        assert!(sigma.is_nan() && expected.is_nan() || (sigma - expected).abs() <= bound, "σ at {level}");
        let mut exact = vec![0.0; weights.len()];
        spectral_norm::spectral_norm_forward(&weights, sigma, &mut exact);
        let relative = Tolerance { relative: 8.0, absolute: 0.0 };
        for (i, (&actual, &exact)) in normalised.iter().zip(&exact).enumerate() {
            assert_close(("spectral_norm", "normalised", i, level), exact, actual, relative);
        }
        if sigma.is_nan() || sigma.abs() < 1.0 {
            continue;
        }
        let mut dweights = vec![T::zero(); weights.len()];
        let saved = SavedSpectral { normalised: &normalised, u: &u, v: &v, sigma };
        let result = Level::scoped(level, || norm.backward(shape, &dw, saved, &mut dweights));
        result.expect("an available level").expect("the lengths of the shape");
        let mut exact = vec![0.0; weights.len()];
        let saved = (&u64[..], &v64[..], sigma);
        spectral_norm::spectral_norm_backward(&wide(&normalised), &dw64, saved, &mut exact);
        // With the state as it came, up to 16 · 16 times sums of as many products as weights.
        let tolerance = Tolerance { relative: 64.0, absolute: 1e6 };
        for (i, (&actual, &exact)) in dweights.iter().zip(&exact).enumerate() {
            assert_close(("spectral_norm", "dweights", i, level), exact, actual, tolerance);
        }
    }
}
