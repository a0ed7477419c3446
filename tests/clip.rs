//! Clipping by norm and by value against their formulas, PyTorch's results and the traps of others.

mod common;

use common::{Guarded, assert_same_bits, each_level, each_pool, ulp};
use proptest::prelude::*;
use steadygrad::clip::{ClipNorm, ClipReport, ClipRule, ClipValue, NonFinite};
use steadygrad::{Element, Error, Level, reference};

const TORCH: ClipRule = ClipRule::Torch { eps: 1e-6 };

/// Lengths of a list that reach tails, block edges and the cuts between tasks.
const LIST: [usize; 11] = [0, 64, 150_001, 1, 70_000, 16_384, 0, 5, 200_003, 31, 16_385];

fn tensors<T: Element>(lengths: &[usize], deviation: f64) -> Vec<Vec<T>> {
    lengths.iter().map(|&len| common::numbers(len as u64 + 1, len, deviation)).collect()
}

fn clip<T: Element>(op: ClipNorm, tensors: &mut [Vec<T>]) -> Result<ClipReport, Error> {
    let mut grads: Vec<&mut [T]> = tensors.iter_mut().map(Vec::as_mut_slice).collect();
    op.clip(&mut grads)
}

fn with_max(max_norm: f64) -> ClipNorm {
    ClipNorm { max_norm, ..ClipNorm::default() }
}

fn reference_scale(op: ClipNorm, norm: f64) -> f64 {
    match op.rule {
        ClipRule::Exact => reference::clip_norm::scale(norm, op.max_norm),
        ClipRule::Torch { eps } => reference::clip_norm::scale_torch(norm, op.max_norm, eps),
    }
}

/// Clips guarded copies of finite tensors and compares norm, scale and every element.
fn check_norm<T: Element>(op: ClipNorm, before: &[Vec<T>]) {
    let all: Vec<f64> = before.iter().flatten().map(|&g| g.to_f64()).collect();
    let norm: f64 = reference::norm_partial::norm(&all, op.p);
    let scale = reference_scale(op, norm);
    let mut expected = all;
    reference::clip_norm::clip(&mut expected, scale);
    each_level(|level| {
        let mut after: Vec<Guarded<T>> =
            before.iter().enumerate().map(|(i, tensor)| Guarded::of(tensor, i % 7)).collect();
        let mut grads: Vec<&mut [T]> = after.iter_mut().map(Guarded::slice).collect();
        let report = op.clip(&mut grads).unwrap();
        let context = || format!("{op:?}, {} tensors, {level}", before.len());
        assert!((report.norm - norm).abs() <= 1e-12 * norm, "{} is not {norm}: {}", report.norm, context());
        assert!(
            (report.scale - scale).abs() <= 1e-6 * scale,
            "{} is not {scale}: {}",
            report.scale,
            context()
        );
        assert_eq!(report.non_finite, None);
        let actual = after.iter().flat_map(|tensor| tensor.checked().to_vec());
        for (actual, &expected) in actual.zip(&expected) {
            // The factor and the product round once each; a quotient very near 1 counts as 1.
            let near_one = if report.scale == 1.0 && scale != 1.0 { 4.0 } else { 0.0 };
            let allowed = (1.5 + near_one) * ulp::<T>(expected) + 1e-12 * expected.abs();
            let distance = (actual.to_f64() - expected).abs();
            assert!(distance <= allowed, "{actual:?} is not {expected:e}: {}", context());
        }
        // Reading alone says the same.
        let slices: Vec<&[T]> = before.iter().map(Vec::as_slice).collect();
        assert_eq!(op.measure(&slices), Ok(report), "{}", context());
    });
}

fn norm_at_every_length<T: Element>() {
    for rule in [ClipRule::Exact, TORCH] {
        for p in [1.0, 2.0, f64::INFINITY, 0.5, 3.0] {
            for len in common::lengths() {
                for max_norm in [0.5, 1e9] {
                    let op = ClipNorm { max_norm, p, rule, ..ClipNorm::default() };
                    check_norm::<T>(op, &tensors(&[len], 1.0));
                }
            }
            check_norm::<T>(ClipNorm { p, rule, ..ClipNorm::default() }, &tensors(&LIST, 1.0));
        }
    }
}

