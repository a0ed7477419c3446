//! Blocks that fit the caches and tasks for the threads. Every output is one chain over `k` in order, whatever is cut.

use core::ops::Range;

use super::kernel::{
    ColumnSums, Multiply, MultiplyInto, PackLeft, PackRight, Rows, Source, Start, Tiles, spread,
};
use super::streamed::Streamed;
use super::{GemmShape, MatrixLayout, PackedMatrix, Transpose};
use crate::parallel::{self, Offset, join};
use crate::simd::{self, Active, Ahead, LINE, MatrixMut, Right};
use crate::stats::NormPartial;
use crate::{Element, Epilogue, Level};

/// Steps of `k` in the deepest block.
const DEPTH: usize = 512;
/// Elements of the left factor of a block where its rows are one tile, so that panels are read once in long streams.
const ONE_TILE: usize = 4096;
/// Rows of the left factor packed at a time: 3 MiB of `f32`, in L3.
const PACKED_ROWS: usize = 1536;
/// Tiles up to which panels that were packed before are read once and kept in L2 for all tiles.
const FEW_TILES: usize = 8;
/// Steps of `k` up to which a chunk of panels fits half of L1: then time goes into the output, which is walked by rows.
const SHALLOW: usize = 16;
/// Panels of the right factor packed at a time: 4 MiB, in L3.
const PACKED_PANELS: usize = 128;
/// Rows up to which every task packs the panels it multiplies with; above, tasks share panels that are packed before.
const OWN_PANELS_ROWS: usize = 192;
/// Bytes of a page.
pub(super) const PAGE: usize = 4096;
/// Multiply-adds below which a second thread is not worth waking: 5 us of one thread.
const SMALLEST_TASK: usize = 1 << 18;
/// Multiply-adds below which a product stays on the caller's thread: 1 MFLOP.
const PARALLEL: usize = 1 << 19;
/// Tasks a thread, so that one that was interrupted does not hold up the others.
const TASKS_A_THREAD: usize = 4;

