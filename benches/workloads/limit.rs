//! The machine's limits, as far as calls without `unsafe` show them.
//!
//! - `limit/read/<size>`: `ClipNorm::measure` reads everything once.
//! - `limit/copy/<size>`: the platform's own copy, half of the size from, half to; the same at every level.
//! - `limit/update/<size>`: ReLU in place reads and writes everything.
//! - `limit/product/M<rows>N<cols>K<depth>`: a product by a packed matrix on every thread, each with its own output: not the
//!   peak of the multiply-add units, but the practical peak of a product whose factors stay in the first cache or the second.

use std::hint::black_box;

use rayon::prelude::*;
use steadygrad::clip::ClipNorm;
use steadygrad::linear::{Gemm, GemmShape, MatrixLayout, PackedMatrix};
use steadygrad::{Activation, Element};

use crate::timing::{Bench, Work};

/// Working sets in KiB: in the first cache, in the second, at its edge, in the last, and in memory.
const KIB: [usize; 5] = [16, 256, 1024, 16 << 10, 256 << 10];
/// One that fits in 32 KiB, and two that fit in a second cache, where a deeper product writes less. Their rows are a multiple
/// of the tile's at AVX-512 and AVX2.
const PRODUCTS: [&str; 3] = ["M84N32K48", "M42N64K256", "M84N256K256"];
/// Products on each thread between two meetings of the threads.
const REPEATS: usize = 64;

pub(crate) fn names() -> Vec<String> {
    let sizes = ["read", "copy", "update"]
        .into_iter()
        .flat_map(|kind| KIB.map(|size| format!("limit/{kind}/{size}KiB")));
    sizes.chain(PRODUCTS.map(|shape| format!("limit/product/{shape}"))).collect()
}

pub(crate) fn run(bench: &Bench, parts: &[&str]) -> Option<()> {
    let [_, kind, size] = *parts else { return None };
    let workload = parts.join("/");
    if kind == "product" {
        let (rows, rest) = size.strip_prefix('M')?.split_once('N')?;
        let (cols, depth) = rest.split_once('K')?;
        let shape = GemmShape::dense(rows.parse().ok()?, cols.parse().ok()?, depth.parse().ok()?);
        product::<f32>(bench, &workload, shape, "f32");
        product::<f64>(bench, &workload, shape, "f64");
        return Some(());
    }
    let bytes = size.strip_suffix("KiB")?.parse::<usize>().ok()? * 1024;
    let mut data = vec![1.0_f32; bytes / 4];
    let mut measure = |passes: usize, call: &mut dyn FnMut(&mut [f32])| {
        let work = Work { bytes: passes * bytes, flops: 0 };
        bench.measure(&workload, kind, "f32", work, || call(black_box(&mut data)));
    };
    match kind {
        "read" => {
            let norm = ClipNorm { max_norm: f64::INFINITY, ..ClipNorm::default() };
            measure(1, &mut |data| {
                black_box(norm.measure(&[data]).unwrap());
            });
        }
        "copy" => measure(1, &mut |data| {
            let (from, to) = data.split_at_mut(data.len() / 2);
            let part = from.len().div_ceil(rayon::current_num_threads());
            to.par_chunks_mut(part)
                .zip(from.par_chunks(part))
                .for_each(|(to, from)| to.copy_from_slice(from));
        }),
        "update" => measure(2, &mut |data| Activation::Relu.forward_in_place(data).unwrap()),
        _ => return None,
    }
    Some(())
}

fn product<T: Element>(bench: &Bench, workload: &str, shape: GemmShape, dtype: &str) {
    let GemmShape { m, n, k, .. } = shape;
    let (a, b) = (vec![T::one(); m * k], vec![T::one(); k * n]);
    let packed = PackedMatrix::new(k, n, MatrixLayout::dense(k, n), &b).expect("a matrix");
    let own = || (vec![T::zero(); shape.scratch_len::<T>()], vec![T::zero(); m * n]);
    let mut threads: Vec<_> = (0..bench.threads).map(|_| own()).collect();
    let flops = bench.threads * REPEATS * 2 * m * n * k;
    bench.measure(workload, "fwd", dtype, Work { bytes: 0, flops }, || {
        threads.par_iter_mut().with_max_len(1).for_each(|(scratch, c)| {
            for _ in 0..REPEATS {
                Gemm::default().forward_packed(shape, black_box(&a), &packed, scratch, black_box(c)).unwrap();
            }
        });
    });
}
