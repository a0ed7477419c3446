//! The loop of the losses: results element by element, and a sum of products in `f64`, in one walk.

use super::slices::{InOut, inlined, load, load_partial, splat};
use super::{Isa, MAX_LANES, Mask, Vector};
use crate::Element;
use crate::parallel::Split;

/// Elements to read, and perhaps a place for their results: an [`InOut`], or a slice whose results are dropped, so
/// that one kernel is both the forward and the forward with its gradient.
pub(crate) trait Source<T: Element>: Split {
    /// The elements.
    fn input(&self) -> &[T];
    /// The results so far, if there is a place for them.
    fn output(&mut self) -> Option<&mut [T]>;
    /// Stores `LANES` results at `at`.
    ///
    /// # Safety
    /// `at + LANES` is at most the length.
    unsafe fn put<V: Vector<Elem = T>>(&mut self, at: usize, results: V);
    /// Stores the first `count` results at `at`.
    ///
    /// # Safety
    /// `at + count` is at most the length, and `count` at most `LANES`.
    unsafe fn put_partial<V: Vector<Elem = T>>(&mut self, at: usize, count: usize, results: V);
}

impl<T: Element> Source<T> for &[T] {
    #[inline(always)]
    fn input(&self) -> &[T] {
        self
    }
    #[inline(always)]
    fn output(&mut self) -> Option<&mut [T]> {
        None
    }
    #[inline(always)]
    unsafe fn put<V: Vector<Elem = T>>(&mut self, _at: usize, _results: V) {}
    #[inline(always)]
    unsafe fn put_partial<V: Vector<Elem = T>>(&mut self, _at: usize, _count: usize, _results: V) {}
}

impl<T: Element> Source<T> for InOut<'_, T> {
    #[inline(always)]
    fn input(&self) -> &[T] {
        InOut::input(self)
    }
    #[inline(always)]
    fn output(&mut self) -> Option<&mut [T]> {
        Some(InOut::output(self))
    }
    #[inline(always)]
    unsafe fn put<V: Vector<Elem = T>>(&mut self, at: usize, results: V) {
        // SAFETY: the caller vouches for a whole vector at `at`.
        unsafe { results.store(self.output_at(at)) };
    }
    #[inline(always)]
    unsafe fn put_partial<V: Vector<Elem = T>>(&mut self, at: usize, count: usize, results: V) {
        // SAFETY: the caller vouches for `count` elements at `at`.
        unsafe { results.store_partial(self.output_at(at), count) };
    }
}

/// What [`map_products`] makes of one vector of each input.
pub(crate) struct Products<V> {
    /// The results, for the output if there is one.
    pub(crate) output: V,
    /// One factor of the sum.
    pub(crate) left: V,
    /// The other factor.
    pub(crate) right: V,
}

/// `output[i] = f(others[i], input[i]).output`, and Σ `left · right` with products and sum in `f64`.
///
/// The sum's order only depends on the length: vector after vector into one `f64` a lane, then a fixed tree.
///
/// # Panics
/// Where the lengths differ.
#[inline(always)]
pub(crate) fn map_products<I: Isa, T: Element, S: Source<T>, const N: usize>(
    isa: I,
    others: [&[T]; N],
    data: &mut S,
    f: impl Fn([T::Vector<I>; N], T::Vector<I>) -> Products<T::Vector<I>>,
) -> f64 {
    let (lanes, len) = (T::Vector::<I>::LANES, data.input().len());
    for other in others {
        assert_eq!(other.len(), len);
    }
    // A vector of `f32` is two of `f64`.
    let halves = lanes / I::F64::LANES;
    let zero = splat(isa, T::zero());
    let mut sums = [splat(isa, 0.0); 2];
    let mut add = inlined(
        #[inline(always)]
        |left, right| {
            let left = T::widen(isa, [left, zero, zero, zero]);
            let right = T::widen(isa, [right, zero, zero, zero]);
            for k in 0..halves {
                sums[k] = left[k].mul_add(right[k], sums[k]);
            }
        },
    );
    let mut at = 0;
    while at + lanes <= len {
        let mut vectors = [zero; N];
        for k in 0..N {
            vectors[k] = load(isa, &others[k][at..]);
        }
        let products = f(vectors, load(isa, &data.input()[at..]));
        // SAFETY: a whole vector is left.
        unsafe { data.put(at, products.output) };
        add(products.left, products.right);
        at += lanes;
    }
    if at < len {
        let mut vectors = [zero; N];
        for k in 0..N {
            vectors[k] = load_partial(isa, &others[k][at..]);
        }
        let products = f(vectors, load_partial(isa, &data.input()[at..]));
        // SAFETY: `len - at` elements are left, less than a vector.
        unsafe { data.put_partial(at, len - at, products.output) };
        let alive = first_lanes::<I, T>(isa, len - at);
        add(alive.select(products.left, zero), alive.select(products.right, zero));
    }
    (sums[0] + sums[1]).sum()
}

/// Σ `left · right` of each of the pairs `[left, right]` that `f` makes, with products and sums in `f64`.
///
/// `f` of zeros must make pairs of which one is zero: the lanes past the end are zero. The sums' order is that of
/// [`map_products`].
///
/// # Panics
/// Where the lengths differ.
#[inline(always)]
pub(crate) fn sum_products<I: Isa, T: Element, const N: usize, const M: usize>(
    isa: I,
    x: [&[T]; N],
    f: impl Fn([T::Vector<I>; N]) -> [[T::Vector<I>; 2]; M],
) -> [f64; M] {
    let (lanes, len) = (T::Vector::<I>::LANES, x[0].len());
    for x in x {
        assert_eq!(x.len(), len);
    }
    let halves = lanes / I::F64::LANES;
    let zero = splat(isa, T::zero());
    let mut sums = [[splat(isa, 0.0); 2]; M];
    let mut add = inlined(
        #[inline(always)]
        |vectors| {
            let pairs = f(vectors);
            for m in 0..M {
                let left = T::widen(isa, [pairs[m][0], zero, zero, zero]);
                let right = T::widen(isa, [pairs[m][1], zero, zero, zero]);
                for k in 0..halves {
                    sums[m][k] = left[k].mul_add(right[k], sums[m][k]);
                }
            }
        },
    );
    let mut vectors = [zero; N];
    let mut at = 0;
    while at + lanes <= len {
        for k in 0..N {
            vectors[k] = load(isa, &x[k][at..at + lanes]);
        }
        add(vectors);
        at += lanes;
    }
    if at < len {
        for k in 0..N {
            vectors[k] = load_partial(isa, &x[k][at..]);
        }
        add(vectors);
    }
    let mut totals = [0.0; M];
    for m in 0..M {
        totals[m] = (sums[m][0] + sums[m][1]).sum();
    }
    totals
}

/// Set in the first `count` lanes.
#[inline(always)]
fn first_lanes<I: Isa, T: Element>(isa: I, count: usize) -> <T::Vector<I> as Vector>::Mask {
    let ones: T::Vector<I> = load_partial(isa, &[T::one(); MAX_LANES][..count]);
    splat::<I, T>(isa, T::zero()).lt(ones)
}
