//! Sixteen lanes of `f32`.

use core::arch::x86_64::*;

use super::Avx512;
use crate::simd::intrinsics::cpu;
use crate::simd::{Mask, Vector, operators};

/// Sixteen `f32`.
#[derive(Clone, Copy, Debug)]
pub(in crate::simd) struct F32x16(pub(super) __m512);

/// One bit a lane.
#[derive(Clone, Copy, Debug)]
pub(in crate::simd) struct Mask32(pub(super) __mmask16);

/// The mask of the first `len` of 16 lanes.
#[inline(always)]
fn first_lanes_32(len: usize) -> __mmask16 {
    cpu!(_bzhi_u32(0xffff, len as u32)) as __mmask16
}

impl F32x16 {
    #[inline(always)]
    fn all(value: f32) -> Self {
        Self(cpu!(_mm512_set1_ps(value)))
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(cpu!(_mm512_add_ps(self.0, other.0)))
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(cpu!(_mm512_sub_ps(self.0, other.0)))
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self(cpu!(_mm512_mul_ps(self.0, other.0)))
    }
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        Self(cpu!(_mm512_div_ps(self.0, other.0)))
    }
    #[inline(always)]
    fn negate(self) -> Self {
        Self(cpu!(_mm512_xor_ps(self.0, Self::all(-0.0).0)))
    }
}

operators!(F32x16, f32);

impl Vector for F32x16 {
    type Elem = f32;
    type Isa = Avx512;
    type Mask = Mask32;
    const LANES: usize = 16;
    const UNIT_EXPONENT: f32 = 12_583_039.0;

    #[inline(always)]
    fn isa(self) -> Avx512 {
        Avx512(())
    }
    #[inline(always)]
    fn new(_isa: Avx512, value: f32) -> Self {
        Self::all(value)
    }
    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        Self(cpu!(_mm512_fmadd_ps(self.0, b.0, c.0)))
    }
    #[inline(always)]
    fn mul_sub(self, b: Self, c: Self) -> Self {
        Self(cpu!(_mm512_fmsub_ps(self.0, b.0, c.0)))
    }
    #[inline(always)]
    fn neg_mul_add(self, b: Self, c: Self) -> Self {
        Self(cpu!(_mm512_fnmadd_ps(self.0, b.0, c.0)))
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        Self(cpu!(_mm512_sqrt_ps(self.0)))
    }
    #[inline(always)]
    fn abs(self) -> Self {
        Self(cpu!(_mm512_andnot_ps(Self::all(-0.0).0, self.0)))
    }
    #[inline(always)]
    fn copysign(self, sign: Self) -> Self {
        let bit = cpu!(_mm512_and_ps(sign.0, Self::all(-0.0).0));
        Self(cpu!(_mm512_or_ps(self.abs().0, bit)))
    }
    #[inline(always)]
    fn round(self) -> Self {
        // 8 is nearest-even with inexact suppressed, to 2^0.
        Self(cpu!(_mm512_roundscale_ps::<8>(self.0)))
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        Self(cpu!(_mm512_min_ps(self.0, other.0)))
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self(cpu!(_mm512_max_ps(self.0, other.0)))
    }
    #[inline(always)]
    fn lt(self, other: Self) -> Mask32 {
        Mask32(cpu!(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(self.0, other.0)))
    }
    #[inline(always)]
    fn le(self, other: Self) -> Mask32 {
        Mask32(cpu!(_mm512_cmp_ps_mask::<_CMP_LE_OQ>(self.0, other.0)))
    }
    #[inline(always)]
    fn eq(self, other: Self) -> Mask32 {
        Mask32(cpu!(_mm512_cmp_ps_mask::<_CMP_EQ_OQ>(self.0, other.0)))
    }
    #[inline(always)]
    fn is_nan(self) -> Mask32 {
        Mask32(cpu!(_mm512_cmp_ps_mask::<_CMP_UNORD_Q>(self.0, self.0)))
    }
    #[inline(always)]
    fn into_exponent(self) -> Self {
        let bits = cpu!(_mm512_castps_si512(self.0));
        Self(cpu!(_mm512_castsi512_ps(cpu!(_mm512_slli_epi32::<23>(bits)))))
    }
    #[inline(always)]
    fn ldexp(self, n: Self) -> Self {
        Self(cpu!(_mm512_scalef_ps(self.0, n.0)))
    }
    #[inline(always)]
    fn split_exponent(self) -> (Self, Self) {
        let bits = cpu!(_mm512_castps_si512(self.0));
        let two_thirds = cpu!(_mm512_set1_epi32(0x3f2a_aaab));
        let exponent = cpu!(_mm512_srai_epi32::<23>(cpu!(_mm512_sub_epi32(bits, two_thirds))));
        let shifted = cpu!(_mm512_slli_epi32::<23>(exponent));
        let mantissa = cpu!(_mm512_castsi512_ps(cpu!(_mm512_sub_epi32(bits, shifted))));
        (Self(mantissa), Self(cpu!(_mm512_cvtepi32_ps(exponent))))
    }
    #[inline(always)]
    fn clear_low(self) -> Self {
        let high = cpu!(_mm512_castsi512_ps(cpu!(_mm512_set1_epi32(!0xfff))));
        Self(cpu!(_mm512_and_ps(self.0, high)))
    }
    #[inline(always)]
    fn entry_of_octave(self, table: &[f32; 8]) -> Self {
        // SAFETY: the table has the eight elements.
        let table = unsafe { _mm256_loadu_ps(table.as_ptr()) };
        // Twice in a register, since the instruction takes four bits.
        let table = cpu!(_mm512_broadcast_f32x8(table));
        let exponent = cpu!(_mm512_srli_epi32::<23>(cpu!(_mm512_castps_si512(self.0))));
        Self(cpu!(_mm512_permutexvar_ps(exponent, table)))
    }

    #[inline(always)]
    unsafe fn load(_isa: Avx512, from: *const f32) -> Self {
        // SAFETY: the caller gives 16 readable elements.
        Self(unsafe { _mm512_loadu_ps(from) })
    }
    #[inline(always)]
    unsafe fn load_partial(_isa: Avx512, from: *const f32, len: usize) -> Self {
        let lanes = first_lanes_32(len);
        // SAFETY: a masked load does not touch the lanes past the caller's `len`.
        Self(unsafe { _mm512_maskz_loadu_ps(lanes, from) })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller gives 16 writable elements.
        unsafe { _mm512_storeu_ps(to, self.0) };
    }
    #[inline(always)]
    unsafe fn store_partial(self, to: *mut f32, len: usize) {
        let lanes = first_lanes_32(len);
        // SAFETY: a masked store does not touch the lanes past the caller's `len`.
        unsafe { _mm512_mask_storeu_ps(to, lanes, self.0) };
    }
    #[inline(always)]
    unsafe fn stream(self, to: *mut f32) {
        // SAFETY: the caller gives 16 writable elements at an address aligned to 64 bytes.
        unsafe { _mm512_stream_ps(to, self.0) };
    }
    #[inline(always)]
    unsafe fn transpose(_isa: Avx512, from: *const f32, stride: usize, rows: usize, to: *mut f32) {
        let mut row = [from; 16];
        for (i, row) in row.iter_mut().enumerate() {
            *row = from.wrapping_add(i.min(rows - 1) * stride);
        }
        for k in [0, 4, 8, 12] {
            let mut quarters = [cpu!(_mm512_setzero_ps()); 4];
            for (i, quarters) in quarters.iter_mut().enumerate() {
                // SAFETY: four columns of rows that the caller gives.
                *quarters = unsafe { four_f32([row[i], row[4 + i], row[8 + i], row[12 + i]], k) };
            }
            let [a, b, c, d] = quarters;
            let (ab, cd) = (cpu!(_mm512_unpacklo_ps(a, b)), cpu!(_mm512_unpacklo_ps(c, d)));
            let (ab_high, cd_high) = (cpu!(_mm512_unpackhi_ps(a, b)), cpu!(_mm512_unpackhi_ps(c, d)));
            let columns = [
                cpu!(_mm512_shuffle_ps::<0x44>(ab, cd)),
                cpu!(_mm512_shuffle_ps::<0xee>(ab, cd)),
                cpu!(_mm512_shuffle_ps::<0x44>(ab_high, cd_high)),
                cpu!(_mm512_shuffle_ps::<0xee>(ab_high, cd_high)),
            ];
            for (i, &column) in columns.iter().enumerate() {
                // SAFETY: row `k + i` of the output, which the caller gives.
                unsafe { _mm512_storeu_ps(to.wrapping_add((k + i) * 16), column) };
            }
        }
    }
}

