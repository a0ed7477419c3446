//! Matrix products and dense layers: [`Gemm`], [`PackedMatrix`], [`Dense`].
//!
//! The method is that of Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008): factors are
//! copied into the order in which a tile of the result, held in registers, reads them. Each output is one chain of fused
//! multiply-adds over k in order, so its bits depend neither on the number of threads nor on the other rows.

mod dense;
mod gemm;
mod kernel;
mod packed;
pub mod reference;
mod schedule;

pub use dense::{Dense, DenseGradients, DenseWeights};
pub use gemm::{Gemm, GemmShape, MatrixLayout, Transpose};
pub(crate) use kernel::Start;
pub use packed::PackedMatrix;
pub(crate) use schedule::{Factor, Product};

use crate::element::compiled_once;
use crate::stats::NormPartial;

compiled_once! {
    fn multiply(product: Product<'_, Self>) = schedule::multiply;
    fn pack(k: usize, n: usize, layout: MatrixLayout, b: &[Self], out: &mut [Self]) = schedule::pack;
    fn column_sums(rows: usize, x: (&[Self], usize), sums: &mut [Self], also: Option<&mut [Self]>) = schedule::column_sums;
    fn column_sums_and_norm(rows: usize, x: &[Self], sums: &mut [Self], norm: &mut NormPartial) = schedule::column_sums_and_norm;
}
