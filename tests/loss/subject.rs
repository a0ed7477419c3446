//! What losses are given, and how their results are held against exact ones.

use steadygrad::loss::Reduction;
use steadygrad::{Element, Level, RowShape};

use crate::common::{assert_same_bits, each_pool, numbers, tolerance};

pub(crate) const REDUCTIONS: [Reduction; 3] = [Reduction::Mean, Reduction::Sum, Reduction::SumOver(2.5)];

pub(crate) fn shape(rows: usize, cols: usize) -> RowShape {
    RowShape { rows, cols }
}

/// Deterministic weights in `[0.25, 2.25]`.
pub(crate) fn weights<T: Element>(len: usize) -> Vec<T> {
    (0..len).map(|i| T::from_f64(0.25 + (i * 7 % 9) as f64 * 0.25)).collect()
}

/// Deterministic numbers in `[0, 1]`, both ends among them.
pub(crate) fn probabilities<T: Element>(seed: u64, len: usize) -> Vec<T> {
    let numbers = numbers::<T>(seed, len, 0.4);
    numbers.into_iter().map(|x| (x + T::from_f64(0.5)).max(T::zero()).min(T::one())).collect()
}

/// Fails where a loss is further from `exact` than the bound, relative to the sum of its terms' magnitudes.
#[track_caller]
pub(crate) fn assert_loss<T: Element>(actual: f64, exact: f64, terms: f64, context: impl FnOnce() -> String) {
    let same = actual == exact || actual.is_nan() && exact.is_nan();
    let error = (actual - exact).abs() / (terms * T::epsilon().to_f64());
    assert!(
        same || error <= tolerance::LOSS,
        "{actual:e} is {error:.2} epsilons from {exact:e}: {}",
        context()
    );
}

/// ULPs by which the reference itself may be off, which adds a row of `cols` up in `f64`, one after the other.
pub(crate) fn reference_ulps<T: Element>(cols: usize) -> f64 {
    if T::epsilon().to_f64() < 1e-10 { 8.0 + 0.5 * cols as f64 } else { 0.0 }
}

/// What `reduction` divides by.
pub(crate) fn divisor(reduction: Reduction, count: f64) -> f64 {
    match reduction {
        Reduction::Mean => count,
        Reduction::Sum => 1.0,
        Reduction::SumOver(divisor) => divisor,
    }
}

/// Runs `body` in every pool and at every fused level, and fails where any bit differs.
pub(crate) fn assert_invariant<T: Element>(body: impl Fn() -> (f64, Vec<T>) + Sync) {
    let (loss, dx) = body();
    each_pool(|threads| {
        let (other, other_dx) = body();
        assert_eq!(loss.to_bits(), other.to_bits(), "on {threads} threads");
        assert_same_bits(&other_dx, &dx, || format!("on {threads} threads"));
    });
    let fused: Vec<Level> = Level::available().filter(|&level| level != Level::Portable).collect();
    for pair in fused.windows(2) {
        let [a, b] = [pair[0], pair[1]].map(|level| Level::scoped(level, &body).unwrap());
        assert_eq!(a.0.to_bits(), b.0.to_bits(), "at {pair:?}");
        assert_same_bits(&a.1, &b.1, || format!("at {pair:?}"));
    }
}

#[test]
#[should_panic(expected = "epsilons from")]
fn loss_comparison_can_fail() {
    let exact = 4.0_f64.ln();
    assert_loss::<f32>(exact * (1.0 + 2e-5), exact, exact, || "a wrong answer".into());
}
