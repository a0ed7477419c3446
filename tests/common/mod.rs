//! What every family's tests share: levels and pools to run at, guarded buffers, and the one tolerance table.
#![allow(dead_code, reason = "each test binary uses its own part")]

use steadygrad::{ChannelShape, Element, Error, Level};

/// How far a result may be from the exact value: the larger of both bounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tolerance {
    /// In units in the last place of the exact value.
    pub(crate) ulp: f64,
    /// Absolute, in epsilons of the type: for results that cancel.
    pub(crate) epsilons: f64,
}

/// The one tolerance table; portable levels round each multiply-add twice.
pub(crate) mod tolerance {
    use super::Tolerance;

    /// Copies and selections.
    pub(crate) const EXACT: Tolerance = Tolerance { ulp: 0.0, epsilons: 0.0 };
    /// Activations and their derivatives.
    pub(crate) const ACTIVATION: Tolerance = Tolerance { ulp: 4.5, epsilons: 0.0 };
    /// PyTorch's numbers, whose inputs are rounded to the type and whose own error is a few units.
    pub(crate) const GOLDEN: Tolerance = Tolerance { ulp: 16.0, epsilons: 16.0 };
    /// As [`GOLDEN`], behind several norms, each of which multiplies what was lost before it.
    pub(crate) const GOLDEN_NORMS: Tolerance = Tolerance { ulp: 128.0, epsilons: 128.0 };
    /// PyTorch's gradient of `HardSigmoid`, whose 1/6 is a single-precision number even in `f64`: 2⁻²⁵ away.
    pub(crate) const GOLDEN_SINGLE: Tolerance = Tolerance { ulp: 2.7e8, epsilons: 0.0 };
    /// The square of a function, and so twice its error.
    pub(crate) const ACTIVATION_SQUARED: Tolerance = Tolerance { ulp: 8.5, epsilons: 0.0 };
    /// Activations and derivatives that cancel: relative to the magnitude of what cancels.
    pub(crate) const ACTIVATION_CANCELLING: Tolerance = Tolerance { ulp: 4.5, epsilons: 4.0 };
    /// A thousand steps of an optimizer beside PyTorch's, relative to the larger of 1 and the weight.
    pub(crate) fn steps<T: steadygrad::Element>() -> f64 {
        if size_of::<T>() == 4 { 1e-5 } else { 1e-12 }
    }
    /// A few terms, in epsilons of the element type relative to the largest of them.
    pub(crate) const TERMS: f64 = 4.0;
    /// A loss, in epsilons of the element type relative to the sum of its terms' magnitudes.
    pub(crate) const LOSS: f64 = 8.0;
    /// An element of a loss's gradient, in epsilons relative to the magnitudes of its terms.
    pub(crate) const LOSS_GRADIENT: f64 = 4.0;
    /// An element that a norm gives or its gradient, in epsilons relative to the magnitudes of its terms.
    pub(crate) const ROW_NORM: f64 = 6.0;
    /// A normalised element, in epsilons relative to the magnitudes of its terms.
    pub(crate) const NORM: f64 = 4.0;
    /// An element of a norm's gradients, in epsilons relative to the magnitudes of its terms.
    pub(crate) const NORM_GRADIENT: f64 = 8.0;
    /// What sums in `f64` may lose, relative to the magnitudes of their terms.
    pub(crate) const SUMS: f64 = 1e-12;
}

/// Runs `body` at every level this CPU has.
pub(crate) fn each_level(mut body: impl FnMut(Level)) {
    for level in Level::available() {
        Level::scoped(level, || body(level)).expect("the level is available");
    }
}

/// Runs `body` in pools of 1, 2, 3 and 7 threads.
pub(crate) fn each_pool(body: impl Fn(usize) + Sync) {
    for threads in [1, 2, 3, 7] {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| body(threads));
    }
}

/// Lengths that reach every tail of every vector width.
pub(crate) fn lengths() -> impl Iterator<Item = usize> {
    0..=2 * 64 + 16 + 1
}

