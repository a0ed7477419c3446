//! Blocks that fit the caches, and the scratch that packed ones take.

use super::{Factor, lanes};
use crate::Level;
use crate::linear::{GemmShape, Transpose};
use crate::simd::LINE;

/// Steps of `k` in the deepest block.
pub(super) const DEPTH: usize = 512;
/// Elements of the left factor of a block where its rows are one tile, so that panels are read once in long streams.
pub(super) const ONE_TILE: usize = 4096;
/// Rows of the left factor packed at a time: 3 MiB of `f32`, in L3.
pub(super) const PACKED_ROWS: usize = 1536;
/// Panels of the right factor packed at a time: 4 MiB, in L3.
pub(super) const PACKED_PANELS: usize = 128;

/// What fits the caches of a level's machines.
pub(super) struct Blocking {
    /// Steps of `k` in a block.
    pub(super) depth: usize,
    /// Panels that are gone through while they stay in L2.
    pub(super) chunk: usize,
    /// Rows of the left factor by steps of `k` that are multiplied with a strip of panels before the next strip.
    pub(super) group: usize,
}

impl Blocking {
    pub(super) fn new(level: Level) -> Self {
        match level {
            // 72 KiB of rows and 768 KiB of panels come from half of an L2 of 2 MiB, since another thread may have the other
            // half; the outputs are read and written half as often as with 256 steps.
            Level::Avx512 => Self { depth: DEPTH, chunk: 24, group: 36 * DEPTH },
            // 16 KiB of a panel stay in half of L1, 256 KiB of panels and 48 KiB of rows in L2.
            Level::Avx2 | Level::Portable => Self { depth: 256, chunk: 16, group: 48 * 256 },
        }
    }
}

/// Elements of the packed left and of the packed right factor, never fewer for a larger shape: the last batch of an epoch
/// has room where the others had.
pub(super) fn packed_elements<T>(shape: GemmShape) -> (usize, usize) {
    let (rows, panels) = (shape.m.min(PACKED_ROWS), shape.n.div_ceil(lanes::<T>()).min(PACKED_PANELS));
    let left = (rows * shape.k.min(DEPTH)).max(rows.saturating_mul(shape.k).min(ONE_TILE));
    (left, panels * lanes::<T>() * shape.k.min(DEPTH))
}

/// Elements of scratch: both packed blocks and what aligns them.
pub(in crate::linear) fn scratch_len<T>(shape: GemmShape) -> usize {
    if shape.m == 0 || shape.n == 0 || shape.k == 0 {
        return 0;
    }
    let (left, right) = packed_elements::<T>(shape);
    left + right + 2 * lanes::<T>()
}

/// The part of `data` from its first cache line on.
pub(in crate::linear) fn aligned_start<T>(data: &[T]) -> usize {
    data.as_ptr().align_offset(LINE).min(data.len())
}

/// The smallest cache that keeps the right factor as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cache {
    L1,
    L2,
    /// Of all threads together, or none: what comes from there is asked for.
    Beyond,
}

impl Cache {
    pub(super) fn of(bytes: usize) -> Self {
        /// That of the machines with the least.
        const L1: usize = 32 * 1024;
        /// Of one with 1 MiB: the other half has what else is used.
        const HALF_OF_L2: usize = 512 * 1024;
        if bytes <= L1 {
            Self::L1
        } else if bytes <= HALF_OF_L2 {
            Self::L2
        } else {
            Self::Beyond
        }
    }
}

/// Bytes of the right factor, with the gaps between the rows of one that is stored by rows.
pub(super) fn right_bytes<T>(shape: GemmShape, b: &Factor<'_, T>) -> usize {
    let row = match b {
        Factor::Strided(_) if shape.b.transpose == Transpose::No => shape.b.stride,
        _ => shape.n,
    };
    shape.k.saturating_mul(row).saturating_mul(size_of::<T>())
}
