//! Sums of columns, which threads share by blocks of columns.

use super::PARALLEL;
use crate::Element;
use crate::linear::kernel::ColumnSums;
use crate::parallel::{self, Offset};
use crate::simd::{self, Active};
use crate::stats::NormPartial;

/// `sums[col] += Σ x[row][col]` of rows `stride` apart, summed in `f64`, by columns in parallel; and the same to `also`, where it is given.
pub(in crate::linear) fn column_sums<T: Element>(
    rows: usize,
    (x, stride): (&[T], usize),
    sums: &mut [T],
    also: Option<&mut [T]>,
) {
    if rows == 0 {
        return;
    }
    let active = Active::current();
    let block = columns_of_a_task(x.len(), sums.len());
    parallel::for_each(Offset { first: 0, data: (sums, also) }, block, |Offset { first, data }| {
        let (sums, also) = data;
        simd::dispatch(active, ColumnSums { x: &x[first..], rows, stride, sums, also, norm: None });
    });
}

/// As [`column_sums`] of rows without gaps; the elements are added to a norm on the way.
pub(in crate::linear) fn column_sums_and_norm<T: Element>(
    rows: usize,
    x: &[T],
    sums: &mut [T],
    norm: &mut NormPartial,
) {
    if rows == 0 || sums.is_empty() {
        return;
    }
    let (active, stride) = (Active::current(), sums.len());
    parallel::accumulate(
        Offset { first: 0, data: sums },
        columns_of_a_task(x.len(), stride),
        norm,
        &|Offset { first, data: sums }, norm| {
            let (x, norm) = (&x[first..], Some(norm));
            simd::dispatch(active, ColumnSums { x, rows, stride, sums, also: None, norm });
        },
        &|_| NormPartial::NOTHING,
        &|norm, other| norm.join(&other),
    );
}

/// Whole blocks of columns, each task about as many; all where the elements are few.
fn columns_of_a_task(elements: usize, columns: usize) -> usize {
    let threads = if elements < PARALLEL { 1 } else { parallel::threads() };
    columns.div_ceil(threads).next_multiple_of(simd::FOLD_BLOCK)
}
