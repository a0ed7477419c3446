//! Layer-wise pre-training: any sizes and bits, every level against the reference.

use steadygrad::pretrain::{
    Autoencoder, AutoencoderTensors, AutoencoderWeights, ContrastiveDivergence, Corruption, Rbm, RbmState,
    RbmTensors, RbmWeights, VisibleUnits,
};
use steadygrad::reference::{self as references, philox, rbm as reference};
use steadygrad::{Level, Philox};

use super::reader::{Bits, Reader, Tolerance, assert_close, assert_refused};

/// Decodes and checks one case.
pub(crate) fn run(data: &[u8]) {
    let mut reader = Reader::new(data);
    match reader.byte() % 6 {
        0 => rbm::<f32>(&mut reader),
        1 => rbm::<f64>(&mut reader),
        2 => rbm_step::<f32>(&mut reader),
        3 => rbm_step::<f64>(&mut reader),
        4 => autoencoder::<f32>(&mut reader),
        _ => autoencoder::<f64>(&mut reader),
    }
}

fn at<R>(level: Level, body: impl FnOnce() -> R) -> R {
    Level::scoped(level, body).expect("an available level")
}

/// A sum of up to 40 products of up to 256 each.
const SUM: Tolerance = Tolerance { relative: 64.0, absolute: 2e4 };

fn rbm<T: Bits>(reader: &mut Reader<'_>) {
    let units = reader.pick(&[VisibleUnits::Bernoulli, VisibleUnits::Gaussian]);
    let (batch, excess) = (reader.up_to(5), reader.up_to(2));
    let machine = Rbm { visible: 1 + reader.up_to(39), hidden: 1 + reader.up_to(39), units };
    let Rbm { visible, hidden, .. } = machine;
    let stream = Philox { key: reader.long(), counter: reader.long() };
    let [w, b, c, v] =
        [visible * hidden, visible, hidden, batch * visible].map(|len| reader.ordinaries::<T>(len));
    let weights = RbmWeights { weights: &w, visible_bias: &b, hidden_bias: &c };
    let widen = |x: &[T]| x.iter().map(|&x| x.to_f64()).collect::<Vec<f64>>();
    let [exact_w, exact_b, exact_c] = [&w, &b, &c].map(|x| widen(x));
    for level in Level::available() {
        let mut scratch = vec![T::nan(); machine.scratch_len::<T>(batch)];
        let (mut means, mut samples) =
            (vec![T::nan(); batch * hidden + excess], vec![T::nan(); batch * hidden]);
        let drawn = (&mut means[..], &mut samples[..]);
        let result = at(level, || machine.sample_hidden(batch, &v, weights, stream, &mut scratch, drawn));
        if excess > 0 {
            assert_refused(result, &means);
            assert!(samples.iter().all(|x| x.is_nan()));
            continue;
        }
        result.expect("valid");
        for i in 0..batch * hidden {
            let row = widen(&v[i / hidden * visible..][..visible]);
            let z = reference::hidden_input(&row, &exact_w, &exact_c, i % hidden);
            // A quarter of what the input of the sigmoid is off.
            assert_close((machine, level), 1.0 / (1.0 + (-z).exp()), means[i], SUM);
            let is_on = philox::uniform(stream.key, stream.counter, i as u64) < means[i].to_f64();
            assert_eq!(samples[i].to_f64(), f64::from(u8::from(is_on)), "{machine:?} at {level}");
        }
        let mut energies = vec![f64::NAN; batch];
        at(level, || machine.free_energy(batch, &v, weights, &mut scratch, &mut energies)).expect("valid");
        for (energy, row) in energies.iter().zip(v.chunks(visible)) {
            let of = match units {
                VisibleUnits::Bernoulli => reference::free_energy,
                VisibleUnits::Gaussian => reference::free_energy_gaussian,
            };
            let expected = of(&widen(row), &exact_w, &exact_b, &exact_c);
            let tolerance = Tolerance { relative: 64.0, absolute: 1e6 };
            assert_close((machine, level), expected, T::from_f64(*energy), tolerance);
        }
    }
}

