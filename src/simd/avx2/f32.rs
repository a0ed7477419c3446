//! Sixteen lanes of `f32`.

use core::arch::x86_64::*;

use super::{Avx2, Integers};
use crate::simd::intrinsics::{both, cpu};
use crate::simd::{Mask, Vector, inlined, operators};

/// Sixteen `f32`.
#[derive(Clone, Copy, Debug)]
pub(in crate::simd) struct F32x16(pub(super) __m256, pub(super) __m256);

/// All bits of a lane set or clear.
#[derive(Clone, Copy, Debug)]
pub(in crate::simd) struct Mask32(pub(super) __m256, pub(super) __m256);

/// Masks of the first `len` of sixteen lanes.
#[inline(always)]
fn first_lanes_32(len: usize) -> (__m256i, __m256i) {
    static ONES_THEN_ZEROS: [i32; 32] = [
        -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0,
    ];
    let window = &ONES_THEN_ZEROS[16 - len..32 - len];
    // SAFETY: the window has 16 elements, so the first 8 may be read.
    let low = unsafe { _mm256_loadu_si256(window.as_ptr().cast()) };
    // SAFETY: the window has 16 elements, so the last 8 may be read.
    let high = unsafe { _mm256_loadu_si256(window[8..].as_ptr().cast()) };
    (low, high)
}

impl F32x16 {
    #[inline(always)]
    fn all(value: f32) -> Self {
        Self(cpu!(_mm256_set1_ps(value)), cpu!(_mm256_set1_ps(value)))
    }
    #[inline(always)]
    pub(super) fn integers(value: i32) -> Integers {
        Integers(cpu!(_mm256_set1_epi32(value)), cpu!(_mm256_set1_epi32(value)))
    }
    #[inline(always)]
    fn to_bits(self) -> Integers {
        both!(Integers: _mm256_castps_si256(self))
    }
    #[inline(always)]
    fn from_bits(bits: Integers) -> Self {
        both!(Self: _mm256_castsi256_ps(bits))
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        both!(Self: _mm256_add_ps(self, other))
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        both!(Self: _mm256_sub_ps(self, other))
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        both!(Self: _mm256_mul_ps(self, other))
    }
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        both!(Self: _mm256_div_ps(self, other))
    }
    #[inline(always)]
    fn negate(self) -> Self {
        both!(Self: _mm256_xor_ps(self, Self::all(-0.0)))
    }
}

operators!(F32x16, f32);

impl Vector for F32x16 {
    type Elem = f32;
    type Isa = Avx2;
    type Mask = Mask32;
    const LANES: usize = 16;
    const UNIT_EXPONENT: f32 = 12_583_039.0;

