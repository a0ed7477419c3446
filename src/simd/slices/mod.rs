//! The loop skeletons: vector body and masked tail are one closure. Checked loads for kernels with loops of their own.

mod apart;
mod folds;
mod maps;

pub(crate) use apart::{APART_BLOCK, fold_apart_f64, map_memory};
pub(crate) use folds::{FOLD_BLOCK, fold_f64, fold2_f64, max, max_abs, widen, widen_partial};
pub(crate) use maps::{before_lines, combine, edges, map, map_ahead, map2, map3, update, worth_lines};

use super::machine::largest_cache;
use super::{Isa, Vector};
use crate::Element;

/// Whether outputs go through the caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    /// Ordinary stores.
    Cached,
    /// Past the caches: for outputs that will have left them before anybody reads.
    Streaming,
}

/// How far ahead of streaming stores, and of a map in memory, their input is asked for: a page.
const STREAM_AHEAD_BYTES: usize = 4096;

/// Bytes below which nothing streams, however small the largest cache: nothing smaller was measured. A store past the caches' share first reads the line it
/// overwrites, a streaming one does not (28 against 16 GB/s copied); of what stays in a cache it takes 5 to 10 times as long.
const LEAST_STREAMING: usize = 16 << 20;

/// Bytes of an output from which it streams in any case: others may have their share of a cache that is larger. It was the
/// rule for every machine before the cache was asked for.
///
/// Of 32 MiB, where the largest cache has as many, ReLU takes a Zen 4 0.66 of the time, its backward 0.9.
const MOST_OUTPUT: usize = 64 << 20;

/// The same of the bytes that a pass reads and writes.
///
/// Of 49 MiB a Zen 4 with 32 MiB of largest cache takes 0.6 to 0.8 of the time in runs, 0.85 to 0.95 with channels last; of 36 MiB
/// of a layer norm's backward 0.8.
const MOST_PASS: usize = 48 << 20;

impl Store {
    /// The faster store for the outputs of a pass over `elements` elements, inputs included: where they are as many as the largest
    /// cache holds or more, the beginning of the outputs has left it when the pass is over.
    pub(crate) fn for_pass<T>(elements: usize) -> Self {
        Self::of(elements.saturating_mul(size_of::<T>()), MOST_PASS)
    }

    /// The faster store for an output of `elements` elements, which is read from its beginning on when it is complete.
    pub(crate) fn for_output<T>(elements: usize) -> Self {
        Self::of(elements.saturating_mul(size_of::<T>()), MOST_OUTPUT)
    }

    /// Past the caches where there are as many bytes as the largest cache has, or `most`.
    fn of(bytes: usize, most: usize) -> Self {
        if bytes >= LEAST_STREAMING && bytes >= largest_cache().clamp(LEAST_STREAMING, most) {
            Self::Streaming
        } else {
            Self::Cached
        }
    }
}

/// An input and an output of the same length, which may be the same slice: one kernel serves out of place and in
/// place.
#[derive(Debug)]
pub struct InOut<'a, T> {
    input: *const T,
    output: *mut T,
    len: usize,
    store: Store,
    borrow: core::marker::PhantomData<(&'a [T], &'a mut [T])>,
}

// SAFETY: it stands for a `&[T]` and a `&mut [T]`, which may be sent where `T` may be sent and shared.
unsafe impl<T: Send + Sync> Send for InOut<'_, T> {}

impl<'a, T> InOut<'a, T> {
    /// Reads `input`, writes `output`.
    ///
    /// # Panics
    /// Where the lengths differ: callers have checked them.
    pub fn new(input: &'a [T], output: &'a mut [T]) -> Self {
        assert_eq!(input.len(), output.len());
        Self {
            input: input.as_ptr(),
            output: output.as_mut_ptr(),
            len: output.len(),
            store: Store::for_output::<T>(output.len()),
            borrow: core::marker::PhantomData,
        }
    }

