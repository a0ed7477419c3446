//! Dense layers, forward with their epilogue and backward.

use steadygrad::linear::{Dense, DenseGradients, DenseWeights, Gemm, GemmShape, MatrixLayout};
use steadygrad::{Activation, Element, Epilogue, Error, GradientMode, PackedMatrix, reference};

use super::comparison::{bound, same_in_each_pool, wide};
use crate::common::{Guarded, assert_same_bits, each_level, numbers};

fn dense_forward<T: Element>(batch: usize, inputs: usize, outputs: usize, activation: Option<Activation>) {
    let layer = Dense { inputs, outputs };
    let (x, w): (Vec<T>, Vec<T>) = (numbers(13, batch * inputs, 1.0), numbers(14, outputs * inputs, 0.3));
    let (b, residual): (Vec<T>, Vec<T>) = (numbers(15, outputs, 1.0), numbers(16, batch * outputs, 1.0));
    let mut exact = vec![0.0; batch * outputs];
    reference::linear::dense_forward([batch, inputs, outputs], &wide(&x), &wide(&w), &wide(&b), &mut exact);
    let packed = layer.pack(&w).unwrap();
    let epilogue = Epilogue { residual: Some(&residual[..]), activation };
    each_level(|level| {
        let mut scratch = vec![T::nan(); layer.forward_scratch_len::<T>(batch)];
        let (mut y, mut again) = (Guarded::new(batch * outputs, 1), Guarded::new(batch * outputs, 2));
        let parameters = DenseWeights { weights: &w, bias: Some(&b) };
        layer.forward(batch, &x, parameters, epilogue, &mut scratch, y.slice()).unwrap();
        layer.forward_packed(batch, &x, (&packed, Some(&b)), epilogue, &mut scratch, again.slice()).unwrap();
        assert_same_bits(y.checked(), again.checked(), || format!("packed at {level}"));
        for (i, &y) in y.checked().iter().enumerate() {
            let sum = exact[i] + residual[i].to_f64();
            let exact = activation.map_or(sum, |f| reference::activation::forward(f, sum));
            let close = (y.to_f64() - exact).abs() <= bound::<T>(inputs, 4.0 + 0.5 * inputs as f64);
            assert!(close, "{y:?}, not {exact}, at {i}: {batch}x{inputs}x{outputs} at {level}");
        }
        // Neither bias nor residual, and no activation: the plain product.
        let plain = DenseWeights { weights: &w, bias: None };
        layer.forward(batch, &x, plain, Epilogue::default(), &mut scratch, y.slice()).unwrap();
        let shape = GemmShape { b: layer.forward_layout(), ..GemmShape::dense(batch, outputs, inputs) };
        Gemm::default().forward(shape, &x, &w, &mut scratch, again.slice()).unwrap();
        assert_same_bits(y.checked(), again.checked(), || format!("plain at {level}"));
    });
}

#[test]
fn dense_forward_matches_reference() {
    for (batch, inputs, outputs) in
        [(1, 1, 1), (3, 70, 45), (20, 65, 260), (250, 300, 33), (4, 600, 2100), (0, 3, 2), (2, 0, 5)]
    {
        for activation in [None, Some(Activation::Relu), Some(Activation::Tanh)] {
            dense_forward::<f32>(batch, inputs, outputs, activation);
            dense_forward::<f64>(batch, inputs, outputs, activation);
        }
    }
}

