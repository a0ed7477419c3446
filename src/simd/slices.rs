//! The loop skeletons: vector body and masked tail are one closure. Checked loads for kernels with loops of their own.

use super::machine::is_faster_apart;
use super::{Isa, LINE, Vector};
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

/// Bytes of output from which streaming stores pay: a store past the last-level cache's share first reads the line
/// it overwrites, a streaming one does not (28 against 16 GB/s copied; below, 5 to 10 times slower).
const STREAMING_BYTES: usize = 64 << 20;

/// Bytes that a pass reads and writes from which it streams: then the beginning of its output has left the caches when it is over.
///
/// Of 49 MiB a Zen 4 with 32 MiB of last-level cache takes 0.6 to 0.8 of the time in runs, 0.85 to 0.95 with channels last.
const STREAMING_PASS_BYTES: usize = 48 << 20;

impl Store {
    /// The faster store for the outputs of a pass over `elements` elements, inputs included.
    pub(crate) fn for_pass<T>(elements: usize) -> Self {
        if elements.saturating_mul(size_of::<T>()) >= STREAMING_PASS_BYTES {
            Self::Streaming
        } else {
            Self::Cached
        }
    }

    /// The faster store for an output of `elements` elements.
    pub(crate) fn for_output<T>(elements: usize) -> Self {
        if elements.saturating_mul(size_of::<T>()) >= STREAMING_BYTES {
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

/// `output[i] = f(input[i])`.
#[inline(always)]
pub(crate) fn map<I: Isa, T: Element>(isa: I, data: InOut<'_, T>, f: impl Fn(T::Vector<I>) -> T::Vector<I>) {
    walk(
        isa,
        [],
        &data,
        #[inline(always)]
        |[], x| f(x),
        #[inline(always)]
        |_| (),
    );
}

/// `output[i] = f(a[i], input[i])`.
///
/// # Panics
/// Where the lengths differ.
#[inline(always)]
pub(crate) fn map2<I: Isa, T: Element>(
    isa: I,
    a: &[T],
    data: InOut<'_, T>,
    f: impl Fn(T::Vector<I>, T::Vector<I>) -> T::Vector<I>,
) {
    walk(
        isa,
        [a],
        &data,
        #[inline(always)]
        |[a], x| f(a, x),
        #[inline(always)]
        |_| (),
    );
}

/// `output[i] = f(a[i], b[i], input[i])`.
///
/// # Panics
/// Where the lengths differ.
#[inline(always)]
pub(crate) fn map3<I: Isa, T: Element>(
    isa: I,
    a: &[T],
    b: &[T],
    data: InOut<'_, T>,
    f: impl Fn(T::Vector<I>, T::Vector<I>, T::Vector<I>) -> T::Vector<I>,
) {
    walk(
        isa,
        [a, b],
        &data,
        #[inline(always)]
        |[a, b], x| f(a, b, x),
        #[inline(always)]
        |_| (),
    );
}

/// `output[i] = f(others[..][i], input[i])`, while the same place `ahead` elements on is asked for, to be read and to be
/// written: for parts of a tensor that are in cache already, when what follows them is not.
///
/// The prefetchers of a core follow the reads of one pass, but not that the next pass writes elsewhere.
///
/// # Panics
/// Where the lengths differ.
#[inline(always)]
pub(crate) fn map_ahead<I: Isa, T: Element, const N: usize>(
    isa: I,
    ahead: usize,
    others: [&[T]; N],
    data: InOut<'_, T>,
    f: impl Fn([T::Vector<I>; N], T::Vector<I>) -> T::Vector<I>,
) {
    let InOut { input, output, .. } = data;
    walk(
        isa,
        others,
        &data,
        f,
        #[inline(always)]
        |at| {
            isa.prefetch(input.wrapping_add(at + ahead));
            isa.prefetch(output.wrapping_add(at + ahead));
        },
    );
}

/// `outputs[..][i] = f(inputs[..][i])`: a backward with several gradients.
///
/// # Panics
/// Where the lengths differ.
#[inline(always)]
pub(crate) fn combine<I: Isa, T: Element, const N: usize, const M: usize>(
    isa: I,
    inputs: [&[T]; N],
    outputs: [&mut [T]; M],
    f: impl Fn([T::Vector<I>; N]) -> [T::Vector<I>; M],
) {
    let lanes = T::Vector::<I>::LANES;
    let len = inputs[0].len();
    for input in inputs {
        assert_eq!(input.len(), len);
    }
    let mut pointers = [core::ptr::null_mut(); M];
    for k in 0..M {
        assert_eq!(outputs[k].len(), len);
        pointers[k] = outputs[k].as_mut_ptr();
    }
    let mut values = [splat(isa, T::zero()); N];
    let mut at = 0;
    while at + lanes <= len {
        for k in 0..N {
            // SAFETY: a whole vector is left of every slice.
            values[k] = unsafe { Vector::load(isa, inputs[k].as_ptr().wrapping_add(at)) };
        }
        let results = f(values);
        for k in 0..M {
            // SAFETY: a whole vector is left of every slice.
            unsafe { results[k].store(pointers[k].wrapping_add(at)) };
        }
        at += lanes;
    }
    let rest = len - at;
    if rest > 0 {
        for k in 0..N {
            // SAFETY: `rest` elements, fewer than the lanes, are left of every slice.
            values[k] = unsafe { Vector::load_partial(isa, inputs[k].as_ptr().wrapping_add(at), rest) };
        }
        let results = f(values);
        for k in 0..M {
            // SAFETY: `rest` elements, fewer than the lanes, are left of every slice.
            unsafe { results[k].store_partial(pointers[k].wrapping_add(at), rest) };
        }
    }
}

/// `output[i] = f(others[..][i], input[i])`; through the caches, `touch(at)` comes before each whole vector.
///
/// # Panics
/// Where the lengths differ.
#[inline(always)]
fn walk<I: Isa, T: Element, const N: usize>(
    isa: I,
    others: [&[T]; N],
    data: &InOut<'_, T>,
    f: impl Fn([T::Vector<I>; N], T::Vector<I>) -> T::Vector<I>,
    touch: impl Fn(usize),
) {
    let lanes = T::Vector::<I>::LANES;
    let InOut { input, output, len, store, .. } = *data;
    for other in others {
        assert_eq!(other.len(), len);
    }
    let others = others.map(<[T]>::as_ptr);
    let zero = splat(isa, T::zero());
    // A whole vector is left of every slice wherever this is called.
    let full = inlined(
        #[inline(always)]
        |at: usize| {
            let mut values = [zero; N];
            for k in 0..N {
                // SAFETY: as above; the others are as long as the data.
                values[k] = unsafe { Vector::load(isa, others[k].wrapping_add(at)) };
            }
            // SAFETY: as above.
            f(values, unsafe { Vector::load(isa, input.wrapping_add(at)) })
        },
    );
    // `count` elements, at most a vector, are left wherever this is called.
    let edge = inlined(
        #[inline(always)]
        |at: usize, count: usize| {
            let mut values = [zero; N];
            for k in 0..N {
                // SAFETY: as above; the others are as long as the data.
                values[k] = unsafe { Vector::load_partial(isa, others[k].wrapping_add(at), count) };
            }
            // SAFETY: as above.
            let x = unsafe { Vector::load_partial(isa, input.wrapping_add(at), count) };
            // SAFETY: as above, for the output.
            unsafe { f(values, x).store_partial(output.wrapping_add(at), count) };
        },
    );
    let mut at = 0;
    if store == Store::Streaming {
        // Element-wise results do not depend on where a vector starts, so the output's address may be aligned.
        let head = output.align_offset(64).min(len);
        while at < head {
            let count = (head - at).min(lanes);
            edge(at, count);
            at += count;
        }
        while at + lanes <= len {
            // Of many operations fewer vectors are in flight than memory takes to begin a page.
            let ahead = at + STREAM_AHEAD_BYTES / size_of::<T>();
            for other in others {
                isa.prefetch(other.wrapping_add(ahead));
            }
            isa.prefetch(input.wrapping_add(ahead));
            // SAFETY: a whole vector is left of the output, whose address is now a multiple of 64.
            unsafe { full(at).stream(output.wrapping_add(at)) };
            at += lanes;
        }
        isa.fence();
    } else {
        while at + lanes <= len {
            touch(at);
            // SAFETY: a whole vector is left of the output.
            unsafe { full(at).store(output.wrapping_add(at)) };
            at += lanes;
        }
    }
    if at < len {
        edge(at, len - at);
    }
}

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
    use super::Mask;
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
        let mut padded = [lowest; super::MAX_LANES];
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
        map(isa, InOut::in_place(rest), &f);
    }
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

/// How far ahead of an update memory is asked: 32 lines of each slice, since the prefetchers of a core stop at the end of a
/// page.
///
/// On the tensors of ResNet-50 a step of AdamW took 26.4 ms instead of 30.4, of momentum 19.9 instead of 21.4, and about
/// the same with 1, 3 or 8 KiB; several places at a time gained nothing.
const UPDATE_AHEAD_BYTES: usize = 2048;

/// `(y[i], state[..][i]) = f(x[i], y[i], state[..][i])`: an optimizer's step, in place in all it keeps.
///
/// # Panics
/// Where the lengths differ.
#[inline(always)]
pub(crate) fn update<I: Isa, T: Element, const N: usize>(
    isa: I,
    x: &[T],
    y: &mut [T],
    state: [&mut [T]; N],
    f: impl Fn(T::Vector<I>, T::Vector<I>, [T::Vector<I>; N]) -> (T::Vector<I>, [T::Vector<I>; N]),
) {
    let lanes = T::Vector::<I>::LANES;
    assert_eq!(y.len(), x.len());
    let mut pointers = [core::ptr::null_mut(); N];
    for k in 0..N {
        assert_eq!(state[k].len(), x.len());
        pointers[k] = state[k].as_mut_ptr();
    }
    let mut values = [splat(isa, T::zero()); N];
    let (from, to) = (x.as_ptr(), y.as_mut_ptr());
    let mut at = 0;
    for _ in 0..x.len() / lanes {
        isa.prefetch(from.wrapping_add(at).wrapping_byte_add(UPDATE_AHEAD_BYTES));
        isa.prefetch(to.wrapping_add(at).wrapping_byte_add(UPDATE_AHEAD_BYTES));
        for k in 0..N {
            isa.prefetch(pointers[k].wrapping_add(at).wrapping_byte_add(UPDATE_AHEAD_BYTES));
            // SAFETY: a whole vector is left of every slice.
            values[k] = unsafe { Vector::load(isa, pointers[k].wrapping_add(at)) };
        }
        // SAFETY: as above.
        let x = unsafe { Vector::load(isa, from.wrapping_add(at)) };
        // SAFETY: as above.
        let y = unsafe { Vector::load(isa, to.wrapping_add(at)) };
        let (new, values) = f(x, y, values);
        // SAFETY: as above.
        unsafe { new.store(to.wrapping_add(at)) };
        for k in 0..N {
            // SAFETY: as above.
            unsafe { values[k].store(pointers[k].wrapping_add(at)) };
        }
        at += lanes;
    }
    if at < x.len() {
        for k in 0..N {
            values[k] = load_partial(isa, &state[k][at..]);
        }
        let (new, values) = f(load_partial(isa, &x[at..]), load_partial(isa, &y[at..]), values);
        new.store_partial_into(&mut y[at..]);
        for k in 0..N {
            values[k].store_partial_into(&mut state[k][at..]);
        }
    }
}
