//! The activations against their formulas, at every level, length and special value.

mod common;

use common::{Guarded, Tolerance, assert_close, assert_same_bits, each_level, each_pool, tolerance};
use proptest::prelude::*;
use steadygrad::{Activation, ChannelShape, Element, Error, Level, PRelu, reference};

const ALL: [Activation; 26] = [
    Activation::Identity,
    Activation::Relu,
    Activation::Relu6,
    Activation::LeakyRelu { slope: 0.01 },
    Activation::LeakyRelu { slope: -0.5 },
    Activation::RRelu { lower: 0.125, upper: 1.0 / 3.0 },
    Activation::Elu { alpha: 1.0 },
    Activation::Elu { alpha: 0.3 },
    Activation::Selu,
    Activation::Celu { alpha: 1.0 },
    Activation::Celu { alpha: 2.0 },
    Activation::Gelu,
    Activation::GeluTanh,
    Activation::Silu,
    Activation::Mish,
    Activation::Softplus { beta: 1.0, threshold: 20.0 },
    Activation::Softplus { beta: 2.0, threshold: 5.0 },
    Activation::Softsign,
    Activation::Sigmoid,
    Activation::LogSigmoid,
    Activation::Tanh,
    Activation::HardTanh { min: -1.0, max: 1.0 },
    Activation::HardTanh { min: -2.0, max: 0.5 },
    Activation::HardSigmoid,
    Activation::HardSwish,
    Activation::TanhShrink,
];

/// Those whose derivative is a function of the output.
fn has_output_form(activation: Activation) -> bool {
    let mut dx = [0.0_f64];
    activation.backward_from_output(&[0.1], &[1.0], &mut dx).is_ok()
}

/// A gate below the smallest normal number has lost bits, which x multiplies: |x| of the smallest subnormal, in epsilons.
fn gate_underflow<T: Element>(x: f64) -> f64 {
    x.abs().min(1e300) * T::min_positive_value().to_f64()
}

/// The bound of the forward at `x`; parameters reach the kernel rounded to `T`.
fn forward_tolerance<T: Element>(activation: Activation, x: f64) -> Tolerance {
    match activation {
        Activation::TanhShrink => Tolerance { epsilons: 2.0 * x.abs().min(1e300), ..tolerance::ACTIVATION },
        Activation::GeluTanh if x < 0.0 => {
            Tolerance { epsilons: 4.0 * x.abs().min(1e300), ..tolerance::ACTIVATION }
        }
        Activation::Gelu => Tolerance {
            ulp: tolerance::ACTIVATION.ulp + reference_ulps::<T>(x),
            epsilons: gate_underflow::<T>(x),
        },
        Activation::Silu | Activation::Mish => {
            Tolerance { epsilons: gate_underflow::<T>(x), ..tolerance::ACTIVATION }
        }
        _ => tolerance::ACTIVATION,
    }
}

/// What the reference's Φ itself is off in `f64`: the roundings of x/√2 and its square in the exponent, and 1 − erf(x) up to 1, which
/// `tests/accuracy_f64.rs` does not share.
fn reference_ulps<T: Element>(x: f64) -> f64 {
    if T::epsilon().to_f64() == f64::EPSILON { (2.0 * x * x).min(2e3) + 12.0 } else { 0.0 }
}

/// The bound of the backward with `dy`.
fn backward_tolerance(activation: Activation, dy: f64) -> Tolerance {
    match activation {
        Activation::Gelu | Activation::GeluTanh | Activation::Silu | Activation::Mish => {
            // In f64 the reference's own sums are off by as much again.
            Tolerance { epsilons: 8.0 * dy.abs(), ..tolerance::ACTIVATION }
        }
        Activation::HardSwish => Tolerance { epsilons: dy.abs(), ..tolerance::ACTIVATION },
        Activation::TanhShrink => tolerance::ACTIVATION_SQUARED,
        _ => tolerance::ACTIVATION,
    }
}

