//! The only threading: halving joins on rayon's current pool, over blocks that do not depend on the thread count.

#[cfg(feature = "rayon")]
mod awake;

use core::ops::Range;

use crate::simd::{InOut, MatrixMut};

/// Elements from which an element-wise kernel of a few instructions is worth a second thread. Waking one costs
/// about ten microseconds, in which one thread moves 256 KiB from L2.
pub(crate) const PARALLEL_BLOCK: usize = 32 * 1024;

/// Rows that are worth a task of their own.
pub(crate) fn row_block(cols: usize) -> usize {
    PARALLEL_BLOCK.div_ceil(cols)
}

/// Data that can be cut in two, such as slices or several slices side by side.
pub(crate) trait Split: Sized + Send {
    /// Number of places to cut plus one.
    fn len(&self) -> usize;
    /// The first `mid` and the others; panics where `mid > len`.
    fn split_at(self, mid: usize) -> (Self, Self);
}

impl<T: Sync> Split for &[T] {
    fn len(&self) -> usize {
        <[T]>::len(self)
    }
    fn split_at(self, mid: usize) -> (Self, Self) {
        <[T]>::split_at(self, mid)
    }
}

impl<T: Send> Split for &mut [T] {
    fn len(&self) -> usize {
        <[T]>::len(self)
    }
    fn split_at(self, mid: usize) -> (Self, Self) {
        self.split_at_mut(mid)
    }
}

impl<T: Send + Sync> Split for InOut<'_, T> {
    fn len(&self) -> usize {
        self.len()
    }
    fn split_at(self, mid: usize) -> (Self, Self) {
        self.split_at(mid)
    }
}

/// Places without data: rows of something that is only read.
impl Split for Range<usize> {
    fn len(&self) -> usize {
        ExactSizeIterator::len(self)
    }
    fn split_at(self, mid: usize) -> (Self, Self) {
        let at = self.start + mid;
        (self.start..at, at..self.end)
    }
}

/// Cut by rows.
impl<T: Send> Split for MatrixMut<'_, T> {
    fn len(&self) -> usize {
        self.rows()
    }
    fn split_at(self, mid: usize) -> (Self, Self) {
        self.split_rows(mid)
    }
}

/// Two that are cut at the same place.
impl<A: Split, B: Split> Split for (A, B) {
    fn len(&self) -> usize {
        self.0.len()
    }
    fn split_at(self, mid: usize) -> (Self, Self) {
        let ((a, c), (b, d)) = (self.0.split_at(mid), self.1.split_at(mid));
        ((a, b), (c, d))
    }
}

/// Data that may be missing, beside data that is not.
impl<S: Split> Split for Option<S> {
    fn len(&self) -> usize {
        self.as_ref().map_or(0, Split::len)
    }
    fn split_at(self, mid: usize) -> (Self, Self) {
        self.map(|data| data.split_at(mid)).unzip()
    }
}

/// Three that are cut at the same place.
impl<A: Split, B: Split, C: Split> Split for (A, B, C) {
    fn len(&self) -> usize {
        self.0.len()
    }
    fn split_at(self, mid: usize) -> (Self, Self) {
        let ((a, d), (b, e), (c, f)) = (self.0.split_at(mid), self.1.split_at(mid), self.2.split_at(mid));
        ((a, b, c), (d, e, f))
    }
}

/// As many as there are, cut at the same place.
impl<S: Split + Default, const N: usize> Split for [S; N] {
    fn len(&self) -> usize {
        self.first().map_or(0, Split::len)
    }
    fn split_at(mut self, mid: usize) -> (Self, Self) {
        let mut second = core::array::from_fn(|_| S::default());
        for (first, second) in self.iter_mut().zip(&mut second) {
            (*first, *second) = core::mem::take(first).split_at(mid);
        }
        (self, second)
    }
}

/// Rows of `width` elements that are never cut apart; its length is the number of rows.
#[derive(Debug)]
pub(crate) struct Rows<S> {
    /// The elements of all rows.
    pub(crate) data: S,
    /// Elements of a row, at least 1.
    pub(crate) width: usize,
}

impl<S: Split> Split for Rows<S> {
    fn len(&self) -> usize {
        self.data.len() / self.width
    }
    fn split_at(self, mid: usize) -> (Self, Self) {
        let (first, second) = self.data.split_at(mid * self.width);
        (Self { data: first, width: self.width }, Self { data: second, width: self.width })
    }
}