#[test]
fn clip_norm_forward_matches_reference() {
    norm_at_every_length::<f32>();
    norm_at_every_length::<f64>();
}

#[test]
fn clip_norm_forward_is_of_the_whole_list() {
    // Each tensor alone is under the limit: per-tensor clipping would do nothing.
    let mut list = vec![vec![3.0_f32], vec![4.0]];
    let report = clip(with_max(4.5), &mut list).unwrap();
    assert_eq!((report.norm, report.scale), (5.0, 0.9));
    assert_eq!(list, [[3.0 * 0.9], [4.0 * 0.9]]);
    assert_eq!(with_max(1.0).clip_one(&mut [3.0_f64, 4.0]).unwrap().scale, 0.2);
}

#[test]
fn clip_norm_forward_gradients_of_every_magnitude_have_a_norm() {
    each_level(|_| {
        for value in [1e20_f32, 1e25, 3e38, 3.4e38] {
            for rule in [ClipRule::Exact, TORCH] {
                let mut grads = vec![vec![value; 100], vec![-value; 44]];
                let report = clip(ClipNorm { rule, ..ClipNorm::default() }, &mut grads).unwrap();
                assert!((report.norm / (12.0 * f64::from(value)) - 1.0).abs() < 1e-7);
                assert!(
                    grads.iter().flatten().all(|g| (g.abs() * 12.0 - 1.0).abs() < 1e-6),
                    "{:?}",
                    grads[0][0]
                );
            }
        }
        for value in [1e200_f64, 1e300, 1.7e308] {
            let mut grads = vec![vec![value; 100], vec![-value; 44]];
            let report = clip(with_max(1.0), &mut grads).unwrap();
            // Twelve times the last is past the largest number, and yet clipped.
            assert_eq!(report.norm.is_infinite(), value > 1e308);
            assert_eq!(report.non_finite, None);
            assert!(
                grads.iter().flatten().all(|g| (g.abs() * 12.0 - 1.0).abs() < 1e-12),
                "{:?}",
                grads[0][0]
            );
        }
        for value in [1e-25_f32, 1e-38] {
            let mut grads = vec![vec![value; 144]];
            assert_eq!(clip(with_max(1.0), &mut grads).unwrap().scale, 1.0);
            let limit = f64::from(value) * 6.0;
            assert!((clip(with_max(limit), &mut grads).unwrap().scale - 0.5).abs() < 1e-9);
            assert!((grads[0][143] / value - 0.5).abs() < 1e-6);
        }
        let mut grads = vec![vec![1e-200_f64; 144]];
        let report = clip(with_max(6e-200), &mut grads).unwrap();
        assert!((report.scale - 0.5).abs() < 1e-12 && (grads[0][7] / 5e-201 - 1.0).abs() < 1e-12);
    });
}

#[test]
fn clip_norm_forward_of_any_exponent_clips_every_magnitude() {
    each_level(|_| {
        for (p, root) in [(0.5, 144.0 * 144.0), (3.0, 144.0_f64.cbrt()), (1.5, 144.0_f64.powf(1.0 / 1.5))] {
            for rule in [ClipRule::Exact, TORCH] {
                let op = ClipNorm { p, rule, max_norm: root, ..ClipNorm::default() };
                for value in [1e25_f32, 3e38] {
                    let mut grads = vec![vec![value; 100], vec![-value; 44]];
                    clip(op, &mut grads).unwrap();
                    assert!(
                        grads.iter().flatten().all(|g| (g.abs() - 1.0).abs() < 1e-6),
                        "{:?}",
                        grads[0][0]
                    );
                }
                for value in [1e200_f64, 1e300] {
                    let mut grads = vec![vec![value; 100], vec![-value; 44]];
                    clip(op, &mut grads).unwrap();
                    assert!(
                        grads.iter().flatten().all(|g| (g.abs() - 1.0).abs() < 1e-12),
                        "{:?}",
                        grads[0][0]
                    );
                }
            }
            for value in [1e-25, 1e-200] {
                let op = ClipNorm { p, max_norm: 0.5 * value * root, ..ClipNorm::default() };
                let mut grads = vec![vec![value; 144]];
                let report = clip(op, &mut grads).unwrap();
                assert!((report.scale - 0.5).abs() < 1e-12 && (grads[0][7] / value - 0.5).abs() < 1e-12);
            }
        }
    });
}

