//! Sixteen blocks of four words at a time.

use super::Philox;
use crate::Element;
use crate::simd::{Isa, Kernel, Words};

/// Words of sixteen blocks: what is computed at a time.
pub(super) const GROUP: usize = 64;

/// Rounds of a block.
const ROUNDS: usize = 10;

/// The words of a group, sixteen from each of two vectors; lane `k` of vector `v` is the block `places[v][k]`.
#[inline(always)]
fn group<I: Isa>(isa: I, stream: Philox, number: u64, places: [[u32; 8]; 2]) -> [[I::Words; 2]; 4] {
    let halves = |value: u64| (value as u32, (value >> 32) as u32);
    let all = |value: u32| <I::Words as Words>::new(isa, value);
    // A group starts at a multiple of 16, so adding a place changes no other bit.
    let (low, high) = halves(number.wrapping_mul(16));
    let (c, d) = halves(stream.counter);
    let (mut key, mut other_key) = halves(stream.key);
    let [first, second] = places.map(|places| all(low).xor(Words::from_array(isa, places)));
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
