//! Threads that stay awake between the parallel parts of a longer piece of work.
//!
//! A thread of rayon that finds no work falls asleep within some ten microseconds, and to wake it takes as long or longer: on a
//! virtual machine 50 to 80 us, most of them on the thread that wakes. OpenMP's threads spin for milliseconds instead.

use core::cell::Cell;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long a thread looks for work in vain until it falls asleep all the same.
const PATIENCE: Duration = Duration::from_millis(1);

/// How long those that are awake leave alone what is meant for those that still wake.
const WAKING: Duration = Duration::from_micros(200);

/// Pauses between two looks for work.
const SPINS: usize = 8;

std::thread_local! {
    /// Whether this thread is at work that somebody may wait for, so that it must not take up a watch.
    static IS_BUSY: Cell<bool> = const { Cell::new(false) };
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
struct Watch {
    is_over: AtomicBool,
    awake: AtomicUsize,
    threads: usize,
}

/// Ends a watch when it is dropped, after a panic too.
struct End<'a>(&'a Watch);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Release);
    }
}

impl Watch {
    /// Works for others until the watch is over.
    fn keep(&self) {
        if IS_BUSY.get() {
            return;
        }
        let _busy = Busy::mark();
        self.awake.fetch_add(1, Ordering::Relaxed);
        let (begin, mut last) = (Instant::now(), Instant::now());
        while !self.is_over.load(Ordering::Acquire) {
            let are_awake = self.awake.load(Ordering::Relaxed) == self.threads || begin.elapsed() > WAKING;
            if are_awake && rayon::yield_now() == Some(rayon::Yield::Executed) {
                last = Instant::now();
                continue;
            }
            if last.elapsed() > PATIENCE {
                return;
            }
            for _ in 0..SPINS {
                core::hint::spin_loop();
            }
        }
    }

    /// So many watches, each on a thread of its own as far as there are such: each that wakes wakes another.
    fn call(&self, threads: usize) {
        if threads == 1 {
            self.keep();
        } else {
            rayon::join(|| self.call(threads / 2), || self.call(threads - threads / 2));
        }
    }
}

/// Calls `f` with the other threads of the pool awake.
pub(super) fn over(f: &mut (dyn FnMut() + Send)) {
    let threads = rayon::current_num_threads() - 1;
    if threads == 0 || IS_BUSY.get() {
        return f();
    }
    let watch = Watch { is_over: AtomicBool::new(false), awake: AtomicUsize::new(0), threads };
    let work = || {
        let (_busy, _end) = (Busy::mark(), End(&watch));
        f();
    };
    rayon::join(work, || watch.call(threads));
}