/// The activation with its parameters rounded to `T`, as the kernel has them.
fn rounded<T: Element>(activation: Activation) -> Activation {
    let r = |v: f64| T::from_f64(v).to_f64();
    match activation {
        Activation::LeakyRelu { slope } => Activation::LeakyRelu { slope: r(slope) },
        Activation::RRelu { lower, upper } => Activation::LeakyRelu { slope: r((lower + upper) / 2.0) },
        Activation::Elu { alpha } => Activation::Elu { alpha: r(alpha) },
        Activation::HardTanh { min, max } => Activation::HardTanh { min: r(min), max: r(max) },
        other => other,
    }
}

fn check_forward<T: Element>(activation: Activation, x: &[T], offset: usize) {
    each_level(|level| {
        let mut y = Guarded::new(x.len(), offset);
        activation.forward(x, y.slice()).unwrap();
        let mut in_place = Guarded::of(x, offset);
        activation.forward_in_place(in_place.slice()).unwrap();
        assert_same_bits(y.checked(), in_place.checked(), || format!("{activation:?} in place at {level}"));
        for (&x, &y) in x.iter().zip(y.checked()) {
            let exact = reference::activation::forward(rounded::<T>(activation), x.to_f64());
            assert_close(y, exact, forward_tolerance::<T>(activation, x.to_f64()), || {
                format!("{activation:?} of {x:?} at {level}")
            });
        }
    });
}

fn check_backward<T: Element>(activation: Activation, x: &[T], dy: &[T], offset: usize) {
    each_level(|level| {
        let mut dx = Guarded::new(x.len(), offset);
        activation.backward(x, dy, dx.slice()).unwrap();
        let mut in_place = Guarded::of(dy, offset);
        activation.backward_in_place(x, in_place.slice()).unwrap();
        assert_same_bits(dx.checked(), in_place.checked(), || format!("{activation:?} in place at {level}"));
        for ((&x, &dy), &dx) in x.iter().zip(dy).zip(dx.checked()) {
            let exact = reference::activation::backward(rounded::<T>(activation), x.to_f64(), dy.to_f64());
            let tolerance = backward_tolerance(activation, dy.to_f64());
            assert_close(dx, exact, tolerance, || {
                format!("{activation:?} backward of {x:?}, {dy:?} at {level}")
            });
        }
    });
}

/// Values that reach every branch, and where the exact derivative is a normal number of `T`.
fn inputs<T: Element>(len: usize) -> Vec<T> {
    common::numbers(len as u64, len, 4.0)
}

fn forward_at_every_length<T: Element>() {
    for activation in ALL {
        for len in common::lengths() {
            check_forward::<T>(activation, &inputs(len), len % 5);
        }
    }
}

#[test]
fn activation_forward_matches_reference() {
    forward_at_every_length::<f32>();
    forward_at_every_length::<f64>();
}

fn backward_at_every_length<T: Element>() {
    for activation in ALL {
        for len in common::lengths() {
            check_backward::<T>(activation, &inputs(len), &common::numbers(7, len, 2.0), len % 5);
        }
    }
}

#[test]
fn activation_backward_matches_reference() {
    backward_at_every_length::<f32>();
    backward_at_every_length::<f64>();
}

#[test]
fn activation_backward_matches_finite_differences() {
    // The reference itself, in f64, away from the kinks at 0, ±1, ±2, ±3, 0.5, 2.5 and 6.
    let h = 1e-6;
    for activation in ALL {
        for x in [-5.3_f64, -3.2, -2.7, -1.3, -0.6, -0.1, 0.2, 0.9, 1.7, 2.2, 4.4, 7.5] {
            let slope = (reference::activation::forward(activation, x + h)
                - reference::activation::forward(activation, x - h))
                / (2.0 * h);
            let analytic = reference::activation::derivative(activation, x);
            assert!((slope - analytic).abs() < 1e-8, "{activation:?} at {x}: {slope} against {analytic}");
        }
    }
}

fn special_values_of<T: Element>() {
    let x = common::special_values::<T>();
    let dy = vec![T::from_f64(1.5); x.len()];
    for activation in ALL {
        check_forward(activation, &x, 0);
        check_backward(activation, &x, &dy, 0);
    }
}

#[test]
fn activation_forward_special_values() {
    special_values_of::<f32>();
    special_values_of::<f64>();
}

