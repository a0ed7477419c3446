//! Sums in `f64`, four side by side, and largest elements.

use super::{load, load_partial, splat};
use crate::Element;
use crate::simd::{Isa, MAX_LANES, Mask, Vector};

/// Elements of a block of [`fold_f64`]: as many as fill four vectors of `f64`.
pub(crate) const FOLD_BLOCK: usize = 32;

/// Thirty-two elements as four vectors of `f64`, in order.
///
/// # Panics
/// Where `block` does not have 32 elements.
#[inline(always)]
pub(crate) fn widen<I: Isa, T: Element>(isa: I, block: &[T]) -> [I::F64; 4] {
    let lanes = T::Vector::<I>::LANES;
    assert_eq!(block.len(), FOLD_BLOCK);
    // Sixteen lanes fill the block with two vectors, eight with four.
    let at = |i: usize| (i * lanes).min(FOLD_BLOCK - lanes);
    let vectors = [
        load(isa, &block[at(0)..]),
        load(isa, &block[at(1)..]),
        load(isa, &block[at(2)..]),
        load(isa, &block[at(3)..]),
    ];
    T::widen(isa, vectors)
}

/// At most thirty-two elements as four vectors of `f64`; the other lanes are zero.
#[inline(always)]
pub(crate) fn widen_partial<I: Isa, T: Element>(isa: I, rest: &[T]) -> [I::F64; 4] {
    let lanes = T::Vector::<I>::LANES;
    let part = |i: usize| {
        let from = (i * lanes).min(rest.len());
        &rest[from..(from + lanes).min(rest.len())]
    };
    let vectors = [
        load_partial(isa, part(0)),
        load_partial(isa, part(1)),
        load_partial(isa, part(2)),
        load_partial(isa, part(3)),
    ];
    T::widen(isa, vectors)
}

/// Folds `x` in `f64`, four sums side by side: `sums[k] = f(x_k, sums[k])`, then their total by a fixed tree.
///
/// `f(0, s)` must be `s`: the lanes past the end are zero.
#[inline(always)]
pub(crate) fn fold_f64<I: Isa, T: Element>(isa: I, x: &[T], f: impl Fn(I::F64, I::F64) -> I::F64) -> f64 {
    let mut sums = [splat(isa, 0.0); 4];
    let blocks = x.chunks_exact(FOLD_BLOCK);
    let rest = blocks.remainder();
    for block in blocks {
        let block = widen(isa, block);
        for k in 0..4 {
            sums[k] = f(block[k], sums[k]);
        }
    }
    if !rest.is_empty() {
        let rest = widen_partial(isa, rest);
        for k in 0..4 {
            sums[k] = f(rest[k], sums[k]);
        }
    }
    ((sums[0] + sums[1]) + (sums[2] + sums[3])).sum()
}

/// As [`fold_f64`] over two slices of the same length; `f(0, 0, s)` must be `s`.
#[inline(always)]
pub(crate) fn fold2_f64<I: Isa, T: Element>(
    isa: I,
    x: &[T],
    y: &[T],
    f: impl Fn(I::F64, I::F64, I::F64) -> I::F64,
) -> f64 {
    assert_eq!(x.len(), y.len());
    let mut sums = [splat(isa, 0.0); 4];
    let (x_blocks, y_blocks) = (x.chunks_exact(FOLD_BLOCK), y.chunks_exact(FOLD_BLOCK));
    let (x_rest, y_rest) = (x_blocks.remainder(), y_blocks.remainder());
    for (x, y) in x_blocks.zip(y_blocks) {
        let (x, y) = (widen(isa, x), widen(isa, y));
        for k in 0..4 {
            sums[k] = f(x[k], y[k], sums[k]);
        }
    }
    if !x_rest.is_empty() {
        let (x, y) = (widen_partial(isa, x_rest), widen_partial(isa, y_rest));
        for k in 0..4 {
            sums[k] = f(x[k], y[k], sums[k]);
        }
    }
    ((sums[0] + sums[1]) + (sums[2] + sums[3])).sum()
}

/// The largest element; NaN where any element is NaN, −∞ where there is none.
#[inline(always)]
pub(crate) fn max<I: Isa, T: Element>(isa: I, x: &[T]) -> T {
    max_of(
        isa,
        x,
        T::neg_infinity(),
        #[inline(always)]
        |v| v,
    )
}

/// The largest f(x); NaN where any element is NaN, `lowest` where there is none. f(`lowest`) must be `lowest`.
#[inline(always)]
fn max_of<I: Isa, T: Element>(isa: I, x: &[T], lowest: T, f: impl Fn(T::Vector<I>) -> T::Vector<I>) -> T {
    let lanes = T::Vector::<I>::LANES;
    let mut largest = [splat(isa, lowest); 4];
    let mut nan = largest[0].is_nan();
    let blocks = x.chunks_exact(4 * lanes);
    let rest = blocks.remainder();
    for block in blocks {
        for k in 0..4 {
            let v: T::Vector<I> = load(isa, &block[k * lanes..(k + 1) * lanes]);
            nan = nan.or(v.is_nan());
            largest[k] = f(v).max(largest[k]);
        }
    }
    for part in rest.chunks(lanes) {
        // Dead lanes are the lowest, so that they change nothing.
        let mut padded = [lowest; MAX_LANES];
        padded[..part.len()].copy_from_slice(part);
        let v: T::Vector<I> = load(isa, &padded);
        nan = nan.or(v.is_nan());
        largest[0] = f(v).max(largest[0]);
    }
    if nan.any() {
        return T::nan();
    }
    largest[0].max(largest[1]).max(largest[2].max(largest[3])).reduce(
        #[inline(always)]
        |a, b| if a > b { a } else { b },
    )
}

/// The largest magnitude; NaN where any element is NaN, 0 where there is none.
#[inline(always)]
pub(crate) fn max_abs<I: Isa, T: Element>(isa: I, x: &[T]) -> T {
    max_of(
        isa,
        x,
        T::zero(),
        #[inline(always)]
        |v| v.abs(),
    )
}