/// Four elements from `k` on of each of four rows: reads that are put in place need no shuffle.
///
/// # Safety
/// They are valid for reads.
#[inline(always)]
#[expect(clippy::multiple_unsafe_ops_per_block, reason = "the same read of several rows")]
unsafe fn four_f32(row: [*const f32; 4], k: usize) -> __m512 {
    let at = row.map(
        #[inline(always)]
        |row| row.wrapping_add(k),
    );
    // SAFETY: the caller gives four readable elements of each.
    let [a, b, c, d] =
        unsafe { [_mm_loadu_ps(at[0]), _mm_loadu_ps(at[1]), _mm_loadu_ps(at[2]), _mm_loadu_ps(at[3])] };
    let ab = cpu!(_mm256_insertf128_ps::<1>(cpu!(_mm256_castps128_ps256(a)), b));
    let abc = cpu!(_mm512_insertf32x4::<2>(cpu!(_mm512_castps256_ps512(ab)), c));
    cpu!(_mm512_insertf32x4::<3>(abc, d))
}

impl Mask<F32x16> for Mask32 {
    #[inline(always)]
    fn select(self, if_true: F32x16, if_false: F32x16) -> F32x16 {
        F32x16(cpu!(_mm512_mask_blend_ps(self.0, if_false.0, if_true.0)))
    }
    #[inline(always)]
    fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
    #[inline(always)]
    fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
    #[inline(always)]
    fn not(self) -> Self {
        Self(!self.0)
    }
    #[inline(always)]
    fn any(self) -> bool {
        self.0 != 0
    }
    #[inline(always)]
    fn all(self) -> bool {
        self.0 == __mmask16::MAX
    }
}
