//! Slices that come from memory, read at several places at a time where that is faster.

use super::maps::walk;
use super::{FOLD_BLOCK, InOut, STREAM_AHEAD_BYTES, fold_f64, map, splat, widen, widen_partial};
use crate::Element;
use crate::simd::machine::is_faster_apart;
use crate::simd::{Isa, LINE, Vector};

/// Elements that loops over several places take at a time: the places are 8 KiB apart for `f32`.
///
/// The prefetchers of a core stop at the end of a page, so one place at a time reaches half of what memory can give.
pub(crate) const APART_BLOCK: usize = 16 * 1024;

/// Places read at a time. In a prototype in C an Ice Lake read 104 MB in 6.9 ms so, in 7.8 at four, in 10 at one; in place it took
/// 7.7, 8.3 and 9.8.
const PLACES: usize = 8;

/// How far ahead of a loop over several places memory is asked: 8 lines at each. At four, a clip of the tensors of ResNet-50,
/// most of it a product in place, took 11.9 ms instead of 13.9 of a busy machine.
const APART_AHEAD_BYTES: usize = 512;
/// As [`APART_AHEAD_BYTES`], where memory is only read.
const FOLD_AHEAD_BYTES: usize = 1024;

/// Elements from which sums are taken at several places: fewer come from cache, and so many sums would cost more than they bring.
const APART_LEAST: usize = APART_BLOCK / 2;

/// As [`fold_f64`], but with sums for each of several places of `x`: for a block that comes from memory. The places are read
/// in turns, or where that is faster one after the other: a Zen 4 so takes 0.85 of the time for 256 MiB. The same bits for the
/// same length.
///
/// `f(0, s)` must be `s`: the lanes past the end are zero.
#[inline(always)]
pub(crate) fn fold_apart_f64<I: Isa, T: Element>(
    isa: I,
    x: &[T],
    f: impl Fn(I::F64, I::F64) -> I::F64,
) -> f64 {
    if x.len() < APART_LEAST {
        return fold_f64(isa, x, f);
    }
    let in_turns = is_faster_apart();
    // A block of full length is likely to be followed by another, whose first lines are asked for.
    let is_whole = x.len() == APART_BLOCK;
    let part = x.len() / (PLACES * FOLD_BLOCK) * FOLD_BLOCK;
    let (apart, rest) = x.split_at(PLACES * part);
    let turn = if in_turns { 2 * FOLD_BLOCK } else { part };
    let mut sums = [[splat(isa, 0.0); 4]; PLACES];
    for from in (0..part).step_by(turn) {
        let to = part.min(from + turn);
        let mut ahead = FOLD_AHEAD_BYTES / size_of::<T>();
        if !in_turns {
            ahead = STREAM_AHEAD_BYTES / size_of::<T>();
        } else if is_whole && from + ahead >= part {
            ahead += APART_BLOCK - part;
        }
        for (k, sums) in sums.iter_mut().enumerate() {
            let mut own = *sums;
            for at in (from..to).step_by(FOLD_BLOCK) {
                let start = apart.as_ptr().wrapping_add(k * part + at);
                for line in (0..FOLD_BLOCK).step_by(LINE / size_of::<T>()) {
                    isa.prefetch(start.wrapping_add(ahead + line));
                }
                // SAFETY: `part` is a multiple of the block, so a whole one is left of the place, which is in `apart`.
                let block = widen(isa, unsafe { core::slice::from_raw_parts(start, FOLD_BLOCK) });
                for i in 0..4 {
                    own[i] = f(block[i], own[i]);
                }
            }
            *sums = own;
        }
    }
    let mut half = PLACES / 2;
    while half > 0 {
        for k in 0..half {
            for i in 0..4 {
                sums[k][i] = sums[k][i] + sums[k + half][i];
            }
        }
        half /= 2;
    }
    let mut sums = sums[0];
    for part in rest.chunks(FOLD_BLOCK) {
        let part = widen_partial(isa, part);
        for i in 0..4 {
            sums[i] = f(part[i], sums[i]);
        }
    }
    ((sums[0] + sums[1]) + (sums[2] + sums[3])).sum()
}

/// `x[i] = f(x[i])` of a slice that comes from memory.
#[inline(always)]
pub(crate) fn map_memory<I: Isa, T: Element>(isa: I, x: &mut [T], f: impl Fn(T::Vector<I>) -> T::Vector<I>) {
    if is_faster_apart() {
        return map_apart(isa, x, f);
    }
    // A Zen 5 takes 8.7 ms for 256 MiB so, 9.7 without asking ahead and 11.4 at four places.
    let x = InOut::in_place(x);
    let start = x.input;
    walk(
        isa,
        [],
        &x,
        #[inline(always)]
        |[], x| f(x),
        #[inline(always)]
        |at| isa.prefetch(start.wrapping_add(at).wrapping_byte_add(STREAM_AHEAD_BYTES)),
    );
}

/// `x[i] = f(x[i])`, at several places of each block at a time.
#[inline(always)]
fn map_apart<I: Isa, T: Element>(isa: I, x: &mut [T], f: impl Fn(T::Vector<I>) -> T::Vector<I>) {
    let lanes = T::Vector::<I>::LANES;
    for block in x.chunks_mut(APART_BLOCK) {
        let part = block.len() / (PLACES * lanes) * lanes;
        let (apart, rest) = block.split_at_mut(PLACES * part);
        let start = apart.as_mut_ptr();
        for at in (0..part).step_by(lanes) {
            for k in 0..PLACES {
                let place = start.wrapping_add(k * part + at);
                isa.prefetch(place.wrapping_byte_add(APART_AHEAD_BYTES));
                // SAFETY: `part` is a multiple of the lanes, so a whole vector is left of the place, which is in `apart`.
                let x = unsafe { Vector::load(isa, place) };
                // SAFETY: as above.
                unsafe { f(x).store(place) };
            }
        }
        map(
            isa,
            InOut::in_place(rest),
            #[inline(always)]
            |x| f(x),
        );
    }
}
