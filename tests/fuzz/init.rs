//! Initialisers: any variant, parameters and generator seed, any shape: refused with nothing written, or no NaN, in
//! bounds, and the same again.

use rand_core::{Infallible, TryRng};
use steadygrad::init::{Distribution, Fan};
use steadygrad::{Init, WeightShape, rand_core};

use super::reader::{Bits, Reader, assert_refused};

/// Decodes and checks one case.
pub(crate) fn run(data: &[u8]) {
    let mut reader = Reader::new(data);
    if reader.byte().is_multiple_of(2) { check::<f32>(&mut reader) } else { check::<f64>(&mut reader) }
}

fn check<T: Bits>(reader: &mut Reader<'_>) {
    let init = init(reader);
    let shape = WeightShape { outputs: reader.up_to(12), inputs: reader.up_to(12), field: reader.up_to(4) };
    let (seed, excess) = (reader.up_to(usize::from(u16::MAX)), reader.up_to(3) / 3);
    let len = shape.elements().expect("a small shape");
    let fill = |weights: &mut [T]| init.fill(shape, &mut Counter(seed as u64), weights);
    let mut weights = vec![T::nan(); len + excess];
    let result = fill(&mut weights);
    if excess > 0 || result.is_err() {
        return assert_refused(result, &weights);
    }
    let (low, high) = bounds::<T>(init);
    assert!(weights.iter().all(|w| (low..=high).contains(w)), "{init:?} {shape:?}: {weights:?}");
    let mut again = vec![T::nan(); len];
    fill(&mut again).expect("accepted before");
    assert_eq!(weights, again, "{init:?}");
}

/// Between which all weights lie; NaN never does.
fn bounds<T: Bits>(init: Init) -> (T, T) {
    let (low, high) = match init {
        Init::Uniform { low, high } | Init::TruncatedNormal { low, high, .. } => (low, high),
        _ => (f64::NEG_INFINITY, f64::INFINITY),
    };
    (T::from_f64(low), T::from_f64(high))
}

fn init(reader: &mut Reader<'_>) -> Init {
    let [a, b, c, d] = [(); 4].map(|()| parameter(reader));
    let fan = reader.pick(&[Fan::In, Fan::Out]);
    let distribution =
        reader.pick(&[Distribution::Uniform, Distribution::Normal, Distribution::TruncatedNormal]);
    reader.pick(&[
        Init::Constant { value: a },
        Init::Identity { gain: a },
        Init::Uniform { low: a, high: b },
        Init::Normal { mean: a, std: b },
        Init::TruncatedNormal { mean: a, std: b, low: c, high: d },
        Init::Xavier { gain: a, distribution },
        Init::Kaiming { gain: a, fan, distribution },
        Init::LeCun { distribution },
        Init::Orthogonal { gain: a },
    ])
}

/// Mostly a sensible parameter; sometimes one of any kind.
fn parameter(reader: &mut Reader<'_>) -> f64 {
    if reader.byte() < 64 { reader.float() } else { reader.ordinary() }
}

/// Weyl's sequence, mixed: small enough to stand here.
struct Counter(u64);

impl TryRng for Counter {
    type Error = Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.try_next_u64().map(|bits| bits as u32)
    }
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        Ok(mixed ^ (mixed >> 32))
    }
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        bytes.fill(self.try_next_u64()? as u8);
        Ok(())
    }
}