#[test]
fn activation_forward_keeps_the_sign_of_zero_and_the_limits() {
    each_level(|level| {
        for activation in
            [Activation::Tanh, Activation::Softsign, Activation::Elu { alpha: 1.0 }, Activation::Silu]
        {
            let mut y = [1.0_f32];
            activation.forward(&[-0.0], &mut y).unwrap();
            assert!(y[0] == 0.0 && y[0].is_sign_negative(), "{activation:?} of -0 at {level} is {}", y[0]);
        }
        for activation in [
            Activation::Gelu,
            Activation::GeluTanh,
            Activation::Silu,
            Activation::Mish,
            Activation::HardSwish,
        ] {
            let mut y = [1.0_f64; 2];
            activation.forward(&[f64::NEG_INFINITY, f64::INFINITY], &mut y).unwrap();
            assert_eq!(y, [0.0, f64::INFINITY], "{activation:?} at {level}");
        }
    });
}

fn from_output<T: Element>(activation: Activation) {
    let x: Vec<T> = inputs(77);
    let dy: Vec<T> = common::numbers(3, 77, 2.0);
    each_level(|level| {
        let (mut y, mut dx) = (vec![T::nan(); 77], Guarded::new(77, 1));
        activation.forward(&x, &mut y).unwrap();
        activation.backward_from_output(&y, &dy, dx.slice()).unwrap();
        for ((&x, &dy), &dx) in x.iter().zip(&dy).zip(dx.checked()) {
            let exact = reference::activation::backward(rounded::<T>(activation), x.to_f64(), dy.to_f64());
            // The output is rounded: what it lost is relative to dy.
            let tolerance = Tolerance { epsilons: 4.0 * dy.to_f64().abs(), ..tolerance::ACTIVATION };
            assert_close(dx, exact, tolerance, || {
                format!("{activation:?} from the output of {x:?} at {level}")
            });
        }
    });
}

#[test]
fn activation_backward_from_output_matches_backward() {
    for activation in ALL.into_iter().filter(|&a| has_output_form(a)) {
        from_output::<f32>(activation);
        from_output::<f64>(activation);
    }
    let refused = ALL.into_iter().filter(|&a| !has_output_form(a)).count();
    assert_eq!(refused, 7, "six have no such form, and one leaky slope is negative");
}

#[test]
fn activation_forward_same_bits_in_any_pool_and_on_avx2_and_avx512() {
    let x: Vec<f32> = common::numbers(1, 300_001, 3.0);
    for activation in ALL {
        let run = || {
            let mut y = vec![f32::NAN; x.len()];
            activation.forward(&x, &mut y).unwrap();
            y
        };
        let backward = || {
            let mut dx = vec![f32::NAN; x.len()];
            activation.backward(&x, &x, &mut dx).unwrap();
            dx
        };
        let (expected, expected_dx) = (run(), backward());
        each_pool(|threads| {
            assert_same_bits(&run(), &expected, || format!("{activation:?} on {threads} threads"));
            assert_same_bits(&backward(), &expected_dx, || {
                format!("{activation:?} backward on {threads} threads")
            });
        });
        let fused: Vec<Level> = Level::available().filter(|&level| level != Level::Portable).collect();
        for pair in fused.windows(2) {
            let [first, second] =
                [pair[0], pair[1]].map(|level| Level::scoped(level, || (run(), backward())).unwrap());
            assert_same_bits(&first.0, &second.0, || format!("{activation:?} at {pair:?}"));
            assert_same_bits(&first.1, &second.1, || format!("{activation:?} backward at {pair:?}"));
        }
    }
}

#[test]
fn activation_forward_streams_large_outputs_to_any_address() {
    // 64 MiB of output is where stores bypass the caches on every machine.
    let x: Vec<f32> = (0..(16 << 20) + 37).map(|i| (i % 10_007 - 5003) as f32).collect();
    for shift in [0, 3] {
        let mut y = Guarded::aligned(x.len(), shift);
        Activation::Relu.forward(&x, y.slice()).unwrap();
        assert!(y.checked().iter().zip(&x).all(|(&y, &x)| y == x.max(0.0)), "shift {shift}");
    }
}

