//! Rows with weights an element, by either norm, beside the same by the references.

use steadygrad::norm::{Affine, LayerNorm, NormGradients, RmsNorm, SavedRows};
use steadygrad::reference::{layer_norm, rms_norm};
use steadygrad::{Element, Error, RowShape};

use crate::common::{Guarded, Tolerance, assert_close, each_level, numbers, tolerance, widen};
use crate::row_norm::results::{Exact, Results};

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Norm {
    Layer,
    Rms,
}

pub(crate) const BOTH: [Norm; 2] = [Norm::Layer, Norm::Rms];

/// One batch of rows with its parameters.
#[derive(Clone, Debug)]
pub(crate) struct Batch<T> {
    pub(crate) norm: Norm,
    pub(crate) eps: f64,
    pub(crate) shape: RowShape,
    pub(crate) x: Vec<T>,
    pub(crate) dy: Vec<T>,
    pub(crate) gamma: Option<Vec<T>>,
    pub(crate) beta: Option<Vec<T>>,
}

impl<T: Element> Batch<T> {
    /// `form` chooses which of γ and β are there.
    pub(crate) fn new(norm: Norm, rows: usize, cols: usize, form: usize, eps: f64) -> Self {
        let seed = (rows * 1000 + cols) as u64;
        Self {
            norm,
            eps,
            shape: RowShape { rows, cols },
            x: numbers(seed, rows * cols, 2.0),
            dy: numbers(seed + 1, rows * cols, 1.0),
            gamma: (form & 1 == 0).then(|| numbers(seed + 2, cols, 1.0)),
            beta: (form & 2 == 0).then(|| numbers(seed + 3, cols, 1.0)),
        }
    }