/// Scaling by a power of two changes no digit: a clipped gradient is the same whatever its length was, and clips with its
/// limit.
fn scale_does_not_matter<T: Element>(before: &[Vec<T>], op: ClipNorm, power: i32) {
    let factor = 2.0_f64.powi(power);
    let by = |list: &[Vec<T>], factor: f64| -> Vec<Vec<T>> {
        list.iter().map(|x| x.iter().map(|&x| x * T::from_f64(factor)).collect()).collect()
    };
    let clipped = |list: &[Vec<T>], max_norm: f64| {
        let mut list = list.to_vec();
        let report = clip(ClipNorm { max_norm, ..op }, &mut list).unwrap();
        (report.scale, list)
    };
    let (scale, once) = clipped(before, op.max_norm);
    let (_, with_limit) = clipped(&by(before, factor), op.max_norm * factor);
    let (other, longer) = clipped(&by(before, factor), op.max_norm);
    // Other norms go through a logarithm, whose rounding scales with nothing.
    let is_exact = [1.0, 2.0, f64::INFINITY].contains(&op.p);
    let assert_same = |a: &[Vec<T>], b: &[Vec<T>]| {
        for (&a, &b) in a.iter().flatten().zip(b.iter().flatten()) {
            let allowed = if is_exact { 0.0 } else { 2.0 * ulp::<T>(b.to_f64()) + 1e-12 * b.to_f64().abs() };
            assert!((a.to_f64() - b.to_f64()).abs() <= allowed, "{a:?} is not {b:?}: {op:?}, {factor}");
        }
    };
    assert_same(&with_limit, &by(&once, factor));
    if scale < 1.0 && other < 1.0 {
        assert_same(&longer, &once);
    }
}

proptest! {
    #[test]
    fn clip_norm_forward_does_not_depend_on_scale(
        lengths in prop::collection::vec(0..300_usize, 0..6),
        power in -30..30_i32,
        max_norm in 0.1..10.0_f64,
        p in prop::sample::select(vec![1.0, 2.0, f64::INFINITY, 0.5, 3.0]),
    ) {
        let op = ClipNorm { max_norm, p, ..ClipNorm::default() };
        scale_does_not_matter(&tensors::<f32>(&lengths, 1.0), op, power);
        scale_does_not_matter(&tensors::<f64>(&lengths, 1.0), op, power);
    }

    #[test]
    fn clip_norm_forward_of_any_exponent_twice_is_once(
        lengths in prop::collection::vec(0..300_usize, 1..6),
        max_norm in 1e-3..1e3_f64,
        p in 0.1..8.0_f64,
    ) {
        let op = ClipNorm { max_norm, p, ..ClipNorm::default() };
        let mut once = tensors::<f32>(&lengths, 1.0);
        clip(op, &mut once).unwrap();
        let mut twice = once.clone();
        let report = clip(op, &mut twice).unwrap();
        prop_assert!(report.norm <= max_norm * (1.0 + 1e-6));
        for (once, twice) in once.iter().zip(&twice) {
            assert_same_bits(once, twice, || format!("{op:?}"));
        }
    }
}

#[test]
fn clip_norm_forward_a_scale_below_the_normal_numbers_keeps_its_precision() {
    // 1e-5 / 3e38 is below the normal numbers of `f32`, 1e-12 / 1e300 below those of `f64`.
    let mut grads = vec![vec![3e38_f32, 1e38, 7e36]];
    let report = clip(with_max(1e-5), &mut grads).unwrap();
    assert!(report.scale < f64::from(f32::MIN_POSITIVE));
    for (after, before) in grads[0].iter().zip([3e38_f32, 1e38, 7e36]) {
        let exact = f64::from(before) * report.scale;
        assert!((f64::from(*after) - exact).abs() <= 1.5 * ulp::<f32>(exact), "{after} is not {exact}");
    }
    let mut grads = vec![vec![3e300_f64, -4e300]];
    let report = clip(with_max(5e-12), &mut grads).unwrap();
    assert_eq!(report.norm, 5e300);
    for (after, exact) in grads[0].iter().zip([3e-12, -4e-12]) {
        assert!((after / exact - 1.0_f64).abs() < 1e-15, "{after} is not {exact}");
    }
}

