//! Weight norm, weight standardization and spectral norm against PyTorch's.

use steadygrad::norm::{
    SavedSpectral, SpectralNorm, SpectralState, WeightGradients, WeightNorm, WeightStandardization,
};
use steadygrad::{Element, WeightShape};

use super::case::{Case, cases};

pub(crate) fn check<T: Element>() {
    for case in cases("weight_norm") {
        let shape = WeightShape { outputs: case.count("rows"), inputs: case.count("cols"), field: 1 };
        match case.op() {
            "weight_norm" | "weight_standardization" => units::<T>(&case, shape),
            "spectral_norm" => spectral_norm::<T>(&case, shape),
            op => panic!("no norm of weights is called {op}"),
        }
    }
}

fn units<T: Element>(case: &Case, shape: WeightShape) {
    let (v, dw, gain) = (case.input::<T>("v"), case.input::<T>("dw"), case.input::<T>("gain"));
    let (mut w, mut dv) = (vec![T::nan(); v.len()], vec![T::zero(); v.len()]);
    let mut dgain = vec![T::zero(); shape.outputs];
    let gradients = WeightGradients { weights: &mut dv, gain: Some(&mut dgain) };
    if case.op() == "weight_norm" {
        WeightNorm.forward(shape, &v, Some(&gain), &mut w).expect("valid");
        WeightNorm.backward(shape, &dw, &v, Some(&gain), gradients).expect("valid");
    } else {
        let op = WeightStandardization { eps: case.float("eps") };
        op.forward(shape, &v, Some(&gain), &mut w).expect("valid");
        op.backward(shape, &dw, &v, Some(&gain), gradients).expect("valid");
    }
    case.compare("w", &w);
    case.compare("dv", &dv);
    case.compare("dgain", &dgain);
}

fn spectral_norm<T: Element>(case: &Case, shape: WeightShape) {
    let (weights, dw) = (case.input::<T>("weights"), case.input::<T>("dw"));
    let (mut u, mut v) = (case.input::<T>("u"), case.input::<T>("v"));
    let op = SpectralNorm { iterations: case.count("iterations"), eps: case.float("eps") };
    let (mut w, mut dweights) = (vec![T::nan(); weights.len()], vec![T::zero(); weights.len()]);
    let mut scratch = vec![0.0; op.scratch_len(shape)];
    let state = SpectralState { u: &mut u, v: &mut v };
    let sigma = op.forward(shape, &weights, state, &mut scratch, &mut w).expect("valid");
    let saved = SavedSpectral { normalised: &w, u: &u, v: &v, sigma };
    op.backward(shape, &dw, saved, &mut dweights).expect("valid");
    case.compare("w", &w);
    case.compare("u_after", &u);
    case.compare("v_after", &v);
    case.compare("sigma", &[T::from_f64(sigma)]);
    case.compare("dweights", &dweights);
}
