//! Groups of channels with weights a channel, beside the same by the reference.

use steadygrad::norm::{Affine, GroupNorm, NormGradients, SavedRows};
use steadygrad::reference::group_norm as reference;
use steadygrad::{ChannelShape, Element};

use crate::common::{Guarded, Tolerance, assert_close, each_level, numbers, tolerance, widen};
use crate::row_norm::results::{Exact, Results};

/// One batch with its parameters.
#[derive(Clone, Debug)]
pub(crate) struct Batch<T> {
    pub(crate) norm: GroupNorm,
    pub(crate) shape: ChannelShape,
    pub(crate) x: Vec<T>,
    pub(crate) dy: Vec<T>,
    pub(crate) gamma: Option<Vec<T>>,
    pub(crate) beta: Option<Vec<T>>,
}

pub(crate) fn shape(outer: usize, channels: usize, inner: usize) -> ChannelShape {
    ChannelShape { outer, channels, inner }
}

impl<T: Element> Batch<T> {
    /// `form` chooses which of γ and β are there.
    pub(crate) fn new(groups: usize, shape: ChannelShape, form: usize) -> Self {
        let elements = shape.elements().unwrap();
        let seed = (elements * 10 + groups) as u64;
        Self {
            norm: GroupNorm { groups, eps: 1e-3 },
            shape,
            x: numbers::<T>(seed, elements, 2.0).into_iter().map(|x| x + T::one()).collect(),
            dy: numbers(seed + 1, elements, 1.0),
            gamma: (form & 1 == 0).then(|| numbers(seed + 2, shape.channels, 1.0)),
            beta: (form & 2 == 0).then(|| numbers(seed + 3, shape.channels, 1.0)),
        }
    }

