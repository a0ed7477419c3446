//! Residual connections against their formulas, at every level, length and special value.

mod common;

use common::{
    Guarded, argument, assert_close, assert_equal_everywhere, assert_same_bits, assert_terms, each_level,
    lengths, special_values, tolerance,
};
use proptest::prelude::*;
use steadygrad::reference::{self, philox};
use steadygrad::residual::{Add, Highway, HighwayGradients, HighwayInputs, Scaled, StochasticDepth};
use steadygrad::{Activation, ChannelShape, Element, GradCheck, Philox, RowShape};

const CURVES: [Activation; 6] = [
    Activation::Identity,
    Activation::Relu,
    Activation::LeakyRelu { slope: 0.25 },
    Activation::Elu { alpha: 1.0 },
    Activation::Sigmoid,
    Activation::Tanh,
];

const STREAM: Philox = Philox { key: 11, counter: 5 };

/// Lengths past several blocks of threads.
const LONG: usize = 140_003;

// ------------------------------------------------------------------------------------------------------- add

#[track_caller]
fn check_add<T: Element>(activation: Activation, x: &[T], f: &[T], dy: &[T]) {
    let (op, len) = (Add { activation }, x.len());
    each_level(|level| {
        let (mut y, mut in_place) = (Guarded::new(len, len % 5), Guarded::of(x, len % 3));
        let (mut dsum, mut grad) = (Guarded::new(len, len % 7), Guarded::of(dy, len % 2));
        op.forward(x, f, y.slice()).unwrap();
        op.forward_in_place(in_place.slice(), f).unwrap();
        op.backward(x, f, dy, dsum.slice()).unwrap();
        op.backward_in_place(x, f, grad.slice()).unwrap();
        assert_same_bits(y.checked(), in_place.checked(), || format!("{activation:?} in place at {level}"));
        assert_same_bits(dsum.checked(), grad.checked(), || format!("{activation:?} in place at {level}"));
        for i in 0..len {
            // The sum as the type rounds it: what a curve does to a rounding is not the kernel's.
            let sum = (x[i] + f[i]).to_f64();
            let context = || format!("{activation:?} of {:?} + {:?} at {level}", x[i], f[i]);
            let exact = reference::add::forward(sum, 0.0, |s| reference::activation::forward(activation, s));
            assert_close(y.checked()[i], exact, tolerance::ACTIVATION, context);
            let derivative = |s, dy| reference::activation::backward(activation, s, dy);
            let exact = reference::add::backward(sum, 0.0, dy[i].to_f64(), derivative);
            assert_close(dsum.checked()[i], exact, tolerance::ACTIVATION, context);
        }
    });
}

#[test]
fn add_forward_and_backward_match_reference() {
    for activation in CURVES {
        for len in lengths() {
            let number = |seed| common::numbers::<f32>(seed, len, 1.0);
            check_add(activation, &number(1), &number(2), &number(3));
            let number = |seed| common::numbers::<f64>(seed, len, 1.0);
            check_add(activation, &number(1), &number(2), &number(3));
        }
    }
}

fn add_special<T: Element>() {
    let special = special_values::<T>();
    for activation in [Activation::Identity, Activation::Relu] {
        for &f in &special {
            check_add(activation, &special, &vec![f; special.len()], &vec![T::one(); special.len()]);
        }
    }
}

#[test]
fn add_special_values() {
    add_special::<f32>();
    add_special::<f64>();
}

#[test]
fn add_backward_matches_finite_differences() {
    for activation in [Activation::Tanh, Activation::Gelu, Activation::Elu { alpha: 0.5 }] {
        let op = Add { activation };
        let f = common::numbers::<f64>(1, 9, 1.0);
        let forward = |x: &[f64], y: &mut [f64]| op.forward(x, &f, y).unwrap();
        let backward = |x: &[f64], dy: &[f64], dx: &mut [f64]| op.backward(x, &f, dy, dx).unwrap();
        GradCheck::default().check(&common::numbers(2, 9, 1.0), 9, forward, backward).unwrap();
    }
}

#[test]
fn add_same_bits_in_any_pool_and_on_avx2_and_avx512() {
    let (x, f) = (common::numbers::<f32>(1, LONG, 1.0), common::numbers::<f32>(2, LONG, 1.0));
    assert_equal_everywhere(|| {
        let (mut y, mut dsum) = (vec![0.0; LONG], vec![0.0; LONG]);
        let op = Add { activation: Activation::Tanh };
        op.forward(&x, &f, &mut y).unwrap();
        op.backward(&x, &f, &y, &mut dsum).unwrap();
        vec![y, dsum]
    });
}

