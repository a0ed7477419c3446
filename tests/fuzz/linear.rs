//! Products: any shape, strides and factors, every level against the reference, packed and not, and short slices.

use steadygrad::linear::{Gemm, GemmShape, MatrixLayout, PackedMatrix, Transpose};
use steadygrad::reference::linear as reference;
use steadygrad::{Element, Level};

use super::reader::{Bits, Reader, Tolerance, assert_close, assert_refused};

/// Decodes and checks one case.
pub(crate) fn run(data: &[u8]) {
    let mut reader = Reader::new(data);
    if reader.byte().is_multiple_of(2) { check::<f32>(&mut reader) } else { check::<f64>(&mut reader) }
}

fn check<T: Bits>(reader: &mut Reader<'_>) {
    let [m, n, k] = [0; 3].map(|_| reader.up_to(40));
    let a_layout = layout(reader, m, k);
    let b_layout = layout(reader, k, n);
    let shape = GemmShape { m, n, k, a: a_layout, b: b_layout, c_stride: n + reader.up_to(3) };
    let gemm = Gemm { alpha: factor(reader), beta: factor(reader) };
    let missing = reader.up_to(15).saturating_sub(12);
    let (a, b) = (reader.ordinaries::<T>(m * k), reader.ordinaries::<T>(k * n));
    let c = reader.ordinaries::<T>(m * n);

    let wide = |x: &[T]| x.iter().map(|&v| v.to_f64()).collect::<Vec<f64>>();
    let size = |x: &[T]| wide(x).iter().map(|v| v.abs()).collect::<Vec<f64>>();
    let (mut exact, mut magnitude) = (wide(&c), size(&c));
    reference::gemm([m, n, k], [gemm.alpha, gemm.beta], &wide(&a), &wide(&b), &mut exact);
    let factors = [gemm.alpha.abs(), gemm.beta.abs()];
    reference::gemm([m, n, k], factors, &size(&a), &size(&b), &mut magnitude);

    let (a, b) = (stored(&a, m, k, a_layout), stored(&b, k, n, b_layout));
    let c_layout = MatrixLayout { transpose: Transpose::No, stride: shape.c_stride };
    for level in Level::available() {
        let mut scratch = vec![T::nan(); shape.scratch_len::<T>()];
        let mut plain = stored(&c, m, n, c_layout);
        let mut packed = plain.clone();
        if missing > 0 && m * n > 0 {
            plain.fill(T::nan());
            let short = plain.len() - missing.min(plain.len());
            let refused =
                Level::scoped(level, || gemm.forward(shape, &a, &b, &mut scratch, &mut plain[..short]));
            assert_refused(refused.expect("an available level"), &plain);
            continue;
        }
        Level::scoped(level, || {
            gemm.forward(shape, &a, &b, &mut scratch, &mut plain).expect("a valid product");
            let b = PackedMatrix::new(k, n, b_layout, &b).expect("a valid matrix");
            gemm.forward_packed(shape, &a, &b, &mut scratch, &mut packed).expect("a valid product");
        })
        .expect("an available level");
        for row in 0..m {
            for col in 0..n {
                let (at, i) = (row * shape.c_stride + col, row * n + col);
                let tolerance = Tolerance { relative: 0.0, absolute: (k + 3) as f64 * magnitude[i] };
                assert_close((shape, gemm, level, row, col), exact[i], plain[at], tolerance);
                assert!(plain[at] == packed[at], "packed differs: {shape:?} at {level}");
            }
        }
    }
}

fn layout(reader: &mut Reader<'_>, rows: usize, cols: usize) -> MatrixLayout {
    let gap = reader.up_to(3);
    match reader.pick(&[Transpose::No, Transpose::Yes]) {
        Transpose::No => MatrixLayout { transpose: Transpose::No, stride: cols + gap },
        Transpose::Yes => MatrixLayout { transpose: Transpose::Yes, stride: rows + gap },
    }
}

/// Often one of the two that have a path of their own.
fn factor(reader: &mut Reader<'_>) -> f64 {
    let ordinary = reader.ordinary();
    reader.pick(&[0.0, 1.0, ordinary, -1.0])
}

/// `dense` in `layout`, NaN between the rows.
fn stored<T: Element>(dense: &[T], rows: usize, cols: usize, layout: MatrixLayout) -> Vec<T> {
    let (outer, inner) = match layout.transpose {
        Transpose::No => (rows, cols),
        Transpose::Yes => (cols, rows),
    };
    if outer == 0 || inner == 0 {
        return Vec::new();
    }
    let mut data = vec![T::nan(); (outer - 1) * layout.stride + inner];
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
