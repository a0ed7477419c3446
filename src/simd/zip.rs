//! One loop over any number of slices, for cells that read and write many at a time.

use super::slices::{StoreInto, load, load_partial, splat};
use super::{Isa, Vector};
use crate::Element;

/// `state[..][i] = f(x[..][i], state[..][i])`; what `f` ignores is not read.
///
/// # Panics
/// Where the lengths differ.
#[inline(always)]
pub(crate) fn zip<I: Isa, T: Element, const M: usize, const N: usize>(
    isa: I,
    x: [&[T]; M],
    state: [&mut [T]; N],
    f: impl Fn([T::Vector<I>; M], [T::Vector<I>; N]) -> [T::Vector<I>; N],
) {
    let lanes = T::Vector::<I>::LANES;
    let len = state[0].len();
    assert!(x.iter().all(|x| x.len() == len) && state.iter().all(|state| state.len() == len));
    let (mut inputs, mut values) = ([splat(isa, T::zero()); M], [splat(isa, T::zero()); N]);
    let mut at = 0;
    while at + lanes <= len {
        for k in 0..M {
            inputs[k] = load(isa, &x[k][at..]);
        }
        for k in 0..N {
            values[k] = load(isa, &state[k][at..]);
        }
        values = f(inputs, values);
        for k in 0..N {
            values[k].store_into(&mut state[k][at..]);
        }
        at += lanes;
    }
    if at < len {
        for k in 0..M {
            inputs[k] = load_partial(isa, &x[k][at..]);
        }
        for k in 0..N {
            values[k] = load_partial(isa, &state[k][at..]);
        }
        values = f(inputs, values);
        for k in 0..N {
            values[k].store_partial_into(&mut state[k][at..]);
        }
    }
}
