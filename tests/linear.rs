//! Products and dense layers against plain loops in `f64`, at every level, over shapes that reach every edge of a tile.

mod common;

use common::{Guarded, assert_same_bits, each_level, each_pool, numbers};
use proptest::prelude::*;
use steadygrad::linear::{Dense, DenseGradients, DenseWeights, Gemm, GemmShape, MatrixLayout, Transpose};
use steadygrad::{Activation, Element, Epilogue, Error, GradientMode, Level, PackedMatrix, reference};

/// A product with everything that can vary.
#[derive(Clone, Copy, Debug)]
struct Case {
    m: usize,
    n: usize,
    k: usize,
    a: Transpose,
    b: Transpose,
    /// Elements that the strides exceed the rows by.
    gap: usize,
    gemm: Gemm,
}

impl Case {
    fn plain(m: usize, n: usize, k: usize) -> Self {
        Self { m, n, k, a: Transpose::No, b: Transpose::No, gap: 0, gemm: Gemm::default() }
    }

    fn shape(self) -> GemmShape {
        let row = |transpose, rows, cols| match transpose {
            Transpose::No => cols,
            Transpose::Yes => rows,
        };
        GemmShape {
            m: self.m,
            n: self.n,
            k: self.k,
            a: MatrixLayout { transpose: self.a, stride: row(self.a, self.m, self.k) + self.gap },
            b: MatrixLayout { transpose: self.b, stride: row(self.b, self.k, self.n) + self.gap },
            c_stride: self.n + self.gap,
        }
    }
}

/// `dense`, `rows` by `cols`, in `layout`; what lies between the rows is NaN.
fn stored<T: Element>(dense: &[T], rows: usize, cols: usize, layout: MatrixLayout) -> Vec<T> {
    let (stored_rows, stored_cols) = match layout.transpose {
        Transpose::No => (rows, cols),
        Transpose::Yes => (cols, rows),
    };
    if stored_rows == 0 || stored_cols == 0 {
        return Vec::new();
    }
    let mut data = vec![T::nan(); (stored_rows - 1) * layout.stride + stored_cols];
    for row in 0..rows {
        for col in 0..cols {
            let at = match layout.transpose {
                Transpose::No => row * layout.stride + col,
                Transpose::Yes => col * layout.stride + row,
            };
            data[at] = dense[row * cols + col];
        }
    }
    data
}

/// The same numbers in `f64`.
fn wide<T: Element>(x: &[T]) -> Vec<f64> {
    x.iter().map(|&v| v.to_f64()).collect()
}

/// The classic bound of a chain of length `k`, with the start and the product by α: (k + 3)·ε·Σ|terms|.
fn bound<T: Element>(terms: usize, magnitude: f64) -> f64 {
    (terms + 3) as f64 * T::epsilon().to_f64() * magnitude
}

fn check<T: Element>(case: Case) {
    let Case { m, n, k, gemm, .. } = case;
    let shape = case.shape();
    let (a, b): (Vec<T>, Vec<T>) = (numbers(1, m * k, 1.0), numbers(2, k * n, 1.0));
    let before: Vec<T> = numbers(3, m * n, 1.0);
    let magnitude = |x: &[T]| wide(x).iter().map(|v| v.abs()).collect::<Vec<f64>>();
    let (mut exact, mut size) = (wide(&before), magnitude(&before));
    reference::linear::gemm([m, n, k], [gemm.alpha, gemm.beta], &wide(&a), &wide(&b), &mut exact);
    let factors = [gemm.alpha.abs(), gemm.beta.abs()];
    reference::linear::gemm([m, n, k], factors, &magnitude(&a), &magnitude(&b), &mut size);

    let (a, b) = (stored(&a, m, k, shape.a), stored(&b, k, n, shape.b));
    let c_layout = MatrixLayout { transpose: Transpose::No, stride: shape.c_stride };
    let mut fma: Option<Vec<T>> = None;
    each_level(|level| {
        let mut scratch = Guarded::new(shape.scratch_len::<T>(), k % 3);
        let mut c = Guarded::of(&stored(&before, m, n, c_layout), m % 5);
        if gemm.beta == 0.0 {
            // Then C is not read.
            c.slice().fill(T::nan());
        }
        gemm.forward(shape, &a, &b, scratch.slice(), c.slice()).unwrap();
        scratch.checked();
        for (row, c) in c.checked().chunks(shape.c_stride.max(1)).enumerate() {
            for (col, &c) in c.iter().enumerate() {
                if col >= n {
                    assert!(c.is_nan(), "a gap was written: {case:?} at {level}");
                    continue;
                }
                let (exact, size) = (exact[row * n + col], size[row * n + col]);
                let close = (c.to_f64() - exact).abs() <= bound::<T>(k, size);
                assert!(close, "{c:?}, not {exact}, at ({row}, {col}): {case:?} at {level}");
            }
        }
        let packed = PackedMatrix::new(k, n, shape.b, &b).unwrap();
        let mut again = Guarded::of(&stored(&before, m, n, c_layout), 0);
        gemm.forward_packed(shape, &a, &packed, scratch.slice(), again.slice()).unwrap();
        assert_same_bits(c.checked(), again.checked(), || format!("packed: {case:?} at {level}"));
        if level > Level::Portable {
            let first = fma.get_or_insert_with(|| c.checked().to_vec());
            assert_same_bits(first, c.checked(), || format!("levels with FMA: {case:?} at {level}"));
        }
    });
}

