//! What holds for every initialiser: draws, bits that never change, shapes, and refusals.

use proptest::prelude::*;
use steadygrad::init::{Distribution, Fan};
use steadygrad::rand_core::Rng;
use steadygrad::{Error, Init, RowShape, WeightShape};

use super::subject::{Given, all, drawn, rng, row};
use crate::common::{Guarded, assert_same_bits, each_pool};

#[test]
fn init_identity_and_constant() {
    let identity = Init::Identity { gain: -2.0 };
    assert_eq!(drawn::<f32>(identity, RowShape { rows: 3, cols: 2 }, 0), [-2.0, 0.0, 0.0, -2.0, 0.0, 0.0]);
    assert_eq!(drawn::<f64>(identity, RowShape { rows: 1, cols: 3 }, 0), [-2.0, 0.0, 0.0]);
    assert_eq!(drawn::<f64>(Init::Constant { value: 0.1 }, row(2), 0), [0.1; 2]);
    let mut generator = Given(vec![]);
    identity.fill(row(2), &mut generator, &mut [0.0_f32; 2]).unwrap();
    Init::Constant { value: 1.0 }.fill(row(2), &mut generator, &mut [0.0_f32; 2]).unwrap();
}

#[test]
fn init_takes_one_draw_a_weight() {
    let shape = WeightShape { outputs: 4, inputs: 3, field: 2 };
    for init in all().into_iter().filter(|init| !matches!(init, Init::Constant { .. })) {
        let (mut used, mut skipped) = (rng(8), rng(8));
        init.fill(shape, &mut used, &mut [0.0_f32; 24]).unwrap();
        (0..24).for_each(|_| _ = skipped.next_u64());
        assert_eq!(used.next_u64(), skipped.next_u64(), "{init:?}");
    }
}

#[test]
fn init_of_f32_is_the_rounded_f64() {
    let shape = RowShape { rows: 11, cols: 13 };
    for init in all() {
        let rounded: Vec<f32> = drawn::<f64>(init, shape, 9).into_iter().map(|x| x as f32).collect();
        assert_eq!(drawn::<f32>(init, shape, 9), rounded, "{init:?}");
    }
}

#[test]
fn init_is_the_same_in_any_pool() {
    for init in all() {
        for (rows, cols) in [(300, 200), (33, 700)] {
            let shape = RowShape { rows, cols };
            let here: Vec<f64> = drawn(init, shape, 10);
            each_pool(|threads| {
                assert_same_bits(&here, &drawn(init, shape, 10), || format!("{init:?} {threads} threads"));
            });
        }
    }
}

/// FNV-1a over the bits: a change of these is value-breaking, on this platform or on another.
fn fingerprint(x: &[f64]) -> u64 {
    x.iter()
        .flat_map(|x| x.to_bits().to_le_bytes())
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[test]
fn init_bits_never_change() {
    let shape = RowShape { rows: 60, cols: 50 };
    let actual = FINGERPRINTS.map(|(init, _)| (init, fingerprint(&drawn(init, shape, 11))));
    assert_eq!(actual, FINGERPRINTS);
}

const FINGERPRINTS: [(Init, u64); 4] = [
    (Init::Uniform { low: -1.0, high: 1.0 }, 0xd0f4_7a18_87cb_ecea),
    (Init::Normal { mean: 0.0, std: 1.0 }, 0xc728_aac2_72b3_58d5),
    (Init::TruncatedNormal { mean: 0.0, std: 1.0, low: -2.0, high: 1.0 }, 0x6472_37c9_eb73_75f8),
    (Init::Orthogonal { gain: 1.0 }, 0x35cf_c7e8_dfb6_95c3),
];

#[test]
fn init_of_nothing_is_ok() {
    for init in all() {
        for (rows, cols) in [(0, 5), (5, 0), (0, 0)] {
            assert_eq!(init.fill(RowShape { rows, cols }, &mut rng(0), &mut [0.0_f32; 0]), Ok(()));
        }
    }
}

#[test]
fn init_names_the_bad_argument() {
    let nan = f64::NAN;
    let normal = |mean, std| Init::Normal { mean, std };
    let truncated = |mean, std, low, high| Init::TruncatedNormal { mean, std, low, high };
    let distribution = Distribution::Normal;
    let mut bad = vec![
        ("value", Init::Constant { value: nan }),
        ("value", Init::Constant { value: 1e300 }),
        ("gain", Init::Identity { gain: f64::INFINITY }),
        ("gain", Init::Orthogonal { gain: nan }),
        ("low", Init::Uniform { low: nan, high: 1.0 }),
        ("high", Init::Uniform { low: 0.0, high: nan }),
        ("high", Init::Uniform { low: 0.0, high: -1.0 }),
        ("mean", normal(nan, 1.0)),
        ("std", normal(0.0, nan)),
        ("std", normal(0.0, -1.0)),
        ("std", normal(0.0, f64::INFINITY)),
        ("mean", truncated(f64::INFINITY, 1.0, 0.0, 1.0)),
        ("std", truncated(0.0, 0.0, 0.0, 1.0)),
        ("std", truncated(0.0, nan, 0.0, 1.0)),
        ("low", truncated(0.0, 1.0, nan, 1.0)),
        ("low", truncated(0.0, 1.0, f64::INFINITY, f64::INFINITY)),
        ("high", truncated(0.0, 1.0, 0.0, nan)),
        ("high", truncated(0.0, 1.0, 0.0, -1.0)),
    ];
    for gain in [nan, -1.0, f64::INFINITY] {
        bad.push(("gain", Init::Xavier { gain, distribution }));
        bad.push(("gain", Init::Kaiming { gain, fan: Fan::In, distribution }));
    }
    for (name, init) in bad {
        let mut weights = Guarded::<f32>::new(6, 0);
        let result = init.fill(RowShape { rows: 2, cols: 3 }, &mut rng(0), weights.slice());
        let Err(Error::OutOfRange { argument, .. }) = result else { panic!("{init:?}: {result:?}") };
        assert_eq!(argument, name, "{init:?}");
        assert!(weights.is_untouched());
    }
    for init in all() {
        let mut weights = Guarded::<f32>::new(5, 0);
        let result = init.fill(RowShape { rows: 2, cols: 3 }, &mut rng(0), weights.slice());
        assert_eq!(result, Err(Error::Length { argument: "weights", expected: 6, actual: 5 }));
        let huge = WeightShape { outputs: usize::MAX, inputs: 2, field: 1 };
        let result = init.fill(huge, &mut rng(0), weights.slice());
        assert_eq!(result, Err(Error::Overflow { argument: "shape" }));
        assert!(weights.is_untouched());
    }
    let conv = WeightShape { outputs: 1, inputs: 1, field: 5 };
    let result = Init::Identity { gain: 1.0 }.fill(conv, &mut rng(0), &mut [0.0_f32; 5]);
    assert!(matches!(result, Err(Error::OutOfRange { argument: "shape", .. })));
}

proptest! {
    #[test]
    fn init_fills_any_shape(outputs in 0..20_usize, inputs in 0..20_usize, field in 0..5_usize, seed: u64) {
        let shape = WeightShape { outputs, inputs, field };
        for init in all() {
            prop_assert!(drawn::<f32>(init, shape, seed).iter().all(|x| x.is_finite()), "{:?}", init);
            prop_assert_eq!(drawn::<f64>(init, shape, seed), drawn::<f64>(init, shape, seed));
        }
    }
}
