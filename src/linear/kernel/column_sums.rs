//! Sums of columns, as a gradient of a bias is.

use crate::Element;
use crate::simd::{self, Isa, Kernel, StoreInto, Vector};
use crate::stats::NormPartial;
use crate::stats::norm_partial::kernel::add_squares;

/// `sums[col] += Σ x[row][col]`, in `f64`, rows in order.
pub(in crate::linear) struct ColumnSums<'a, T> {
    /// From the first column to be summed on.
    pub(in crate::linear) x: &'a [T],
    pub(in crate::linear) rows: usize,
    pub(in crate::linear) stride: usize,
    pub(in crate::linear) sums: &'a mut [T],
    /// What the same sums are added to.
    pub(in crate::linear) also: Option<&'a mut [T]>,
    /// The norm that the elements are added to.
    pub(in crate::linear) norm: Option<&'a mut NormPartial>,
}

/// Sums at a time: 4 KiB in L1, for rows that are read in long streams.
const SUMS: usize = 16 * simd::FOLD_BLOCK;

impl<T: Element> Kernel for ColumnSums<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(mut self, isa: I) {
        for first in (0..self.sums.len()).step_by(SUMS) {
            let width = SUMS.min(self.sums.len() - first);
            let lanes = match self.norm {
                Some(_) => self.add_rows::<I, true>(isa, first, width),
                None => self.add_rows::<I, false>(isa, first, width),
            };
            for sums in [Some(&mut *self.sums), self.also.as_deref_mut()].into_iter().flatten() {
                for (sum, total) in sums[first..][..width].iter_mut().zip(lanes) {
                    *sum = T::from_f64(sum.to_f64() + total);
                }
            }
        }
    }
}

impl<T: Element> ColumnSums<'_, T> {
    /// The sums of `width` columns, which are added to the norm block by block of columns where that is `WITH_NORM`.
    #[inline(always)]
    fn add_rows<I: Isa, const WITH_NORM: bool>(&mut self, isa: I, first: usize, width: usize) -> [f64; SUMS] {
        const BLOCKS: usize = SUMS / simd::FOLD_BLOCK;
        let mut totals = [[simd::splat::<I, f64>(isa, 0.0); 4]; BLOCKS];
        let mut squares = [[simd::splat::<I, f64>(isa, 0.0); 4]; BLOCKS];
        for row in 0..self.rows {
            let x = &self.x[row * self.stride + first..][..width];
            for ((x, totals), squares) in x.chunks(simd::FOLD_BLOCK).zip(&mut totals).zip(&mut squares) {
                let x = if x.len() == simd::FOLD_BLOCK {
                    simd::widen::<I, T>(isa, x)
                } else {
                    simd::widen_partial::<I, T>(isa, x)
                };
                for part in 0..4 {
                    totals[part] = totals[part] + x[part];
                    if WITH_NORM {
                        squares[part] = x[part].mul_add(x[part], squares[part]);
                    }
                }
            }
        }
        if let (true, Some(norm)) = (WITH_NORM, self.norm.as_deref_mut()) {
            for (block, sums) in squares[..width.div_ceil(simd::FOLD_BLOCK)].iter().enumerate() {
                let from = block * simd::FOLD_BLOCK;
                let columns = first + from..first + width.min(from + simd::FOLD_BLOCK);
                let rows = (0..self.rows).map(|row| &self.x[row * self.stride..][columns.clone()]);
                add_squares(isa, norm, ((sums[0] + sums[1]) + (sums[2] + sums[3])).sum(), rows);
            }
        }
        let mut lanes = [0.0; SUMS];
        for (vector, to) in totals.iter().flatten().zip(lanes.chunks_exact_mut(8)) {
            vector.store_into(to);
        }
        lanes
    }
}