const TRANSPOSES: [Transpose; 2] = [Transpose::No, Transpose::Yes];

#[test]
fn gemm_forward_matches_reference() {
    // Tiles are 2, 6 and 9 rows high, panels 8 and 16 columns wide and 1, 2, 3, 4 or 8 side by side, blocks 256 or 512 deep.
    for m in [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 13, 19, 20] {
        for n in [1, 7, 8, 9, 15, 16, 17, 31, 33, 47, 48, 65, 129] {
            for k in [0, 1, 2, 15, 16, 17, 33] {
                check::<f32>(Case::plain(m, n, k));
                check::<f64>(Case { b: Transpose::Yes, gap: 3, ..Case::plain(m, n, k) });
            }
        }
    }
}

#[test]
fn gemm_forward_matches_reference_at_block_edges() {
    let gemm = Gemm { alpha: -0.7, beta: 1.3 };
    for k in [255, 256, 257, 511, 512, 513, 1030, 4097] {
        for m in [1, 4, 49] {
            for (a, b) in TRANSPOSES.into_iter().flat_map(|a| TRANSPOSES.map(|b| (a, b))) {
                check::<f32>(Case { a, b, gap: 1, gemm, ..Case::plain(m, 40, k) });
            }
        }
    }
    // Groups of tiles, rows above which panels are shared, rows packed at a time, panels packed at a time.
    let blocks =
        [(97, 300, 20), (193, 257, 300), (1537, 17, 3), (7, 2049, 5), (200, 2065, 2), (1540, 3, 260)];
    // Few tiles with B in place and a narrow rest, with B too large for that, with rows 4 KiB apart; chunks of panels.
    let few = [(30, 205, 600), (40, 700, 300), (20, 700, 0), (20, 1024, 40), (113, 150, 70), (150, 1100, 18)];
    // Few rows with B in place in blocks of k whose next is asked for, also cut by columns.
    let streams = [(1, 300, 700), (5, 1500, 130), (12, 700, 300), (18, 500, 400)];
    for (m, n, k) in blocks.into_iter().chain(few).chain(streams) {
        check::<f32>(Case { gemm, ..Case::plain(m, n, k) });
        check::<f64>(Case { a: Transpose::Yes, b: Transpose::Yes, gap: 2, gemm, ..Case::plain(m, n, k) });
        // What is not scaled is not packed.
        let gemm = Gemm { alpha: 1.0, ..gemm };
        check::<f32>(Case { gemm, ..Case::plain(m, n, k) });
        check::<f64>(Case { gap: 1, gemm, ..Case::plain(m, n, k) });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn gemm_forward_matches_reference_for_any_shape(
        m in 0_usize..=40, n in 0_usize..=40, k in 0_usize..=40, gap in 0_usize..5,
        a in prop::sample::select(TRANSPOSES.to_vec()), b in prop::sample::select(TRANSPOSES.to_vec()),
        alpha in prop::sample::select(vec![1.0, -1.0, 0.0, 0.37]), beta in prop::sample::select(vec![0.0, 1.0, -0.5]),
    ) {
        let case = Case { m, n, k, a, b, gap, gemm: Gemm { alpha, beta } };
        check::<f32>(case);
        check::<f64>(case);
    }
}

#[test]
#[should_panic(expected = "at (0, 0)")]
fn gemm_forward_wrong_answer_is_noticed() {
    /// A bound that is exceeded where a product is left out.
    fn short<T: Element>() {
        let (a, b) = (numbers::<T>(1, 9, 1.0), numbers::<T>(2, 9, 1.0));
        let mut c = [T::zero(); 1];
        let shape = GemmShape::dense(1, 1, 8);
        let mut scratch = vec![T::zero(); shape.scratch_len::<T>()];
        Gemm::default().forward(shape, &a, &b, &mut scratch, &mut c).unwrap();
        let exact: f64 = (0..9).map(|i| a[i].to_f64() * b[i].to_f64()).sum();
        assert!((c[0].to_f64() - exact).abs() <= bound::<T>(9, 9.0), "at (0, 0)");
    }
    short::<f32>();
}

fn rows_of_a_batch<T: Element>() {
    for (n, k) in [(5, 40), (70, 300), (130, 1030), (600, 200)] {
        let batch = 33;
        let (a, b): (Vec<T>, Vec<T>) = (numbers(4, batch * k, 1.0), numbers(5, k * n, 1.0));
        for gemm in [Gemm::default(), Gemm { alpha: 0.3, beta: 0.0 }] {
            each_level(|level| {
                let packed = PackedMatrix::new(k, n, MatrixLayout::dense(k, n), &b).unwrap();
                let run = |m: usize, a: &[T]| {
                    let shape = GemmShape::dense(m, n, k);
                    let mut scratch = vec![T::nan(); shape.scratch_len::<T>()];
                    let mut c = vec![T::nan(); m * n];
                    gemm.forward_packed(shape, a, &packed, &mut scratch, &mut c).unwrap();
                    c
                };
                let all = run(batch, &a);
                for m in 1..batch {
                    let some = run(m, &a[..m * k]);
                    assert_same_bits(&all[..m * n], &some, || format!("{m} rows, n {n}, k {k} at {level}"));
                }
            });
        }
    }
}

#[test]
fn gemm_forward_batch_has_the_bits_of_its_rows() {
    rows_of_a_batch::<f32>();
    rows_of_a_batch::<f64>();
}

/// Whether `run` writes the same bits in every pool.
fn same_in_each_pool<T: Element>(run: impl Fn() -> Vec<T> + Sync) {
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

#[test]
fn gemm_forward_is_the_same_in_every_pool() {
    for (m, n, k) in
        [(300, 300, 300), (190, 190, 300), (20, 700, 300), (3000, 20, 40), (2, 3000, 700), (1, 1, 600_000)]
    {
        let (a, b): (Vec<f32>, Vec<f32>) = (numbers(6, m * k, 1.0), numbers(7, k * n, 1.0));
        let shape = GemmShape::dense(m, n, k);
        let packed = PackedMatrix::new(k, n, shape.b, &b).unwrap();
        same_in_each_pool(|| {
            let mut scratch = vec![f32::NAN; shape.scratch_len::<f32>()];
            let (mut c, mut again) = (vec![f32::NAN; m * n], vec![f32::NAN; m * n]);
            Gemm::default().forward(shape, &a, &b, &mut scratch, &mut c).unwrap();
            Gemm::default().forward_packed(shape, &a, &packed, &mut scratch, &mut again).unwrap();
            assert_same_bits(&c, &again, || "packed".to_string());
            let repacked = PackedMatrix::new(k, n, shape.b, &b).unwrap();
            Gemm::default().forward_packed(shape, &a, &repacked, &mut scratch, &mut again).unwrap();
            assert_same_bits(&c, &again, || "packed in this pool".to_string());
            c
        });
    }
}

#[test]
fn packed_matrix_serves_every_level() {
    let (m, n, k) = (9, 50, 70);
    let (a, b): (Vec<f32>, Vec<f32>) = (numbers(8, m * k, 1.0), numbers(9, k * n, 1.0));
    let shape = GemmShape::dense(m, n, k);
    let mut scratch = vec![0.0; shape.scratch_len::<f32>()];
    for packing in Level::available() {
        let packed = Level::scoped(packing, || PackedMatrix::new(k, n, shape.b, &b)).unwrap().unwrap();
        let copy = packed.clone();
        each_level(|level| {
            let (mut c, mut expected) = (vec![f32::NAN; m * n], vec![f32::NAN; m * n]);
            Gemm::default().forward(shape, &a, &b, &mut scratch, &mut expected).unwrap();
            for packed in [&packed, &copy] {
                Gemm::default().forward_packed(shape, &a, packed, &mut scratch, &mut c).unwrap();
                assert_same_bits(&expected, &c, || format!("packed at {packing}, used at {level}"));
            }
        });
    }
}

#[test]
fn packed_matrix_repacked_equals_new() {
    let (m, n, k) = (3, 37, 50);
    let a: Vec<f64> = numbers(10, m * k, 1.0);
    let (first, second): (Vec<f64>, Vec<f64>) = (numbers(11, k * n, 1.0), numbers(12, k * n, 1.0));
    let mut packed = PackedMatrix::new(k, n, MatrixLayout::dense(k, n), &first).unwrap();
    packed.repack(MatrixLayout::transposed(k, n), &second).unwrap();
    assert_eq!((packed.k(), packed.n()), (k, n));
    let shape = GemmShape { b: MatrixLayout::transposed(k, n), ..GemmShape::dense(m, n, k) };
    let mut scratch = vec![0.0; shape.scratch_len::<f64>()];
    let (mut c, mut expected) = (vec![0.0; m * n], vec![0.0; m * n]);
    Gemm::default().forward(shape, &a, &second, &mut scratch, &mut expected).unwrap();
    Gemm::default().forward_packed(shape, &a, &packed, &mut scratch, &mut c).unwrap();
    assert_same_bits(&expected, &c, || "repacked".to_string());
    let refused = packed.repack(MatrixLayout::transposed(k, n), &second[1..]);
    assert_eq!(refused, Err(Error::Length { argument: "b", expected: k * n, actual: k * n - 1 }));
}

#[test]
fn gemm_forward_special_values() {
    each_level(|level| {
        let shape = GemmShape::dense(1, 3, 2);
        let mut scratch = vec![0.0; shape.scratch_len::<f32>()];
        let mut c = [f32::NAN; 3];
        let b = [f32::INFINITY, 1.0, f32::NAN, 1.0, -0.0, 0.0];
        Gemm::default().forward(shape, &[1.0, 0.0], &b, &mut scratch, &mut c).unwrap();
        assert!(c[0] == f32::INFINITY && c[1] == 1.0 && c[2].is_nan(), "{c:?} at {level}");
        let mut c = [f32::NAN, 2.0, f32::INFINITY];
        let doubled = Gemm { alpha: 1.0, beta: 2.0 };
        doubled.forward(shape, &[0.0, 0.0], &[0.0; 6], &mut scratch, &mut c).unwrap();
        assert!(c[0].is_nan() && c[1] == 4.0 && c[2] == f32::INFINITY, "{c:?} at {level}");
        // No k: C is scaled.
        let mut c = [1.0_f32, 2.0, 3.0];
        doubled.forward(GemmShape::dense(1, 3, 0), &[], &[], &mut [], &mut c).unwrap();
        assert_eq!(c, [2.0, 4.0, 6.0]);
        Gemm::default().forward::<f32>(GemmShape::dense(0, 3, 2), &[], &b, &mut [], &mut []).unwrap();
    });
}

#[test]
fn gemm_forward_names_the_bad_argument() {
    let shape = GemmShape::dense(3, 4, 5);
    let (a, b) = ([1.0_f32; 15], [1.0_f32; 20]);
    let mut c = Guarded::<f32>::new(12, 0);
    let mut scratch = vec![0.0; shape.scratch_len::<f32>()];
    let enough = scratch.len();
    let length = |argument, expected, actual| Err(Error::Length { argument, expected, actual });
    let mut run = |gemm: Gemm, shape: GemmShape, a: &[f32], b: &[f32], scratch_len: usize, c_len: usize| {
        let result = gemm.forward(shape, a, b, &mut scratch[..scratch_len], &mut c.slice()[..c_len]);
        assert!(c.is_untouched());
        result
    };
    let plain = Gemm::default();
    assert_eq!(run(plain, shape, &a[1..], &b, enough, 12), length("a", 15, 14));
    assert_eq!(run(plain, shape, &a, &b[1..], enough, 12), length("b", 20, 19));
    assert_eq!(run(plain, shape, &a, &b, enough - 1, 12), length("scratch", enough, enough - 1));
    assert_eq!(run(plain, shape, &a, &b, enough, 11), length("c", 12, 11));
    let named = |result: Result<(), Error>| match result {
        Err(Error::OutOfRange { argument, .. } | Error::Overflow { argument }) => argument,
        other => panic!("{other:?}"),
    };
    let narrow = |stride| MatrixLayout { transpose: Transpose::No, stride };
    assert_eq!(named(run(plain, GemmShape { a: narrow(4), ..shape }, &a, &b, enough, 12)), "a");
    assert_eq!(named(run(plain, GemmShape { b: narrow(3), ..shape }, &a, &b, enough, 12)), "b");
    assert_eq!(named(run(plain, GemmShape { c_stride: 3, ..shape }, &a, &b, enough, 12)), "c");
    assert_eq!(named(run(plain, GemmShape { a: narrow(usize::MAX), ..shape }, &a, &b, enough, 12)), "a");
    assert_eq!(named(run(Gemm { alpha: f64::NAN, beta: 0.0 }, shape, &a, &b, enough, 12)), "alpha");
    assert_eq!(named(run(Gemm { alpha: 1.0, beta: f64::NAN }, shape, &a, &b, enough, 12)), "beta");
    let huge = GemmShape::dense(usize::MAX, usize::MAX, usize::MAX);
    assert_eq!(named(run(plain, huge, &a, &b, enough, 12)), "b");
    assert!(huge.scratch_len::<f32>() > 0);
    let packed = PackedMatrix::new(5, 4, shape.b, &b).unwrap();
    let other = GemmShape::dense(3, 4, 4);
    assert_eq!(named(plain.forward_packed(other, &a, &packed, &mut scratch, c.slice())), "b");
    assert!(c.is_untouched());
    assert!(PackedMatrix::new(usize::MAX, 2, MatrixLayout::dense(0, 2), &b).is_err());
    assert!(PackedMatrix::<f32>::new(0, usize::MAX, MatrixLayout::dense(0, usize::MAX), &[]).is_err());
}

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

/// A scratch made for a whole batch serves the last one, which is smaller.
#[test]
fn gemm_scratch_len_never_falls() {
    for k in [1, 255, 256, 300, 585, 1000, 5000] {
        let lens = (0..80).map(|rows| GemmShape::dense(rows, 40, k).scratch_len::<f32>());
        assert!(lens.is_sorted(), "k = {k}");
    }
}

/// The stride of a matrix with one row leads nowhere, so it may be any number.
#[test]
fn gemm_forward_takes_any_stride_of_one_row() {
    for (n, k) in [(1, 1), (17, 1), (70, 40), (600, 300)] {
        let (a, b): (Vec<f32>, Vec<f32>) = (numbers(6, k, 1.0), numbers(7, k * n, 1.0));
        for stride in [usize::MAX, usize::MAX - 63, usize::MAX / 2 + 1, usize::MAX / 64] {
            let of_one_row =
                |rows, layout| if rows == 1 { MatrixLayout { stride, ..layout } } else { layout };
            let plain = GemmShape::dense(1, n, k);
            let far =
                GemmShape { a: of_one_row(1, plain.a), b: of_one_row(k, plain.b), c_stride: stride, ..plain };
            each_level(|level| {
                let run = |shape: GemmShape| {
                    let mut scratch = vec![f32::NAN; shape.scratch_len::<f32>()];
                    let mut c = vec![f32::NAN; n];
                    let gemm = Gemm { beta: 0.0, ..Gemm::default() };
                    gemm.forward(shape, &a, &b, &mut scratch, &mut c).unwrap();
                    let packed = PackedMatrix::new(k, n, shape.b, &b).unwrap();
                    let mut again = vec![f32::NAN; n];
                    gemm.forward_packed(shape, &a, &packed, &mut scratch, &mut again).unwrap();
                    [c, again].concat()
                };
                let (near, far) = (run(plain), run(far));
                assert_same_bits(&near, &far, || format!("n {n}, k {k}, stride {stride} at {level}"));
            });
        }
    }
}
