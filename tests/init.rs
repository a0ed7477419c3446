//! Initialisers: their moments, bounds and distributions, orthogonality, and bits that never change.

mod common;
mod init {
    mod branch;
    mod distributions;
    mod lsuv;
    mod orthogonal;
    mod properties;
    pub(crate) mod subject;
}
