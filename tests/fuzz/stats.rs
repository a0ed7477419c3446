//! Norms and moments: any bits in any number of tensors, merged in any order, every level against the reference.

use steadygrad::reference::norm_partial as reference;
use steadygrad::stats::{self, Moments, NormPartial};
use steadygrad::{ChannelShape, Level};

use super::reader::{Bits, Reader, Tolerance, assert_close};

/// Decodes and checks one case.
pub(crate) fn run(data: &[u8]) {
    let mut reader = Reader::new(data);
    match reader.byte() % 4 {
        0 => norm_partial::<f32>(&mut reader),
        1 => norm_partial::<f64>(&mut reader),
        2 => moments::<f32>(&mut reader),
        _ => moments::<f64>(&mut reader),
    }
}

fn moments<T: Bits>(reader: &mut Reader<'_>) {
    let shape =
        ChannelShape { outer: reader.up_to(9), channels: reader.up_to(40), inner: 1 + reader.up_to(70) };
    let shape =
        ChannelShape { inner: if reader.byte().is_multiple_of(2) { 1 } else { shape.inner }, ..shape };
    let x: Vec<T> = reader.ordinaries(shape.elements().expect("a small shape"));
    for level in Level::available() {
        let mut moments = vec![Moments::default(); shape.channels];
        let result = Level::scoped(level, || Moments::of_channels(shape, &x, &mut moments));
        result.expect("an available level").expect("the lengths of the shape");
        for (channel, moments) in moments.iter().enumerate() {
            let runs = x.chunks(shape.inner).skip(channel).step_by(shape.channels);
            let of_channel: Vec<f64> = runs.flatten().map(|&x| x.to_f64()).collect();
            assert_eq!(moments.count, of_channel.len() as u64);
            if of_channel.is_empty() {
                continue;
            }
            let (mean, m2) = steadygrad::reference::moments::moments(&of_channel);
            let tolerance = Tolerance { relative: 5000.0, absolute: 5000.0 };
            assert_close((shape, level), mean, moments.mean, tolerance);
            assert_close((shape, level), m2, moments.m2, tolerance);
        }
    }
}

fn norm_partial<T: Bits>(reader: &mut Reader<'_>) {
    let p = reader.pick(&[1.0, 2.0, f64::INFINITY, 0.5, 3.0, 40.0]);
    let tensors: Vec<Vec<T>> = (0..reader.up_to(5))
        .map(|_| {
            let len = reader.up_to(200);
            reader.floats(len)
        })
        .collect();
    let slices: Vec<&[T]> = tensors.iter().map(Vec::as_slice).collect();
    let all: Vec<f64> = tensors.iter().flatten().map(|&x| x.to_f64()).collect();
    for level in Level::available() {
        let norm =
            Level::scoped(level, || stats::norm(&slices, p)).expect("an available level").expect("a norm");
        assert_close(
            (p, level),
            scaled_reference(&all, p),
            norm,
            Tolerance { relative: 2000.0, absolute: 0.0 },
        );
        let mut backwards = NormPartial::new(p).expect("a norm");
        for slice in slices.iter().rev() {
            Level::scoped(level, || backwards.add(slice)).expect("an available level");
        }
        assert_eq!(backwards.norm().to_bits(), norm.to_bits(), "the order matters at {level}");
    }
    let mut words = [0; NormPartial::WORDS];
    words.iter_mut().for_each(|word| *word = u64::from(reader.byte()) << reader.up_to(63));
    words[0] = p.to_bits();
    if let Ok(mut partial) = NormPartial::from_words(&words) {
        let copy = partial;
        partial.merge(&copy).expect("the same norm");
        assert!(partial.norm() >= copy.norm() || copy.norm().is_nan(), "a norm shrank");
    }
}

/// The reference over numbers that are first divided by the largest, since its own squares may overflow.
fn scaled_reference(x: &[f64], p: f64) -> f64 {
    let largest = reference::norm_infinity(x);
    if largest == 0.0 || !largest.is_finite() {
        return largest;
    }
    let divided: Vec<f64> = x.iter().map(|x| x / largest).collect();
    reference::norm(&divided, p) * largest
}