#[test]
fn clip_norm_forward_of_nothing_and_of_zeros() {
    for op in [with_max(1.0), with_max(0.0), ClipNorm { rule: TORCH, ..with_max(1.0) }] {
        assert_eq!(clip::<f32>(op, &mut []).unwrap().norm, 0.0);
        let mut list = vec![vec![], vec![0.0_f32; 70], vec![-0.0; 3], vec![]];
        let report = clip(op, &mut list).unwrap();
        assert_eq!((report.norm, report.scale, report.non_finite), (0.0, 1.0, None));
        assert!(list.iter().flatten().all(|&g| g == 0.0));
    }
    let mut list = vec![vec![1.0_f64, -2.0]];
    assert_eq!(clip(with_max(0.0), &mut list).unwrap().scale, 0.0);
    assert_eq!(list[0], [0.0, 0.0]);
    // The largest limit is just the norm.
    let mut list = vec![vec![3.0_f64, 4.0]];
    assert_eq!(clip(with_max(f64::INFINITY), &mut list).unwrap().norm, 5.0);
    assert_eq!(list[0], [3.0, 4.0]);
}

fn twice_is_once<T: Element>(before: &[Vec<T>], max_norm: f64) {
    let mut once = before.to_vec();
    let first = clip(with_max(max_norm), &mut once).unwrap();
    let mut twice = once.clone();
    let second = clip(with_max(max_norm), &mut twice).unwrap();
    assert!(second.norm <= max_norm * (1.0 + 1e-6) || first.norm <= max_norm);
    for (once, twice) in once.iter().zip(&twice) {
        assert_same_bits(once, twice, || format!("{max_norm} of {}", first.norm));
    }
    if first.scale < 1.0 && first.scale > 1e-30 {
        for (&before, &after) in before.iter().flatten().zip(once.iter().flatten()) {
            let sign = before.to_f64() * after.to_f64();
            assert!(sign >= 0.0, "the direction is kept");
        }
    }
}

#[test]
fn clip_norm_forward_twice_is_once() {
    twice_is_once(&[vec![10.0_f64; 100_000]], 1.0);
    twice_is_once(&[vec![0.1_f64; 99_999]], 0.3);
    twice_is_once(&[vec![10.0_f32; 100_000]], 1.0);
    twice_is_once(&tensors::<f64>(&LIST, 3.0), 0.7);
    twice_is_once(&tensors::<f32>(&LIST, 3.0), 0.7);
}

proptest! {
    #[test]
    fn clip_norm_forward_twice_is_once_for_any_list(
        lengths in prop::collection::vec(0..300_usize, 0..8),
        power in -20..20_i32,
        max_norm in 1e-3..1e3_f64,
    ) {
        twice_is_once(&tensors::<f32>(&lengths, 10.0_f64.powi(power)), max_norm);
        twice_is_once(&tensors::<f64>(&lengths, 10.0_f64.powi(power)), max_norm);
    }

    #[test]
    fn clip_norm_forward_matches_reference_for_any_list(
        lengths in prop::collection::vec(0..300_usize, 0..8),
        max_norm in 1e-3..1e2_f64,
    ) {
        check_norm(with_max(max_norm), &tensors::<f32>(&lengths, 1.0));
        check_norm(with_max(max_norm), &tensors::<f64>(&lengths, 1.0));
    }

    #[test]
    fn clip_value_forward_matches_reference_on_any_bits(
        bits in prop::collection::vec(any::<u32>(), 0..200),
        min in -3.0..0.0_f64,
        width in 0.0..4.0_f64,
    ) {
        let grad: Vec<f32> = bits.iter().map(|&bits| f32::from_bits(bits)).collect();
        check_value(ClipValue { min, max: min + width }, &grad, 1);
    }
}

