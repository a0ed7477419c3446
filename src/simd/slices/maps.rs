//! Elements from the same place of one or several slices.

use super::{InOut, STREAM_AHEAD_BYTES, Store, StoreInto, inlined, load_partial, splat};
use crate::simd::{Isa, LINE, Vector};
use crate::{Element, Level};

/// Elements before the first cache line of an output, fewer than a line has.
#[inline(always)]
pub(crate) fn before_lines<T>(output: *const T) -> usize {
    output.addr().wrapping_neg() % LINE / size_of::<T>()
}

/// [`before_lines`] of an output of `len` elements, where it is worth a part of a vector that no other vector crosses a line; else 0.
///
/// Large memory from glibc begins 16 bytes behind a line. From there, on a Zen 4, ReLU of 4096 elements took 1.65 of the time from a
/// line on. Vectors of the portable level are narrow enough.
#[inline(always)]
pub(crate) fn worth_lines<I: Isa, T>(output: *const T, len: usize) -> usize {
    /// Lines of an output from which it is worth it: of 4096 elements it saves 0.2 ns a line, and the part of a vector takes some ns.
    const WORTH: usize = 32;
    let is_worth_it = !matches!(I::LEVEL, Level::Portable) && len >= WORTH * LINE / size_of::<T>();
    if is_worth_it { before_lines(output) } else { 0 }
}

/// Calls `edge` for the elements before `head` and those from `rest` on, parts of a vector each, in one place: its code is not
/// compiled for both.
#[inline(always)]
pub(crate) fn edges(head: usize, rest: usize, len: usize, mut edge: impl FnMut(usize, usize)) {
    if head == 0 && rest == len {
        return;
    }
    for is_rest in [false, true] {
        let (at, count) = if is_rest { (rest, len - rest) } else { (0, head) };
        if count > 0 {
            edge(at, count);
        }
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
    let zero = splat(isa, T::zero());
    // `count` elements, at most a vector, are left of every slice wherever this is called.
    let edge = inlined(
        #[inline(always)]
        |at: usize, count: usize| {
            let mut values = [zero; N];
            for k in 0..N {
                // SAFETY: as above.
                values[k] = unsafe { Vector::load_partial(isa, inputs[k].as_ptr().wrapping_add(at), count) };
            }
            let results = f(values);
            for k in 0..M {
                // SAFETY: as above.
                unsafe { results[k].store_partial(pointers[k].wrapping_add(at), count) };
            }
        },
    );
    // Element-wise results do not depend on where a vector starts.
    let head = pointers.first().map_or(0, |output| worth_lines::<I, T>(*output, len));
    let mut values = [zero; N];
    let mut at = head;
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
    edges(head, at, len, edge);
}

/// `output[i] = f(others[..][i], input[i])`; through the caches, `touch(at)` comes before each whole vector.
///
/// # Panics
/// Where the lengths differ.
#[inline(always)]
pub(super) fn walk<I: Isa, T: Element, const N: usize>(
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
    let streams = store == Store::Streaming;
    // Element-wise results do not depend on where a vector starts.
    let head = if streams { before_lines(output).min(len) } else { worth_lines::<I, T>(output, len) };
    let mut at = head;
    if streams {
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
    edges(head, at, len, edge);
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
