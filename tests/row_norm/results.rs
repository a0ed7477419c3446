//! What norms of rows give, and what it is held against.

use steadygrad::Element;

use crate::common::Guarded;

/// All that a forward and a backward give.
#[derive(Debug, PartialEq)]
pub(crate) struct Results<T> {
    pub(crate) mean: Vec<f64>,
    pub(crate) rstd: Vec<f64>,
    pub(crate) y: Vec<T>,
    pub(crate) dx: Vec<T>,
    pub(crate) dgamma: Vec<T>,
    pub(crate) dbeta: Vec<T>,
}

impl<T: Element> Results<T> {
    /// What was written to the buffers, and nothing beside them.
    pub(crate) fn of(statistics: [&Guarded<f64>; 2], tensors: [&Guarded<T>; 4]) -> Self {
        let [mean, rstd] = statistics.map(|buffer| buffer.checked().to_vec());
        let [y, dx, dgamma, dbeta] = tensors.map(|buffer| buffer.checked().to_vec());
        Self { mean, rstd, y, dx, dgamma, dbeta }
    }
}

/// The same in `f64`, with the magnitudes of the terms that make up each result.
pub(crate) struct Exact {
    pub(crate) values: Results<f64>,
    pub(crate) y_terms: Vec<f64>,
    pub(crate) dx_terms: Vec<f64>,
    pub(crate) dgamma_terms: Vec<f64>,
    pub(crate) dbeta_terms: Vec<f64>,
}