fn non_finite_policies<T: Element>() {
    for len in 1..=70 {
        for position in 0..len {
            for bad in [T::nan(), T::infinity(), T::neg_infinity()] {
                let before = {
                    let mut list = tensors::<T>(&[5, len, 3], 1.0);
                    list[1][position] = bad;
                    list
                };
                let with = |non_finite| ClipNorm { non_finite, ..ClipNorm::default() };
                let mut after = before.clone();
                let refused = clip(with(NonFinite::Error), &mut after);
                assert_eq!(refused, Err(Error::NonFinite { argument: "grads", index: 1 }));
                let report = clip(with(NonFinite::Skip), &mut after).unwrap();
                assert_eq!((report.scale, report.non_finite), (0.0, Some(1)));
                assert!(report.norm.is_nan() || report.norm == f64::INFINITY);
                for (after, before) in after.iter().zip(&before) {
                    assert_same_bits(after, before, || "untouched".into());
                }
                let report = clip(with(NonFinite::Propagate), &mut after).unwrap();
                assert_eq!(report.non_finite, Some(1));
                for (i, (after, before)) in after.iter().flatten().zip(before.iter().flatten()).enumerate() {
                    let is_nan = bad.is_nan() || before.is_infinite();
                    assert!(if is_nan { after.is_nan() } else { *after == T::zero() }, "{after:?} at {i}");
                }
            }
        }
    }
}

#[test]
fn clip_norm_forward_non_finite_is_a_policy() {
    each_level(|_| {
        non_finite_policies::<f32>();
        non_finite_policies::<f64>();
    });
}

fn check_value<T: Element>(op: ClipValue, grad: &[T], offset: usize) {
    let (min, max) = (T::from_f64(op.min), T::from_f64(op.max));
    let expected: Vec<T> = grad.iter().map(|&g| reference::clip_value::clip(g, min, max)).collect();
    each_level(|level| {
        let mut after = Guarded::of(grad, offset);
        op.clip_one(after.slice()).unwrap();
        assert_same_bits(after.checked(), &expected, || format!("{op:?} at {level}"));
    });
}

fn value_at_every_length<T: Element>() {
    for (min, max) in [(-0.5, 0.5), (-1.0, 0.25), (0.0, f64::INFINITY), (-2.0, -1.0), (0.3, 0.3), (-0.0, 0.0)]
    {
        for len in common::lengths().chain([16_383, 16_385, 70_001]) {
            check_value::<T>(ClipValue { min, max }, &common::numbers(len as u64, len, 1.0), len % 5);
        }
        check_value::<T>(ClipValue { min, max }, &common::special_values(), 2);
    }
}

#[test]
fn clip_value_forward_matches_reference() {
    value_at_every_length::<f32>();
    value_at_every_length::<f64>();
}

#[test]
fn clip_value_forward_special_values() {
    let nan = |at: usize| {
        let mut grad = vec![3.0_f32; 90];
        grad[at] = f32::NAN;
        grad
    };
    each_level(|_| {
        for position in 0..90 {
            let mut grad = nan(position);
            ClipValue::default().clip_one(&mut grad).unwrap();
            assert!(grad.iter().enumerate().all(|(i, &g)| if i == position { g.is_nan() } else { g == 1.0 }));
        }
        let mut zeros = [-0.0_f64, 0.0];
        ClipValue { min: 0.0, max: 1.0 }.clip_one(&mut zeros).unwrap();
        assert!(zeros[0].is_sign_negative() && zeros[1].is_sign_positive());
        ClipValue::default().clip::<f32>(&mut []).unwrap();
    });
}

