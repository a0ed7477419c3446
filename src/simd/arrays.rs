//! Arrays made element by element inside of a kernel.
//!
//! The `map` and `from_fn` of the standard library are only inlined where the compiler finds it worth it. Where it does not, what they
//! call falls out of the instruction set: sums over rows of 768 elements then called a function an addition.

use core::mem::MaybeUninit;

/// `[f(0), f(1), …]`.
#[inline(always)]
pub(crate) fn array_from_fn<A: Copy, const N: usize>(mut f: impl FnMut(usize) -> A) -> [A; N] {
    let mut array = [const { MaybeUninit::uninit() }; N];
    let mut at = 0;
    while at < N {
        array[at].write(f(at));
        at += 1;
    }
    // SAFETY: every element is written, and `MaybeUninit<A>` is laid out as `A`.
    unsafe { array.as_ptr().cast::<[A; N]>().read() }
}

/// `[f(array[0]), f(array[1]), …]`.
#[inline(always)]
pub(crate) fn map_array<A: Copy, B: Copy, const N: usize>(
    array: [A; N],
    mut f: impl FnMut(A) -> B,
) -> [B; N] {
    array_from_fn(
        #[inline(always)]
        |at| f(array[at]),
    )
}
