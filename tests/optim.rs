//! Optimizers against their formulas.

mod common;
mod optim {
    mod adam;
    mod clipped;
    mod sgd;
    pub(crate) mod subject;
}
