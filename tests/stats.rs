//! Norms: exact merging, any order, any magnitude.

mod common;

use common::{assert_same_bits, each_level, each_pool};
use proptest::prelude::*;
use steadygrad::stats::{self, NormPartial};
use steadygrad::{Element, Error, Level, reference};

const EXPONENTS: [f64; 3] = [1.0, 2.0, f64::INFINITY];

/// Lengths that reach the tail after four places, whole blocks, and blocks that are not whole.
fn lengths() -> Vec<usize> {
    let block = NormPartial::BLOCK;
    let mut lengths: Vec<usize> = (0..=2 * 64 + 17).collect();
    lengths.extend([
        block - 1,
        block,
        block + 1,
        2 * block + 63,
        4 * block - 1,
        4 * block + 1,
        9 * block + 5,
    ]);
    lengths
}

fn norm<T: Element>(x: &[T], p: f64) -> f64 {
    stats::norm(&[x], p).unwrap()
}

/// The reference in `f64`, whose own sum of many terms is only so exact.
#[track_caller]
fn check<T: Element>(x: &[T], p: f64) {
    let widened: Vec<f64> = x.iter().map(|&x| x.to_f64()).collect();
    let expected: f64 = reference::norm_partial::norm(&widened, p);
    each_level(|level| {
        let actual = norm(x, p);
        let close = (actual - expected).abs() <= 1e-13 * expected || actual.is_nan() && expected.is_nan();
        assert!(
            close || actual == expected,
            "{actual} is not {expected}: p {p}, {} elements, {level}",
            x.len()
        );
    });
}

fn matches_reference<T: Element>() {
    for len in lengths() {
        let x: Vec<T> = common::numbers(len as u64, len + 3, 2.0);
        for p in EXPONENTS {
            check(&x[..len], p);
            check(&x[3..], p);
        }
    }
}

#[test]
fn norm_partial_matches_reference() {
    matches_reference::<f32>();
    matches_reference::<f64>();
}

#[test]
fn norm_partial_of_integers_is_exact() {
    let x: Vec<f32> = (0..100_000).map(|i| (i % 7) as f32 - 3.0).collect();
    let squares: f64 = x.iter().map(|&x| f64::from(x * x)).sum();
    assert_eq!(norm(&x, 2.0), squares.sqrt());
    assert_eq!(norm(&x, 1.0), x.iter().map(|&x| f64::from(x.abs())).sum::<f64>());
    assert_eq!(norm(&x, f64::INFINITY), 3.0);
    assert_eq!(stats::norm::<f64>(&[], 2.0), Ok(0.0));
    assert_eq!(stats::norm(&[&[] as &[f32], &[0.0; 70]], 2.0), Ok(0.0));
}

#[test]
fn norm_partial_holds_every_magnitude() {
    let close = |actual: f64, expected: f64| {
        assert!((actual / expected - 1.0).abs() < 1e-6, "{actual:e} is not {expected:e}");
    };
    each_level(|_| {
        for len in [1, 4, 100, 40_000] {
            let root = (len as f64).sqrt();
            for value in [1e20_f32, 1e25, 3e38, 1e-25, 1e-40] {
                close(norm(&vec![value; len], 2.0), f64::from(value) * root);
                close(norm(&vec![-value; len], 1.0), f64::from(value) * len as f64);
                close(norm(&vec![-value; len], f64::INFINITY), f64::from(value));
            }
            for value in [1e200_f64, 1e300, 1.7e304, 1e-200, 1e-300, 1e-310] {
                close(norm(&vec![value; len], 2.0), value * root);
                close(norm(&vec![-value; len], f64::INFINITY), value);
            }
            close(norm(&vec![f64::MAX / 50_000.0; len], 1.0), f64::MAX / 50_000.0 * len as f64);
        }
        close(norm(&[f64::MAX; 1], 2.0), f64::MAX);
        assert_eq!(norm(&[5e-324_f64], 2.0), 5e-324);
        // The largest and the smallest together: the smaller block is lost only in the rounding of the result.
        assert_eq!(stats::norm(&[&[1e300_f64][..], &[1e-300]], 2.0), Ok(1e300));
        // A norm past the largest number is infinite although every element is finite.
        let mut partial = NormPartial::new(2.0).unwrap();
        partial.add(&[f64::MAX; 4]);
        assert!(partial.norm().is_infinite() && partial.is_finite());
    });
}

fn finds_nan<T: Element>() {
    for len in (1..=145).chain([NormPartial::BLOCK + 70]) {
        let mut x: Vec<T> = common::numbers(1, len, 1.0);
        let positions =
            if len > 145 { vec![0, 4095, 4096, 16_383, 16_384, len - 1] } else { (0..len).collect() };
        for position in positions {
            for p in EXPONENTS {
                let kept = x[position];
                x[position] = T::nan();
                assert!(norm(&x, p).is_nan(), "NaN at {position} of {len}, p {p}");
                x[position] = T::neg_infinity();
                assert_eq!(norm(&x, p), f64::INFINITY, "-inf at {position} of {len}, p {p}");
                x[position] = kept;
            }
        }
    }
}

#[test]
fn norm_partial_propagates_nan_from_every_position() {
    each_level(|_| {
        finds_nan::<f32>();
        finds_nan::<f64>();
    });
    assert!(stats::norm(&[&[f64::INFINITY][..], &[f64::NAN]], 2.0).unwrap().is_nan());
}