/// A step changes the parameters alike at every level, but where a draw falls beside a mean; wrong fields change none.
fn rbm_step<T: Bits>(reader: &mut Reader<'_>) {
    let units = reader.pick(&[VisibleUnits::Bernoulli, VisibleUnits::Gaussian]);
    let machine = Rbm { visible: 1 + reader.up_to(39), hidden: 1 + reader.up_to(39), units };
    let Rbm { visible, hidden, .. } = machine;
    let (batch, particles) = (1 + reader.up_to(5), reader.up_to(3));
    let op = ContrastiveDivergence {
        steps: reader.up_to(3),
        lr: reader.pick(&[0.5, 0.01, 0.0, f64::NAN]),
        momentum: reader.pick(&[0.0, 0.5, 1.0]),
        weight_decay: reader.pick(&[0.0, 0.1, -1.0]),
        ..ContrastiveDivergence::new(machine)
    };
    let stream = Philox { key: reader.long(), counter: reader.long() };
    let [w, b, c, v] =
        [visible * hidden, visible, hidden, batch * visible].map(|len| reader.ordinaries::<T>(len));
    let is_valid = op.steps > 0 && !op.lr.is_nan() && op.momentum < 1.0 && op.weight_decay >= 0.0;
    let mut fused: Option<Vec<T>> = None;
    for level in Level::available() {
        let [mut nw, mut nb, mut nc] = [w.clone(), b.clone(), c.clone()];
        let [mut uw, mut ub, mut uc] = [&w, &b, &c].map(|x| vec![T::zero(); x.len()]);
        let mut chain = vec![T::zero(); particles * hidden];
        let rows = if particles == 0 { batch } else { particles };
        let mut scratch = vec![T::nan(); op.scratch_len::<T>(batch, rows)];
        let parameters = RbmTensors { weights: &mut nw, visible_bias: &mut nb, hidden_bias: &mut nc };
        let velocity = RbmTensors { weights: &mut uw, visible_bias: &mut ub, hidden_bias: &mut uc };
        let state = RbmState {
            velocity: Some(velocity),
            chain: (particles > 0).then_some(&mut chain[..]),
            ..RbmState::default()
        };
        let result = at(level, || op.step(batch, &v, stream, parameters, state, &mut scratch));
        let all = [nw, nb, nc].concat();
        if !is_valid {
            assert!(result.is_err());
            assert_eq!(all, [&w[..], &b, &c].concat());
            continue;
        }
        result.expect("valid");
        assert!(all.iter().all(|x| x.is_finite()), "{op:?} at {level}");
        assert!(chain.iter().all(|&h| h == T::zero() || h == T::one()), "{op:?} at {level}");
        if level != Level::Portable {
            let expected = fused.get_or_insert_with(|| all.clone());
            assert_eq!(&all, expected, "{op:?} at {level}");
        }
    }
}

fn autoencoder<T: Bits>(reader: &mut Reader<'_>) {
    let (batch, excess) = (1 + reader.up_to(4), reader.up_to(2));
    let p = reader.pick(&[0.0, 0.3, 1.0, f64::NAN]);
    let net = Autoencoder {
        corruption: Corruption::Masking { p },
        contraction: reader.pick(&[0.0, 0.125]),
        ..Autoencoder::new(1 + reader.up_to(39), 1 + reader.up_to(39))
    };
    let Autoencoder { inputs, hidden, .. } = net;
    let stream = Philox { key: reader.long(), counter: reader.long() };
    let [w, b, c] = [inputs * hidden, hidden, inputs].map(|len| reader.ordinaries::<T>(len));
    let x: Vec<T> =
        reader.ordinaries::<T>(batch * inputs).iter().map(|x| x.abs() / T::from_f64(16.0)).collect();
    let widen = |x: &[T]| x.iter().map(|&x| x.to_f64()).collect::<Vec<f64>>();
    let [exact_w, exact_b, exact_c, exact_x] = [&w, &b, &c, &x].map(|x| widen(x));
    let parameters = references::autoencoder::Parameters {
        weights: &exact_w,
        decoder: None,
        hidden_bias: &exact_b,
        output_bias: &exact_c,
    };
    let sigmoid = |z: f64| 1.0 / (1.0 + (-z).exp());
    let softplus = |z: f64| z.max(0.0) + (-z.abs()).exp().ln_1p();
    let [mut ew, mut eb, mut ec] = [w.len(), hidden, inputs].map(|len| vec![0.0; len]);
    let mut expected = 0.0;
    for (row, x) in exact_x.chunks(inputs).enumerate() {
        let first = (row * inputs) as u64;
        let is_masked = |i: usize| philox::happens(stream.key, stream.counter, first + i as u64, p);
        let noisy: Vec<f64> =
            x.iter().enumerate().map(|(i, &x)| if is_masked(i) { 0.0 } else { x }).collect();
        let pair = (x, &noisy[..]);
        let l = |y: f64, x: f64| softplus(y) - x * y;
        expected +=
            references::autoencoder::loss(parameters, pair, sigmoid, l, net.contraction) / batch as f64;
        let gradients = references::autoencoder::Gradients {
            weights: &mut ew,
            decoder: None,
            hidden_bias: &mut eb,
            output_bias: &mut ec,
        };
        let curve = (sigmoid, |z, dh| dh * sigmoid(z) * sigmoid(-z));
        let dl = |y, x| sigmoid(y) - x;
        references::autoencoder::backward(parameters, pair, curve, dl, net.contraction, gradients);
    }
    for level in Level::available() {
        let [mut dw, mut db, mut dc] = [&w, &b, &c].map(|x| vec![T::zero(); x.len()]);
        dc.resize(inputs + excess, T::zero());
        let gradient = AutoencoderTensors {
            weights: &mut dw,
            decoder: None,
            hidden_bias: &mut db,
            output_bias: &mut dc,
        };
        let weights = AutoencoderWeights { weights: &w, decoder: None, hidden_bias: &b, output_bias: &c };
        let mut scratch = vec![T::nan(); net.scratch_len::<T>(batch)];
        let result = at(level, || net.forward_backward(batch, &x, stream, (weights, gradient), &mut scratch));
        if excess > 0 || p.is_nan() {
            assert!(result.is_err());
            assert!(dw.iter().chain(&db).chain(&dc).all(|&x| x == T::zero()));
            continue;
        }
        let tolerance = Tolerance { relative: 256.0, absolute: 1e7 };
        assert_close((net, level), expected, T::from_f64(result.expect("valid")), tolerance);
        for (exact, actual) in [(&ew, &dw), (&eb, &db), (&ec, &dc)] {
            for (&exact, &actual) in exact.iter().zip(actual) {
                assert_close((net, level), exact / batch as f64, actual, tolerance);
            }
        }
    }
}
