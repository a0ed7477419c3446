//! The spectral norm of Jacobians whose singular values are known.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use steadygrad::diagnostics::PowerIteration;
use steadygrad::linear::{Dense, DenseGradients, DenseWeights};
use steadygrad::{Activation, Element, Epilogue, Error, Init, RowShape};

use crate::common::{each_level, numbers};

/// σ of diag(f′(z))·W of a dense layer with an activation, at the sums z.
fn of_layer<T: Element>(layer: Dense, weights: &[T], activation: Activation, z: &[T], v: &mut [T]) -> f64 {
    let len = layer.forward_scratch_len::<T>(1).max(layer.backward_scratch_len::<T>(1));
    let (mut sums, mut scratch, mut other) =
        (vec![T::zero(); layer.outputs], vec![T::zero(); len], vec![T::zero(); len]);
    let (mut u, x) = (vec![T::zero(); layer.outputs], vec![T::zero(); layer.inputs]);
    let mut slopes = vec![T::zero(); layer.outputs];
    PowerIteration::default()
        .largest(
            v,
            &mut u,
            |v, u| {
                let parameters = DenseWeights { weights, bias: None };
                layer.forward(1, v, parameters, Epilogue::default(), &mut scratch, &mut sums)?;
                activation.backward(z, &sums, u)
            },
            |u, v| {
                activation.backward(z, u, &mut slopes)?;
                let input = DenseGradients { input: Some(v), ..DenseGradients::default() };
                layer.backward(1, &x, &slopes, weights, &mut other, input)
            },
        )
        .unwrap()
}

fn orthogonal<T: Element>(size: usize, seed: u64) -> Vec<T> {
    let mut weights = vec![T::zero(); size * size];
    let shape = RowShape { rows: size, cols: size };
    Init::Orthogonal { gain: 1.0 }.fill(shape, &mut ChaCha8Rng::seed_from_u64(seed), &mut weights).unwrap();
    weights
}

/// U·diag(s)·V with orthogonal U and V: the singular values are those of s.
fn known<T: Element>() {
    const SIZE: usize = 24;
    for seed in 0..20 {
        let (u, v): (Vec<f64>, Vec<f64>) = (orthogonal(SIZE, seed), orthogonal(SIZE, seed + 100));
        let largest = 0.5 + seed as f64;
        let value = |k: usize| if k == 7 { largest } else { largest * 0.8 / (k + 1) as f64 };
        let mut weights = vec![T::zero(); SIZE * SIZE];
        for (row, weights) in weights.chunks_mut(SIZE).enumerate() {
            for (col, w) in weights.iter_mut().enumerate() {
                let sum: f64 = (0..SIZE).map(|k| u[row * SIZE + k] * value(k) * v[k * SIZE + col]).sum();
                *w = T::from_f64(sum);
            }
        }
        let layer = Dense { inputs: SIZE, outputs: SIZE };
        each_level(|_| {
            let mut start: Vec<T> = numbers(seed, SIZE, 1.0);
            let z = vec![T::one(); SIZE];
            let sigma = of_layer(layer, &weights, Activation::Identity, &z, &mut start);
            assert!((sigma / largest - 1.0).abs() < 2e-4, "{sigma} is not {largest}");
            // What comes back is the right singular vector, of length 1.
            let along: f64 = (0..SIZE).map(|col| start[col].to_f64() * v[7 * SIZE + col]).sum();
            assert!((along.abs() - 1.0).abs() < 1e-3, "{along}");
            // Half of the slope, half of the value.
            let z = vec![T::zero(); SIZE];
            let quarter = of_layer(layer, &weights, Activation::Sigmoid, &z, &mut start);
            assert!((quarter / (largest / 4.0) - 1.0).abs() < 2e-4, "{quarter}");
        });
    }
}

#[test]
fn power_iteration_finds_known_singular_values() {
    known::<f32>();
    known::<f64>();
}

