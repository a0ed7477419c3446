//! Tasks of a block: its output is cut in two until each part is small, and a part is gone through in L2.

use core::ops::Range;

use super::blocking::{Blocking, Cache};
use super::{lanes, operations};
use crate::linear::kernel::{Multiply, MultiplyInto, PackRight, Rows, Source, Start, Tiles};
use crate::parallel::join;
use crate::simd::{self, Active, Ahead, MatrixMut, Right};
use crate::{Element, Epilogue};

/// Tiles up to which panels that were packed before are read once and kept in L2 for all tiles.
pub(super) const FEW_TILES: usize = 8;
/// Steps of `k` up to which a chunk of panels fits half of L1: then time goes into the output, which is walked by rows.
const SHALLOW: usize = 16;

/// What the tasks of a block share.
#[derive(Clone, Copy)]
pub(super) struct Block<'a, T> {
    pub(super) active: Active,
    pub(super) depth: usize,
    pub(super) tiles: Tiles,
    pub(super) left: Rows<'a, T>,
    pub(super) start: Start<'a, T>,
    /// Present for the last block of `k`.
    pub(super) epilogue: Option<Epilogue<'a, T>>,
    /// Where the block's output lies in one without gaps: its first element, and the elements of a row.
    pub(super) origin: usize,
    pub(super) width: usize,
    /// Multiply-adds of a task.
    pub(super) task: usize,
    pub(super) right_in: Cache,
}

/// Panels of a task.
pub(super) enum Panels<'a, T> {
    /// Packed before, or as the caller has them.
    Ready(Right<'a, T>),
    /// To be packed into `out` by the task itself.
    Own { source: Source<'a, T>, out: &'a mut [T] },
}

impl<'a, T: Element> Panels<'a, T> {
    /// The first `count` panels of `depth` rows, and the others.
    fn split_at(self, count: usize, depth: usize) -> (Self, Self) {
        match self {
            Self::Ready(right) => (Self::Ready(right), Self::Ready(right.starting_at(count))),
            Self::Own { source, out } => {
                let (first, rest) = out.split_at_mut(count * depth * lanes::<T>());
                let from = source.from(count * lanes::<T>(), 0);
                (Self::Own { source, out: first }, Self::Own { source: from, out: rest })
            }
        }
    }
}

/// Some tiles by some panels: the output that a task writes.
pub(super) struct Task<'a, T> {
    pub(super) tiles: Range<usize>,
    pub(super) col: usize,
    pub(super) panels: Panels<'a, T>,
    pub(super) c: MatrixMut<'a, T>,
}

