//! Factors packed by all threads.

use core::ops::Range;

use super::{PARALLEL, lanes};
use crate::Element;
use crate::linear::MatrixLayout;
use crate::linear::kernel::{PackLeft, PackRight, Source, Tiles};
use crate::parallel::{self, join};
use crate::simd::{self, Active};

/// [`PackLeft`] by all threads.
pub(super) fn pack_left<T: Element>(
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
pub(in crate::linear) fn pack<T: Element>(k: usize, n: usize, layout: MatrixLayout, b: &[T], out: &mut [T]) {
    let threads = if k * n < PARALLEL { 1 } else { parallel::threads() };
    pack_right(Active::current(), threads, k, n, Source::right(b, layout), out);
}
