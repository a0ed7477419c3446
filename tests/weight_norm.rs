//! Normalised weights against their formulas in `f64`.

mod common;
mod weight_norm {
    pub(crate) mod spectral_norm;
    pub(crate) mod units;
}