/// No direction of finite differences is stretched by more, and the direction found is by as much.
#[test]
fn power_iteration_bounds_finite_differences() {
    const SIZE: usize = 12;
    for seed in 0..20 {
        let (layer, activation) = (Dense { inputs: SIZE, outputs: SIZE }, Activation::Tanh);
        let (weights, x): (Vec<f64>, Vec<f64>) =
            (numbers(seed, SIZE * SIZE, 0.5), numbers(seed + 50, SIZE, 1.0));
        let forward = |x: &[f64]| {
            let (mut y, mut scratch) = (vec![0.0; SIZE], vec![0.0; layer.forward_scratch_len::<f64>(1)]);
            let parameters = DenseWeights { weights: &weights, bias: None };
            layer.forward(1, x, parameters, Epilogue::default(), &mut scratch, &mut y).unwrap();
            y
        };
        let output = |x: &[f64]| forward(x).into_iter().map(f64::tanh).collect::<Vec<f64>>();
        let mut v: Vec<f64> = numbers(seed + 80, SIZE, 1.0);
        let sigma = of_layer(layer, &weights, activation, &forward(&x), &mut v);
        let stretch = |v: &[f64]| {
            let step = 1e-5 / v.iter().map(|v| v * v).sum::<f64>().sqrt();
            let at =
                |sign: f64| output(&x.iter().zip(v).map(|(x, v)| x + sign * step * v).collect::<Vec<f64>>());
            let difference =
                at(1.0).iter().zip(&at(-1.0)).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt();
            difference / 2e-5
        };
        assert!((stretch(&v) / sigma - 1.0).abs() < 2e-3, "{} and {sigma}", stretch(&v));
        for other in 0..20 {
            assert!(stretch(&numbers::<f64>(1000 + other, SIZE, 1.0)) <= sigma * 1.01);
        }
    }
}

fn largest(
    op: PowerIteration,
    v: &mut [f64],
    forward: impl FnMut(&[f64], &mut [f64]) -> Result<(), Error>,
) -> Result<f64, Error> {
    op.largest(v, &mut [f64::NAN; 2], forward, |u, v| {
        v.copy_from_slice(u);
        Ok(())
    })
}

#[test]
fn power_iteration_special_values() {
    let op = PowerIteration::default();
    let product = |factor: f64| {
        move |v: &[f64], u: &mut [f64]| {
            u.iter_mut().zip(v).for_each(|(u, v)| *u = factor * v);
            Ok(())
        }
    };
    assert_eq!(largest(op, &mut [1.0, 2.0], product(0.0)), Ok(0.0));
    assert!(largest(op, &mut [1.0, 2.0], product(f64::NAN)).unwrap().is_nan());
    assert_eq!(largest(op, &mut [1.0, 2.0], product(f64::INFINITY)), Ok(f64::INFINITY));
    for factor in [1e-200, 1e200] {
        let sigma = largest(op, &mut [1e-300, 2e-300], product(factor)).unwrap();
        assert!((sigma / factor - 1.0).abs() < 1e-12, "{sigma:e}");
    }
}

#[test]
fn power_iteration_names_the_bad_argument() {
    let op = PowerIteration::default();
    let never = |_: &[f64], _: &mut [f64]| -> Result<(), Error> { unreachable!("called with bad arguments") };
    let range = |op, v: &mut [f64]| match largest(op, v, never) {
        Err(Error::OutOfRange { argument, .. }) => argument,
        other => panic!("{other:?}"),
    };
    assert_eq!(range(PowerIteration { iterations: 0, ..op }, &mut [1.0, 0.0]), "iterations");
    assert_eq!(range(PowerIteration { tolerance: f64::NAN, ..op }, &mut [1.0, 0.0]), "tolerance");
    for bad in [[0.0, 0.0], [f64::NAN, 1.0], [f64::INFINITY, 1.0]] {
        let mut v = bad;
        assert_eq!(range(op, &mut v), "v");
        assert_eq!(v.map(f64::to_bits), bad.map(f64::to_bits));
    }
    let refused = Error::Unsupported { operation: "this product" };
    assert_eq!(largest(op, &mut [1.0, 0.0], |_, _| Err(refused)), Err(refused));
}
