//! Eight lanes of `f64`.

use core::arch::x86_64::*;

use super::Avx512;
use crate::simd::intrinsics::cpu;
use crate::simd::{Mask, Vector, operators};

/// Eight `f64`.
#[derive(Clone, Copy, Debug)]
pub(in crate::simd) struct F64x8(pub(super) __m512d);

/// One bit a lane.
#[derive(Clone, Copy, Debug)]
pub(in crate::simd) struct Mask64(pub(super) __mmask8);

/// The mask of the first `len` of 8 lanes.
#[inline(always)]
fn first_lanes_64(len: usize) -> __mmask8 {
    cpu!(_bzhi_u32(0xff, len as u32)) as __mmask8
}

impl F64x8 {
    #[inline(always)]
    fn all(value: f64) -> Self {
        Self(cpu!(_mm512_set1_pd(value)))
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(cpu!(_mm512_add_pd(self.0, other.0)))
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(cpu!(_mm512_sub_pd(self.0, other.0)))
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self(cpu!(_mm512_mul_pd(self.0, other.0)))
    }
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        Self(cpu!(_mm512_div_pd(self.0, other.0)))
    }
    #[inline(always)]
    fn negate(self) -> Self {
        Self(cpu!(_mm512_xor_pd(self.0, Self::all(-0.0).0)))
    }
}

operators!(F64x8, f64);

impl Vector for F64x8 {
    type Elem = f64;
    type Isa = Avx512;
    type Mask = Mask64;
    const LANES: usize = 8;
    const UNIT_EXPONENT: f64 = 6_755_399_441_056_767.0;