    #[inline(always)]
    fn isa(self) -> Avx2 {
        Avx2(())
    }
    #[inline(always)]
    fn new(_isa: Avx2, value: f32) -> Self {
        Self::all(value)
    }
    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        both!(Self: _mm256_fmadd_ps(self, b, c))
    }
    #[inline(always)]
    fn mul_sub(self, b: Self, c: Self) -> Self {
        both!(Self: _mm256_fmsub_ps(self, b, c))
    }
    #[inline(always)]
    fn neg_mul_add(self, b: Self, c: Self) -> Self {
        both!(Self: _mm256_fnmadd_ps(self, b, c))
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        both!(Self: _mm256_sqrt_ps(self))
    }
    #[inline(always)]
    fn abs(self) -> Self {
        both!(Self: _mm256_andnot_ps(Self::all(-0.0), self))
    }
    #[inline(always)]
    fn copysign(self, sign: Self) -> Self {
        let bit = both!(Self: _mm256_and_ps(sign, Self::all(-0.0)));
        both!(Self: _mm256_or_ps(self.abs(), bit))
    }
    #[inline(always)]
    fn round(self) -> Self {
        // 8 is nearest-even with inexact suppressed.
        both!(Self: _mm256_round_ps::<8>(self))
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        both!(Self: _mm256_min_ps(self, other))
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        both!(Self: _mm256_max_ps(self, other))
    }
    #[inline(always)]
    fn lt(self, other: Self) -> Mask32 {
        both!(Mask32: _mm256_cmp_ps::<_CMP_LT_OQ>(self, other))
    }
    #[inline(always)]
    fn le(self, other: Self) -> Mask32 {
        both!(Mask32: _mm256_cmp_ps::<_CMP_LE_OQ>(self, other))
    }
    #[inline(always)]
    fn eq(self, other: Self) -> Mask32 {
        both!(Mask32: _mm256_cmp_ps::<_CMP_EQ_OQ>(self, other))
    }
    #[inline(always)]
    fn is_nan(self) -> Mask32 {
        both!(Mask32: _mm256_cmp_ps::<_CMP_UNORD_Q>(self, self))
    }
    #[inline(always)]
    fn into_exponent(self) -> Self {
        let bits = self.to_bits();
        Self::from_bits(both!(Integers: _mm256_slli_epi32::<23>(bits)))
    }
    #[inline(always)]
    fn ldexp(self, n: Self) -> Self {
        // Two normal powers: the first product is exact, the second rounds once, to a subnormal too.
        let first = (n * 0.5).round();
        self * first.pow2() * (n - first).pow2()
    }
    #[inline(always)]
    fn split_exponent(self) -> (Self, Self) {
        let bits = self.to_bits();
        let two_thirds = Self::integers(0x3f2a_aaab);
        let exponent =
            both!(Integers: _mm256_srai_epi32::<23>(both!(Integers: _mm256_sub_epi32(bits, two_thirds))));
        let shifted = both!(Integers: _mm256_slli_epi32::<23>(exponent));
        let mantissa = Self::from_bits(both!(Integers: _mm256_sub_epi32(bits, shifted)));
        (mantissa, both!(Self: _mm256_cvtepi32_ps(exponent)))
    }
    #[inline(always)]
    fn clear_low(self) -> Self {
        let high = Self::from_bits(Self::integers(!0xfff));
        both!(Self: _mm256_and_ps(self, high))
    }
    #[inline(always)]
    fn entry_of_octave(self, table: &[f32; 8]) -> Self {
        // SAFETY: the table has the eight elements.
        let table = unsafe { _mm256_loadu_ps(table.as_ptr()) };
        let exponent = both!(Integers: _mm256_srli_epi32::<23>(self.to_bits()));
        Self(
            cpu!(_mm256_permutevar8x32_ps(table, exponent.0)),
            cpu!(_mm256_permutevar8x32_ps(table, exponent.1)),
        )
    }

    #[inline(always)]
    unsafe fn load(_isa: Avx2, from: *const f32) -> Self {
        // SAFETY: the caller gives 16 readable elements.
        let high = unsafe { from.add(8) };
        // SAFETY: the caller gives 16 readable elements, these are the first 8.
        let low = unsafe { _mm256_loadu_ps(from) };
        // SAFETY: the caller gives 16 readable elements, these are the last 8.
        Self(low, unsafe { _mm256_loadu_ps(high) })
    }
    #[inline(always)]
    unsafe fn load_partial(_isa: Avx2, from: *const f32, len: usize) -> Self {
        let (low, high) = first_lanes_32(len);
        // SAFETY: a masked load does not touch the lanes past the caller's `len`.
        let first = unsafe { _mm256_maskload_ps(from, low) };
        // SAFETY: as above; the address itself may lie past the end, so it is computed without `add`.
        Self(first, unsafe { _mm256_maskload_ps(from.wrapping_add(8), high) })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller gives 16 writable elements, these are the first 8.
        unsafe { _mm256_storeu_ps(to, self.0) };
        // SAFETY: the caller gives 16 writable elements, these are the last 8.
        unsafe { _mm256_storeu_ps(to.wrapping_add(8), self.1) };
    }
    #[inline(always)]
    unsafe fn store_partial(self, to: *mut f32, len: usize) {
        let (low, high) = first_lanes_32(len);
        // SAFETY: a masked store does not touch the lanes past the caller's `len`.
        unsafe { _mm256_maskstore_ps(to, low, self.0) };
        // SAFETY: as above; the address itself may lie past the end, so it is computed without `add`.
        unsafe { _mm256_maskstore_ps(to.wrapping_add(8), high, self.1) };
    }
    #[inline(always)]
    unsafe fn stream(self, to: *mut f32) {
        // SAFETY: the caller gives 16 writable elements at an aligned address, these are the first 8.
        unsafe { _mm256_stream_ps(to, self.0) };
        // SAFETY: the caller gives 16 writable elements at an aligned address, these are the last 8.
        unsafe { _mm256_stream_ps(to.wrapping_add(8), self.1) };
    }
    #[inline(always)]
    #[expect(clippy::multiple_unsafe_ops_per_block, reason = "the same read of several rows")]
    unsafe fn transpose(_isa: Avx2, from: *const f32, stride: usize, rows: usize, to: *mut f32) {
        // By blocks of eight rows and four columns.
        let mut rows_at = [from; 16];
        for (i, at) in rows_at.iter_mut().enumerate() {
            *at = from.wrapping_add(i.min(rows - 1) * stride);
        }
        for (row, k) in [(0, 0), (0, 4), (0, 8), (0, 12), (8, 0), (8, 4), (8, 8), (8, 12)] {
            let at = inlined(
                #[inline(always)]
                |i: usize| rows_at[row + i].wrapping_add(k),
            );
            // SAFETY: four columns of eight rows that the caller gives.
            let [a, b, c, d] = unsafe {
                [
                    pair_f32(at(0), at(4)),
                    pair_f32(at(1), at(5)),
                    pair_f32(at(2), at(6)),
                    pair_f32(at(3), at(7)),
                ]
            };
            let (ab, cd) = (cpu!(_mm256_unpacklo_ps(a, b)), cpu!(_mm256_unpacklo_ps(c, d)));
            let (ab_high, cd_high) = (cpu!(_mm256_unpackhi_ps(a, b)), cpu!(_mm256_unpackhi_ps(c, d)));
            let columns = [
                cpu!(_mm256_shuffle_ps::<0x44>(ab, cd)),
                cpu!(_mm256_shuffle_ps::<0xee>(ab, cd)),
                cpu!(_mm256_shuffle_ps::<0x44>(ab_high, cd_high)),
                cpu!(_mm256_shuffle_ps::<0xee>(ab_high, cd_high)),
            ];
            for i in 0..4 {
                // SAFETY: eight of the sixteen elements of row `k + i` of the output, which the caller gives.
                unsafe { _mm256_storeu_ps(to.wrapping_add((k + i) * 16 + row), columns[i]) };
            }
        }
    }
}