#[test]
fn add_names_the_bad_argument() {
    let (good, short) = ([1.0_f32; 4], [1.0_f32; 3]);
    let mut out = Guarded::<f32>::new(4, 0);
    let op = Add::default();
    assert_eq!(argument(op.forward(&good, &short, out.slice()).unwrap_err()), "f");
    assert_eq!(argument(op.forward(&good, &good, &mut out.slice()[..3]).unwrap_err()), "y");
    assert_eq!(argument(op.forward_in_place(out.slice(), &short).unwrap_err()), "f");
    assert_eq!(argument(op.backward(&good, &good, &short, out.slice()).unwrap_err()), "dy");
    assert_eq!(argument(op.backward(&good, &good, &good, &mut out.slice()[..3]).unwrap_err()), "dsum");
    assert_eq!(argument(op.backward_in_place(&good, &good, &mut out.slice()[..3]).unwrap_err()), "grad");
    let op = Add { activation: Activation::Elu { alpha: f64::NAN } };
    assert_eq!(argument(op.forward(&good, &good, out.slice()).unwrap_err()), "alpha");
    assert!(out.is_untouched());
}

// ---------------------------------------------------------------------------------------------------- scaled

const SHAPES: [ChannelShape; 11] = [
    ChannelShape { outer: 1, channels: 1, inner: 77 },
    ChannelShape { outer: 33, channels: 1, inner: 65 },
    ChannelShape { outer: 3, channels: 1, inner: 700 },
    ChannelShape { outer: 5, channels: 7, inner: 1 },
    ChannelShape { outer: 4, channels: 33, inner: 1 },
    ChannelShape { outer: 3, channels: 131, inner: 1 },
    ChannelShape { outer: 2, channels: 3, inner: 49 },
    ChannelShape { outer: 1, channels: 5, inner: 130 },
    ChannelShape { outer: 0, channels: 5, inner: 1 },
    ChannelShape { outer: 2, channels: 0, inner: 3 },
    ChannelShape { outer: 2, channels: 3, inner: 0 },
];

#[track_caller]
fn check_scaled<T: Element>(shape: ChannelShape, seed: u64) {
    let len = shape.elements().unwrap();
    let numbers = |k| common::numbers::<T>(seed + k, len, 1.0);
    let (x, f, dy) = (numbers(1), numbers(2), numbers(3));
    let scale: Vec<T> = common::numbers(seed + 4, shape.channels, 0.5);
    each_level(|level| {
        let (mut y, mut in_place, mut df) = (Guarded::new(len, 3), Guarded::of(&x, 2), Guarded::new(len, 1));
        let before = vec![T::one(); shape.channels];
        let mut dscale = Guarded::of(&before, 2);
        Scaled.forward(shape, &x, &f, &scale, y.slice()).unwrap();
        Scaled.forward_in_place(shape, in_place.slice(), &f, &scale).unwrap();
        Scaled.backward(shape, &f, &scale, &dy, df.slice(), dscale.slice()).unwrap();
        assert_same_bits(y.checked(), in_place.checked(), || format!("{shape:?} in place at {level}"));
        let mut sums = vec![(1.0, 1.0); shape.channels];
        for i in 0..len {
            let channel = i / shape.inner % shape.channels;
            let [x, f, dy, scale] = [x[i], f[i], dy[i], scale[channel]].map(Element::to_f64);
            let context = || format!("{shape:?} at {i}, {level}");
            let exact = reference::scaled::forward(x, f, scale);
            assert_terms(y.checked()[i], exact, x.abs().max((scale * f).abs()), context);
            let (exact, part) = reference::scaled::backward(f, scale, dy);
            assert_close(df.checked()[i], exact, tolerance::ACTIVATION, context);
            sums[channel] = (sums[channel].0 + part, sums[channel].1 + part.abs());
        }
        for (&dscale, (sum, magnitude)) in dscale.checked().iter().zip(sums) {
            assert_terms(dscale, sum, magnitude, || format!("scale of {shape:?}, {level}"));
        }
    });
}