    /// Reads and overwrites `data`.
    pub(crate) fn in_place(data: &'a mut [T]) -> Self {
        let output = data.as_mut_ptr();
        // In place the line has been read already: a streaming store would gain nothing.
        Self {
            input: output,
            output,
            len: data.len(),
            store: Store::Cached,
            borrow: core::marker::PhantomData,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The same with ordinary stores: for loops that write less at a time than streaming stores need.
    #[inline(always)]
    pub(crate) fn cached(self) -> Self {
        Self { store: Store::Cached, ..self }
    }

    /// What there is to read; in place, what has been written so far.
    #[inline(always)]
    pub(crate) fn input(&self) -> &[T] {
        // SAFETY: the input is borrowed for longer, and nothing is written while `self` is shared.
        unsafe { core::slice::from_raw_parts(self.input, self.len) }
    }

    /// What there is to overwrite; in place, the input.
    #[inline(always)]
    pub(crate) fn output(&mut self) -> &mut [T] {
        // SAFETY: the output is borrowed mutably for longer, and nothing is read while `self` is not shared.
        unsafe { core::slice::from_raw_parts_mut(self.output, self.len) }
    }

    /// The same input and output for a shorter time.
    #[inline(always)]
    pub(crate) fn reborrow(&mut self) -> InOut<'_, T> {
        InOut { borrow: core::marker::PhantomData, ..*self }
    }

    /// Where result `at` goes.
    #[inline(always)]
    pub(super) fn output_at(&mut self, at: usize) -> *mut T {
        self.output.wrapping_add(at)
    }

    /// The first `mid` elements and the others.
    ///
    /// # Panics
    /// Where `mid` exceeds the length.
    pub(crate) fn split_at(self, mid: usize) -> (Self, Self) {
        assert!(mid <= self.len);
        // SAFETY: `mid` is within the input.
        let input = unsafe { self.input.add(mid) };
        // SAFETY: `mid` is within the output.
        let output = unsafe { self.output.add(mid) };
        (Self { len: mid, ..self }, Self { input, output, len: self.len - mid, ..self })
    }
}

/// `f`, so that a closure bound by `let` is an argument and may carry `#[inline(always)]`.
#[inline(always)]
pub(crate) fn inlined<F>(f: F) -> F {
    f
}

/// `value` in every lane.
#[inline(always)]
pub(crate) fn splat<I: Isa, T: Element>(isa: I, value: T) -> T::Vector<I> {
    Vector::new(isa, value)
}

/// The first lanes' worth of `from`.
///
/// # Panics
/// Where `from` is shorter than a vector; the check compiles away under `chunks_exact`.
#[inline(always)]
pub(crate) fn load<I: Isa, T: Element>(isa: I, from: &[T]) -> T::Vector<I> {
    assert!(from.len() >= T::Vector::<I>::LANES);
    // SAFETY: the slice is long enough.
    unsafe { Vector::load(isa, from.as_ptr()) }
}

/// All of a slice no longer than a vector; the other lanes are zero.
///
/// # Panics
/// Where `from` is longer than a vector.
#[inline(always)]
pub(crate) fn load_partial<I: Isa, T: Element>(isa: I, from: &[T]) -> T::Vector<I> {
    assert!(from.len() <= T::Vector::<I>::LANES);
    // SAFETY: the length is the slice's and at most the lanes.
    unsafe { Vector::load_partial(isa, from.as_ptr(), from.len()) }
}

/// Stores that fit the slice: the counterparts of [`load`] and [`load_partial`].
pub(crate) trait StoreInto<T> {
    /// Overwrites the first lanes' worth of `to`; panics where it is shorter.
    fn store_into(self, to: &mut [T]);
    /// Overwrites all of a slice no longer than a vector; panics where it is longer.
    fn store_partial_into(self, to: &mut [T]);
}

impl<V: Vector> StoreInto<V::Elem> for V {
    #[inline(always)]
    fn store_into(self, to: &mut [V::Elem]) {
        assert!(to.len() >= V::LANES);
        // SAFETY: the slice is long enough.
        unsafe { self.store(to.as_mut_ptr()) };
    }
    #[inline(always)]
    fn store_partial_into(self, to: &mut [V::Elem]) {
        assert!(to.len() <= V::LANES);
        // SAFETY: the length is the slice's and at most the lanes.
        unsafe { self.store_partial(to.as_mut_ptr(), to.len()) };
    }
}
