//! Residual connections: any bits, any shape, every level against the reference.

use steadygrad::reference::{self, philox};
use steadygrad::residual::{Add, Highway, HighwayGradients, HighwayInputs, Scaled, StochasticDepth};
use steadygrad::{Activation, ChannelShape, Level, Philox, RowShape};

use super::reader::{Bits, Reader, Tolerance, assert_close, assert_refused};

/// Decodes and checks one case.
pub(crate) fn run(data: &[u8]) {
    let mut reader = Reader::new(data);
    match reader.byte() % 8 {
        0 => add::<f32>(&mut reader),
        1 => add::<f64>(&mut reader),
        2 => scaled::<f32>(&mut reader),
        3 => scaled::<f64>(&mut reader),
        4 => stochastic_depth::<f32>(&mut reader),
        5 => stochastic_depth::<f64>(&mut reader),
        6 => highway::<f32>(&mut reader),
        _ => highway::<f64>(&mut reader),
    }
}

fn at<R>(level: Level, body: impl FnOnce() -> R) -> R {
    Level::scoped(level, body).expect("an available level")
}

fn add<T: Bits>(reader: &mut Reader<'_>) {
    let activation = reader.pick(&[Activation::Identity, Activation::Relu, Activation::Tanh]);
    let (len, excess) = (reader.up_to(200), reader.up_to(3));
    let (x, f): (Vec<T>, Vec<T>) = (reader.floats(len), reader.floats(len));
    for level in Level::available() {
        let mut y = vec![T::nan(); len + excess];
        let result = at(level, || Add { activation }.forward(&x, &f, &mut y));
        if excess > 0 {
            assert_refused(result, &y);
            continue;
        }
        for i in 0..len {
            let sum = (x[i] + f[i]).to_f64();
            let expected =
                reference::add::forward(sum, 0.0, |s| reference::activation::forward(activation, s));
            assert_close((activation, level), expected, y[i], Tolerance { relative: 8.0, absolute: 0.0 });
        }
    }
}

fn scaled<T: Bits>(reader: &mut Reader<'_>) {
    let shape = ChannelShape { outer: reader.up_to(5), channels: reader.up_to(40), inner: reader.up_to(20) };
    let len = shape.elements().expect("small");
    let (x, f): (Vec<T>, Vec<T>) = (reader.ordinaries(len), reader.ordinaries(len));
    let scale: Vec<T> = reader.ordinaries(shape.channels);
    for level in Level::available() {
        let (mut y, mut df) = (vec![T::nan(); len], vec![T::nan(); len]);
        let mut dscale = vec![T::zero(); shape.channels];
        at(level, || Scaled.forward(shape, &x, &f, &scale, &mut y)).expect("valid");
        at(level, || Scaled.backward(shape, &f, &scale, &x, &mut df, &mut dscale)).expect("valid");
        let mut sums = vec![0.0; shape.channels];
        for i in 0..len {
            let channel = i / shape.inner % shape.channels;
            let [x, f, scale] = [x[i], f[i], scale[channel]].map(|v| v.to_f64());
            let tolerance = Tolerance { relative: 4.0, absolute: 1e3 };
            assert_close((shape, level), reference::scaled::forward(x, f, scale), y[i], tolerance);
            let (expected, part) = reference::scaled::backward(f, scale, x);
            assert_close((shape, level), expected, df[i], tolerance);
            sums[channel] += part;
        }
        for (&sum, &dscale) in sums.iter().zip(&dscale) {
            // Up to 100 terms of 256.
            assert_close((shape, level), sum, dscale, Tolerance { relative: 4.0, absolute: 1e6 });
        }
    }
}

fn stochastic_depth<T: Bits>(reader: &mut Reader<'_>) {
    let shape = RowShape { rows: reader.up_to(150), cols: reader.up_to(20) };
    let (stream, p) =
        (Philox { key: reader.long(), counter: reader.long() }, reader.pick(&[0.0, 0.3, 1.0, 2.0, f64::NAN]));
    let len = shape.elements().expect("small");
    let x: Vec<T> = reader.floats(len);
    for level in Level::available() {
        let (mut y, mut df) = (vec![T::nan(); len], vec![T::nan(); len]);
        let op = StochasticDepth { p };
        let forward = at(level, || op.forward(shape, stream, &x, &x, &mut y));
        let backward = at(level, || op.backward(shape, stream, &x, &mut df));
        if !(0.0..=1.0).contains(&p) {
            assert_refused(forward, &y);
            assert_refused(backward, &df);
            continue;
        }
        for i in 0..len {
            let dropped = philox::happens(stream.key, stream.counter, (i / shape.cols) as u64, p);
            let v = x[i].to_f64();
            let tolerance = Tolerance { relative: 4.0, absolute: 0.0 };
            let expected = reference::stochastic_depth::forward(v, v, dropped, p);
            assert_close((op, shape, level), expected, y[i], tolerance);
            let expected = reference::stochastic_depth::backward(v, dropped, p);
            assert_close((op, shape, level), expected, df[i], tolerance);
        }
    }
}

fn highway<T: Bits>(reader: &mut Reader<'_>) {
    let len = reader.up_to(150);
    let (x, h): (Vec<T>, Vec<T>) = (reader.ordinaries(len), reader.ordinaries(len));
    let (z, dy): (Vec<T>, Vec<T>) = (reader.floats(len), reader.ordinaries(len));
    let inputs = HighwayInputs { x: &x, h: &h, z: &z };
    for level in Level::available() {
        let [mut y, mut dx, mut dh, mut dz] = [(); 4].map(|()| vec![T::nan(); len]);
        let gradients = HighwayGradients { x: &mut dx, h: &mut dh, z: &mut dz };
        at(level, || Highway.forward(inputs, &mut y)).expect("valid");
        at(level, || Highway.backward(inputs, &dy, gradients)).expect("valid");
        for i in 0..len {
            let [x, h, z, dy] = [x[i], h[i], z[i], dy[i]].map(|v| v.to_f64());
            let tolerance = Tolerance { relative: 16.0, absolute: 256.0 };
            assert_close((z, level), reference::highway::forward(x, h, z), y[i], tolerance);
            let (exact_dx, exact_dh, exact_dz) = reference::highway::backward(x, h, z, dy);
            assert_close((z, level), exact_dx, dx[i], tolerance);
            assert_close((z, level), exact_dh, dh[i], tolerance);
            assert_close((z, level), exact_dz, dz[i], Tolerance { absolute: 1e4, ..tolerance });
        }
    }
}