fn dense_backward<T: Element>(batch: usize, inputs: usize, outputs: usize) {
    let layer = Dense { inputs, outputs };
    let sizes = [batch, inputs, outputs];
    let (x, w): (Vec<T>, Vec<T>) = (numbers(17, batch * inputs, 1.0), numbers(18, outputs * inputs, 1.0));
    let dy: Vec<T> = numbers(19, batch * outputs, 1.0);
    let (dw_before, db_before): (Vec<T>, Vec<T>) =
        (numbers(20, outputs * inputs, 1.0), numbers(21, outputs, 1.0));
    let (mut dx_exact, mut dw_exact, mut db_exact) =
        (vec![0.0; batch * inputs], wide(&dw_before), wide(&db_before));
    reference::linear::dense_backward_input(sizes, &wide(&dy), &wide(&w), &mut dx_exact);
    reference::linear::dense_backward_parameters(sizes, &wide(&x), &wide(&dy), &mut dw_exact, &mut db_exact);
    each_level(|level| {
        let mut scratch = vec![T::nan(); layer.backward_scratch_len::<T>(batch)];
        let mut dx = Guarded::new(batch * inputs, 3);
        let (mut dw, mut db) = (Guarded::of(&dw_before, 1), Guarded::of(&db_before, 2));
        let gradients = DenseGradients {
            input: Some(dx.slice()),
            weights: Some(dw.slice()),
            bias: Some(db.slice()),
            ..DenseGradients::default()
        };
        layer.backward(batch, &x, &dy, &w, &mut scratch, gradients).unwrap();
        let close = |actual: &[T], exact: &[f64], terms: usize, name: &str| {
            for (i, (&actual, exact)) in actual.iter().zip(exact).enumerate() {
                let within = (actual.to_f64() - exact).abs() <= bound::<T>(terms, 2.0 + 2.0 * terms as f64);
                assert!(within, "{name}[{i}] is {actual:?}, not {exact}: {sizes:?} at {level}");
            }
        };
        close(dx.checked(), &dx_exact, outputs, "dx");
        close(dw.checked(), &dw_exact, batch, "dw");
        for (&db, exact) in db.checked().iter().zip(&db_exact) {
            // One rounding of T, and those of the sum in f64.
            let within = (db.to_f64() - exact).abs()
                <= exact.abs() * T::epsilon().to_f64() / 2.0
                    + batch as f64 * 4.0 * f64::EPSILON * batch as f64;
            assert!(within, "db is {db:?}, not {exact}: {sizes:?} at {level}");
        }
        // What is overwritten is what is accumulated into zeros, whatever was held.
        let [zeros, over] = [(T::zero(), GradientMode::Accumulate), (T::nan(), GradientMode::Overwrite)].map(
            |(held, mode)| {
                let (mut dw, mut db) = (vec![held; outputs * inputs], vec![held; outputs]);
                let gradients =
                    DenseGradients { input: None, weights: Some(&mut dw), bias: Some(&mut db), mode };
                layer.backward(batch, &x, &dy, &w, &mut scratch, gradients).unwrap();
                [dw, db].concat()
            },
        );
        assert_same_bits(&over, &zeros, || format!("overwritten: {sizes:?} at {level}"));
        // Each alone writes the same.
        let (mut alone, before) = (vec![T::nan(); batch * inputs], dw.checked().to_vec());
        let only = DenseGradients { input: Some(&mut alone), ..DenseGradients::default() };
        layer.backward(batch, &x, &dy, &w, &mut scratch, only).unwrap();
        assert_same_bits(&alone, dx.checked(), || format!("dx alone: {sizes:?} at {level}"));
        assert_same_bits(&before, dw.checked(), || format!("dw left alone: {sizes:?} at {level}"));
    });
}

#[test]
fn dense_backward_matches_reference() {
    for (batch, inputs, outputs) in
        [(1, 1, 1), (3, 70, 45), (20, 65, 260), (300, 300, 33), (33, 32, 31), (0, 3, 2), (2, 0, 5), (2, 5, 0)]
    {
        dense_backward::<f32>(batch, inputs, outputs);
        dense_backward::<f64>(batch, inputs, outputs);
    }
}

#[test]
fn dense_backward_matches_finite_differences() {
    // The reference's own gradients of L = Σ g·y, in f64. L is linear in each argument, so a step of 1 is exact.
    let sizes @ [batch, inputs, outputs] = [3, 4, 5];
    let arguments: [Vec<f64>; 3] = [numbers(22, 12, 1.0), numbers(23, 20, 1.0), numbers(24, 5, 1.0)];
    let g: Vec<f64> = numbers(25, batch * outputs, 1.0);
    let loss = |arguments: &[Vec<f64>; 3]| {
        let mut y = vec![0.0; batch * outputs];
        reference::linear::dense_forward(sizes, &arguments[0], &arguments[1], &arguments[2], &mut y);
        y.iter().zip(&g).map(|(y, g)| y * g).sum::<f64>()
    };
    let mut gradients = [vec![0.0; batch * inputs], vec![0.0; outputs * inputs], vec![0.0; outputs]];
    let [dx, dw, db] = &mut gradients;
    reference::linear::dense_backward_input(sizes, &g, &arguments[1], dx);
    reference::linear::dense_backward_parameters(sizes, &arguments[0], &g, dw, db);
    for (argument, gradient) in gradients.iter().enumerate() {
        for (i, gradient) in gradient.iter().enumerate() {
            let (mut more, mut less) = (arguments.clone(), arguments.clone());
            more[argument][i] += 0.5;
            less[argument][i] -= 0.5;
            let difference = loss(&more) - loss(&less);
            assert!((difference - gradient).abs() < 1e-12, "argument {argument}, element {i}");
        }
    }
}