/// A piece of data that knows where it starts in the whole.
#[derive(Debug)]
pub(crate) struct Offset<S> {
    /// Place of the first element.
    pub(crate) first: usize,
    /// The piece.
    pub(crate) data: S,
}

impl<S: Split> Split for Offset<S> {
    fn len(&self) -> usize {
        self.data.len()
    }
    fn split_at(self, mid: usize) -> (Self, Self) {
        let (a, b) = self.data.split_at(mid);
        (Self { first: self.first, data: a }, Self { first: self.first + mid, data: b })
    }
}

/// Runs two closures, at the same time where the pool has a thread to spare.
#[cfg(feature = "rayon")]
pub(crate) fn join<A: Send, B: Send>(a: impl FnOnce() -> A + Send, b: impl FnOnce() -> B + Send) -> (A, B) {
    awake::renew();
    let _busy = awake::Busy::mark();
    rayon::join(a, || {
        let _busy = awake::Busy::mark();
        b()
    })
}

/// Runs two closures, one after the other.
#[cfg(not(feature = "rayon"))]
pub(crate) fn join<A: Send, B: Send>(a: impl FnOnce() -> A + Send, b: impl FnOnce() -> B + Send) -> (A, B) {
    (a(), b())
}

/// Threads of the current pool.
#[cfg(feature = "rayon")]
pub(crate) fn threads() -> usize {
    rayon::current_num_threads()
}

/// Threads of the current pool.
#[cfg(not(feature = "rayon"))]
pub(crate) fn threads() -> usize {
    1
}

/// Calls `f` and keeps the threads of rayon's current pool from falling asleep until it returns.
///
/// A training step is many parallel parts with pauses between them. In a pause of ten microseconds rayon's threads fall asleep,
/// and the next part waits for them to wake, 50 us and more in a virtual machine: then two threads may be slower than one. Here
/// they look for work all the time instead, as those of PyTorch do, whosever work it is. After a millisecond in vain they fall
/// asleep all the same, until the next parallel part of this crate. A call inside another does nothing.
///
/// Call it inside of `pool.install`, not around it. `f` may run on another thread where the caller is not one of a pool; it sees
/// the caller's [`Level`](crate::Level). What it computes has the same bits. It allocates some bytes, and again every few
/// milliseconds. Without the feature `rayon`, and with one thread, `f` is just called.
///
/// # Examples
/// ```
/// use steadygrad::{Activation, keep_awake};
///
/// let (x, mut y, mut z) = ([-1.0_f32, 9.0], [0.0; 2], [0.0; 2]);
/// keep_awake(|| {
///     Activation::Relu.forward(&x, &mut y)?;
///     Activation::Relu6.forward(&y, &mut z)
/// })?;
/// assert_eq!((y, z), ([0.0, 9.0], [0.0, 6.0]));
/// # Ok::<(), steadygrad::Error>(())
/// ```
#[cfg(feature = "rayon")]
pub fn keep_awake<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    let (level, mut f, mut result) = (crate::Level::current(), Some(f), None);
    awake::over(&mut || result = f.take().and_then(|f| crate::Level::scoped(level, f).ok()));
    match result {
        Some(result) => result,
        None => unreachable!("it was called once, at a level that is there"),
    }
}

/// Calls `f`: without the feature `rayon` there are no threads to keep awake.
#[cfg(not(feature = "rayon"))]
pub fn keep_awake<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    f()
}

/// Calls `f` on pieces of `data` of about `block` that together are all of it: for element-wise work, whose result
/// does not depend on where it is cut.
pub(crate) fn for_each<S: Split>(data: S, block: usize, f: impl Fn(S) + Sync) {
    // By reference to a function of any kind: compiled once for each kind of data, not for each kernel.
    fn halve<S: Split>(data: S, block: usize, f: &(dyn Fn(S) + Sync)) {
        match middle(data.len(), block) {
            Some(mid) => {
                let (first, second) = data.split_at(mid);
                join(|| halve(first, block, f), || halve(second, block, f));
            }
            None => f(data),
        }
    }
    if data.len() <= block || threads() == 1 { f(data) } else { halve(data, block, &f) }
}

