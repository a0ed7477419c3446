//! No forward, backward, clip or step allocates: a counting allocator looks on, inside a pool of one thread.

mod allocation {
    mod diagnostics;
    mod layers;
    mod norms;
    mod recurrent;
    mod training;
}

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use steadygrad::Element;

/// The system's allocator, which counts the calls of each thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

fn count() {
    // A thread that is being torn down has no counter left.
    let _ = ALLOCATIONS.try_with(|allocations| allocations.set(allocations.get() + 1));
}

#[expect(unsafe_code, reason = "an allocator is an unsafe trait")]
// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `System`, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: `pointer` came from `System`, with this layout.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of this thread during `body`.
fn allocations(body: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.get();
    body();
    ALLOCATIONS.get() - before
}

/// Fails where `body` allocates, inside a pool of one thread, after a first call that may set things up.
#[track_caller]
fn assert_none(what: &str, mut body: impl FnMut() + Send) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a pool");
    let counted = pool.install(|| {
        body();
        allocations(&mut body)
    });
    assert_eq!(counted, 0, "{what} allocates");
}

/// Enough for several blocks of any kernel.
const LEN: usize = 300_000;

fn ramp<T: Element>(len: usize) -> Vec<T> {
    (0..len).map(|i| T::from_f64((i % 1000) as f64 / 250.0 - 2.0)).collect()
}

#[test]
fn allocation_is_seen() {
    assert_eq!(allocations(|| drop(std::hint::black_box(vec![1_u8; 100]))), 1);
}
