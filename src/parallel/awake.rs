//! Threads that stay awake between the parallel parts of a longer piece of work.
//!
//! A thread of rayon that finds no work falls asleep within some ten microseconds. On a virtual machine (Intel Xeon, two cores) two
//! tasks of 20 to 200 us, joined after a pause of 50 us, then took 50 to 80 us longer than one of them, and 1 us longer where the
//! other thread was awake. PyTorch's OpenMP threads spin between their parallel parts.
//!
//! Each thread is given a watch, in which it looks for work. It may get to it while work of its own waits for another thread, and
//! then that waits for the end of the watch; so watches are short, and given anew.

use alloc::sync::Arc;
use core::cell::{Cell, RefCell};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long a watch takes at the most: a hundred times what a thread takes to wake.
const WATCH: Duration = Duration::from_millis(5);

/// How long a thread looks for work in vain until it falls asleep all the same.
const PATIENCE: Duration = Duration::from_millis(1);

/// Pauses between two looks for work.
const SPINS: usize = 8;

std::thread_local! {
    /// Whether this thread is at work that somebody may wait for, so that a watch would only hold it up.
    static IS_BUSY: Cell<bool> = const { Cell::new(false) };
    /// The watches that are kept for what this thread does.
    static WATCHES: RefCell<Option<Arc<Watches>>> = const { RefCell::new(None) };
}

/// Marks this thread as busy until it is dropped.
pub(super) struct Busy {
    before: bool,
}

impl Busy {
    pub(super) fn mark() -> Self {
        Self { before: IS_BUSY.replace(true) }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        IS_BUSY.set(self.before);
    }
}

/// What the threads that stay awake know of the work they stay awake for.
struct Watches {
    is_over: AtomicBool,
    /// Watches that were given to other threads and have not ended.
    open: AtomicUsize,
}

impl Watches {
    /// Gives every other thread of the pool a watch.
    fn give(watches: &Arc<Self>) {
        let own = rayon::current_thread_index();
        watches.open.fetch_add(rayon::current_num_threads() - 1, Ordering::Relaxed);
        let watches = Arc::clone(watches);
        rayon::spawn_broadcast(move |thread| {
            if Some(thread.index()) != own {
                watches.keep();
                watches.open.fetch_sub(1, Ordering::Relaxed);
            }
        });
    }

    /// Works for others until the watch is over.
    fn keep(&self) {
        if IS_BUSY.get() {
            return;
        }
        let _busy = Busy::mark();
        let begin = Instant::now();
        let (mut now, mut last) = (begin, begin);
        while !self.is_over.load(Ordering::Acquire) && now - begin < WATCH && now - last < PATIENCE {
            let worked = rayon::yield_now() == Some(rayon::Yield::Executed);
            now = Instant::now();
            if worked {
                last = now;
            } else {
                (0..SPINS).for_each(|_| core::hint::spin_loop());
            }
        }
    }
}

/// Takes its watches from a thread when it is dropped, after a panic too.
struct End;

impl Drop for End {
    fn drop(&mut self) {
        if let Some(watches) = WATCHES.take() {
            watches.is_over.store(true, Ordering::Release);
        }
    }
}

/// Gives new watches where those kept for this thread have ended.
pub(super) fn renew() {
    WATCHES.with_borrow(|watches| {
        if let Some(watches) = watches
            && watches.open.load(Ordering::Relaxed) == 0
        {
            Watches::give(watches);
        }
    });
}

/// Calls `f`, on a thread of the pool, with the others awake.
pub(super) fn over(f: &mut (dyn FnMut() + Send)) {
    if rayon::current_num_threads() == 1 || WATCHES.with_borrow(Option::is_some) {
        return f();
    }
    if rayon::current_thread_index().is_none() {
        return rayon::scope(|_| over(f));
    }
    let watches = Arc::new(Watches { is_over: AtomicBool::new(false), open: AtomicUsize::new(0) });
    Watches::give(&watches);
    WATCHES.set(Some(watches));
    let (_busy, _end) = (Busy::mark(), End);
    f();
}
