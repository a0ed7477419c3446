//! What norms of rows give, and what it is held against.

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

/// The same in `f64`, with the magnitudes of the terms that make up each result.
pub(crate) struct Exact {
    pub(crate) values: Results<f64>,
    pub(crate) y_terms: Vec<f64>,
    pub(crate) dx_terms: Vec<f64>,
    pub(crate) dgamma_terms: Vec<f64>,
    pub(crate) dbeta_terms: Vec<f64>,
}