    #[inline(always)]
    fn isa(self) -> Avx512 {
        Avx512(())
    }
    #[inline(always)]
    fn new(_isa: Avx512, value: f64) -> Self {
        Self::all(value)
    }
    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        Self(cpu!(_mm512_fmadd_pd(self.0, b.0, c.0)))
    }
    #[inline(always)]
    fn mul_sub(self, b: Self, c: Self) -> Self {
        Self(cpu!(_mm512_fmsub_pd(self.0, b.0, c.0)))
    }
    #[inline(always)]
    fn neg_mul_add(self, b: Self, c: Self) -> Self {
        Self(cpu!(_mm512_fnmadd_pd(self.0, b.0, c.0)))
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        Self(cpu!(_mm512_sqrt_pd(self.0)))
    }
    #[inline(always)]
    fn abs(self) -> Self {
        Self(cpu!(_mm512_andnot_pd(Self::all(-0.0).0, self.0)))
    }
    #[inline(always)]
    fn copysign(self, sign: Self) -> Self {
        let bit = cpu!(_mm512_and_pd(sign.0, Self::all(-0.0).0));
        Self(cpu!(_mm512_or_pd(self.abs().0, bit)))
    }
    #[inline(always)]
    fn round(self) -> Self {
        // 8 is nearest-even with inexact suppressed, to 2^0.
        Self(cpu!(_mm512_roundscale_pd::<8>(self.0)))
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        Self(cpu!(_mm512_min_pd(self.0, other.0)))
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self(cpu!(_mm512_max_pd(self.0, other.0)))
    }
    #[inline(always)]
    fn lt(self, other: Self) -> Mask64 {
        Mask64(cpu!(_mm512_cmp_pd_mask::<_CMP_LT_OQ>(self.0, other.0)))
    }
    #[inline(always)]
    fn le(self, other: Self) -> Mask64 {
        Mask64(cpu!(_mm512_cmp_pd_mask::<_CMP_LE_OQ>(self.0, other.0)))
    }
    #[inline(always)]
    fn eq(self, other: Self) -> Mask64 {
        Mask64(cpu!(_mm512_cmp_pd_mask::<_CMP_EQ_OQ>(self.0, other.0)))
    }
    #[inline(always)]
    fn is_nan(self) -> Mask64 {
        Mask64(cpu!(_mm512_cmp_pd_mask::<_CMP_UNORD_Q>(self.0, self.0)))
    }
    #[inline(always)]
    fn into_exponent(self) -> Self {
        let bits = cpu!(_mm512_castpd_si512(self.0));
        Self(cpu!(_mm512_castsi512_pd(cpu!(_mm512_slli_epi64::<52>(bits)))))
    }
    #[inline(always)]
    fn ldexp(self, n: Self) -> Self {
        Self(cpu!(_mm512_scalef_pd(self.0, n.0)))
    }
    #[inline(always)]
    fn split_exponent(self) -> (Self, Self) {
        let bits = cpu!(_mm512_castpd_si512(self.0));
        let two_thirds = cpu!(_mm512_set1_epi64(0x3fe5_5555_5555_5555));
        let exponent = cpu!(_mm512_srai_epi64::<52>(cpu!(_mm512_sub_epi64(bits, two_thirds))));
        let shifted = cpu!(_mm512_slli_epi64::<52>(exponent));
        let mantissa = cpu!(_mm512_castsi512_pd(cpu!(_mm512_sub_epi64(bits, shifted))));
        (Self(mantissa), Self(cpu!(_mm512_cvtepi64_pd(exponent))))
    }
    #[inline(always)]
    fn clear_low(self) -> Self {
        let high = cpu!(_mm512_castsi512_pd(cpu!(_mm512_set1_epi64(!0x7ff_ffff))));
        Self(cpu!(_mm512_and_pd(self.0, high)))
    }

    #[inline(always)]
    unsafe fn load(_isa: Avx512, from: *const f64) -> Self {
        // SAFETY: the caller gives 8 readable elements.
        Self(unsafe { _mm512_loadu_pd(from) })
    }
    #[inline(always)]
    unsafe fn load_partial(_isa: Avx512, from: *const f64, len: usize) -> Self {
        let lanes = first_lanes_64(len);
        // SAFETY: a masked load does not touch the lanes past the caller's `len`.
        Self(unsafe { _mm512_maskz_loadu_pd(lanes, from) })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f64) {
        // SAFETY: the caller gives 8 writable elements.
        unsafe { _mm512_storeu_pd(to, self.0) };
    }
    #[inline(always)]
    unsafe fn store_partial(self, to: *mut f64, len: usize) {
        let lanes = first_lanes_64(len);
        // SAFETY: a masked store does not touch the lanes past the caller's `len`.
        unsafe { _mm512_mask_storeu_pd(to, lanes, self.0) };
    }
    #[inline(always)]
    unsafe fn stream(self, to: *mut f64) {
        // SAFETY: the caller gives 8 writable elements at an address aligned to 64 bytes.
        unsafe { _mm512_stream_pd(to, self.0) };
    }
    #[inline(always)]
    unsafe fn transpose(_isa: Avx512, from: *const f64, stride: usize, rows: usize, to: *mut f64) {
        let mut row = [from; 8];
        for (i, row) in row.iter_mut().enumerate() {
            *row = from.wrapping_add(i.min(rows - 1) * stride);
        }
        for k in [0, 2, 4, 6] {
            // SAFETY: two columns of rows that the caller gives.
            let even = unsafe { four_f64([row[0], row[2], row[4], row[6]], k) };
            // SAFETY: as above.
            let odd = unsafe { four_f64([row[1], row[3], row[5], row[7]], k) };
            let columns = [cpu!(_mm512_unpacklo_pd(even, odd)), cpu!(_mm512_unpackhi_pd(even, odd))];
            for (i, &column) in columns.iter().enumerate() {
                // SAFETY: row `k + i` of the output, which the caller gives.
                unsafe { _mm512_storeu_pd(to.wrapping_add((k + i) * 8), column) };
            }
        }
    }
}

/// Two elements from `k` on of each of four rows.
///
/// # Safety
/// They are valid for reads.
#[inline(always)]
#[expect(clippy::multiple_unsafe_ops_per_block, reason = "the same read of several rows")]
unsafe fn four_f64(row: [*const f64; 4], k: usize) -> __m512d {
    let at = row.map(
        #[inline(always)]
        |row| row.wrapping_add(k),
    );
    // SAFETY: the caller gives two readable elements of each.
    let [a, b, c, d] =
        unsafe { [_mm_loadu_pd(at[0]), _mm_loadu_pd(at[1]), _mm_loadu_pd(at[2]), _mm_loadu_pd(at[3])] };
    let ab = cpu!(_mm256_insertf128_pd::<1>(cpu!(_mm256_castpd128_pd256(a)), b));
    let abc = cpu!(_mm512_insertf64x2::<2>(cpu!(_mm512_castpd256_pd512(ab)), c));
    cpu!(_mm512_insertf64x2::<3>(abc, d))
}

impl Mask<F64x8> for Mask64 {
    #[inline(always)]
    fn select(self, if_true: F64x8, if_false: F64x8) -> F64x8 {
        F64x8(cpu!(_mm512_mask_blend_pd(self.0, if_false.0, if_true.0)))
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
        self.0 == __mmask8::MAX
    }
}
