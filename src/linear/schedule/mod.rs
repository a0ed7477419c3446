//! Blocks that fit the caches and tasks for the threads. Every output is one chain over `k` in order, whatever is cut.

mod blocking;
mod column_sums;
mod packing;
mod streamed;
mod tasks;

pub(super) use blocking::{aligned_start, scratch_len};
pub(super) use column_sums::{column_sums, column_sums_and_norm};
pub(super) use packing::pack;

use super::kernel::{Rows, Source, Start, Tiles, spread};
use super::{GemmShape, PackedMatrix, Transpose};
use crate::parallel;
use crate::simd::{Active, LINE, MatrixMut, Right};
use crate::{Element, Epilogue};
use blocking::{Blocking, Cache, DEPTH, ONE_TILE, PACKED_PANELS, PACKED_ROWS, packed_elements, right_bytes};
use packing::{pack_left, pack_right};
use streamed::Streamed;
use tasks::{Block, FEW_TILES, Panels, Task};

/// Rows up to which every task packs the panels it multiplies with; above, tasks share panels that are packed before.
const OWN_PANELS_ROWS: usize = 192;
/// Multiply-adds below which a second thread is not worth waking: 5 us of one thread.
const SMALLEST_TASK: usize = 1 << 18;
/// Multiply-adds below which a product stays on the caller's thread: 1 MFLOP.
const PARALLEL: usize = 1 << 19;
/// Tasks a thread, so that one that was interrupted does not hold up the others.
const TASKS_A_THREAD: usize = 4;

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

/// Multiply-adds of a product.
fn operations(m: usize, n: usize, k: usize) -> usize {
    m.saturating_mul(n).saturating_mul(k)
}

/// Whether rows of B as it is stored serve as those of panels: they do not share the same ways of L1.
fn has_panels<T>(shape: GemmShape) -> bool {
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