/// Tensors whose magnitudes are far apart, so that a rounding sum would depend on the order.
fn wild_tensors<T: Element>(bits: &[(u8, u16)]) -> Vec<Vec<T>> {
    let tensor = |&(power, len): &(u8, u16)| {
        let scale = 10.0_f64.powi(i32::from(power % 60) - 30);
        common::numbers(u64::from(len), usize::from(len), scale)
    };
    bits.iter().map(tensor).collect()
}

fn merges_in_any_order<T: Element>(bits: &[(u8, u16)], p: f64, seed: usize) {
    let tensors = wild_tensors::<T>(bits);
    let slices: Vec<&[T]> = tensors.iter().map(Vec::as_slice).collect();
    let expected = stats::norm(&slices, p).unwrap();
    let part = |tensors: &[&[T]]| {
        let mut partial = NormPartial::new(p).unwrap();
        partial.add_list(tensors);
        // Every part goes over the wire.
        NormPartial::from_words(&partial.to_words()).unwrap()
    };
    let mut parts: Vec<NormPartial> = slices.chunks(1 + seed % 5).map(part).collect();
    while parts.len() > 1 {
        let other = parts.swap_remove(seed % parts.len());
        let into = (seed / 7) % parts.len();
        parts[into].merge(&other).unwrap();
    }
    assert_eq!(parts.first().map_or(0.0, NormPartial::norm).to_bits(), expected.to_bits());
}

proptest! {
    #[test]
    fn norm_partial_merges_in_any_order(
        bits in prop::collection::vec(any::<(u8, u16)>(), 0..12),
        p in prop::sample::select(EXPONENTS.to_vec()),
        seed in any::<usize>(),
    ) {
        merges_in_any_order::<f32>(&bits, p, seed);
        merges_in_any_order::<f64>(&bits, p, seed);
    }

    #[test]
    fn norm_partial_matches_reference_on_any_bits(
        bits in prop::collection::vec(any::<u32>(), 0..200),
        p in prop::sample::select(EXPONENTS.to_vec()),
    ) {
        let x: Vec<f32> = bits.iter().map(|&bits| f32::from_bits(bits)).collect();
        check(&x, p);
    }

    #[test]
    fn norm_partial_of_any_f64_is_between_the_largest_and_the_sum(
        bits in prop::collection::vec(any::<u64>(), 1..200),
    ) {
        let x: Vec<f64> = bits.iter().map(|&bits| f64::from_bits(bits)).filter(|x| x.is_finite()).collect();
        let (largest, sum) = (norm(&x, f64::INFINITY), norm(&x, 1.0));
        let euclidean = norm(&x, 2.0);
        prop_assert!(largest <= euclidean * (1.0 + 1e-15) && euclidean <= sum * (1.0 + 1e-15));
    }
}

#[test]
fn norm_partial_shards_at_blocks_agree_to_the_bit() {
    let x: Vec<f32> = common::numbers(3, 5 * NormPartial::BLOCK + 777, 1.0);
    let mut partial = NormPartial::new(2.0).unwrap();
    let (first, second) = x.split_at(2 * NormPartial::BLOCK);
    partial.add(second);
    partial.add(first);
    assert_eq!(partial.norm().to_bits(), norm(&x, 2.0).to_bits());
}

#[test]
fn norm_partial_same_bits_in_any_pool_and_on_avx2_and_avx512() {
    let lengths = [0, 64, 300_001, 1, 70_000, 16_384, 0, 5, 1_000_003, 31];
    let tensors: Vec<Vec<f32>> = lengths.iter().map(|&len| common::numbers(len as u64, len, 1.0)).collect();
    let slices: Vec<&[f32]> = tensors.iter().map(Vec::as_slice).collect();
    let run = || EXPONENTS.map(|p| stats::norm(&slices, p).unwrap());
    let expected = run();
    each_pool(|threads| assert_same_bits(&run(), &expected, || format!("{threads} threads")));
    // A sum of squares of `f32` is exact before it is rounded, so the portable level agrees as well.
    let of_levels: Vec<[f64; 3]> =
        Level::available().map(|level| Level::scoped(level, run).unwrap()).collect();
    for pair in of_levels.windows(2) {
        assert_same_bits(&pair[0], &pair[1], || "levels".into());
    }
}

#[test]
fn norm_partial_names_the_bad_argument() {
    for p in [0.0, -1.0, f64::NAN, f64::NEG_INFINITY] {
        assert!(matches!(stats::norm(&[&[1.0_f32]], p), Err(Error::OutOfRange { argument: "p", .. })));
    }
    let (mut one, two) = (NormPartial::new(1.0).unwrap(), NormPartial::new(2.0).unwrap());
    assert!(matches!(one.merge(&two), Err(Error::OutOfRange { argument: "other", .. })));
    let mut words = one.to_words();
    let refused =
        |words| matches!(NormPartial::from_words(words), Err(Error::OutOfRange { argument: "words", .. }));
    words[2] = 9;
    assert!(refused(&words));
    // A sum so large that doubling it might wrap is no sum of blocks.
    let mut words = one.to_words();
    *words.last_mut().unwrap() = 1;
    assert!(refused(&words));
}

#[test]
#[should_panic(expected = "is not")]
fn norm_partial_comparison_can_fail() {
    let x = [3.0_f64, 4.0];
    let expected: f64 = reference::norm_partial::norm(&x, 1.0);
    assert!((norm(&x, 2.0) - expected).abs() < 1e-9, "{} is not {expected}", norm(&x, 2.0));
}