    pub(crate) fn affine(&self) -> Affine<'_, T> {
        Affine { gamma: self.gamma.as_deref(), beta: self.beta.as_deref() }
    }

    fn rows(&self) -> usize {
        self.shape.outer * self.norm.groups
    }

    pub(crate) fn run(&self, offset: usize) -> Results<T> {
        let (rows, channels, elements) = (self.rows(), self.shape.channels, self.x.len());
        let (x, dy) = (Guarded::of(&self.x, offset), Guarded::of(&self.dy, offset + 1));
        let (mut mean, mut rstd) = (Guarded::new(rows, 0), Guarded::new(rows, 0));
        let (mut y, mut dx) = (Guarded::new(elements, offset), Guarded::new(elements, offset));
        self.norm
            .forward(self.shape, x.checked(), self.affine(), mean.slice(), rstd.slice(), y.slice())
            .unwrap();
        let ones = vec![T::one(); channels];
        let (mut dgamma, mut dbeta) = (Guarded::of(&ones, 0), Guarded::of(&ones, 1));
        // The scratch may hold anything.
        let mut scratch = Guarded::new(self.norm.backward_scratch_len(self.shape), 1);
        let gradients =
            NormGradients { input: dx.slice(), gamma: Some(dgamma.slice()), beta: Some(dbeta.slice()) };
        let saved = SavedRows { x: x.checked(), mean: mean.checked(), rstd: rstd.checked() };
        let gamma = self.gamma.as_deref();
        self.norm.backward(self.shape, dy.checked(), gamma, saved, scratch.slice(), gradients).unwrap();
        scratch.checked();
        Results::of([&mean, &rstd], [&y, &dx, &dgamma, &dbeta])
    }

    pub(crate) fn exact(&self) -> Exact {
        let ChannelShape { channels, inner, .. } = self.shape;
        let (rows, count) = (self.rows(), channels / self.norm.groups);
        let cols = count * inner;
        let gamma = self.gamma.as_deref().map_or(vec![1.0; channels], widen);
        let beta = self.beta.as_deref().map_or(vec![0.0; channels], widen);
        let (x, dy) = (widen(&self.x), widen(&self.dy));
        let (mut mean, mut rstd) = (vec![0.0; rows], vec![0.0; rows]);
        let (mut y, mut dx) = (vec![0.0; rows * cols], vec![0.0; rows * cols]);
        let (mut dgamma, mut dbeta) = (vec![1.0; channels], vec![1.0; channels]);
        let (mut y_terms, mut dx_terms) = (y.clone(), y.clone());
        let (mut dgamma_terms, mut dbeta_terms) = (dgamma.clone(), dbeta.clone());
        for row in 0..rows {
            let at = row * cols..(row + 1) * cols;
            let (x, dy) = (&x[at.clone()], &dy[at.clone()]);
            let (y, dx) = (&mut y[at.clone()], &mut dx[at.clone()]);
            let of_group = row % self.norm.groups * count..(row % self.norm.groups + 1) * count;
            let (gamma, beta) = (&gamma[of_group.clone()], &beta[of_group.clone()]);
            let measured = reference::group_norm_measure(x, self.norm.eps);
            (mean[row], rstd[row]) = measured;
            reference::group_norm_forward(x, measured, (gamma, beta), inner, y);
            reference::group_norm_backward(x, dy, measured, (gamma, inner), dx);
            let parameters = (&mut dgamma[of_group.clone()], &mut dbeta[of_group.clone()]);
            reference::group_norm_backward_parameters(x, dy, measured, inner, parameters);
            // The mean of f64 elements is off by the rounding of their sum, in the reference too.
            let magnitude = x.iter().map(|x| x.abs()).sum::<f64>() / cols as f64;
            let lost = if T::epsilon().to_f64() < 1e-10 { magnitude } else { 0.0 };
            let hat: Vec<f64> = x.iter().map(|&x| ((x - mean[row]).abs() + lost) * rstd[row]).collect();
            let g: Vec<f64> = (0..cols).map(|i| (gamma[i / inner] * dy[i]).abs()).collect();
            let mean_g = g.iter().sum::<f64>() / cols as f64;
            let mean_g_hat = (0..cols).map(|i| g[i] * hat[i]).sum::<f64>() / cols as f64;
            for i in 0..cols {
                let channel = of_group.start + i / inner;
                y_terms[at.start + i] = (hat[i] * gamma[i / inner]).abs().max(beta[i / inner].abs());
                dx_terms[at.start + i] = rstd[row] * (g[i] + mean_g + hat[i] * mean_g_hat);
                dgamma_terms[channel] += dy[i].abs() * hat[i];
                dbeta_terms[channel] += dy[i].abs();
            }
        }
        let values = Results { mean, rstd, y, dx, dgamma, dbeta };
        Exact { values, y_terms, dx_terms, dgamma_terms, dbeta_terms }
    }

    #[track_caller]
    pub(crate) fn check(&self, offset: usize) {
        let exact = self.exact();
        // The references add f64 one after the other.
        let added = self.shape.channels / self.norm.groups * self.shape.inner + self.shape.outer;
        let sums = if T::epsilon().to_f64() < 1e-10 { (added + self.shape.outer) as f64 } else { 0.0 };
        each_level(|level| {
            let actual = self.run(offset);
            let context =
                |what: &str, i: usize| format!("{what}[{i}] at {level}: {:?} {:?}", self.norm, self.shape);
            let largest = self.x.iter().fold(0.0_f64, |m, x| m.max(Element::to_f64(*x).abs()));
            for row in 0..self.rows() {
                let bound = (8 + added) as f64 * f64::EPSILON;
                let (mean, rstd) = (actual.mean[row], actual.rstd[row]);
                let distance = (mean - exact.values.mean[row]).abs();
                assert!(distance <= bound * largest, "{}", context("mean", row));
                let distance = (rstd / exact.values.rstd[row] - 1.0).abs();
                assert!(distance <= 4.0 * T::epsilon().to_f64() + bound, "{}", context("rstd", row));
            }
            let compare = |what: &str, actual: &[T], exact: &[f64], terms: &[f64]| {
                for i in 0..exact.len() {
                    let bound = Tolerance { ulp: 0.0, epsilons: (tolerance::ROW_NORM + sums) * terms[i] };
                    assert_close(actual[i], exact[i], bound, || context(what, i));
                }
            };
            compare("y", &actual.y, &exact.values.y, &exact.y_terms);
            compare("dx", &actual.dx, &exact.values.dx, &exact.dx_terms);
            compare("dgamma", &actual.dgamma, &exact.values.dgamma, &exact.dgamma_terms);
            compare("dbeta", &actual.dbeta, &exact.values.dbeta, &exact.dbeta_terms);
        });
    }
}