impl Mask<F32x16> for Mask32 {
    #[inline(always)]
    fn select(self, if_true: F32x16, if_false: F32x16) -> F32x16 {
        both!(F32x16: _mm256_blendv_ps(if_false, if_true, self))
    }
    #[inline(always)]
    fn and(self, other: Self) -> Self {
        both!(Self: _mm256_and_ps(self, other))
    }
    #[inline(always)]
    fn or(self, other: Self) -> Self {
        both!(Self: _mm256_or_ps(self, other))
    }
    #[inline(always)]
    fn not(self) -> Self {
        let ones = cpu!(_mm256_castsi256_ps(cpu!(_mm256_set1_epi32(-1))));
        both!(Self: _mm256_xor_ps(self, Self(ones, ones)))
    }
    #[inline(always)]
    fn any(self) -> bool {
        cpu!(_mm256_movemask_ps(cpu!(_mm256_or_ps(self.0, self.1)))) != 0
    }
    #[inline(always)]
    fn all(self) -> bool {
        cpu!(_mm256_movemask_ps(cpu!(_mm256_and_ps(self.0, self.1)))) == 0xff
    }
}

/// Four elements from each of two addresses.
///
/// # Safety
/// Both are valid for reads of four elements.
#[inline(always)]
unsafe fn pair_f32(low: *const f32, high: *const f32) -> __m256 {
    // SAFETY: the caller gives four readable elements.
    let low = unsafe { _mm_loadu_ps(low) };
    // SAFETY: the caller gives four readable elements.
    let high = unsafe { _mm_loadu_ps(high) };
    cpu!(_mm256_insertf128_ps::<1>(cpu!(_mm256_castps128_ps256(low)), high))
}