#[test]
fn scaled_forward_and_backward_match_reference() {
    for shape in SHAPES {
        check_scaled::<f32>(shape, 1);
        check_scaled::<f64>(shape, 2);
    }
    for len in lengths() {
        check_scaled::<f32>(ChannelShape { outer: 1, channels: 1, inner: len }, 3);
        check_scaled::<f64>(ChannelShape { outer: 2, channels: len, inner: 1 }, 4);
    }
}

#[test]
fn scaled_backward_matches_finite_differences() {
    let shape = ChannelShape { outer: 2, channels: 3, inner: 2 };
    let (x, dummy) = (common::numbers::<f64>(1, 12, 1.0), [0.0; 3]);
    // All of f, then the scales.
    let forward = |p: &[f64], y: &mut [f64]| Scaled.forward(shape, &x, &p[..12], &p[12..], y).unwrap();
    let backward = |p: &[f64], dy: &[f64], dp: &mut [f64]| {
        let (df, dscale) = dp.split_at_mut(12);
        dscale.copy_from_slice(&dummy);
        Scaled.backward(shape, &p[..12], &p[12..], dy, df, dscale).unwrap();
    };
    GradCheck::default().check(&common::numbers(2, 15, 1.0), 12, forward, backward).unwrap();
}

#[test]
fn scaled_nan_stays_in_its_channel() {
    let shape = ChannelShape { outer: 3, channels: 40, inner: 1 };
    let (x, mut f, scale) = (vec![1.0_f32; 120], vec![1.0; 120], vec![0.5; 40]);
    f[40 + 17] = f32::NAN;
    let (mut df, mut dscale) = (vec![0.0; 120], vec![0.0; 40]);
    Scaled.backward(shape, &f, &scale, &x, &mut df, &mut dscale).unwrap();
    for (channel, dscale) in dscale.iter().enumerate() {
        assert_eq!(dscale.is_nan(), channel == 17);
    }
    assert_eq!(df, vec![0.5; 120]);
    // A scale of 0 does not hide an infinity.
    let one = ChannelShape { outer: 1, channels: 1, inner: 1 };
    let mut y = [0.0_f32];
    Scaled.forward(one, &[1.0], &[f32::INFINITY], &[0.0], &mut y).unwrap();
    assert!(y[0].is_nan());
}

#[test]
fn scaled_same_bits_in_any_pool_and_on_avx2_and_avx512() {
    for shape in [
        ChannelShape { outer: 600, channels: 130, inner: 1 },
        ChannelShape { outer: 1, channels: 1, inner: LONG },
        ChannelShape { outer: 7, channels: 13, inner: 1025 },
    ] {
        let len = shape.elements().unwrap();
        let (x, f) = (common::numbers::<f32>(1, len, 1.0), common::numbers::<f32>(2, len, 1.0));
        let scale: Vec<f32> = common::numbers(3, shape.channels, 0.2);
        assert_equal_everywhere(|| {
            let (mut y, mut df, mut dscale) = (vec![0.0; len], vec![0.0; len], vec![0.0; shape.channels]);
            Scaled.forward(shape, &x, &f, &scale, &mut y).unwrap();
            Scaled.backward(shape, &f, &scale, &y, &mut df, &mut dscale).unwrap();
            vec![y, df, dscale]
        });
    }
}

#[test]
fn scaled_names_the_bad_argument() {
    let shape = ChannelShape { outer: 2, channels: 3, inner: 1 };
    let (good, short, scale) = ([1.0_f32; 6], [1.0_f32; 5], [1.0_f32; 3]);
    let (mut out, mut sums) = (Guarded::<f32>::new(6, 0), Guarded::<f32>::new(3, 0));
    let refused = Scaled.forward(shape, &short, &good, &scale, out.slice());
    assert_eq!(argument(refused.unwrap_err()), "x");
    let refused = Scaled.forward(shape, &good, &short, &scale, out.slice());
    assert_eq!(argument(refused.unwrap_err()), "f");
    let refused = Scaled.forward(shape, &good, &good, &scale[..2], out.slice());
    assert_eq!(argument(refused.unwrap_err()), "scale");
    let refused = Scaled.forward(shape, &good, &good, &scale, &mut out.slice()[..5]);
    assert_eq!(argument(refused.unwrap_err()), "y");
    let refused = Scaled.backward(shape, &good, &scale, &short, out.slice(), sums.slice());
    assert_eq!(argument(refused.unwrap_err()), "dy");
    let refused = Scaled.backward(shape, &good, &scale, &good, &mut out.slice()[..5], sums.slice());
    assert_eq!(argument(refused.unwrap_err()), "df");
    let refused = Scaled.backward(shape, &good, &scale, &good, out.slice(), &mut sums.slice()[..2]);
    assert_eq!(argument(refused.unwrap_err()), "dscale");
    let huge = ChannelShape { outer: usize::MAX, channels: 2, inner: 1 };
    let refused = Scaled.forward(huge, &good, &good, &scale, out.slice());
    assert_eq!(argument(refused.unwrap_err()), "shape");
    assert!(out.is_untouched() && sums.is_untouched());
}

