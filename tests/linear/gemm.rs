//! Products of every shape, layout and factor.

use proptest::prelude::*;
use steadygrad::linear::{Gemm, GemmShape, MatrixLayout, Transpose};
use steadygrad::{Element, Error, Level, PackedMatrix, reference};

use super::comparison::{bound, same_in_each_pool, wide};
use crate::common::{Guarded, assert_same_bits, each_level, numbers};

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