/// A buffer of NaN inside canaries, `offset` elements into its allocation: an unwritten or overrun element fails.
pub(crate) struct Guarded<T> {
    data: Vec<T>,
    offset: usize,
}

const GUARD: usize = 20;

impl<T: Element> Guarded<T> {
    pub(crate) fn new(len: usize, offset: usize) -> Self {
        let mut data = vec![Self::canary(); GUARD + offset + len + GUARD];
        data[GUARD + offset..][..len].fill(T::nan());
        Self { data, offset: GUARD + offset }
    }

    /// The same, `shift` elements after a multiple of 64 bytes.
    pub(crate) fn aligned(len: usize, shift: usize) -> Self {
        let mut data = Vec::<T>::with_capacity(2 * GUARD + 64 + shift + len);
        // There is room, so the address stays.
        let offset = GUARD + data.as_ptr().wrapping_add(GUARD).align_offset(64) + shift;
        data.resize(offset + len + GUARD, Self::canary());
        data[offset..][..len].fill(T::nan());
        Self { data, offset }
    }

    /// A buffer that holds `values`.
    pub(crate) fn of(values: &[T], offset: usize) -> Self {
        let mut guarded = Self::new(values.len(), offset);
        guarded.slice().copy_from_slice(values);
        guarded
    }

    fn canary() -> T {
        T::from_f64(-12345.0)
    }

    pub(crate) fn slice(&mut self) -> &mut [T] {
        let end = self.data.len() - GUARD;
        &mut self.data[self.offset..end]
    }

    /// The contents, after a look at the canaries.
    pub(crate) fn checked(&self) -> &[T] {
        let end = self.data.len() - GUARD;
        let outside = self.data[..self.offset].iter().chain(&self.data[end..]);
        assert!(outside.copied().all(|v| v == Self::canary()), "a canary was overwritten");
        &self.data[self.offset..end]
    }

    /// Whether nothing was written since [`new`](Self::new).
    pub(crate) fn is_untouched(&self) -> bool {
        self.checked().iter().all(|v| v.is_nan())
    }
}

/// Distance between `actual` and `exact` in units in the last place of `T` at `exact`; 0 where both are NaN or the
/// same infinity, infinite where only one is.
pub(crate) fn ulps<T: Element>(actual: T, exact: f64) -> f64 {
    let actual = actual.to_f64();
    if actual.is_nan() && exact.is_nan() || actual == exact {
        return 0.0;
    }
    // An exact value past the largest number rounds to infinity.
    if T::from_f64(exact).to_f64() == actual {
        return 0.0;
    }
    if !actual.is_finite() || !exact.is_finite() {
        return f64::INFINITY;
    }
    (actual - exact).abs() / ulp::<T>(exact)
}

/// The spacing of `T` at `value`.
pub(crate) fn ulp<T: Element>(value: f64) -> f64 {
    let smallest = T::min_positive_value().to_f64();
    let magnitude = value.abs().max(smallest).min(T::max_value().to_f64());
    2.0_f64.powi(magnitude.log2().floor() as i32) * T::epsilon().to_f64()
}

/// Fails where `actual` is further from `exact` than `tolerance` allows.
#[track_caller]
pub(crate) fn assert_close<T: Element>(
    actual: T,
    exact: f64,
    tolerance: Tolerance,
    context: impl FnOnce() -> String,
) {
    let distance = ulps(actual, exact);
    let within = distance <= tolerance.ulp
        || (actual.to_f64() - exact).abs() <= tolerance.epsilons * T::epsilon().to_f64();
    assert!(within, "{actual:?} is {distance:.2} ULP from {exact:e}: {}", context());
}

/// Fails where `actual` is further from `exact` than the roundings of a few terms no larger than `largest`.
#[track_caller]
pub(crate) fn assert_terms<T: Element>(
    actual: T,
    exact: f64,
    largest: f64,
    context: impl FnOnce() -> String,
) {
    let epsilons = tolerance::TERMS * largest.min(T::max_value().to_f64());
    assert_close(actual, exact, Tolerance { ulp: tolerance::TERMS, epsilons }, context);
}