// ------------------------------------------------------------------------------------------ stochastic depth

#[track_caller]
fn check_depth<T: Element>(p: f64, shape: RowShape, stream: Philox) {
    let (op, len) = (StochasticDepth { p }, shape.elements().unwrap());
    let (x, f): (Vec<T>, Vec<T>) = (common::numbers(1, len, 1.0), common::numbers(2, len, 1.0));
    each_level(|level| {
        let (mut y, mut in_place, mut df) = (Guarded::new(len, 3), Guarded::of(&x, 2), Guarded::new(len, 1));
        op.forward(shape, stream, &x, &f, y.slice()).unwrap();
        op.forward_in_place(shape, stream, in_place.slice(), &f).unwrap();
        op.backward(shape, stream, &f, df.slice()).unwrap();
        assert_same_bits(y.checked(), in_place.checked(), || format!("{shape:?} in place at {level}"));
        for i in 0..len {
            let row = (i / shape.cols) as u64;
            let dropped = philox::happens(stream.key, stream.counter, row, p);
            assert_eq!(op.keeps(stream, row), !dropped);
            let context = || format!("{op:?} {shape:?} at {i}, {level}");
            let exact = reference::stochastic_depth::forward(x[i].to_f64(), f[i].to_f64(), dropped, p);
            let largest = x[i].to_f64().abs().max((exact - x[i].to_f64()).abs());
            assert_terms(y.checked()[i], exact, largest, context);
            let exact = reference::stochastic_depth::backward(f[i].to_f64(), dropped, p);
            assert_close(df.checked()[i], exact, tolerance::ACTIVATION, context);
        }
    });
}

#[test]
fn stochastic_depth_forward_and_backward_match_reference() {
    for p in [0.0, 0.25, 0.5, 1.0] {
        for cols in lengths() {
            check_depth::<f32>(p, RowShape { rows: 3, cols }, STREAM);
            check_depth::<f64>(p, RowShape { rows: cols, cols: 3 }, STREAM);
        }
    }
}

#[test]
fn stochastic_depth_does_not_read_what_it_leaves_out() {
    let shape = RowShape { rows: 200, cols: 5 };
    let op = StochasticDepth { p: 0.5 };
    let mut f = vec![1.0_f32; 1000];
    for row in (0..200).filter(|&row| !op.keeps(STREAM, row)) {
        f[row as usize * 5..][..5].copy_from_slice(&[f32::NAN, f32::INFINITY, 1e38, -1e38, f32::NAN]);
    }
    let mut y = vec![0.0; 1000];
    op.forward(shape, STREAM, &vec![1.0; 1000], &f, &mut y).unwrap();
    assert!(y.iter().all(|&y| y == 1.0 || y == 3.0));
    assert!(y.contains(&1.0) && y.contains(&3.0));
}

#[test]
fn stochastic_depth_forward_keeps_the_mean() {
    let rows = 100_000;
    let shape = RowShape { rows, cols: 1 };
    for p in [0.1, 0.5, 0.8] {
        let mut y = vec![0.0_f64; rows];
        let op = StochasticDepth { p };
        op.forward(shape, STREAM, &vec![2.0; rows], &vec![1.0; rows], &mut y).unwrap();
        let mean = y.iter().sum::<f64>() / rows as f64;
        let deviation = (p / (1.0 - p) / rows as f64).sqrt();
        assert!((mean - 3.0).abs() < 4.0 * deviation, "{mean} at {p}");
    }
}