#[test]
fn activation_names_the_bad_argument() {
    let x = [1.0_f32; 5];
    let mut out = Guarded::<f32>::new(4, 0);
    let length = |argument, actual| Err(Error::Length { argument, expected: 5, actual });
    assert_eq!(Activation::Relu.forward(&x, out.slice()), length("y", 4));
    assert_eq!(Activation::Relu.backward(&x, &x[..3], out.slice()), length("dy", 3));
    assert_eq!(Activation::Relu.backward(&x, &x, out.slice()), length("dx", 4));
    assert_eq!(Activation::Relu.backward_in_place(&x, out.slice()), length("grad", 4));
    assert_eq!(Activation::Relu.backward_from_output(&x, &x, out.slice()), length("dx", 4));
    let bad = [
        Activation::LeakyRelu { slope: f64::NAN },
        Activation::RRelu { lower: 0.5, upper: 0.25 },
        Activation::Elu { alpha: f64::INFINITY },
        Activation::Elu { alpha: 1e39 },
        Activation::LeakyRelu { slope: -1e300 },
        Activation::Celu { alpha: 0.0 },
        Activation::Celu { alpha: -1e-270 },
        Activation::Celu { alpha: 1e38 },
        Activation::Softplus { beta: 1e-40, threshold: 20.0 },
        Activation::Softplus { beta: 0.0, threshold: 20.0 },
        Activation::Softplus { beta: 1.0, threshold: f64::NAN },
        Activation::HardTanh { min: 1.0, max: -1.0 },
    ];
    for activation in bad {
        let refused = activation.forward(&x[..4], out.slice());
        assert!(matches!(refused, Err(Error::OutOfRange { .. })), "{activation:?}: {refused:?}");
        assert!(activation.backward(&x[..4], &x[..4], out.slice()).is_err());
        assert!(activation.backward_from_output(&x[..4], &x[..4], out.slice()).is_err());
    }
    assert!(out.is_untouched());
}

#[test]
#[should_panic(expected = "ULP")]
fn activation_comparison_can_fail() {
    let wrong = 1.0_f32.tanh() * (1.0 + 8.0 * f32::EPSILON);
    assert_close(wrong, 1.0_f64.tanh(), tolerance::ACTIVATION, || "a wrong answer".into());
}

proptest! {
    #[test]
    fn activation_backward_matches_reference_on_any_bits(
        bits in prop::collection::vec(any::<u32>(), 1..80),
        which in 0..ALL.len(),
    ) {
        let x: Vec<f32> = bits.iter().map(|&b| f32::from_bits(b)).collect();
        check_forward(ALL[which], &x, 1);
        check_backward(ALL[which], &x, &vec![1.0; x.len()], 1);
    }
}

/// N×C, one slope for all, NCHW with a short and a long inner dimension, and an empty batch.
const PRELU_SHAPES: [ChannelShape; 8] = [
    ChannelShape { outer: 9, channels: 70, inner: 1 },
    ChannelShape { outer: 1, channels: 1, inner: 131 },
    ChannelShape { outer: 33, channels: 1, inner: 5 },
    ChannelShape { outer: 3, channels: 5, inner: 7 },
    ChannelShape { outer: 2, channels: 3, inner: 77 },
    ChannelShape { outer: 1, channels: 32, inner: 1 },
    ChannelShape { outer: 0, channels: 4, inner: 3 },
    ChannelShape { outer: 4, channels: 3, inner: 0 },
];