fn same_bits<T: Element>() {
    let before = tensors::<T>(&LIST, 1.0);
    let run = || {
        let mut after = before.clone();
        let report = clip(with_max(0.7), &mut after).unwrap();
        let mut values = before.clone();
        let mut grads: Vec<&mut [T]> = values.iter_mut().map(Vec::as_mut_slice).collect();
        ClipValue::default().clip(&mut grads).unwrap();
        (after.concat(), values.concat(), [report.norm, report.scale])
    };
    let expected = run();
    each_pool(|threads| {
        let actual = run();
        assert_same_bits(&actual.0, &expected.0, || format!("norm on {threads} threads"));
        assert_same_bits(&actual.1, &expected.1, || format!("value on {threads} threads"));
        assert_same_bits(&actual.2, &expected.2, || format!("report on {threads} threads"));
    });
    let fused: Vec<Level> = Level::available().filter(|&level| level != Level::Portable).collect();
    for pair in fused.windows(2) {
        let [first, second] = [pair[0], pair[1]].map(|level| Level::scoped(level, run).unwrap());
        assert_same_bits(&first.0, &second.0, || format!("{pair:?}"));
        assert_same_bits(&first.2, &second.2, || format!("{pair:?}"));
    }
}

#[test]
fn clip_norm_forward_same_bits_in_any_pool_and_on_avx2_and_avx512() {
    same_bits::<f32>();
    same_bits::<f64>();
}

#[test]
fn clip_norm_forward_equals_pytorch() {
    // torch.nn.utils.clip_grad_norm_ of PyTorch 2.15 in f64 over [0.5 … 6.0], [-7.0, 8.0] with max_norm 2: its total
    // norm and the first and last gradient.
    for (p, norm, first, last) in TORCH_RESULTS {
        let mut list = vec![(1..=12).map(|i| f64::from(i) * 0.5).collect::<Vec<_>>(), vec![-7.0, 8.0]];
        let op = ClipNorm { max_norm: 2.0, p, rule: TORCH, ..ClipNorm::default() };
        let report = clip(op, &mut list).unwrap();
        assert!((report.norm / norm - 1.0).abs() < 1e-14, "{} is not {norm}", report.norm);
        assert!((list[0][0] / first - 1.0).abs() < 1e-14, "{} is not {first}", list[0][0]);
        assert!((list[1][1] / last - 1.0).abs() < 1e-14, "{} is not {last}", list[1][1]);
    }
}

/// p, total norm, first gradient, last gradient.
const TORCH_RESULTS: [(f64, f64, f64, f64); 3] = [
    (1.0, 54.0, 0.018518518175582997, 0.29629629080932796),
    (2.0, 16.59819267269783, 0.06024751968311395, 0.9639603149298231),
    (f64::INFINITY, 8.0, 0.12499998437500197, 1.9999997500000315),
];

#[test]
fn clip_norm_names_the_bad_argument() {
    let refused = |op: ClipNorm| {
        let mut grad = [3.0_f32, 4.0];
        let error = op.clip_one(&mut grad).unwrap_err();
        assert_eq!(grad, [3.0, 4.0]);
        assert_eq!(op.measure(&[&grad]), Err(error));
        let Error::OutOfRange { argument, .. } = error else { panic!("{error:?}") };
        argument
    };
    for max_norm in [-1.0, f64::NAN, f64::NEG_INFINITY] {
        assert_eq!(refused(with_max(max_norm)), "max_norm");
    }
    for p in [0.0, -2.0, 1e-7, f64::NAN] {
        assert_eq!(refused(ClipNorm { p, ..ClipNorm::default() }), "p");
    }
    for eps in [-1e-6, f64::NAN, f64::INFINITY] {
        assert_eq!(refused(ClipNorm { rule: ClipRule::Torch { eps }, ..ClipNorm::default() }), "eps");
    }
}

#[test]
fn clip_value_names_the_bad_argument() {
    for (min, max, name) in [(f64::NAN, 1.0, "min"), (0.0, f64::NAN, "max"), (1.0, -1.0, "max")] {
        let mut grad = [3.0_f32, f32::NAN];
        let error = ClipValue { min, max }.clip_one(&mut grad).unwrap_err();
        assert!(matches!(error, Error::OutOfRange { argument, .. } if argument == name));
        assert!(grad[0] == 3.0 && grad[1].is_nan());
    }
}

#[test]
#[should_panic(expected = "is not")]
fn clip_norm_comparison_can_fail() {
    let wrong = ClipNorm { max_norm: f64::NAN, ..ClipNorm::default() };
    assert_eq!(reference_scale(with_max(2.0), 5.0), 0.4);
    assert!(reference_scale(wrong, 5.0) == 0.4, "NaN is not 0.4");
}
