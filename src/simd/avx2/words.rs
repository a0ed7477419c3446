//! Words of 32 bits for counter-based generators.

use core::arch::x86_64::*;

use super::f32::{F32x16, Mask32};
use super::f64::Mask64;
use super::{Avx2, Integers};
use crate::simd::Words;
use crate::simd::intrinsics::{both, cpu};

/// Eight words in lanes of 64 bits.
#[derive(Clone, Copy, Debug)]
pub(in crate::simd) struct Words64x8(pub(super) __m256i, pub(super) __m256i);

/// Sixteen words from the low halves of two vectors, alternately.
#[inline(always)]
fn interleaved(even: Words64x8, odd: Words64x8) -> Words64x8 {
    let odd = both!(Words64x8: _mm256_slli_epi64::<32>(odd));
    both!(Words64x8: _mm256_blend_epi32::<0xaa>(even, odd))
}

impl Words for Words64x8 {
    type Isa = Avx2;

    #[inline(always)]
    fn new(_isa: Avx2, value: u32) -> Self {
        let word = cpu!(_mm256_set1_epi64x(i64::from(value)));
        Self(word, word)
    }
    #[inline(always)]
    fn from_array(_isa: Avx2, words: [u32; 8]) -> Self {
        let words = words.map(u64::from);
        // SAFETY: the array has 64 bytes, these are the first 32.
        let low = unsafe { _mm256_loadu_si256(words.as_ptr().cast()) };
        // SAFETY: the array has 64 bytes, these are the last 32.
        Self(low, unsafe { _mm256_loadu_si256(words[4..].as_ptr().cast()) })
    }
    #[inline(always)]
    fn multiply(self, other: Self) -> Self {
        both!(Self: _mm256_mul_epu32(self, other))
    }
    #[inline(always)]
    fn high(self) -> Self {
        both!(Self: _mm256_srli_epi64::<32>(self))
    }
    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        both!(Self: _mm256_xor_si256(self, other))
    }
    #[inline(always)]
    fn below(self, bound: u32) -> Mask64 {
        let isa = Avx2(());
        let word = Self::new(isa, u32::MAX);
        let (words, bound) = (both!(Self: _mm256_and_si256(self, word)), Self::new(isa, bound));
        let below = both!(Integers: _mm256_cmpgt_epi64(bound, words));
        both!(Mask64: _mm256_castsi256_pd(below))
    }
    #[inline(always)]
    fn below_interleaved(even: Self, odd: Self, bound: u32) -> Mask32 {
        // AVX2 only compares signed: with the sign bits flipped that is the same order.
        let flip = F32x16::integers(i32::MIN);
        let bound = F32x16::integers(bound as i32 ^ i32::MIN);
        let words = both!(Integers: _mm256_xor_si256(interleaved(even, odd), flip));
        let below = both!(Integers: _mm256_cmpgt_epi32(bound, words));
        both!(Mask32: _mm256_castsi256_ps(below))
    }
    #[inline(always)]
    fn interleave(even: Self, odd: Self) -> [u32; 16] {
        let mut words = [0_u32; 16];
        let Self(low, high) = interleaved(even, odd);
        // SAFETY: the array has 64 bytes, these are the first 32.
        unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), low) };
        // SAFETY: the array has 64 bytes, these are the last 32.
        unsafe { _mm256_storeu_si256(words[8..].as_mut_ptr().cast(), high) };
        words
    }
}
