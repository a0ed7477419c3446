//! Orthogonal weights: the Q of a Gaussian matrix.

use steadygrad::rand_core::{Infallible, TryRng};
use steadygrad::{Element, Error, Init, RowShape};

use super::subject::{drawn, row};
use crate::common::Guarded;

/// How far `gain²·1` is from the products of the shorter side's vectors.
fn orthogonality<T: Element>(x: &[T], rows: usize, cols: usize, gain: f64) -> f64 {
    let (count, len) = (rows.min(cols), rows.max(cols));
    let at = |v: usize, k: usize| if rows <= cols { x[v * cols + k] } else { x[k * cols + v] }.to_f64();
    let mut worst = 0.0_f64;
    for v in 0..count {
        for w in 0..=v {
            let product: f64 = (0..len).map(|k| at(v, k) * at(w, k)).sum();
            worst = worst.max((product - if v == w { gain * gain } else { 0.0 }).abs());
        }
    }
    worst / (gain * gain)
}

#[test]
fn init_orthogonal_is_orthogonal() {
    for (rows, cols) in [(1, 1), (1, 9), (9, 1), (7, 7), (30, 50), (50, 30), (256, 256), (64, 65), (300, 100)]
    {
        for gain in [1.0, 2.0_f64.sqrt(), -3.0] {
            let (init, shape) = (Init::Orthogonal { gain }, RowShape { rows, cols });
            let single = orthogonality(&drawn::<f32>(init, shape, 5), rows, cols, gain);
            let double = orthogonality(&drawn::<f64>(init, shape, 5), rows, cols, gain);
            assert!(single < 1e-6 && double < 1e-13, "{rows}x{cols}: {single:e} {double:e}");
        }
    }
    let wrong: Vec<f64> = drawn(Init::Normal { mean: 0.0, std: 0.1 }, row(10_000), 5);
    assert!(orthogonality(&wrong, 100, 100, 1.0) > 0.1);
}

#[test]
fn init_orthogonal_is_the_q_of_the_gaussian() {
    for (rows, cols) in [(6, 6), (9, 4), (4, 9), (40, 40)] {
        let shape = RowShape { rows, cols };
        let q: Vec<f64> = drawn(Init::Orthogonal { gain: 1.0 }, shape, 6);
        let a: Vec<f64> = drawn(Init::Normal { mean: 0.0, std: 1.0 }, shape, 6);
        // R = Qᵀ·A of the tall matrix, or L = A·Qᵀ of the wide one: triangular, with a positive diagonal.
        let at = |x: &[f64], v: usize, k: usize| if rows <= cols { x[v * cols + k] } else { x[k * cols + v] };
        for v in 0..rows.min(cols) {
            for w in 0..rows.min(cols) {
                let r: f64 = (0..rows.max(cols)).map(|k| at(&q, v, k) * at(&a, w, k)).sum();
                assert!(if v > w { r.abs() < 1e-12 } else { v < w || r > 0.0 }, "{rows}x{cols} {v} {w}: {r}");
            }
        }
    }
}

#[test]
fn init_orthogonal_refuses_a_generator_that_repeats() {
    struct Constant;
    impl TryRng for Constant {
        type Error = Infallible;
        fn try_next_u32(&mut self) -> Result<u32, Infallible> {
            Ok(7)
        }
        fn try_next_u64(&mut self) -> Result<u64, Infallible> {
            Ok(7)
        }
        fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), Infallible> {
            to.fill(7);
            Ok(())
        }
    }
    let mut weights = Guarded::<f32>::new(6, 0);
    let result =
        Init::Orthogonal { gain: 1.0 }.fill(RowShape { rows: 2, cols: 3 }, &mut Constant, weights.slice());
    assert!(matches!(result, Err(Error::OutOfRange { argument: "rng", .. })));
    assert!(weights.is_untouched());
}