fn prelu_matches_reference<T: Element>() {
    for shape in PRELU_SHAPES {
        let len = shape.elements().unwrap();
        let (x, dy): (Vec<T>, Vec<T>) = (common::numbers(1, len, 2.0), common::numbers(2, len, 1.0));
        let slope: Vec<T> = common::numbers(3, shape.channels, 0.3);
        each_level(|level| {
            let (mut y, mut dx) = (Guarded::new(len, 3), Guarded::new(len, 1));
            let before = vec![T::one(); shape.channels];
            let mut dslope = Guarded::of(&before, 2);
            PRelu.forward(shape, &x, &slope, y.slice()).unwrap();
            PRelu.backward(shape, &x, &slope, &dy, dx.slice(), dslope.slice()).unwrap();
            let mut sums = vec![(1.0, 1.0); shape.channels];
            for i in 0..len {
                let channel = i / shape.inner % shape.channels;
                let [x, slope, dy] = [x[i], slope[channel], dy[i]].map(Element::to_f64);
                let context = || format!("{shape:?} at {i}, {level}");
                assert_close(
                    y.checked()[i],
                    reference::prelu::forward(x, slope),
                    tolerance::ACTIVATION,
                    context,
                );
                let (exact, part) = reference::prelu::backward(x, slope, dy);
                assert_close(dx.checked()[i], exact, tolerance::ACTIVATION, context);
                sums[channel] = (sums[channel].0 + part, sums[channel].1 + part.abs());
            }
            for (&dslope, (sum, magnitude)) in dslope.checked().iter().zip(sums) {
                let tolerance = Tolerance { epsilons: magnitude, ..tolerance::ACTIVATION };
                assert_close(dslope, sum, tolerance, || format!("slope of {shape:?}, {level}"));
            }
        });
    }
}

#[test]
fn prelu_forward_and_backward_match_reference() {
    prelu_matches_reference::<f32>();
    prelu_matches_reference::<f64>();
}

#[test]
fn prelu_backward_matches_finite_differences() {
    let h = 1e-6;
    for (x, slope, dy) in [(-1.5_f64, 0.25, 2.0), (0.75, 0.25, -1.0), (-0.1, -0.5, 1.0)] {
        let f = |x, slope| dy * reference::prelu::forward(x, slope);
        let (dx, dslope) = reference::prelu::backward(x, slope, dy);
        assert!((dx - (f(x + h, slope) - f(x - h, slope)) / (2.0 * h)).abs() < 1e-9);
        assert!((dslope - (f(x, slope + h) - f(x, slope - h)) / (2.0 * h)).abs() < 1e-9);
    }
}

#[test]
fn prelu_backward_same_bits_in_any_pool() {
    for shape in [
        ChannelShape { outer: 600, channels: 130, inner: 1 },
        ChannelShape { outer: 1, channels: 1, inner: 100_003 },
        ChannelShape { outer: 7, channels: 13, inner: 1025 },
    ] {
        let len = shape.elements().unwrap();
        let x: Vec<f32> = common::numbers(5, len, 1.0);
        let slope: Vec<f32> = common::numbers(6, shape.channels, 0.2);
        let run = || {
            let (mut y, mut dx, mut dslope) = (vec![0.0; len], vec![0.0; len], vec![0.0; shape.channels]);
            PRelu.forward(shape, &x, &slope, &mut y).unwrap();
            PRelu.backward(shape, &x, &slope, &y, &mut dx, &mut dslope).unwrap();
            [y, dx, dslope]
        };
        let expected = run();
        each_pool(|threads| {
            for (a, b) in run().iter().zip(&expected) {
                assert_same_bits(a, b, || format!("{shape:?} on {threads} threads"));
            }
        });
    }
}

#[test]
fn prelu_names_the_bad_argument() {
    let shape = ChannelShape { outer: 2, channels: 3, inner: 1 };
    let (x, slope) = ([1.0_f32; 6], [0.5_f32; 3]);
    let (mut dx, mut dslope) = (Guarded::<f32>::new(6, 0), Guarded::<f32>::new(2, 0));
    let refused = PRelu.backward(shape, &x, &slope, &x, dx.slice(), dslope.slice());
    assert_eq!(refused, Err(Error::Length { argument: "dslope", expected: 3, actual: 2 }));
    let refused = PRelu.forward(shape, &x, &slope[..2], dx.slice());
    assert_eq!(refused, Err(Error::Length { argument: "slope", expected: 3, actual: 2 }));
    let huge = ChannelShape { outer: usize::MAX, channels: 2, inner: 1 };
    assert_eq!(PRelu.forward(huge, &x, &slope, dx.slice()), Err(Error::Overflow { argument: "shape" }));
    assert!(dx.is_untouched() && dslope.is_untouched());
}