/// What fits the caches of a level's machines.
pub(super) struct Blocking {
    /// Steps of `k` in a block.
    pub(super) depth: usize,
    /// Panels that are gone through while they stay in L2.
    chunk: usize,
    /// Rows of the left factor by steps of `k` that are multiplied with a strip of panels before the next strip.
    group: usize,
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

/// The right factor of a product.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Factor<'a, T> {
    /// As the caller has it.
    Strided(&'a [T]),
    /// Packed before.
    Packed(&'a PackedMatrix<T>),
}

/// A product whose arguments have been checked.
#[derive(Debug)]
pub struct Product<'a, T> {
    pub(crate) shape: GemmShape,
    pub(crate) alpha: T,
    pub(crate) a: &'a [T],
    pub(crate) b: Factor<'a, T>,
    pub(crate) start: Start<'a, T>,
    /// Its residual has the layout of an output without gaps.
    pub(crate) epilogue: Epilogue<'a, T>,
    pub(crate) scratch: &'a mut [T],
    pub(crate) c: &'a mut [T],
}

/// Lanes of a vector: the width of a panel.
pub(super) const fn lanes<T>() -> usize {
    LINE / size_of::<T>()
}

/// Elements of the packed left and of the packed right factor, never fewer for a larger shape: the last batch of an epoch
/// has room where the others had.
fn packed_elements<T>(shape: GemmShape) -> (usize, usize) {
    let (rows, panels) = (shape.m.min(PACKED_ROWS), shape.n.div_ceil(lanes::<T>()).min(PACKED_PANELS));
    let left = (rows * shape.k.min(DEPTH)).max(rows.saturating_mul(shape.k).min(ONE_TILE));
    (left, panels * lanes::<T>() * shape.k.min(DEPTH))
}

/// Elements of scratch: both packed blocks and what aligns them.
pub(super) fn scratch_len<T>(shape: GemmShape) -> usize {
    if shape.m == 0 || shape.n == 0 || shape.k == 0 {
        return 0;
    }
    let (left, right) = packed_elements::<T>(shape);
    left + right + 2 * lanes::<T>()
}

/// Multiply-adds of a product.
pub(super) fn operations(m: usize, n: usize, k: usize) -> usize {
    m.saturating_mul(n).saturating_mul(k)
}

/// The part of `data` from its first cache line on.
pub(super) fn aligned_start<T>(data: &[T]) -> usize {
    data.as_ptr().align_offset(LINE).min(data.len())
}

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
    fn run(&self, task: Task<'_, T>) {
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

/// The smallest cache that keeps the right factor as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cache {
    L1,
    L2,
    /// Of all threads together, or none: what comes from there is asked for.
    Beyond,
}

impl Cache {
    fn of(bytes: usize) -> Self {
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
fn right_bytes<T>(shape: GemmShape, b: &Factor<'_, T>) -> usize {
    let row = match b {
        Factor::Strided(_) if shape.b.transpose == Transpose::No => shape.b.stride,
        _ => shape.n,
    };
    shape.k.saturating_mul(row).saturating_mul(size_of::<T>())
}

/// Whether rows of B as it is stored serve as those of panels: they do not share the same ways of L1.
pub(super) fn has_panels<T>(shape: GemmShape) -> bool {
    shape.b.transpose == Transpose::No && spread::<T>(shape.b.stride)
}

/// Whether rows of A serve a tile as they are stored.
fn has_rows<T: Element>(shape: GemmShape, alpha: T) -> bool {
    shape.a.transpose == Transpose::No && alpha == T::one()
}

/// `c = epilogue(start + alpha · a · b)`.
pub(super) fn multiply<T: Element>(product: Product<'_, T>) {
    let Product { shape, alpha, a, b, start, epilogue, scratch, c } = product;
    let GemmShape { m, n, k, .. } = shape;
    if m == 0 || n == 0 {
        return;
    }
    let active = Active::current();
    let threads = if operations(m, n, k) < PARALLEL { 1 } else { parallel::threads() };
    let task_of = |depth: usize| match threads {
        1 => usize::MAX,
        _ => (operations(m, n, depth) / (TASKS_A_THREAD * threads)).max(SMALLEST_TASK),
    };
    let task = task_of(k.min(DEPTH));
    let packed_before = matches!(b, Factor::Packed(_));
    let (left_len, right_len) = packed_elements::<T>(shape);
    let start_of_scratch = aligned_start(scratch);
    let scratch = &mut scratch[start_of_scratch..];
    let (left_scratch, scratch) = scratch.split_at_mut(left_len.min(scratch.len()));
    let start_of_right = aligned_start(scratch);
    let right_scratch = &mut scratch[start_of_right..];
    let right_scratch = {
        let len = right_scratch.len().min(right_len);
        &mut right_scratch[..len]
    };

    let right_in = Cache::of(right_bytes::<T>(shape, &b));
    let streamed = right_in == Cache::Beyond;
    let most = Blocking::new(active.level()).depth;
    let most = if packed_before { most.max(ONE_TILE / m) } else { most };
    let depth = k.div_ceil(k.div_ceil(most).max(1)).max(1);
    // Few tiles that read what fits half of L2: 32x256x256 takes 115 % of the speed of packing it.
    let few = Tiles::new(active.level(), m).count() <= FEW_TILES;
    let in_place = |cols: usize| cols >= lanes::<T>() && !streamed && few && has_panels::<T>(shape);
    let mut col = 0;
    if let Factor::Strided(b) = b
        && streamed
        && has_rows(shape, alpha)
        && Streamed::<T>::serves(active.level(), shape)
    {
        col = n - n % lanes::<T>();
        let c = MatrixMut::new(&mut *c, m, n, shape.c_stride).split_cols(col).0;
        Streamed { active, shape, a, b, start, epilogue, task: task_of(k) }.run(0, c);
    }
    while col < n {
        let cols = n - col;
        let (ready, cols) = match b {
            Factor::Packed(_) => (true, cols),
            // What is narrower than a panel comes last.
            Factor::Strided(_) if in_place(cols) => (true, cols - cols % lanes::<T>()),
            Factor::Strided(_) => (false, cols.min(PACKED_PANELS * lanes::<T>())),
        };
        let own = m <= OWN_PANELS_ROWS && cols >= 8 * lanes::<T>() || threads == 1 && m <= PACKED_ROWS;
        let mut from = 0;
        loop {
            let depth = depth.min(k - from);
            let panel_step = depth * lanes::<T>();
            if let (Factor::Strided(b), false, false) = (b, ready, own) {
                let source = Source::right(b, shape.b).from(col, from);
                let right = &mut right_scratch[..cols.div_ceil(lanes::<T>()) * panel_step];
                pack_right(active, threads, depth, cols, source, right);
            }
            for row in (0..m).step_by(PACKED_ROWS) {
                let rows = PACKED_ROWS.min(m - row);
                let tiles = Tiles::new(active.level(), rows);
                let panels = match b {
                    Factor::Packed(b) => Panels::Ready(b.panels(from)),
                    Factor::Strided(b) if ready => {
                        let Source { data, k_step, .. } = Source::right(b, shape.b).from(col, from);
                        Panels::Ready(Right { data, panel_step: lanes::<T>(), k_step })
                    }
                    Factor::Strided(b) if own => {
                        let source = Source::right(b, shape.b).from(col, from);
                        Panels::Own { source, out: &mut *right_scratch }
                    }
                    Factor::Strided(_) => {
                        Panels::Ready(Right { data: &*right_scratch, panel_step, k_step: lanes::<T>() })
                    }
                };
                let left = Source::left(a, shape.a).from(row, from);
                // Six rows are six streams, which need no packing: 95 % of the peak in L2 against 79 %.
                let left = if has_rows(shape, alpha) {
                    Rows::Strided { data: left.data, stride: shape.a.stride }
                } else {
                    let packed = &mut left_scratch[..rows * depth];
                    pack_left(active, threads, alpha, depth, tiles, left, packed);
                    Rows::Packed { data: packed, depth }
                };
                let block = Block {
                    active,
                    depth,
                    tiles,
                    left,
                    start: if from == 0 { start.starting_at(col) } else { Start::Scaled(T::one()) },
                    epilogue: Some(epilogue).filter(|epilogue| from + depth == k && !epilogue.is_none()),
                    origin: row * n + col,
                    width: n,
                    task,
                    right_in,
                };
                let c = MatrixMut::new(&mut *c, m, n, shape.c_stride);
                let c = c.split_rows(row).1.split_rows(rows).0.split_cols(col).1.split_cols(cols).0;
                block.run(Task { tiles: 0..tiles.count(), col: 0, panels, c });
            }
            from += depth;
            if from >= k {
                break;
            }
        }
        col += cols;
    }
}

/// [`PackLeft`] by all threads.
fn pack_left<T: Element>(
    active: Active,
    threads: usize,
    alpha: T,
    depth: usize,
    tiles: Tiles,
    source: Source<'_, T>,
    out: &mut [T],
) {
    halve(
        0..tiles.count(),
        tiles.count().div_ceil(threads),
        out,
        &|tile| tiles.start(tile) * depth,
        &|range, out| {
            simd::dispatch(
                active,
                PackLeft { alpha, depth, tiles, first: range.start, last: range.end, source, out },
            );
        },
    );
}

/// [`PackRight`] by all threads.
pub(super) fn pack_right<T: Element>(
    active: Active,
    threads: usize,
    depth: usize,
    cols: usize,
    source: Source<'_, T>,
    out: &mut [T],
) {
    let panels = cols.div_ceil(lanes::<T>());
    let panel = depth * lanes::<T>();
    halve(0..panels, panels.div_ceil(threads), out, &|at| at * panel, &|range, out| {
        let source = source.from(range.start * lanes::<T>(), 0);
        let cols = cols.min(range.end * lanes::<T>()) - range.start * lanes::<T>();
        simd::dispatch(active, PackRight { depth, cols, source, out });
    });
}

/// Calls `f` on parts of `range` no longer than `most`, each with its part of `out`, where item `i` begins at `start(i)`.
fn halve<T: Send>(
    range: Range<usize>,
    most: usize,
    out: &mut [T],
    start: &(impl Fn(usize) -> usize + Sync),
    f: &(impl Fn(Range<usize>, &mut [T]) + Sync),
) {
    if range.len() <= most {
        return f(range, out);
    }
    let mid = range.start + range.len() / 2;
    let (first, second) = out.split_at_mut(start(mid) - start(range.start));
    join(|| halve(range.start..mid, most, first, start, f), || halve(mid..range.end, most, second, start, f));
}

/// All of a right factor as panels of the whole `k`.
pub(super) fn pack<T: Element>(k: usize, n: usize, layout: MatrixLayout, b: &[T], out: &mut [T]) {
    let threads = if k * n < PARALLEL { 1 } else { parallel::threads() };
    pack_right(Active::current(), threads, k, n, Source::right(b, layout), out);
}

/// `sums[col] += Σ x[row][col]` of rows `stride` apart, summed in `f64`, by columns in parallel; and the same to `also`, where it is given.
pub(super) fn column_sums<T: Element>(
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
pub(super) fn column_sums_and_norm<T: Element>(rows: usize, x: &[T], sums: &mut [T], norm: &mut NormPartial) {
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
