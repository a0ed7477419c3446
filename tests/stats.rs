//! Norms: exact merging, any order, any magnitude. Moments: merging within rounding, far from zero too.

mod common;

use common::{assert_same_bits, channel_shapes, channels_of, each_level, each_pool};
use proptest::prelude::*;
use steadygrad::stats::{self, Moments, NormPartial};
use steadygrad::{ChannelShape, Element, Error, Level, reference};

const EXPONENTS: [f64; 8] = [1.0, 2.0, f64::INFINITY, 0.5, 3.0, 1.25, 17.0, 0.01];

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

/// The reference in `f64`, whose own sum of many terms is only so exact, and whose powers leave its range unless the largest
/// element is near 1.
#[track_caller]
fn check<T: Element>(x: &[T], p: f64) {
    let widened = || x.iter().map(|&x| x.to_f64());
    let largest = widened().fold(0.0_f64, |largest, x| largest.max(x.abs()));
    let unit = if largest > 0.0 && largest.is_finite() { largest.log2().floor().exp2() } else { 1.0 };
    let scaled: Vec<f64> = widened().map(|x| x / unit).collect();
    let expected: f64 = reference::norm_partial::norm(&scaled, p) * unit;
    each_level(|level| {
        let actual = norm(x, p);
        // The root divides the error of the sum.
        let allowed = 1e-13 / p.min(1.0) * expected;
        let close = (actual - expected).abs() <= allowed || actual.is_nan() && expected.is_nan();
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

/// Numbers whose powers no type holds: all equal, so that the norm is the number times the root of how many.
#[test]
fn norm_partial_of_any_exponent_holds_every_magnitude() {
    let close = |actual: f64, value: f64, len: usize, p: f64| {
        let exact = value * (len as f64).powf(1.0 / p);
        let allowed = 1e-13 * (1.0 + 1.0 / p);
        assert!((actual / exact - 1.0).abs() <= allowed, "{actual:e} is not {exact:e}: {len}, p {p}");
    };
    each_level(|_| {
        for p in [0.1, 0.5, 1.5, 3.0, 20.0, 1e3, 1e9, 1e15] {
            for len in [1, 2, 100, 40_000] {
                for value in [1.0, 1e200, 1e-200, 1e290, 1e-300, 2.5e-310_f64] {
                    if p > 0.1 || value < 1e200 {
                        close(norm(&vec![-value; len], p), value, len, p);
                    }
                }
                for value in [1e25_f32, 1e-25, 3e38, 1e-40] {
                    close(norm(&vec![value; len], p), f64::from(value), len, p);
                }
            }
            assert_eq!(norm(&[0.0_f64; 70], p), 0.0);
            // The smaller is nothing beside the larger, in one block and in two.
            if p > 0.1 {
                close(norm(&[1e150_f64, 1e-150], p), 1e150, 1, p);
                close(stats::norm(&[&[1e-150_f64][..], &[1e150]], p).unwrap(), 1e150, 1, p);
            }
        }
        // Past 2⁵⁰ it is the largest magnitude.
        assert_eq!(norm(&[3.0_f64, -4.0], 1e16), 4.0);
        // A norm past the largest number.
        let mut partial = NormPartial::new(0.01).unwrap();
        partial.add(&[1.0_f64; 100_000]);
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
    let fused = Level::available().filter(|&level| level != Level::Portable);
    let of_levels: Vec<_> = fused.map(|level| Level::scoped(level, run).unwrap()).collect();
    for pair in of_levels.windows(2) {
        assert_same_bits(&pair[0], &pair[1], || "levels".into());
    }
}

#[test]
fn norm_partial_names_the_bad_argument() {
    for p in [0.0, -1.0, 1e-7, f64::NAN, f64::NEG_INFINITY] {
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
    *words.last_mut().unwrap() = 1 << 63;
    assert!(refused(&words));
    let mut words = one.to_words();
    words[3] = 1 << 60;
    assert!(refused(&words), "terms of 2 to the power of 32 times that");
}

#[test]
#[should_panic(expected = "is not")]
fn norm_partial_comparison_can_fail() {
    let x = [3.0_f64, 4.0];
    let expected: f64 = reference::norm_partial::norm(&x, 1.0);
    assert!((norm(&x, 2.0) - expected).abs() < 1e-9, "{} is not {expected}", norm(&x, 2.0));
}

fn of_channels<T: Element>(shape: ChannelShape, x: &[T]) -> Vec<Moments> {
    let nothing = Moments { count: 7, mean: f64::NAN, m2: f64::NAN };
    let mut moments = vec![nothing; shape.channels];
    Moments::of_channels(shape, x, &mut moments).unwrap();
    moments
}

/// Fails where `moments` are not those of `x` within a relative `tolerance` of the deviation.
#[track_caller]
fn assert_moments(moments: &Moments, x: &[f64], tolerance: f64, context: impl FnOnce() -> String) {
    // The reference's own sum loses digits where the mean is far from 0, so it is given distances from a value amid.
    let amid = x[x.len() / 2];
    let (mean, m2) = reference::moments::moments(&x.iter().map(|x| x - amid).collect::<Vec<f64>>());
    let mean = mean + amid;
    let deviation = (m2 / x.len() as f64).sqrt();
    let close = moments.count == x.len() as u64
        && (moments.mean - mean).abs() <= tolerance * deviation + 4.0 * f64::EPSILON * mean.abs()
        && (moments.m2 - m2).abs() <= tolerance * m2;
    assert!(close, "{moments:?} are not mean {mean}, m2 {m2}: {}", context());
}

fn moments_match_reference<T: Element>() {
    for shape in channel_shapes() {
        let elements = shape.elements().unwrap();
        let x: Vec<T> = common::numbers::<T>(elements as u64, elements + 3, 2.0);
        for offset in [0, 3] {
            let x = &x[offset..offset + elements];
            each_level(|level| {
                let moments = of_channels(shape, x);
                for (moments, x) in moments.iter().zip(channels_of(shape, x)) {
                    assert_moments(moments, &x, 1e-12, || format!("{shape:?} at {level}"));
                }
            });
        }
    }
    for len in lengths().into_iter().skip(1) {
        let x: Vec<T> = common::numbers(len as u64, len + 3, 2.0);
        let wide: Vec<f64> = x[3..].iter().map(|&x| x.to_f64()).collect();
        each_level(|level| {
            assert_moments(&Moments::of(&x[3..]), &wide, 1e-12, || format!("{len} at {level}"))
        });
    }
    assert_eq!(Moments::of::<T>(&[]), Moments::default());
}

#[test]
fn moments_match_reference_in_every_layout() {
    moments_match_reference::<f32>();
    moments_match_reference::<f64>();
}

#[test]
#[should_panic(expected = "are not")]
fn moments_comparison_can_fail() {
    let mut moments = Moments::of(&[1.0_f64, 2.0, 4.0]);
    moments.m2 *= 1.0 + 1e-11;
    assert_moments(&moments, &[1.0, 2.0, 4.0], 1e-12, String::new);
}

#[test]
fn moments_hold_where_the_mean_is_far_larger_than_the_deviation() {
    each_level(|level| {
        for len in [2, 31, 1000, 100_001] {
            // Exactly 1e8 ± 1, half of each: the mean is 1e8 and every squared deviation 1.
            let x: Vec<f64> = (0..2 * len).map(|i| 1e8 + if i % 2 == 0 { 1.0 } else { -1.0 }).collect();
            let moments = Moments::of(&x);
            assert_eq!(moments.mean, 1e8, "{len} at {level}");
            assert!((moments.variance() - 1.0).abs() < 1e-12, "{moments:?} of {len} at {level}");
            // In `f32` the spacing at 1e8 is 8.
            let x: Vec<f32> = (0..2 * len).map(|i| 1e8 + if i % 2 == 0 { 8.0 } else { -8.0 }).collect();
            let moments = Moments::of(&x);
            assert_eq!(moments.mean, 1e8, "{len} at {level}");
            assert!((moments.variance() / 64.0 - 1.0).abs() < 1e-12, "{moments:?} of {len} at {level}");
            // The first value, about which all are summed, is the worst one.
            let x: Vec<f64> = (0..len).map(|i| if i == 0 { 1e8 } else { (i % 2) as f64 }).collect();
            assert_moments(&Moments::of(&x), &x, 1e-8, || format!("outlier of {len} at {level}"));
        }
        assert_eq!(Moments::of(&[0.1_f32; 1000]).m2, 0.0);
    });
}

#[test]
fn moments_same_bits_in_any_pool_and_on_avx2_and_avx512() {
    for (outer, channels, inner) in [(70_001, 5, 1), (700, 300, 1), (90, 7, 201), (9, 3, 40_000)] {
        let shape = ChannelShape { outer, channels, inner };
        let x: Vec<f32> = common::numbers(1, shape.elements().unwrap(), 1.0);
        let run = || {
            let mut moments = of_channels(shape, &x);
            moments.push(Moments::of(&x));
            moments.iter().flat_map(Moments::to_numbers).collect::<Vec<f64>>()
        };
        let expected = run();
        each_pool(|threads| assert_same_bits(&run(), &expected, || format!("{shape:?}, {threads} threads")));
        let fused: Vec<Level> = Level::available().filter(|&level| level > Level::Portable).collect();
        for pair in fused.windows(2) {
            let [first, second] = [pair[0], pair[1]].map(|level| Level::scoped(level, run).unwrap());
            assert_same_bits(&first, &second, || format!("{shape:?} {pair:?}"));
        }
    }
}

#[test]
fn moments_keep_what_is_not_finite_in_its_channel() {
    each_level(|level| {
        for shape in
            [(50, 37, 1), (3, 5, 45)].map(|(outer, channels, inner)| ChannelShape { outer, channels, inner })
        {
            let x: Vec<f32> = common::numbers(2, shape.elements().unwrap(), 1.0);
            let expected = of_channels(shape, &x);
            for at in 0..x.len() {
                for value in [f32::NAN, f32::INFINITY] {
                    let mut x = x.clone();
                    x[at] = value;
                    for (channel, moments) in of_channels(shape, &x).iter().enumerate() {
                        if channel == at / shape.inner % shape.channels {
                            let like = if value.is_nan() {
                                moments.mean.is_nan()
                            } else {
                                moments.mean == f64::INFINITY
                            };
                            assert!(like && moments.m2.is_nan(), "{moments:?} with {value} at {at}, {level}");
                        } else {
                            assert_eq!(moments, &expected[channel], "{value} at {at} left its channel");
                        }
                    }
                }
            }
        }
    });
}

proptest! {
    #[test]
    fn moments_merge_in_any_order(
        cuts in prop::collection::vec(0_usize..3000, 1..8), mean in -1e6_f64..1e6, far in any::<bool>(), seed in any::<usize>(),
    ) {
        let mean = if far { mean } else { mean * 1e-6 };
        let x: Vec<f64> = common::numbers::<f64>(seed as u64, 3000, 1.0).iter().map(|x| x + mean).collect();
        let mut cuts = cuts;
        cuts.extend([0, 3000]);
        cuts.sort_unstable();
        let mut parts: Vec<Moments> = cuts.windows(2).map(|cut| Moments::of(&x[cut[0]..cut[1]])).collect();
        while parts.len() > 1 {
            // Every part goes over the wire.
            let other = Moments::from_numbers(parts.swap_remove(seed % parts.len()).to_numbers()).unwrap();
            let into = (seed / 7) % parts.len();
            parts[into].merge(&other);
        }
        let whole = Moments::of(&x);
        // A mean is a number that was rounded; so is the distance of two of them, of which a merge takes the square.
        let tolerance = 1e-12 + f64::EPSILON * mean.abs();
        assert_moments(&parts[0], &x, tolerance, || "merged".into());
        assert_moments(&whole, &x, 1e-12, || "whole".into());
    }

    #[test]
    fn moments_merge_as_the_reference(a in prop::array::uniform3(0.0_f64..100.0), b in prop::array::uniform3(0.0_f64..100.0)) {
        let of = |[n, mean, m2]: [f64; 3]| Moments { count: 1 + n as u64, mean, m2 };
        let numbers = |m: Moments| (m.count as f64, m.mean, m.m2);
        let (n, mean, m2) = reference::moments::merge(numbers(of(a)), numbers(of(b)));
        for (mut one, other) in [(of(a), of(b)), (of(b), of(a))] {
            one.merge(&other);
            prop_assert_eq!(one.count as f64, n);
            // A mean is one part's and a share of the distance to the other's: it may cancel.
            prop_assert!((one.mean - mean).abs() <= 1e-14 * a[1].max(b[1]));
            prop_assert!((one.m2 - m2).abs() <= 1e-14 * m2);
        }
    }
}

#[test]
fn moments_name_the_bad_argument() {
    let shape = ChannelShape { outer: 2, channels: 3, inner: 2 };
    let untouched = Moments { count: 1, mean: 2.0, m2: 3.0 };
    let mut moments = [untouched; 3];
    let length = |argument, expected, actual| Err(Error::Length { argument, expected, actual });
    assert_eq!(Moments::of_channels(shape, &[0.0_f32; 11], &mut moments), length("x", 12, 11));
    assert_eq!(Moments::of_channels(shape, &[0.0_f32; 12], &mut moments[..2]), length("moments", 3, 2));
    let huge = ChannelShape { outer: usize::MAX, channels: 3, inner: 2 };
    assert_eq!(
        Moments::of_channels(huge, &[0.0_f32; 12], &mut moments),
        Err(Error::Overflow { argument: "shape" })
    );
    assert_eq!(moments, [untouched; 3]);
    let empty = ChannelShape { outer: 0, channels: 3, inner: 2 };
    Moments::of_channels::<f32>(empty, &[], &mut moments).unwrap();
    assert_eq!(moments, [Moments::default(); 3]);
    assert!(moments[0].variance().is_nan() && Moments::of(&[1.0_f32]).unbiased_variance().is_nan());
    for numbers in
        [[-1.0, 0.0, 0.0], [0.5, 0.0, 0.0], [f64::NAN, 0.0, 0.0], [1e16, 0.0, 0.0], [2.0, 0.0, -1.0]]
    {
        let refused = Moments::from_numbers(numbers);
        assert!(matches!(refused, Err(Error::OutOfRange { argument: "numbers", .. })), "{numbers:?}");
    }
}