    pub(crate) fn affine(&self) -> Affine<'_, T> {
        Affine { gamma: self.gamma.as_deref(), beta: self.beta.as_deref() }
    }

    pub(crate) fn scratch_len(&self) -> usize {
        match self.norm {
            Norm::Layer => LayerNorm { eps: self.eps }.backward_scratch_len(self.shape),
            Norm::Rms => RmsNorm { eps: self.eps }.backward_scratch_len(self.shape),
        }
    }

    pub(crate) fn forward(
        &self,
        x: &[T],
        mean: &mut [f64],
        rstd: &mut [f64],
        y: &mut [T],
    ) -> Result<(), Error> {
        match self.norm {
            Norm::Layer => LayerNorm { eps: self.eps }.forward(self.shape, x, self.affine(), mean, rstd, y),
            Norm::Rms => {
                mean.fill(0.0);
                RmsNorm { eps: self.eps }.forward(self.shape, x, self.affine(), rstd, y)
            }
        }
    }

    pub(crate) fn backward(
        &self,
        x: &[T],
        (mean, rstd): (&[f64], &[f64]),
        dy: &[T],
        scratch: &mut [f64],
        gradients: NormGradients<'_, T>,
    ) -> Result<(), Error> {
        let (shape, gamma) = (self.shape, self.gamma.as_deref());
        match self.norm {
            Norm::Layer => {
                let saved = SavedRows { x, mean, rstd };
                LayerNorm { eps: self.eps }.backward(shape, dy, gamma, saved, scratch, gradients)
            }
            Norm::Rms => RmsNorm { eps: self.eps }.backward(shape, dy, gamma, (x, rstd), scratch, gradients),
        }
    }

    pub(crate) fn run(&self, offset: usize) -> Results<T> {
        let RowShape { rows, cols } = self.shape;
        let (x, dy) = (Guarded::of(&self.x, offset), Guarded::of(&self.dy, offset + 1));
        let (mut mean, mut rstd) = (Guarded::new(rows, 0), Guarded::new(rows, 0));
        let (mut y, mut dx) = (Guarded::new(rows * cols, offset), Guarded::new(rows * cols, offset));
        self.forward(x.checked(), mean.slice(), rstd.slice(), y.slice()).unwrap();
        let (mut dgamma, mut dbeta) =
            (Guarded::of(&vec![T::one(); cols], 0), Guarded::of(&vec![T::one(); cols], 1));
        // The scratch may hold anything.
        let mut scratch = Guarded::new(self.scratch_len(), 1);
        let gradients =
            NormGradients { input: dx.slice(), gamma: Some(dgamma.slice()), beta: Some(dbeta.slice()) };
        let saved = (mean.checked(), rstd.checked());
        self.backward(x.checked(), saved, dy.checked(), scratch.slice(), gradients).unwrap();
        scratch.checked();
        Results::of([&mean, &rstd], [&y, &dx, &dgamma, &dbeta])
    }

    pub(crate) fn exact(&self) -> Exact {
        let RowShape { rows, cols } = self.shape;
        let gamma = self.gamma.as_deref().map_or(vec![1.0; cols], widen);
        let beta = self.beta.as_deref().map_or(vec![0.0; cols], widen);
        let (x, dy) = (widen(&self.x), widen(&self.dy));
        let (mut mean, mut rstd) = (vec![0.0; rows], vec![0.0; rows]);
        let (mut y, mut dx) = (vec![0.0; rows * cols], vec![0.0; rows * cols]);
        let (mut dgamma, mut dbeta) = (vec![1.0; cols], vec![1.0; cols]);
        let (mut y_terms, mut dx_terms) = (y.clone(), y.clone());
        let (mut dgamma_terms, mut dbeta_terms) = (dgamma.clone(), dbeta.clone());
        for row in 0..rows {
            let at = row * cols..(row + 1) * cols;
            let (x, dy) = (&x[at.clone()], &dy[at.clone()]);
            let (y, dx) = (&mut y[at.clone()], &mut dx[at.clone()]);
            match self.norm {
                Norm::Layer => {
                    let measured = layer_norm::layer_norm_measure(x, self.eps);
                    (mean[row], rstd[row]) = measured;
                    layer_norm::layer_norm_forward(x, measured, &gamma, &beta, y);
                    layer_norm::layer_norm_backward(x, dy, measured, &gamma, dx);
                    layer_norm::layer_norm_backward_parameters(x, dy, measured, &mut dgamma, &mut dbeta);
                }
                Norm::Rms => {
                    rstd[row] = rms_norm::rms_norm_measure(x, self.eps);
                    rms_norm::rms_norm_forward(x, rstd[row], &gamma, &beta, y);
                    rms_norm::rms_norm_backward(x, dy, rstd[row], &gamma, dx);
                    rms_norm::rms_norm_backward_parameters(x, dy, rstd[row], &mut dgamma, &mut dbeta);
                }
            }
            // The mean of f64 elements is off by the rounding of their sum, in the reference too.
            let magnitude = x.iter().map(|x| x.abs()).sum::<f64>() / cols as f64;
            let lost = if T::epsilon().to_f64() < 1e-10 { magnitude } else { 0.0 };
            let hat: Vec<f64> = x.iter().map(|&x| ((x - mean[row]).abs() + lost) * rstd[row]).collect();
            let g: Vec<f64> = (0..cols).map(|i| (gamma[i] * dy[i]).abs()).collect();
            let mean_g = if self.norm == Norm::Layer { g.iter().sum::<f64>() / cols as f64 } else { 0.0 };
            let mean_g_hat = (0..cols).map(|i| g[i] * hat[i]).sum::<f64>() / cols as f64;
            for i in 0..cols {
                y_terms[at.start + i] = (hat[i] * gamma[i]).abs().max(beta[i].abs());
                dx_terms[at.start + i] = rstd[row] * (g[i] + mean_g + hat[i] * mean_g_hat);
                dgamma_terms[i] += dy[i].abs() * hat[i];
                dbeta_terms[i] += dy[i].abs();
            }
        }
        let values = Results { mean, rstd, y, dx, dgamma, dbeta };
        Exact { values, y_terms, dx_terms, dgamma_terms, dbeta_terms }
    }

    #[track_caller]
    pub(crate) fn check(&self, offset: usize) {
        let exact = self.exact();
        // The references add f64 one after the other.
        let sums =
            if T::epsilon().to_f64() < 1e-10 { self.shape.cols as f64 + self.shape.rows as f64 } else { 0.0 };
        each_level(|level| {
            let actual = self.run(offset);
            let context = |what: &str, i: usize| format!("{what}[{i}] at {level}: {self:?}");
            let scale = exact.y_terms.len().max(1) as f64;
            for row in 0..self.shape.rows {
                let largest = self.x[row * self.shape.cols..][..self.shape.cols]
                    .iter()
                    .fold(0.0_f64, |m, x| m.max(Element::to_f64(*x).abs()));
                let bound = (8.0 + scale) * f64::EPSILON * largest;
                let (mean, rstd) = (actual.mean[row], actual.rstd[row]);
                assert!((mean - exact.values.mean[row]).abs() <= bound, "{}", context("mean", row));
                let distance = (rstd / exact.values.rstd[row] - 1.0).abs();
                let bound = 4.0 * T::epsilon().to_f64() + scale * f64::EPSILON;
                assert!(distance <= bound, "{}", context("rstd", row));
            }
            let compare = |what: &str, actual: &[T], exact: &[f64], terms: &[f64], epsilons: f64| {
                for i in 0..exact.len() {
                    let bound = Tolerance { ulp: 0.0, epsilons: (epsilons + sums) * terms[i] };
                    assert_close(actual[i], exact[i], bound, || context(what, i));
                }
            };
            compare("y", &actual.y, &exact.values.y, &exact.y_terms, tolerance::ROW_NORM);
            compare("dx", &actual.dx, &exact.values.dx, &exact.dx_terms, tolerance::ROW_NORM);
            compare("dgamma", &actual.dgamma, &exact.values.dgamma, &exact.dgamma_terms, tolerance::ROW_NORM);
            compare("dbeta", &actual.dbeta, &exact.values.dbeta, &exact.dbeta_terms, tolerance::ROW_NORM);
        });
    }
}
