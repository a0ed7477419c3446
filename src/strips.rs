//! Channels cut into strips, and strips into blocks of rows: the same cuts for any number of threads.

use core::ops::Range;

use crate::parallel::PARALLEL_BLOCK;
use crate::simd::{LINE, STRIP, STRIP_IN_L2, STRIP_RUNS, Store, Tile};
use crate::{ChannelShape, Element};

/// Elements of a tile on which several loops work one after the other: 8 KiB of `f32`, so all of them stay in L1.
pub(crate) const TILE: usize = 2048;

/// Elements of `f32` that a second-level cache holds.
const L2_ELEMENTS: usize = 1 << 18;

/// A tensor of channels that is not empty, as rows of `channels · inner` elements, in strips of a few channels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strips {
    pub(crate) shape: ChannelShape,
    /// Channels of a strip; the last has what is left, and a [`head`](Self::head) may come before the first.
    pub(crate) channels: usize,
}

impl Strips {
    /// The cuts of a tensor with elements.
    pub(crate) fn new(shape: ChannelShape) -> Self {
        let most = match shape.inner {
            // Where it leaves L2 all the same, a wide one makes better use of what a row's page brings: with residual and ReLU, both
            // ways, 32x256x14x14 takes a Zen 4 0.45 to 0.6 of the time of two strips.
            1 if shape.outer * STRIP_IN_L2 > L2_ELEMENTS => STRIP,
            1 => STRIP_IN_L2,
            inner => (TILE / inner).clamp(1, STRIP_RUNS),
        };
        Self { shape, channels: most.min(shape.channels) }
    }

    /// Channels before the first whose elements of `data` begin cache lines, where several strips of channels lie side by side and
    /// all rows begin alike, else 0: as a strip of their own they let those between them and the last consist of whole lines. No bit
    /// depends on it, as lanes are channels and blocks of rows are the same.
    ///
    /// What glibc maps begins 16 bytes behind a line: of 256x1024 a Zen 4 takes 0.87 of the time forward, 0.65 to 0.81 backward.
    pub(crate) fn head<T>(&self, data: &[T]) -> usize {
        if self.shape.inner > 1 || self.shape.channels <= self.channels {
            return 0;
        }
        let rows_begin_alike = (self.stride() * size_of::<T>()).is_multiple_of(LINE);
        let head = data.as_ptr().align_offset(LINE);
        if rows_begin_alike && head < self.channels { head } else { 0 }
    }

    /// Channels worth a task of their own: whole strips.
    pub(crate) fn task(&self) -> usize {
        let strip = self.channels * self.shape.inner * self.shape.outer;
        PARALLEL_BLOCK.div_ceil(strip) * self.channels
    }

    /// Rows of a block: the unit of sums, and worth a task of their own.
    pub(crate) fn rows(&self) -> usize {
        PARALLEL_BLOCK.div_ceil(self.channels * self.shape.inner)
    }

    /// Whether a strip is larger than a second-level cache, so that the second pass over it reads memory again.
    pub(crate) fn outgrow_l2<T>(&self) -> bool {
        self.channels * self.shape.inner * self.shape.outer * size_of::<T>() > L2_ELEMENTS * 4
    }

    /// The faster store for the outputs of a pass over so many tensors of this shape, inputs included.
    pub(crate) fn store<T>(&self, tensors: usize) -> Store {
        Store::for_pass::<T>(self.shape.outer * self.stride() * tensors)
    }

    /// Elements from a row to the next.
    pub(crate) fn stride(&self) -> usize {
        self.shape.channels * self.shape.inner
    }

    /// The part of `x` in some rows and channels.
    pub(crate) fn tile<'a, T: Element>(
        &self,
        x: &'a [T],
        rows: Range<usize>,
        channels: &Range<usize>,
    ) -> Tile<'a, T> {
        let (stride, inner) = (self.stride(), self.shape.inner);
        let data = &x[rows.start * stride + channels.start * inner..];
        Tile::new(data, rows.len(), channels.len() * inner, stride)
    }
}