#[test]
fn dense_backward_is_the_same_in_every_pool() {
    let (batch, inputs, outputs) = (300, 100, 2000);
    let layer = Dense { inputs, outputs };
    let (x, w): (Vec<f32>, Vec<f32>) = (numbers(26, batch * inputs, 1.0), numbers(27, outputs * inputs, 1.0));
    let dy: Vec<f32> = numbers(28, batch * outputs, 1.0);
    same_in_each_pool(|| {
        let mut all = vec![0.0; batch * inputs + outputs * inputs + outputs];
        let (dx, rest) = all.split_at_mut(batch * inputs);
        let (dw, db) = rest.split_at_mut(outputs * inputs);
        let mut scratch = vec![f32::NAN; layer.backward_scratch_len::<f32>(batch)];
        let gradients = DenseGradients {
            input: Some(dx),
            weights: Some(dw),
            bias: Some(db),
            ..DenseGradients::default()
        };
        layer.backward(batch, &x, &dy, &w, &mut scratch, gradients).unwrap();
        all
    });
}

#[test]
fn dense_names_the_bad_argument() {
    let layer = Dense { inputs: 3, outputs: 2 };
    let (x, w, b, dy) = ([1.0_f32; 6], [1.0_f32; 6], [1.0_f32; 2], [1.0_f32; 4]);
    let mut y = Guarded::<f32>::new(4, 0);
    let mut scratch = vec![0.0; layer.forward_scratch_len::<f32>(2)];
    let named = |result: Result<(), Error>| match result {
        Err(
            Error::Length { argument, .. }
            | Error::OutOfRange { argument, .. }
            | Error::Overflow { argument },
        ) => argument,
        other => panic!("{other:?}"),
    };
    let mut forward =
        |batch, x: &[f32], w: &[f32], b: &[f32], epilogue: Epilogue<'_, f32>, shorter: [usize; 2]| {
            let enough = scratch.len();
            let scratch = &mut scratch[..enough - shorter[0]];
            let parameters = DenseWeights { weights: w, bias: Some(b) };
            let out = &mut y.slice()[..4 - shorter[1]];
            let result = layer.forward(batch, x, parameters, epilogue, scratch, out);
            assert!(y.is_untouched());
            named(result)
        };
    let plain = Epilogue::default();
    assert_eq!(forward(2, &x[1..], &w, &b, plain, [0, 0]), "x");
    assert_eq!(forward(2, &x, &w[1..], &b, plain, [0, 0]), "weights");
    assert_eq!(forward(2, &x, &w, &b[1..], plain, [0, 0]), "bias");
    assert_eq!(forward(2, &x, &w, &b, plain, [1, 0]), "scratch");
    assert_eq!(forward(2, &x, &w, &b, plain, [0, 1]), "y");
    assert_eq!(forward(usize::MAX, &x, &w, &b, plain, [0, 0]), "x");
    let residual = Epilogue { residual: Some(&x[..3]), ..plain };
    assert_eq!(forward(2, &x, &w, &b, residual, [0, 0]), "residual");
    let activation = Epilogue { activation: Some(Activation::Elu { alpha: f64::NAN }), ..plain };
    assert_eq!(forward(2, &x, &w, &b, activation, [0, 0]), "alpha");
    let packed = PackedMatrix::new(2, 3, MatrixLayout::dense(2, 3), &w).unwrap();
    assert_eq!(
        named(layer.forward_packed(2, &x, (&packed, None), plain, &mut scratch, y.slice())),
        "weights"
    );

    let mut scratch = vec![0.0; layer.backward_scratch_len::<f32>(2)];
    let (mut dx, mut dw, mut db) = (Guarded::<f32>::new(6, 0), Guarded::new(6, 0), Guarded::new(2, 0));
    let mut backward = |x: &[f32], dy: &[f32], w: &[f32], shorter: [usize; 4]| {
        let enough = scratch.len();
        let gradients = DenseGradients {
            input: Some(&mut dx.slice()[shorter[1]..]),
            weights: Some(&mut dw.slice()[shorter[2]..]),
            bias: Some(&mut db.slice()[shorter[3]..]),
            mode: GradientMode::Overwrite,
        };
        let result = layer.backward(2, x, dy, w, &mut scratch[shorter[0]..enough], gradients);
        assert!(dx.is_untouched() && dw.is_untouched() && db.is_untouched());
        named(result)
    };
    assert_eq!(backward(&x[1..], &dy, &w, [0; 4]), "x");
    assert_eq!(backward(&x, &dy[1..], &w, [0; 4]), "dy");
    assert_eq!(backward(&x, &dy, &w[1..], [0; 4]), "weights");
    assert_eq!(backward(&x, &dy, &w, [1, 0, 0, 0]), "scratch");
    assert_eq!(backward(&x, &dy, &w, [0, 1, 0, 0]), "gradients.input");
    assert_eq!(backward(&x, &dy, &w, [0, 0, 1, 0]), "gradients.weights");
    assert_eq!(backward(&x, &dy, &w, [0, 0, 0, 1]), "gradients.bias");
}
