//! Optimizers against their formulas.

mod common;
mod optim {
    mod adadelta;
    mod adagrad;
    mod adam;
    mod clipped;
    mod lamb;
    mod lars;
    mod lion;
    mod nadam;
    mod radam;
    mod rms_prop;
    mod schedule;
    mod sgd;
    pub(crate) mod subject;
}
