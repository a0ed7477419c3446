//! Layer norm, RMS norm, group norm and instance norm against their formulas in `f64`.

mod common;
mod row_norm {
    pub(crate) mod group_norm;
    pub(crate) mod layer_norm;
}
