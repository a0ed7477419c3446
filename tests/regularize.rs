//! Dropout, penalties and constraints against their formulas, at every level, length and special value.

mod common;
mod regularize {
    mod dropout;
    mod orthogonality;
    mod penalty;
    pub(crate) mod units;
}