/// Calls `f` on each block of `data` and merges the results two by two, by a tree that only depends on the length:
/// the same bits for any number of threads.
pub(crate) fn reduce<S: Split, R: Send>(
    data: S,
    block: usize,
    f: impl Fn(S) -> R + Sync,
    merge: impl Fn(R, R) -> R + Sync,
) -> R {
    fn halve<S: Split, R: Send>(
        data: S,
        block: usize,
        parallel: bool,
        f: &(dyn Fn(S) -> R + Sync),
        merge: &(dyn Fn(R, R) -> R + Sync),
    ) -> R {
        let Some(mid) = middle(data.len(), block) else { return f(data) };
        let (first, second) = data.split_at(mid);
        let (a, b) = if parallel {
            join(|| halve(first, block, parallel, f, merge), || halve(second, block, parallel, f, merge))
        } else {
            (halve(first, block, parallel, f, merge), halve(second, block, parallel, f, merge))
        };
        merge(a, b)
    }
    let parallel = data.len() > block && threads() > 1;
    halve(data, block, parallel, &f, &merge)
}

/// As [`reduce`] with results too large to be passed around: `f` overwrites a default, `merge` adds the second result to the first.
pub(crate) fn reduce_in_place<S: Split, R: Default + Send>(
    data: S,
    block: usize,
    f: impl Fn(S, &mut R) + Sync,
    merge: impl Fn(&mut R, &R) + Sync,
) -> R {
    struct Plan<'a, S, R> {
        block: usize,
        parallel: bool,
        f: &'a (dyn Fn(S, &mut R) + Sync),
        merge: &'a (dyn Fn(&mut R, &R) + Sync),
    }
    fn halve<S: Split, R: Default + Send>(data: S, result: &mut R, plan: &Plan<'_, S, R>) {
        let Some(mid) = middle(data.len(), plan.block) else { return (plan.f)(data, result) };
        let (first, second) = data.split_at(mid);
        let mut other = R::default();
        if plan.parallel {
            join(|| halve(first, result, plan), || halve(second, &mut other, plan));
        } else {
            halve(first, result, plan);
            halve(second, &mut other, plan);
        }
        (plan.merge)(result, &other);
    }
    let parallel = data.len() > block && threads() > 1;
    let mut result = R::default();
    halve(data, &mut result, &Plan { block, parallel, f: &f, merge: &merge });
    result
}

/// As [`reduce`] with results of `width` numbers each, which `f` leaves in a slot of `slots` for each block: the merge
/// of all is in the first.
///
/// # Panics
/// Where `slots` has fewer than `width` numbers a block.
pub(crate) fn reduce_slots<S: Split>(
    data: S,
    block: usize,
    slots: &mut [f64],
    width: usize,
    f: impl Fn(S, &mut [f64]) + Sync,
    merge: impl Fn(&mut [f64], &[f64]) + Sync,
) {
    struct Plan<'a, S> {
        block: usize,
        width: usize,
        parallel: bool,
        f: &'a (dyn Fn(S, &mut [f64]) + Sync),
        merge: &'a (dyn Fn(&mut [f64], &[f64]) + Sync),
    }
    fn halve<S: Split>(data: S, slots: &mut [f64], plan: &Plan<'_, S>) {
        let Some(mid) = middle(data.len(), plan.block) else {
            return (plan.f)(data, &mut slots[..plan.width]);
        };
        let (first, second) = data.split_at(mid);
        let (a, b) = slots.split_at_mut(mid / plan.block * plan.width);
        if plan.parallel {
            join(|| halve(first, a, plan), || halve(second, b, plan));
        } else {
            halve(first, a, plan);
            halve(second, b, plan);
        }
        (plan.merge)(&mut a[..plan.width], &b[..plan.width]);
    }
    let parallel = data.len() > block && threads() > 1;
    halve(data, slots, &Plan { block, width, parallel, f: &f, merge: &merge });
}

/// Adds pieces of `data` of about `block` to `total`, for sums without rounding: a thread adds to the one it has,
/// another thread to a new one, and the two are joined.
pub(crate) fn accumulate<S: Split, R: Send>(
    data: S,
    block: usize,
    total: &mut R,
    add: &(dyn Fn(S, &mut R) + Sync),
    new: &(dyn Fn(&R) -> R + Sync),
    join_to: &(dyn Fn(&mut R, R) + Sync),
) {
    let middle = if threads() == 1 { None } else { middle(data.len(), block) };
    let Some(mid) = middle else { return add(data, total) };
    let (first, second) = data.split_at(mid);
    let mut other = new(total);
    join(
        || accumulate(first, block, total, add, new, join_to),
        || accumulate(second, block, &mut other, add, new, join_to),
    );
    join_to(total, other);
}

/// Where to cut `len` so that the first part is whole blocks, or `None` for a single block.
fn middle(len: usize, block: usize) -> Option<usize> {
    (len > block).then(|| len.div_ceil(block) / 2 * block)
}
