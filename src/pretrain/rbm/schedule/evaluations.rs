//! Evaluations: free energies, and the pseudo-likelihood.

use super::hidden_input;
use crate::parallel::{self, PARALLEL_BLOCK, Rows};
use crate::pretrain::rbm::kernel::{FreeEnergy, PseudoLikelihood};
use crate::pretrain::rbm::{Rbm, RbmWeights};
use crate::simd::{self, Active};
use crate::{Activation, Element};

/// An evaluation of checked arguments.
#[derive(Debug)]
pub struct Evaluation<'a, T> {
    pub(in crate::pretrain::rbm) rbm: Rbm,
    pub(in crate::pretrain::rbm) v: &'a [T],
    pub(in crate::pretrain::rbm) weights: RbmWeights<'a, T>,
    pub(in crate::pretrain::rbm) scratch: &'a mut [T],
}

pub(in crate::pretrain::rbm) fn free_energy<T: Element>(call: Evaluation<'_, T>, energies: &mut [f64]) {
    let Evaluation { rbm, v, weights, scratch } = call;
    let (z, scratch) = scratch.split_at_mut(energies.len() * rbm.hidden);
    hidden_input(rbm, v, weights, None, scratch, z);
    let active = Active::current();
    let data = (Rows { data: v, width: rbm.visible }, Rows { data: &*z, width: rbm.hidden }, energies);
    parallel::for_each(data, parallel::row_block(rbm.hidden), |(v, z, energies)| {
        let (v, z, visible_bias) = (v.data, z.data, weights.visible_bias);
        simd::dispatch(active, FreeEnergy { units: rbm.units, visible_bias, v, z, energies });
    });
}

/// The sum over the rows.
pub(in crate::pretrain::rbm) fn pseudo_likelihood<T: Element>(call: Evaluation<'_, T>) -> f64 {
    let Evaluation { rbm, v, weights, scratch } = call;
    let Rbm { visible, hidden, .. } = rbm;
    let elements = v.len() / visible * hidden;
    let (transposed, scratch) = scratch.split_at_mut(visible * hidden);
    let (z, scratch) = scratch.split_at_mut(elements);
    let (softplus, scratch) = scratch.split_at_mut(elements);
    for (j, w) in weights.weights.chunks_exact(visible).enumerate() {
        for (i, &w) in w.iter().enumerate() {
            transposed[i * hidden + j] = w;
        }
    }
    hidden_input(rbm, v, weights, None, scratch, z);
    softplus.copy_from_slice(z);
    let curve = Activation::Softplus { beta: 1.0, threshold: f64::INFINITY };
    <T as crate::activation::Compiled>::forward(curve, simd::InOut::in_place(softplus));
    let (active, transposed) = (Active::current(), &*transposed);
    let rows = (
        Rows { data: v, width: visible },
        Rows { data: &*z, width: hidden },
        Rows { data: &*softplus, width: hidden },
    );
    let block = PARALLEL_BLOCK.div_ceil(visible * hidden);
    parallel::reduce(
        rows,
        block,
        |(v, z, softplus)| {
            let (v, z, softplus, visible_bias) = (v.data, z.data, softplus.data, weights.visible_bias);
            simd::dispatch(active, PseudoLikelihood { visible_bias, transposed, v, z, softplus })
        },
        |a, b| a + b,
    )
}