impl<T: Element> Block<'_, T> {
    /// Cuts `task` in two, again and again, until each part is small.
    pub(super) fn run(&self, task: Task<'_, T>) {
        let panels = task.c.cols().div_ceil(lanes::<T>());
        let work = operations(task.c.rows(), task.c.cols(), self.depth);
        let own = matches!(task.panels, Panels::Own { .. });
        // Rows share panels, so that cutting columns reads less where the panels are the larger factor.
        let by_cols = panels > 1 && (own || task.c.cols() >= task.c.rows());
        // A task packs its own panels once: the last of them is not shared between parts.
        let by_rows = !own && task.tiles.len() > 1;
        if work <= self.task || !(by_cols || by_rows) {
            return self.work(task);
        }
        let Task { tiles, col, panels: right, c } = task;
        let (first, second) = if by_cols {
            // Whole strips, where there are some.
            let (half, strip) = (panels.div_ceil(2), self.strip());
            let mid = if panels > 2 * strip { half.next_multiple_of(strip) } else { half };
            let (first, second) = c.split_cols(mid * lanes::<T>());
            let (right, rest) = right.split_at(mid, self.depth);
            (
                Task { tiles: tiles.clone(), col, panels: right, c: first },
                Task { tiles, col: col + mid * lanes::<T>(), panels: rest, c: second },
            )
        } else {
            let mid = tiles.start + tiles.len() / 2;
            let (first, second) = c.split_rows(self.tiles.start(mid) - self.tiles.start(tiles.start));
            let Panels::Ready(right) = right else { unreachable!("own panels are cut by columns") };
            (
                Task { tiles: tiles.start..mid, col, panels: Panels::Ready(right), c: first },
                Task { tiles: mid..tiles.end, col, panels: Panels::Ready(right), c: second },
            )
        };
        join(|| self.run(first), || self.run(second));
    }

    /// Panels of a strip.
    fn strip(&self) -> usize {
        self.tiles.panels(self.active.level())
    }

    /// Panels that a tile takes side by side, where there are as many: of a strip, or fewer where they come from L2, which gives no
    /// more than a line at a time, while lines of eight packed panels, often whole pages apart, are as many as a set of L1 holds.
    fn panels(&self, right: Right<'_, T>) -> usize {
        const FROM_L2: usize = 4;
        let is_packed = right.panel_step != lanes::<T>();
        if is_packed && self.right_in == Cache::L2 { self.strip().min(FROM_L2) } else { self.strip() }
    }

    /// The panels after the first strip, as far as `cols` columns go, one a tile.
    fn next_strips<'r>(&self, tiles: usize, right: Right<'r, T>, cols: usize) -> Ahead<'r, T> {
        let panels = cols.div_ceil(lanes::<T>()).saturating_sub(self.strip());
        if tiles == 1 || panels == 0 {
            return Ahead::nothing(right);
        }
        let data = right.starting_at(self.strip()).data;
        Ahead { data, step: right.k_step, tile_step: right.panel_step, tiles: panels }
    }

    /// The rows of the next block of `k`, where the right factor is read as it is stored.
    fn next_rows<'r>(&self, right: Right<'r, T>, cols: usize) -> Ahead<'r, T> {
        match right.data.get(self.depth.saturating_mul(right.k_step)..) {
            Some(data) if !data.is_empty() => {
                let tiles = cols.div_ceil(lanes::<T>());
                Ahead { data, step: right.k_step, tile_step: right.panel_step, tiles }
            }
            _ => Ahead::nothing(right),
        }
    }

    /// One task, chunk by chunk of panels, and in each, group by group of tiles.
    pub(super) fn work(&self, task: Task<'_, T>) {
        let Task { tiles, col, mut panels, mut c } = task;
        let Blocking { chunk, group, .. } = Blocking::new(self.active.level());
        let (mut done, width_of_panel) = (0, lanes::<T>());
        let few = tiles.len() <= FEW_TILES;
        let tile = c.rows().div_ceil(tiles.len().max(1)).max(1) * self.depth;
        // What is shallow takes its time in the output, which is walked by rows.
        let group = match panels {
            _ if self.depth <= SHALLOW => 1,
            Panels::Ready(_) if few => FEW_TILES,
            _ => (group / tile).clamp(1, FEW_TILES),
        };
        while c.cols() > 0 {
            // What is packed for few tiles shall still be in L1 or near it when it is read.
            let chunk = if few && matches!(panels, Panels::Own { .. }) { chunk / 4 } else { chunk };
            let cols = c.cols();
            let width = cols.min(chunk * width_of_panel);
            let (mut strip, rest) = c.split_cols(width);
            c = rest;
            let (right, ahead) = match &mut panels {
                Panels::Ready(right) => {
                    let right = right.starting_at(done / width_of_panel);
                    let ahead = if !(few && self.right_in == Cache::Beyond) {
                        Ahead::nothing(right)
                    } else if right.panel_step == width_of_panel {
                        self.next_rows(right, cols)
                    } else {
                        self.next_strips(tiles.len(), right, cols)
                    };
                    (right, ahead)
                }
                Panels::Own { source, out } => {
                    // The same memory for every chunk, so that it stays in L2.
                    let panel_step = self.depth * width_of_panel;
                    let out = &mut out[..width.div_ceil(width_of_panel) * panel_step];
                    let source = source.from(done, 0);
                    simd::dispatch(
                        self.active,
                        PackRight { depth: self.depth, cols: width, source, out: &mut *out },
                    );
                    let right = Right { data: out, panel_step, k_step: width_of_panel };
                    let rows = if few { source.rows_ahead(width..cols) } else { None };
                    (right, rows.unwrap_or(Ahead::nothing(right)))
                }
            };
            let mut first = tiles.start;
            while first < tiles.end {
                let last = tiles.end.min(first + group);
                let rows = self.tiles.start(last) - self.tiles.start(first);
                let (mut output, rest) = strip.split_rows(rows);
                strip = rest;
                let multiply = Multiply {
                    depth: self.depth,
                    tiles: self.tiles,
                    first,
                    last,
                    left: self.left,
                    right,
                    panels: self.panels(right),
                    ahead,
                    start: self.start.starting_at(col + done),
                };
                simd::dispatch(self.active, MultiplyInto(multiply, output.reborrow()));
                if let Some(epilogue) = self.epilogue {
                    for row in 0..rows {
                        let at = self.origin + (self.tiles.start(first) + row) * self.width + col + done;
                        epilogue.apply(self.active, at, output.row(row));
                    }
                }
                first = last;
            }
            done += width;
        }
    }
}
