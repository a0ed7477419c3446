//! Words of 32 bits for counter-based generators.

use core::arch::x86_64::*;

use super::Avx512;
use super::f32::Mask32;
use super::f64::Mask64;
use crate::simd::Words;
use crate::simd::intrinsics::cpu;

/// Eight words in lanes of 64 bits.
#[derive(Clone, Copy, Debug)]
pub(in crate::simd) struct Words64x8(pub(super) __m512i);

/// Sixteen words from the low halves of two vectors, alternately.
#[inline(always)]
fn interleaved(even: Words64x8, odd: Words64x8) -> __m512i {
    // 0xa0 puts each low half into the high half beside it too.
    cpu!(_mm512_mask_shuffle_epi32::<0xa0>(even.0, 0xaaaa, odd.0))
}

impl Words for Words64x8 {
    type Isa = Avx512;

    #[inline(always)]
    fn new(_isa: Avx512, value: u32) -> Self {
        Self(cpu!(_mm512_set1_epi64(i64::from(value))))
    }
    #[inline(always)]
    fn from_array(_isa: Avx512, words: [u32; 8]) -> Self {
        let words = words.map(u64::from);
        // SAFETY: the array has 64 bytes.
        Self(unsafe { _mm512_loadu_si512(words.as_ptr().cast()) })
    }
    #[inline(always)]
    fn multiply(self, other: Self) -> Self {
        Self(cpu!(_mm512_mul_epu32(self.0, other.0)))
    }
    #[inline(always)]
    fn high(self) -> Self {
        Self(cpu!(_mm512_srli_epi64::<32>(self.0)))
    }
    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        Self(cpu!(_mm512_xor_si512(self.0, other.0)))
    }
    #[inline(always)]
    fn below(self, bound: u32) -> Mask64 {
        let words = cpu!(_mm512_slli_epi64::<32>(self.0));
        let bound = cpu!(_mm512_set1_epi64((u64::from(bound) << 32) as i64));
        Mask64(cpu!(_mm512_cmplt_epu64_mask(words, bound)))
    }
    #[inline(always)]
    fn below_interleaved(even: Self, odd: Self, bound: u32) -> Mask32 {
        let bound = cpu!(_mm512_set1_epi32(bound as i32));
        Mask32(cpu!(_mm512_cmplt_epu32_mask(interleaved(even, odd), bound)))
    }
    #[inline(always)]
    fn interleave(even: Self, odd: Self) -> [u32; 16] {
        let mut words = [0; 16];
        let vector = interleaved(even, odd);
        // SAFETY: the array has 64 bytes.
        unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), vector) };
        words
    }
}
