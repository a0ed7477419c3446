//! Matrices packed once, for many products.

use steadygrad::linear::{Gemm, GemmShape, MatrixLayout};
use steadygrad::{Error, Level, PackedMatrix};

use crate::common::{assert_same_bits, each_level, numbers};

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
