//! Activations: any variant and bits, any length and offset, every level against the reference.

use steadygrad::reference::{activation as reference, prelu as prelu_reference};

use steadygrad::{Activation, ChannelShape, Element, Level, PRelu};

use super::reader::{Bits, Reader, Tolerance, assert_close, assert_refused};

/// Decodes and checks one case.
pub(crate) fn run(data: &[u8]) {
    let mut reader = Reader::new(data);
    match reader.byte() % 4 {
        0 => activation::<f32>(&mut reader),
        1 => activation::<f64>(&mut reader),
        2 => prelu::<f32>(&mut reader),
        _ => prelu::<f64>(&mut reader),
    }
}

fn activation<T: Bits>(reader: &mut Reader<'_>) {
    let activation = any_activation(reader);
    // Starting inside a larger slice, a vector's address is any multiple of the element's size.
    let (offset, len, excess) = (reader.up_to(15), reader.up_to(300), reader.up_to(3));
    let (x, dy) = (reader.floats::<T>(offset + len), reader.floats::<T>(offset + len));
    let (x, dy) = (&x[offset..], &dy[offset..]);
    for level in Level::available() {
        let (mut y, mut dx) = (vec![T::nan(); len + excess], vec![T::nan(); len + excess]);
        let (forward, backward) =
            Level::scoped(level, || (activation.forward(x, &mut y), activation.backward(x, dy, &mut dx)))
                .expect("an available level");
        if excess > 0 || forward.is_err() {
            assert_refused(forward, &y);
            assert_refused(backward, &dx);
            continue;
        }
        backward.expect("accepted by the forward");
        for ((&x, &dy), (&y, &dx)) in x.iter().zip(dy).zip(y.iter().zip(&dx)) {
            let (value, gradient) = (x.to_f64(), dy.to_f64());
            let case = (activation, level, x, dy);
            assert_close(
                case,
                reference::forward(activation, value),
                y,
                forward_tolerance::<T>(activation, value),
            );
            let derivative = reference::derivative(activation, value);
            // In `f64` the cubic of `GeluTanh` overflows in the formula.
            if (!derivative.is_nan() || value.is_nan()) && has_product(derivative, gradient) {
                let Tolerance { relative, absolute } = tolerance(gradient);
                let tolerance =
                    Tolerance { relative: relative + of_the_exponent(activation, value), absolute };
                assert_close(case, reference::backward(activation, value, gradient), dx, tolerance);
            }
        }
    }
}

/// Whether `derivative · dy` has one value: ∞ · 0 and NaN · 0 are 0 by a plateau's mask and NaN by a product, and a
/// derivative that underflows or overflows `f32` is 0 or ∞ there.
fn has_product(derivative: f64, dy: f64) -> bool {
    let (flat, steep) = (derivative.abs() < 1e-30, derivative.is_nan() || derivative.abs() >= 1e30);
    let (unbounded, vanishing) = (!dy.is_finite(), dy.abs() < 1e-30);
    !(flat && unbounded || steep && vanishing)
}

/// As [`tolerance`]; where x/α is subnormal, α multiplies what it has lost.
fn forward_tolerance<T: Element>(activation: Activation, x: f64) -> Tolerance {
    let Tolerance { relative, absolute } = tolerance(x);
    let lost = match activation {
        Activation::Celu { alpha } => 4.0 * alpha.abs() * T::min_positive_value().to_f64(),
        _ => 0.0,
    };
    Tolerance { relative: relative + of_the_exponent(activation, x), absolute: absolute + lost }
}

/// The units that e^(x/α) is off where x/α is off by one of its own.
fn of_the_exponent(activation: Activation, x: f64) -> f64 {
    match activation {
        // Beyond 1000 the power is 0 or ∞.
        Activation::Celu { alpha } => (2.0 * x / alpha).abs().min(2000.0),
        _ => 0.0,
    }
}

/// A few units of the result, and of what it is computed from where the formula cancels.
fn tolerance(scale: f64) -> Tolerance {
    Tolerance { relative: 64.0, absolute: 16.0 * scale.abs() }
}

fn prelu<T: Bits>(reader: &mut Reader<'_>) {
    let shape = ChannelShape { outer: reader.up_to(4), channels: reader.up_to(5), inner: reader.up_to(40) };
    let (len, excess) = (shape.outer * shape.channels * shape.inner, reader.up_to(3));
    // The slope's gradient is a sum: ordinary numbers have one that does not depend on the order.
    let (x, dy) = (reader.ordinaries::<T>(len), reader.ordinaries::<T>(len));
    let slope = reader.ordinaries::<T>(shape.channels);
    for level in Level::available() {
        let (mut y, mut dx) = (vec![T::nan(); len + excess], vec![T::nan(); len + excess]);
        let mut dslope = vec![T::zero(); shape.channels];
        let (forward, backward) = Level::scoped(level, || {
            let forward = PRelu.forward(shape, &x, &slope, &mut y);
            (forward, PRelu.backward(shape, &x, &slope, &dy, &mut dx, &mut dslope))
        })
        .expect("an available level");
        if excess > 0 {
            assert_refused(forward, &y);
            assert_refused(backward, &dx);
            continue;
        }
        forward.expect("matching lengths");
        backward.expect("matching lengths");
        let mut sums = vec![(0.0, 0.0); shape.channels];
        for i in 0..len {
            let channel = i / shape.inner % shape.channels;
            let (value, gradient) = (x[i].to_f64(), dy[i].to_f64());
            let alpha = slope[channel].to_f64();
            let (expected_dx, part) = prelu_reference::backward(value, alpha, gradient);
            let case = (level, shape, i);
            assert_close(case, prelu_reference::forward(value, alpha), y[i], tolerance(1.0));
            assert_close(case, expected_dx, dx[i], tolerance(1.0));
            sums[channel] = (sums[channel].0 + part, sums[channel].1 + part.abs());
        }
        for (channel, (sum, magnitude)) in sums.into_iter().enumerate() {
            assert_close((level, shape, channel), sum, dslope[channel], tolerance(magnitude));
        }
    }
}

fn any_activation(reader: &mut Reader<'_>) -> Activation {
    let (a, b) = (parameter(reader), parameter(reader));
    reader.pick(&[
        Activation::Identity,
        Activation::Relu,
        Activation::Relu6,
        Activation::LeakyRelu { slope: a },
        Activation::RRelu { lower: a, upper: b },
        Activation::Elu { alpha: a },
        Activation::Selu,
        Activation::Celu { alpha: a },
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Silu,
        Activation::Mish,
        Activation::Softplus { beta: a, threshold: b },
        Activation::Softsign,
        Activation::Sigmoid,
        Activation::LogSigmoid,
        Activation::Tanh,
        Activation::HardTanh { min: a, max: b },
        Activation::HardSigmoid,
        Activation::HardSwish,
        Activation::TanhShrink,
    ])
}

/// Mostly a sensible parameter; sometimes one that must be refused.
fn parameter(reader: &mut Reader<'_>) -> f64 {
    if reader.byte() < 16 { reader.float() } else { reader.ordinary() / 4.0 }
}
