//! Turns arbitrary bytes into sizes, choices and floats; what every family's fuzz case starts from.

#![allow(dead_code, reason = "a fuzz target includes one family, which needs a part of this")]

use steadygrad::Element;

/// Bytes that are handed out from the front; zeros once they are spent, so every input is a valid case.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads `data` from its first byte.
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    /// Whether all bytes are spent: loops over the input end here.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte.
    pub(crate) fn byte(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    /// A number in `0..=most`.
    pub(crate) fn up_to(&mut self, most: usize) -> usize {
        usize::from(u16::from_le_bytes(self.array())) % (most + 1)
    }

    /// Any number of 64 bits.
    pub(crate) fn long(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    /// One of `choices`.
    pub(crate) fn pick<C: Copy>(&mut self, choices: &[C]) -> C {
        choices[self.up_to(choices.len() - 1)]
    }

    /// A float of any kind: a quarter arbitrary bits, a quarter from [`SPECIAL`], half between −16 and 16.
    pub(crate) fn float<T: Bits>(&mut self) -> T {
        match self.byte() % 4 {
            0 => T::from_reader(self),
            1 => T::from_f64(self.pick(&SPECIAL)),
            _ => T::from_f64(self.ordinary()),
        }
    }

    /// `len` floats of any kind.
    pub(crate) fn floats<T: Bits>(&mut self, len: usize) -> Vec<T> {
        (0..len).map(|_| self.float()).collect()
    }

    /// A float between −16 and 16 on a grid of 1/2048.
    pub(crate) fn ordinary(&mut self) -> f64 {
        f64::from(i16::from_le_bytes(self.array())) / 2048.0
    }

    /// `len` floats between −16 and 16.
    pub(crate) fn ordinaries<T: Element>(&mut self, len: usize) -> Vec<T> {
        (0..len).map(|_| T::from_f64(self.ordinary())).collect()
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        let taken = self.0.len().min(N);
        let (first, rest) = self.0.split_at(taken);
        bytes[..taken].copy_from_slice(first);
        self.0 = rest;
        bytes
    }
}

/// Where kernels change their mind: infinities, NaN, zeros, subnormals, ends of the range, kinks.
pub(crate) const SPECIAL: [f64; 20] = [
    0.0,
    -0.0,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::NAN,
    1e-45,
    -1e-40,
    f32::MIN_POSITIVE as f64,
    f32::MAX as f64,
    f32::MIN as f64,
    1.0,
    -1.0,
    3.0,
    -3.0,
    6.0,
    20.0,
    88.73,
    -88.0,
    -103.98,
    709.79,
];

/// A type whose every bit pattern the fuzzer can reach.
pub(crate) trait Bits: Element {
    /// Arbitrary bits.
    fn from_reader(reader: &mut Reader<'_>) -> Self;
}

impl Bits for f32 {
    fn from_reader(reader: &mut Reader<'_>) -> Self {
        Self::from_le_bytes(reader.array())
    }
}

impl Bits for f64 {
    fn from_reader(reader: &mut Reader<'_>) -> Self {
        Self::from_le_bytes(reader.array())
    }
}

/// How far a fuzzed result may be from the reference taken in `f64`: wide enough for every op, as the tight bounds
/// belong to the property tests, and far below the errors that fuzzing looks for (a wrong branch, lane or tail).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tolerance {
    /// Units of the type's epsilon, times the reference.
    pub(crate) relative: f64,
    /// Absolute error in units of the type's epsilon, for results that cancel.
    pub(crate) absolute: f64,
}

/// Panics unless `actual` is `expected` within `tolerance`; NaN equals NaN, and what overflows `T` is infinite.
pub(crate) fn assert_close<T: Element>(
    what: impl std::fmt::Debug,
    expected: f64,
    actual: T,
    tolerance: Tolerance,
) {
    let rounded = T::from_f64(expected).to_f64();
    let (actual, epsilon) = (actual.to_f64(), T::epsilon().to_f64());
    if rounded == actual || (rounded.is_nan() && actual.is_nan()) {
        return;
    }
    let allowed = epsilon * (tolerance.relative * expected.abs() + tolerance.absolute)
        + 4.0 * (T::min_positive_value() * T::epsilon()).to_f64();
    // Beside the largest finite number, one rounding step is infinity.
    let clamped = actual.clamp(T::min_value().to_f64(), T::max_value().to_f64());
    assert!((expected - clamped).abs() <= allowed, "{what:?}: expected {expected:e}, got {actual:e}");
}

/// Panics unless `result` is an error and `output` is still all NaN.
pub(crate) fn assert_refused<T: Element>(result: Result<(), steadygrad::Error>, output: &[T]) {
    assert!(result.is_err(), "a bad argument was accepted");
    assert!(output.iter().all(|y| y.is_nan()), "an output was written although the call was refused");
}
