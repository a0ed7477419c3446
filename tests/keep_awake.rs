//! Work during which the threads of the pool stay awake: the same results, whoever calls and whatever happens in it.
#![cfg(feature = "rayon")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use steadygrad::linear::GemmShape;
use steadygrad::{Activation, Gemm, Level, keep_awake};

fn pool(threads: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool")
}

/// Products and activations large enough for several threads, one after the other.
fn work() -> Vec<f32> {
    let shape = GemmShape::dense(96, 200, 300);
    let numbers = |len: usize| -> Vec<f32> { (0..len).map(|at| (at % 17) as f32 / 8.0 - 1.0).collect() };
    let (a, b) = (numbers(shape.m * shape.k), numbers(shape.k * shape.n));
    let (mut c, mut y) = (vec![0.0; shape.m * shape.n], vec![0.0; shape.m * shape.n]);
    let mut scratch = vec![0.0; shape.scratch_len::<f32>()];
    for _ in 0..3 {
        Gemm::default().forward(shape, &a, &b, &mut scratch, &mut c).expect("the lengths agree");
        Activation::Tanh.forward(&c, &mut y).expect("the lengths agree");
    }
    y
}

#[test]
fn keep_awake_has_the_same_bits_in_any_pool_and_outside() {
    let alone = work();
    assert!(alone.iter().any(|y| *y != 0.0));
    assert_eq!(keep_awake(work), alone);
    for threads in [1, 2, 3, 7] {
        let pool = pool(threads);
        assert_eq!(pool.install(|| keep_awake(work)), alone, "{threads} threads");
        // The threads have fallen asleep, or have not.
        std::thread::sleep(std::time::Duration::from_millis(5));
        assert_eq!(pool.install(|| keep_awake(|| keep_awake(work))), alone, "{threads} threads, nested");
    }
}

#[test]
fn keep_awake_returns_what_it_is_given() {
    let text = String::from("moved in");
    assert_eq!(keep_awake(move || text + " and out"), "moved in and out");
    let mut sum = 0;
    keep_awake(|| sum += 1);
    assert_eq!(sum, 1);
}

#[test]
fn keep_awake_sees_the_level_of_its_caller() {
    for level in Level::available() {
        let seen = Level::scoped(level, || keep_awake(Level::current)).expect("an available level");
        assert_eq!(seen, level);
        let inside = pool(2).install(|| Level::scoped(level, || keep_awake(Level::current)));
        assert_eq!(inside.expect("an available level"), level);
    }
}

#[test]
fn keep_awake_passes_a_panic_on_and_leaves_the_pool_usable() {
    let pool = pool(3);
    for _ in 0..3 {
        let caught = pool.install(|| catch_unwind(|| keep_awake(|| -> () { panic!("of the caller") })));
        let message = caught.expect_err("a panic").downcast_ref::<&str>().copied();
        assert_eq!(message, Some("of the caller"));
    }
    assert_eq!(pool.install(|| keep_awake(work)), work());
    let caught = catch_unwind(AssertUnwindSafe(|| keep_awake(|| -> () { panic!("outside a pool") })));
    assert!(caught.is_err());
    // Busy is what a thread is only while it works.
    assert_eq!(pool.install(|| keep_awake(|| 1)), 1);
}

#[test]
fn keep_awake_ends_where_the_work_waits_for_tasks_of_its_own_kind() {
    /// A tree of tasks that keep awake themselves, more than there are threads.
    fn tree(depth: usize, leaves: &AtomicUsize) {
        if depth == 0 {
            leaves.fetch_add(keep_awake(|| 1), Ordering::Relaxed);
            return;
        }
        rayon::join(|| keep_awake(|| tree(depth - 1, leaves)), || keep_awake(|| tree(depth - 1, leaves)));
    }
    for threads in [2, 3, 7] {
        let leaves = AtomicUsize::new(0);
        pool(threads).install(|| keep_awake(|| tree(7, &leaves)));
        assert_eq!(leaves.into_inner(), 128, "{threads} threads");
    }
}

#[test]
fn keep_awake_serves_several_callers_at_once() {
    let (pool, alone) = (pool(3), work());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20 {
                    assert_eq!(pool.install(|| keep_awake(work)), alone);
                }
            });
        }
    });
}

#[test]
fn keep_awake_of_one_caller_holds_no_other_up() {
    /// Calls `other` again and again beside somebody whose work only ends when that is done.
    fn beside(pool: Option<&rayon::ThreadPool>, other: impl Fn()) {
        let (started, done) = (AtomicBool::new(false), AtomicBool::new(false));
        let endless = || {
            keep_awake(|| {
                while !done.load(Ordering::Relaxed) {
                    work();
                    started.store(true, Ordering::Relaxed);
                }
            });
        };
        std::thread::scope(|scope| {
            scope.spawn(|| match pool {
                Some(pool) => pool.install(endless),
                None => endless(),
            });
            while !started.load(Ordering::Relaxed) {
                std::thread::yield_now();
            }
            (0..50).for_each(|_| other());
            done.store(true, Ordering::Relaxed);
        });
    }
    let alone = work();
    for threads in [2, 3, 4] {
        let pool = pool(threads);
        beside(Some(&pool), || assert_eq!(pool.install(|| keep_awake(work)), alone, "{threads} threads"));
        beside(Some(&pool), || assert_eq!(pool.install(work), alone, "{threads} threads, asleep"));
    }
    // Outside any pool both go to the global one, where there must be room for two.
    if rayon::current_num_threads() > 1 {
        beside(None, || assert_eq!(work(), alone));
        beside(None, || assert_eq!(keep_awake(work), alone));
    }
}

#[test]
fn keep_awake_goes_on_after_long_pauses() {
    let alone = work();
    pool(3).install(|| {
        keep_awake(|| {
            for milliseconds in [0, 2, 7, 0, 0, 12] {
                std::thread::sleep(std::time::Duration::from_millis(milliseconds));
                assert_eq!(work(), alone);
            }
        });
    });
}
