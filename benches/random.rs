//! `random/philox_fill`: every level beside one block at a time.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use steadygrad::{Level, Philox, reference};

const LEN: usize = 16_384;

fn philox_fill(c: &mut Criterion) {
    let mut group = c.benchmark_group("random/philox_fill");
    group.throughput(Throughput::Elements(LEN as u64));
    let (mut words, stream) = (vec![0; LEN], Philox { key: 1, counter: 2 });
    for level in Level::available() {
        group.bench_function(BenchmarkId::new(level.name(), LEN), |b| {
            Level::scoped(level, || b.iter(|| stream.fill(0, black_box(&mut words)))).unwrap();
        });
    }
    group.bench_function(BenchmarkId::new("scalar", LEN), |b| {
        b.iter(|| {
            for (block, words) in (0..).zip(black_box(&mut words).chunks_exact_mut(4)) {
                words.copy_from_slice(&reference::philox::block([block, 0, 2, 0], [1, 0]));
            }
        });
    });
}

criterion_group!(benches, philox_fill);
criterion_main!(benches);
