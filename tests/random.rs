//! The counter-based generator against its published vectors, and at every level against its reference.

mod common;

use common::{each_level, each_pool, lengths};
use proptest::prelude::*;
use steadygrad::Philox;
use steadygrad::reference::philox as reference;

#[test]
fn philox_block_is_random123s() {
    // `philox4x32 10` of kat_vectors in Random123 1.14.
    let vectors = [
        ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
        ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
        (
            [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
            [0xa409_3822, 0x299f_31d0],
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
        ),
    ];
    for (counter, key, words) in vectors {
        assert_eq!(reference::block(counter, key), words);
    }
}

#[test]
fn philox_word_is_where_its_formula_says() {
    // Words 0, 16, 32 and 48 are the four words of block 0.
    let words = [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8];
    for (k, word) in words.into_iter().enumerate() {
        assert_eq!(Philox::default().word(16 * k as u64), word);
    }
    // Block 0x85a308d3_243f6a88, which is lane 8 of group 0x85a308d3_243f6a8.
    let stream = Philox { key: 0x299f_31d0_a409_3822, counter: 0x0370_7344_1319_8a2e };
    let index = 0x085a_308d_3243_f6a8_u64.wrapping_mul(64).wrapping_add(8);
    // The upper bits of so high a block are past the last index: 4 of them are lost.
    let block = index / 64 * 16 + 8;
    let counter = [block as u32, (block >> 32) as u32, 0x1319_8a2e, 0x0370_7344];
    assert_eq!(stream.word(index + 32), reference::block(counter, [0xa409_3822, 0x299f_31d0])[2]);
}

#[track_caller]
fn check(stream: Philox, first: u64, len: usize) {
    each_level(|level| {
        let mut words = vec![0xdead_beef; len + 2];
        stream.fill(first, &mut words[1..=len]);
        assert_eq!((words[0], words[len + 1]), (0xdead_beef, 0xdead_beef), "a word outside was written");
        for (i, &word) in words[1..=len].iter().enumerate() {
            let expected = reference::word(stream.key, stream.counter, first.wrapping_add(i as u64));
            assert_eq!(word, expected, "{stream:?} at {first} + {i} of {len} at {level}");
        }
    });
}

#[test]
fn philox_fill_matches_reference() {
    let stream = Philox { key: 0x0123_4567_89ab_cdef, counter: 0xfedc_ba98_7654_3210 };
    // The last two cross from the low to the high word of a block's number, and the end of the stream.
    for first in [0, 1, 17, 63, 64, 1000, (1 << 34) - 70, u64::MAX - 70] {
        for len in lengths() {
            check(stream, first, len);
        }
    }
}

#[test]
fn philox_fill_same_words_in_any_pool() {
    let stream = Philox { key: 7, counter: 9 };
    let fill = || {
        let mut words = vec![0; 100_003];
        stream.fill(5, &mut words);
        words
    };
    let expected = fill();
    each_pool(|threads| assert_eq!(fill(), expected, "on {threads} threads"));
}

#[test]
fn philox_fill_is_uniform() {
    let mut words = vec![0; 1 << 18];
    Philox { key: 1, counter: 2 }.fill(0, &mut words);
    let mut counts = [0_u32; 256];
    words.iter().flat_map(|word| word.to_le_bytes()).for_each(|byte| counts[usize::from(byte)] += 1);
    let expected = words.len() as f64 * 4.0 / 256.0;
    let chi_squared: f64 = counts.iter().map(|&count| (f64::from(count) - expected).powi(2) / expected).sum();
    // 255 degrees of freedom: mean 255, deviation 22.6.
    assert!((140.0..370.0).contains(&chi_squared), "{chi_squared}");
}

#[test]
#[should_panic(expected = "assertion")]
fn philox_comparison_can_fail() {
    let mut words = [0; 3];
    Philox { key: 1, counter: 0 }.fill(0, &mut words);
    assert_eq!(words[2], reference::word(1, 1, 2));
}

proptest! {
    #[test]
    fn philox_fill_matches_reference_anywhere(key: u64, counter: u64, first: u64, len in 0..400_usize) {
        check(Philox { key, counter }, first, len);
    }
}

/// 1 − Φ(z) of the normal number is the tail it was made of, and its sign is even.
#[test]
fn philox_normal_is_the_quantile_of_its_word() {
    let mut counts = [0_u64; 2];
    let z: Vec<f64> = (0..20_000).map(|i| reference::normal(3, 4, i)).collect();
    let (mut mass, away) = (vec![0.0; z.len()], z.iter().map(|z| -z.abs()).collect::<Vec<_>>());
    steadygrad::math::normal_cdf(&away, &mut mass).unwrap();
    for (i, (&mass, &z)) in mass.iter().zip(&z).enumerate() {
        let tail = (f64::from(reference::word(3, 4, i as u64) >> 1) + 0.5) / 4_294_967_296.0;
        assert!((mass / tail - 1.0).abs() < 4e-6, "{z} leaves {mass}, not {tail}");
        counts[usize::from(z > 0.0)] += 1;
    }
    assert!(counts[0].abs_diff(counts[1]) < 600, "{counts:?}");
}

/// A uniform number is a multiple of 2⁻²⁴ below 1.
#[test]
fn philox_uniform_is_its_words_high_bits() {
    for i in 0..1000 {
        let expected = f64::from(reference::word(3, 4, i) >> 8) / f64::from(1 << 24);
        assert_eq!(reference::uniform(3, 4, i), expected);
    }
}
