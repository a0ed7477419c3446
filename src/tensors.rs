//! Lists of tensors as one run of elements, cut by elements: many small tensors share a task, a large one is spread.

use crate::Error;
use crate::parallel::Split;
use crate::shape::check_len;
use crate::simd::APART_BLOCK;

/// Cuts inside a tensor fall on multiples of this, so that sums over blocks do not depend on where a list was cut.
pub(crate) const GRAIN: usize = APART_BLOCK;

/// Elements worth a task of their own: these loops only wait for memory, 10 to 40 µs at this size.
pub(crate) const TASK: usize = 4 * GRAIN;

/// Where a cut falls in tensors of the given lengths: the index of the tensor, and how many of its elements, a
/// multiple of [`GRAIN`], come before.
fn place(lens: impl Iterator<Item = usize>, mid: usize) -> (usize, usize) {
    let (mut index, mut before) = (0, 0);
    for len in lens {
        if before + len > mid {
            break;
        }
        (index, before) = (index + 1, before + len);
    }
    (index, (mid - before) / GRAIN * GRAIN)
}

/// Tensors to read: the end of one, whole ones, and the beginning of one.
#[derive(Debug)]
pub(crate) struct List<'a, T, S> {
    head: &'a [T],
    body: &'a [S],
    tail: &'a [T],
    len: usize,
}

impl<'a, T, S: AsRef<[T]>> List<'a, T, S> {
    /// All of `tensors`.
    pub(crate) fn new(tensors: &'a [S]) -> Self {
        Self::of(&[], tensors, &[])
    }

    fn of(head: &'a [T], body: &'a [S], tail: &'a [T]) -> Self {
        let len = head.len() + body.iter().map(|tensor| tensor.as_ref().len()).sum::<usize>() + tail.len();
        Self { head, body, tail, len }
    }

    /// The tensors and parts of tensors, in order.
    pub(crate) fn pieces(self) -> impl Iterator<Item = &'a [T]> {
        let body = self.body.iter().map(AsRef::as_ref);
        core::iter::once(self.head).chain(body).chain(core::iter::once(self.tail))
    }
}

impl<T: Sync, S: AsRef<[T]> + Sync> Split for List<'_, T, S> {
    fn len(&self) -> usize {
        self.len
    }

    /// The first `mid` elements, or up to [`GRAIN`] fewer, and the others.
    fn split_at(self, mid: usize) -> (Self, Self) {
        let Self { head, body, tail, .. } = self;
        if mid < head.len() {
            let (first, second) = head.split_at(place([head.len()].into_iter(), mid).1);
            return (Self::of(first, &[], &[]), Self::of(second, body, tail));
        }
        let (index, within) = place(body.iter().map(|tensor| tensor.as_ref().len()), mid - head.len());
        let (whole, rest) = body.split_at(index);
        match rest.split_first() {
            Some((cut, rest)) => {
                let (first, second) = cut.as_ref().split_at(within);
                (Self::of(head, whole, first), Self::of(second, rest, tail))
            }
            None => {
                let (first, second) = tail.split_at(within.min(tail.len()));
                (Self::of(head, whole, first), Self::of(second, &[], &[]))
            }
        }
    }
}

/// Tensors to write: the end of one, whole ones, and the beginning of one.
#[derive(Debug)]
pub(crate) struct ListMut<'a, 'b, T> {
    head: &'a mut [T],
    body: &'a mut [&'b mut [T]],
    tail: &'a mut [T],
    len: usize,
}

impl<'a, 'b, T> ListMut<'a, 'b, T> {
    /// All of `tensors`.
    pub(crate) fn new(tensors: &'a mut [&'b mut [T]]) -> Self {
        Self::of(&mut [], tensors, &mut [])
    }

    fn of(head: &'a mut [T], body: &'a mut [&'b mut [T]], tail: &'a mut [T]) -> Self {
        let len = head.len() + body.iter().map(|tensor| tensor.len()).sum::<usize>() + tail.len();
        Self { head, body, tail, len }
    }

    /// The tensors and parts of tensors, in order.
    pub(crate) fn pieces(self) -> impl DoubleEndedIterator<Item = &'a mut [T]> {
        let body = self.body.iter_mut().map(|tensor| &mut **tensor);
        core::iter::once(self.head).chain(body).chain(core::iter::once(self.tail))
    }
}

impl<T> Default for ListMut<'_, '_, T> {
    fn default() -> Self {
        Self::new(&mut [])
    }
}

impl<T: Send> Split for ListMut<'_, '_, T> {
    fn len(&self) -> usize {
        self.len
    }

    /// The first `mid` elements, or up to [`GRAIN`] fewer, and the others.
    fn split_at(self, mid: usize) -> (Self, Self) {
        let Self { head, body, tail, .. } = self;
        if mid < head.len() {
            let (first, second) = head.split_at_mut(place([head.len()].into_iter(), mid).1);
            return (Self::of(first, &mut [], &mut []), Self::of(second, body, tail));
        }
        let (index, within) = place(body.iter().map(|tensor| tensor.len()), mid - head.len());
        let (whole, rest) = body.split_at_mut(index);
        match rest.split_first_mut() {
            Some((cut, rest)) => {
                let (first, second) = cut.split_at_mut(within);
                (Self::of(head, whole, first), Self::of(second, rest, tail))
            }
            None => {
                let (first, second) = tail.split_at_mut(within.min(tail.len()));
                (Self::of(head, whole, first), Self::of(second, &mut [], &mut []))
            }
        }
    }
}

/// `Ok` where `list` has as many tensors as `params`, each as long.
pub(crate) fn check_same_lengths<T, S: AsRef<[T]>>(
    argument: &'static str,
    list: &[S],
    params: &[&mut [T]],
) -> Result<(), Error> {
    check_len(argument, list.len(), params.len())?;
    list.iter()
        .zip(params)
        .try_for_each(|(tensor, param)| check_len(argument, tensor.as_ref().len(), param.len()))
}
