//! Products of few rows that read their right factor as it is stored.

use super::blocking::{Blocking, Cache};
use super::tasks::{Block, Panels, Task};
use super::{has_panels, lanes, operations};
use crate::linear::GemmShape;
use crate::linear::kernel::{Rows, Source, Start, Tiles};
use crate::parallel::join;
use crate::simd::{Active, MatrixMut, Right};
use crate::{Element, Epilogue, Level};

/// Bytes of a page.
const PAGE: usize = 4096;

/// A product of few rows with a B that is read as it is stored, from beyond L2: in blocks of `k`, the next of which is
/// asked for meanwhile. Each task goes through all of `k`, so that no thread waits for others. Against packing B: 10 rows
/// of 650 columns and k = 2600 130 % of the speed, 20 rows 115 %, 32 rows 95 %.
pub(super) struct Streamed<'a, T> {
    pub(super) active: Active,
    pub(super) shape: GemmShape,
    pub(super) a: &'a [T],
    pub(super) b: &'a [T],
    pub(super) start: Start<'a, T>,
    pub(super) epilogue: Epilogue<'a, T>,
    /// Multiply-adds of a task.
    pub(super) task: usize,
}

impl<T: Element> Streamed<'_, T> {
    /// Panels of a task, so that its blocks are deep enough for the output's sake.
    const PANELS: usize = 64;
    /// Bytes of B that a block spans: 48 pages, which the first of two tables of addresses holds.
    const BLOCK: usize = 192 * 1024;

    /// Whether that is how a product is made.
    pub(super) fn serves(level: Level, shape: GemmShape) -> bool {
        let most = if shape.n <= Self::PANELS * lanes::<T>() { 3 } else { 2 };
        has_panels::<T>(shape) && shape.n >= lanes::<T>() && Tiles::new(level, shape.m).count() <= most
    }

    /// The columns of `c`, whole panels, the first of which is column `col`.
    pub(super) fn run(&self, col: usize, mut c: MatrixMut<'_, T>) {
        let GemmShape { m, n, k, .. } = self.shape;
        let tiles = Tiles::new(self.active.level(), m);
        let (panels, strip) = (c.cols() / lanes::<T>(), tiles.panels(self.active.level()));
        if panels > Self::PANELS || panels > strip && operations(m, c.cols(), k) > self.task {
            let half = panels.div_ceil(2);
            let mid = if panels > 8 * strip { half.next_multiple_of(strip) } else { half } * lanes::<T>();
            let (first, second) = c.split_cols(mid);
            join(|| self.run(col, first), || self.run(col + mid, second));
            return;
        }
        let row = c.cols().max(self.shape.b.stride.min(PAGE / size_of::<T>())) * size_of::<T>();
        let depth = Blocking::new(self.active.level()).depth.min(Self::BLOCK / row);
        for from in (0..k).step_by(depth) {
            let depth = depth.min(k - from);
            let Source { data, k_step, .. } = Source::right(self.b, self.shape.b).from(col, from);
            let block = Block {
                active: self.active,
                depth,
                tiles,
                left: Rows::Strided {
                    data: Source::left(self.a, self.shape.a).from(0, from).data,
                    stride: self.shape.a.stride,
                },
                start: if from == 0 { self.start } else { Start::Scaled(T::one()) },
                epilogue: Some(self.epilogue).filter(|epilogue| from + depth == k && !epilogue.is_none()),
                origin: 0,
                width: n,
                task: usize::MAX,
                right_in: Cache::Beyond,
            };
            let panels = Panels::Ready(Right { data, panel_step: lanes::<T>(), k_step });
            block.work(Task { tiles: 0..tiles.count(), col, panels, c: c.reborrow() });
        }
    }
}
