//! Orthogonal weights by modified Gram–Schmidt, twice: the Q of a QR decomposition whose R has a positive diagonal.

use alloc::vec;

use rand_core::Rng;

use super::sampler;
use crate::parallel::{self, PARALLEL_BLOCK, Rows};
use crate::shape::WeightShape;
use crate::{Element, Error};

/// What is left of a vector, relative to what it was, below which it counts as a combination of those before it.
const DEPENDENT: f64 = 1e-14;

pub(super) fn fill<T: Element>(
    gain: f64,
    shape: WeightShape,
    rng: &mut dyn Rng,
    weights: &mut [T],
) -> Result<(), Error> {
    let (rows, cols) = (shape.outputs, shape.fan_in()?);
    // The shorter side's vectors, each contiguous: rows, or the columns of a tall matrix.
    let len = rows.max(cols);
    let place = |i: usize| if rows <= cols { i } else { i % cols * len + i / cols };
    let mut vectors = vec![0.0; weights.len()];
    for i in 0..weights.len() {
        vectors[place(i)] = sampler::normal(rng);
    }
    // Once loses orthogonality by the condition number of the Gaussian matrix; twice is enough (Kahan, Parlett).
    orthonormalize(&mut vectors, len)?;
    orthonormalize(&mut vectors, len)?;
    for (i, weight) in weights.iter_mut().enumerate() {
        *weight = T::from_f64(gain * vectors[place(i)]);
    }
    Ok(())
}

/// Makes every vector of `len` a unit vector and takes it out of those after it.
fn orthonormalize(vectors: &mut [f64], len: usize) -> Result<(), Error> {
    let block = (PARALLEL_BLOCK / 4).div_ceil(len);
    let norms: vec::Vec<f64> = vectors.chunks_exact(len).map(|v| libm::sqrt(dot(v, v))).collect();
    let mut rest = vectors;
    for norm_before in norms {
        let (unit, others) = rest.split_at_mut(len);
        let norm = libm::sqrt(dot(unit, unit));
        if norm.is_nan() || norm <= DEPENDENT * norm_before {
            return Err(Error::OutOfRange {
                argument: "rng",
                requirement: "random: its numbers are linearly dependent",
            });
        }
        unit.iter_mut().for_each(|x| *x /= norm);
        let unit = &*unit;
        parallel::for_each(Rows { data: &mut *others, width: len }, block, |rows: Rows<&mut [f64]>| {
            for vector in rows.data.chunks_exact_mut(len) {
                let along = dot(unit, vector);
                vector.iter_mut().zip(unit).for_each(|(x, u)| *x -= along * u);
            }
        });
        rest = others;
    }
    Ok(())
}

/// The scalar product as eight interleaved sums, which a compiler may do side by side without changing a bit.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    const SUMS: usize = 8;
    let (a, b) = (a.chunks_exact(SUMS), b.chunks_exact(SUMS));
    let rest: f64 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| a * b).sum();
    let mut sums = [0.0; SUMS];
    for (a, b) in a.zip(b) {
        for i in 0..SUMS {
            sums[i] += a[i] * b[i];
        }
    }
    sums.iter().sum::<f64>() + rest
}