#[test]
fn stochastic_depth_same_bits_in_any_pool_and_on_avx2_and_avx512() {
    for shape in [RowShape { rows: 5000, cols: 29 }, RowShape { rows: 9, cols: 20_001 }] {
        let len = shape.elements().unwrap();
        let (x, f) = (common::numbers::<f32>(1, len, 1.0), common::numbers::<f32>(2, len, 1.0));
        assert_equal_everywhere(|| {
            let (mut y, mut df) = (vec![0.0; len], vec![0.0; len]);
            let op = StochasticDepth { p: 0.3 };
            op.forward(shape, STREAM, &x, &f, &mut y).unwrap();
            op.backward(shape, STREAM, &y, &mut df).unwrap();
            vec![y, df]
        });
    }
}

#[test]
fn stochastic_depth_names_the_bad_argument() {
    let shape = RowShape { rows: 2, cols: 3 };
    let (good, short) = ([1.0_f32; 6], [1.0_f32; 5]);
    let mut out = Guarded::<f32>::new(6, 0);
    for p in [-0.1, 1.1, f64::NAN] {
        let op = StochasticDepth { p };
        assert_eq!(argument(op.forward(shape, STREAM, &good, &good, out.slice()).unwrap_err()), "p");
        assert_eq!(argument(op.backward(shape, STREAM, &good, out.slice()).unwrap_err()), "p");
    }
    let op = StochasticDepth { p: 0.5 };
    assert_eq!(argument(op.forward(shape, STREAM, &short, &good, out.slice()).unwrap_err()), "x");
    assert_eq!(argument(op.forward(shape, STREAM, &good, &short, out.slice()).unwrap_err()), "f");
    let refused = op.forward(shape, STREAM, &good, &good, &mut out.slice()[..5]);
    assert_eq!(argument(refused.unwrap_err()), "y");
    assert_eq!(argument(op.backward(shape, STREAM, &short, out.slice()).unwrap_err()), "dy");
    let refused = op.backward(shape, STREAM, &good, &mut out.slice()[..5]);
    assert_eq!(argument(refused.unwrap_err()), "df");
    assert!(out.is_untouched());
}

// --------------------------------------------------------------------------------------------------- highway

#[track_caller]
fn check_highway<T: Element>(x: &[T], h: &[T], z: &[T], dy: &[T]) {
    let (len, inputs) = (x.len(), HighwayInputs { x, h, z });
    each_level(|level| {
        let [mut y, mut dx, mut dh, mut dz] = [3, 2, 1, 5].map(|offset| Guarded::<T>::new(len, offset));
        Highway.forward(inputs, y.slice()).unwrap();
        let gradients = HighwayGradients { x: dx.slice(), h: dh.slice(), z: dz.slice() };
        Highway.backward(inputs, dy, gradients).unwrap();
        for i in 0..len {
            let [x, h, z, dy] = [x[i], h[i], z[i], dy[i]].map(Element::to_f64);
            let context = || format!("x {x} h {h} z {z} dy {dy} at {level}");
            let exact = reference::highway::forward(x, h, z);
            let largest = if exact.is_finite() { x.abs().max(h.abs()) } else { 0.0 };
            assert_terms(y.checked()[i], exact, largest, context);
            let (exact_dx, exact_dh, exact_dz) = reference::highway::backward(x, h, z, dy);
            assert_close(dx.checked()[i], exact_dx, tolerance::ACTIVATION, context);
            assert_close(dh.checked()[i], exact_dh, tolerance::ACTIVATION, context);
            let largest = if exact_dz.is_finite() { (x.abs() + h.abs()) * dy.abs() } else { 0.0 };
            assert_terms(dz.checked()[i], exact_dz, largest, context);
        }
    });
}

#[test]
fn highway_forward_and_backward_match_reference() {
    // Those of some thousand elements begin with a part of a vector.
    for len in lengths().chain([1000, 4099]) {
        let number = |seed| common::numbers::<f32>(seed, len, 2.0);
        check_highway(&number(1), &number(2), &number(3), &number(4));
        let number = |seed| common::numbers::<f64>(seed, len, 2.0);
        check_highway(&number(1), &number(2), &number(3), &number(4));
    }
}

#[test]
fn highway_special_values() {
    let z = special_values::<f32>();
    let ones = vec![1.0; z.len()];
    check_highway(&ones, &vec![2.0; z.len()], &z, &ones);
    // A shut gate carries the input to the bit, an open one takes the result.
    let mut y = [0.0_f32; 2];
    let inputs = HighwayInputs { x: &[0.1, 0.1], h: &[0.7, 0.7], z: &[-200.0, 200.0] };
    Highway.forward(inputs, &mut y).unwrap();
    assert_eq!(y, [0.1, 0.7]);
    let inputs = HighwayInputs { x: &[f32::NAN, 1.0], h: &[1.0, f32::NAN], z: &[1.0, 1.0] };
    Highway.forward(inputs, &mut y).unwrap();
    assert!(y.iter().all(|y| y.is_nan()));
}

