//! How products are held against exact ones, and against themselves in other pools.

use steadygrad::{Element, Level};

use crate::common::{assert_same_bits, each_level, each_pool};

/// The same numbers in `f64`.
pub(crate) fn wide<T: Element>(x: &[T]) -> Vec<f64> {
    x.iter().map(|&v| v.to_f64()).collect()
}

/// The classic bound of a chain of length `k`, with the start and the product by α: (k + 3)·ε·Σ|terms|.
pub(crate) fn bound<T: Element>(terms: usize, magnitude: f64) -> f64 {
    (terms + 3) as f64 * T::epsilon().to_f64() * magnitude
}

/// Whether `run` writes the same bits in every pool.
pub(crate) fn same_in_each_pool<T: Element>(run: impl Fn() -> Vec<T> + Sync) {
    let expected = std::sync::OnceLock::new();
    each_pool(|threads| {
        each_level(|level| {
            let actual = run();
            if level == Level::current() && Some(level) == Level::available().last() {
                let expected = expected.get_or_init(|| actual.clone());
                assert_same_bits(expected, &actual, || format!("{threads} threads at {level}"));
            }
        });
    });
}
