//! Sixteen blocks of four words at a time.

use super::{Philox, reference};
use crate::Element;
use crate::math::Elementary;
use crate::simd::{self, Isa, Kernel, Mask, Vector, Words};

/// Words of sixteen blocks: what is computed at a time.
pub(super) const GROUP: usize = 64;

/// Rounds of a block.
const ROUNDS: usize = 10;

/// The words of a group, sixteen from each of two vectors; lane `k` of vector `v` is the block `places[v][k]`.
#[inline(always)]
fn group<I: Isa>(isa: I, stream: Philox, number: u64, places: [[u32; 8]; 2]) -> [[I::Words; 2]; 4] {
    let halves = |value: u64| (value as u32, (value >> 32) as u32);
    let all = simd::inlined(
        #[inline(always)]
        |value: u32| <I::Words as Words>::new(isa, value),
    );
    // A group starts at a multiple of 16, so adding a place changes no other bit.
    let (low, high) = halves(number.wrapping_mul(16));
    let (c, d) = halves(stream.counter);
    let (mut key, mut other_key) = halves(stream.key);
    let [first, second] = simd::map_array(
        places,
        #[inline(always)]
        |places| all(low).xor(Words::from_array(isa, places)),
    );
    let mut blocks = [[first, all(high), all(c), all(d)], [second, all(high), all(c), all(d)]];
    for _ in 0..ROUNDS {
        for x in &mut blocks {
            let (first, second) = (x[0].multiply(all(0xd251_1f53)), x[2].multiply(all(0xcd9e_8d57)));
            *x = [
                second.high().xor(x[1]).xor(all(key)),
                second,
                first.high().xor(x[3]).xor(all(other_key)),
                first,
            ];
        }
        key = key.wrapping_add(0x9e37_79b9);
        other_key = other_key.wrapping_add(0xbb67_ae85);
    }
    let [a, b] = blocks;
    [[a[0], b[0]], [a[1], b[1]], [a[2], b[2]], [a[3], b[3]]]
}

/// Fills `out` with what `emit` makes of each sixteen words, the first of which is word `first` of the stream.
#[inline(always)]
fn fill<I: Isa, O: Copy + Default>(
    isa: I,
    stream: Philox,
    first: u64,
    places: [[u32; 8]; 2],
    out: &mut [O],
    emit: impl Fn([I::Words; 2], &mut [O]),
) {
    let mut at = 0;
    while at < out.len() {
        let index = first.wrapping_add(at as u64);
        let words = group(isa, stream, index / GROUP as u64, places);
        let skip = (index % GROUP as u64) as usize;
        let count = (GROUP - skip).min(out.len() - at);
        if count == GROUP {
            let out = &mut out[at..at + GROUP];
            for k in 0..4 {
                emit(words[k], &mut out[16 * k..16 * k + 16]);
            }
        } else {
            let mut whole = [O::default(); GROUP];
            for k in 0..4 {
                emit(words[k], &mut whole[16 * k..16 * k + 16]);
            }
            out[at..at + count].copy_from_slice(&whole[skip..skip + count]);
        }
        at += count;
    }
}

/// The words from `first` on.
pub(super) struct Fill<'a> {
    pub(super) stream: Philox,
    pub(super) first: u64,
    pub(super) words: &'a mut [u32],
}

impl Kernel for Fill<'_> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        fill(
            isa,
            self.stream,
            self.first,
            f32::PLACES,
            self.words,
            #[inline(always)]
            |[even, odd], to| to.copy_from_slice(&<I::Words as Words>::interleave(even, odd)),
        );
    }
}

/// An event that happens or not, each time by a word of its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Event {
    Never,
    /// Where the word is below this.
    Below(u32),
    Always,
}

impl Event {
    /// An event of probability `p` in [0, 1], to 2⁻³².
    pub(crate) fn new(p: f64) -> Self {
        match p {
            0.0 => Self::Never,
            1.0 => Self::Always,
            // A cast saturates.
            _ => Self::Below((p * 4_294_967_296.0 + 0.5) as u32),
        }
    }
}

/// `out[i] = event happens at first + i ? then : otherwise`.
#[inline(always)]
pub(crate) fn choose<I: Isa, T: Element>(
    isa: I,
    stream: Philox,
    first: u64,
    event: Event,
    [then, otherwise]: [T; 2],
    out: &mut [T],
) {
    match event {
        Event::Never => out.fill(otherwise),
        Event::Always => out.fill(then),
        Event::Below(bound) => fill(
            isa,
            stream,
            first,
            T::PLACES,
            out,
            #[inline(always)]
            |words, to| T::choose(isa, words, bound, then, otherwise, to),
        ),
    }
}

/// [`reference::uniform`] of the words from `first` on, the same in both element types.
#[inline(always)]
pub(crate) fn uniforms<I: Isa, T: Element>(isa: I, stream: Philox, first: u64, out: &mut [T]) {
    convert(
        isa,
        stream,
        first,
        out,
        // Twenty-four bits fit both types: the compiler converts to `T` at once.
        #[inline(always)]
        |word| T::from_f64(f64::from((word >> 8) as i32)) * T::from_f64(reference::UNIFORM_STEP),
    );
}

/// [`reference::normal`] of the words from `first` on.
#[inline(always)]
pub(crate) fn normals<I: Isa, T: Element>(isa: I, stream: Philox, first: u64, out: &mut [T]) {
    // The mass of the tail, with the sign of the side it lies on.
    convert(
        isa,
        stream,
        first,
        out,
        #[inline(always)]
        |word| {
            let tail = (f64::from((word >> 1) as i32) + 0.5) * reference::TAIL_STEP;
            T::from_f64(if word & 1 == 0 { tail } else { -tail })
        },
    );
    simd::zip(
        isa,
        [],
        [out],
        #[inline(always)]
        |[], [signed]: [T::Vector<I>; 1]| [quantile(signed)],
    );
}

/// Fills `out` with `f` of each word from `first` on.
#[inline(always)]
fn convert<I: Isa, T: Element>(isa: I, stream: Philox, first: u64, out: &mut [T], f: impl Fn(u32) -> T) {
    fill(
        isa,
        stream,
        first,
        f32::PLACES,
        out,
        #[inline(always)]
        |[even, odd], to| {
            let words = <I::Words as Words>::interleave(even, odd);
            for (to, word) in to.iter_mut().zip(words) {
                *to = f(word);
            }
        },
    );
}

/// The normal number beyond which lies a tail of |`signed`|, on the side of its sign.
#[inline(always)]
fn quantile<V: Vector>(signed: V) -> V {
    let tail = signed.abs();
    let one = tail.constant(1.0);
    // −ln((1 − x)(1 + x)) for x = 1 − 2·tail, without cancellation.
    let w = -((tail * (one - tail)) * tail.constant(4.0)).ln();
    let centre = horner(w - w.constant(2.5), &reference::CENTRE);
    let outside = horner(w.sqrt() - w.constant(3.0), &reference::OUTSIDE);
    let is_central = w.lt(w.constant(5.0));
    let x = tail.neg_mul_add(tail.constant(2.0), one);
    let scaled = is_central.select(centre, outside) * w.constant(core::f64::consts::SQRT_2);
    (scaled * x).copysign(signed)
}

/// The polynomial in `x`, highest power first.
#[inline(always)]
fn horner<V: Vector>(x: V, coefficients: &[f64; 9]) -> V {
    let mut sum = x.constant(coefficients[0]);
    for &coefficient in &coefficients[1..] {
        sum = sum.mul_add(x, x.constant(coefficient));
    }
    sum
}