#[test]
fn highway_backward_matches_finite_differences() {
    let forward = |p: &[f64], y: &mut [f64]| {
        Highway.forward(HighwayInputs { x: &p[..5], h: &p[5..10], z: &p[10..] }, y).unwrap();
    };
    let backward = |p: &[f64], dy: &[f64], dp: &mut [f64]| {
        let inputs = HighwayInputs { x: &p[..5], h: &p[5..10], z: &p[10..] };
        let (x, rest) = dp.split_at_mut(5);
        let (h, z) = rest.split_at_mut(5);
        Highway.backward(inputs, dy, HighwayGradients { x, h, z }).unwrap();
    };
    GradCheck::default().check(&common::numbers(2, 15, 1.0), 5, forward, backward).unwrap();
}

#[test]
fn highway_same_bits_in_any_pool_and_on_avx2_and_avx512() {
    let [x, h, z] = [1, 2, 3].map(|seed| common::numbers::<f32>(seed, LONG, 1.0));
    assert_equal_everywhere(|| {
        let mut out = vec![vec![0.0; LONG]; 4];
        let inputs = HighwayInputs { x: &x, h: &h, z: &z };
        let [y, dx, dh, dz] = &mut out[..] else { panic!() };
        Highway.forward(inputs, y).unwrap();
        Highway.backward(inputs, y, HighwayGradients { x: dx, h: dh, z: dz }).unwrap();
        out
    });
}

#[test]
fn highway_names_the_bad_argument() {
    let (good, short) = ([1.0_f32; 4], [1.0_f32; 3]);
    let [mut y, mut dx, mut dh, mut dz] = [4, 4, 4, 4].map(|len| Guarded::<f32>::new(len, 0));
    let inputs = HighwayInputs { x: &good[..], h: &good[..], z: &good[..] };
    let refused = Highway.forward(HighwayInputs { h: &short, ..inputs }, y.slice());
    assert_eq!(argument(refused.unwrap_err()), "inputs.h");
    let refused = Highway.forward(HighwayInputs { z: &short, ..inputs }, y.slice());
    assert_eq!(argument(refused.unwrap_err()), "inputs.z");
    assert_eq!(argument(Highway.forward(inputs, &mut y.slice()[..3]).unwrap_err()), "y");
    let mut refused = |dy: &[f32], lens: [usize; 3]| {
        let [a, b, c] = lens;
        let gradients =
            HighwayGradients { x: &mut dx.slice()[..a], h: &mut dh.slice()[..b], z: &mut dz.slice()[..c] };
        argument(Highway.backward(inputs, dy, gradients).unwrap_err())
    };
    assert_eq!(refused(&short, [4, 4, 4]), "dy");
    assert_eq!(refused(&good, [3, 4, 4]), "gradients.x");
    assert_eq!(refused(&good, [4, 3, 4]), "gradients.h");
    assert_eq!(refused(&good, [4, 4, 3]), "gradients.z");
    assert!([y, dx, dh, dz].iter().all(Guarded::is_untouched));
}

#[test]
#[should_panic(expected = "is not")]
fn residual_comparison_can_fail() {
    let mut y = [0.0_f32];
    Add::default().forward(&[1.0], &[2.0], &mut y).unwrap();
    assert!((y[0] - 3.1).abs() < 1e-3, "{} is not 3.1", y[0]);
}

proptest! {
    #[test]
    fn scaled_matches_reference_for_any_shape(
        outer in 0..9_usize, channels in 0..70_usize, inner in 0..40_usize, seed: u16,
    ) {
        check_scaled::<f32>(ChannelShape { outer, channels, inner }, u64::from(seed));
    }

    #[test]
    fn stochastic_depth_matches_reference_for_any_shape(
        p in 0.0..1.0_f64, rows in 0..300_usize, cols in 0..40_usize, key: u64, counter: u64,
    ) {
        check_depth::<f32>(p, RowShape { rows, cols }, Philox { key, counter });
    }
}
