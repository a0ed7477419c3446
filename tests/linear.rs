//! Products and dense layers against plain loops in `f64`, at every level, over shapes that reach every edge of a tile.

mod common;
mod linear {
    pub(crate) mod comparison;
    mod dense;
    mod gemm;
    mod packed;
}