/// Fails where two slices differ in any bit, NaN being NaN.
#[track_caller]
pub(crate) fn assert_same_bits<T: Element>(a: &[T], b: &[T], context: impl Fn() -> String) {
    assert_eq!(a.len(), b.len());
    for (i, (&a, &b)) in a.iter().zip(b).enumerate() {
        let same = a.is_nan() && b.is_nan() || a == b && a.is_sign_negative() == b.is_sign_negative();
        assert!(same, "{a:?} and {b:?} differ at {i}: {}", context());
    }
}

/// Deterministic numbers of a normal-like distribution with the given deviation.
pub(crate) fn numbers<T: Element>(seed: u64, len: usize, deviation: f64) -> Vec<T> {
    use rand::RngExt;
    use rand::SeedableRng;
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    (0..len)
        .map(|_| T::from_f64((0..4).map(|_| rng.random_range(-1.0..1.0)).sum::<f64>() * deviation))
        .collect()
}

/// The same numbers in `f64`.
pub(crate) fn widen<T: Element>(x: &[T]) -> Vec<f64> {
    x.iter().map(|&x| Element::to_f64(x)).collect()
}

/// The argument or dimension that an error names.
pub(crate) fn argument(error: Error) -> &'static str {
    match error {
        Error::Length { argument, .. }
        | Error::OutOfRange { argument, .. }
        | Error::Overflow { argument } => argument,
        Error::Empty { dimension } => dimension,
        other => panic!("{other:?}"),
    }
}

/// Special values of `T`: zeros, infinities, NaN, the smallest, the largest, and kinks of the activations.
pub(crate) fn special_values<T: Element>() -> Vec<T> {
    let tiny = T::min_positive_value();
    let half = T::from_f64(0.5);
    let mut values =
        vec![T::zero(), tiny, tiny * half, T::epsilon(), T::max_value(), T::infinity(), T::nan()];
    values.extend([0.5, 1.0, 2.0, 3.0, 6.0, 19.999, 20.0, 20.001, 88.7, 104.0, 710.0].map(T::from_f64));
    let negative: Vec<T> = values.iter().map(|&v| -v).collect();
    values.extend(negative);
    values
}

/// Shapes that reach both layouts, ragged vectors, strips that are not whole, and several blocks of rows.
pub(crate) fn channel_shapes() -> Vec<ChannelShape> {
    let mut shapes = Vec::new();
    let mut add = |outer, channels, inner| shapes.push(ChannelShape { outer, channels, inner });
    for channels in (1..=20).chain([31, 33, 64, 127, 128, 129, 300]) {
        for outer in [1, 2, 3, 4, 5, 9] {
            add(outer, channels, 1);
        }
    }
    for inner in (2..=70).chain([127, 2047, 2048, 2049]) {
        add(2, 3, inner);
        add(1, 18, inner);
    }
    add(1000, 130, 1);
    add(20_000, 5, 1);
    add(300, 5, 49);
    add(9, 2, 10_000);
    add(2, 1, 40_000);
    shapes
}

/// The values of each channel.
pub(crate) fn channels_of<T: Element>(shape: ChannelShape, x: &[T]) -> Vec<Vec<f64>> {
    let mut channels = vec![Vec::new(); shape.channels];
    for (run, x) in x.chunks(shape.inner).enumerate() {
        channels[run % shape.channels].extend(x.iter().map(|&x| x.to_f64()));
    }
    channels
}

/// Runs `body` in every pool, and at the levels with FMA, and holds the bits of its results together.
pub(crate) fn assert_equal_everywhere(body: impl Fn() -> Vec<Vec<f32>> + Sync) {
    let expected = body();
    each_pool(|threads| {
        for (a, b) in body().iter().zip(&expected) {
            assert_same_bits(a, b, || format!("on {threads} threads"));
        }
    });
    let mut fused = Level::available().filter(|&level| level != Level::Portable);
    let Some(first) = fused.next() else { return };
    let expected = Level::scoped(first, &body).unwrap();
    for level in fused {
        for (a, b) in Level::scoped(level, &body).unwrap().iter().zip(&expected) {
            assert_same_bits(a, b, || format!("at {level}"));
        }
    }
}
