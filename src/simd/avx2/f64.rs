//! Eight lanes of `f64`.

use core::arch::x86_64::*;

use super::{Avx2, Integers};
use crate::simd::intrinsics::{both, cpu};
use crate::simd::{Mask, Vector, inlined, operators};

/// Eight `f64`.
#[derive(Clone, Copy, Debug)]
pub(in crate::simd) struct F64x8(pub(super) __m256d, pub(super) __m256d);

/// All bits of a lane set or clear.
#[derive(Clone, Copy, Debug)]
pub(in crate::simd) struct Mask64(pub(super) __m256d, pub(super) __m256d);

/// Masks of the first `len` of eight lanes.
#[inline(always)]
fn first_lanes_64(len: usize) -> (__m256i, __m256i) {
    static ONES_THEN_ZEROS: [i64; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
    let window = &ONES_THEN_ZEROS[8 - len..16 - len];
    // SAFETY: the window has 8 elements, so the first 4 may be read.
    let low = unsafe { _mm256_loadu_si256(window.as_ptr().cast()) };
    // SAFETY: the window has 8 elements, so the last 4 may be read.
    let high = unsafe { _mm256_loadu_si256(window[4..].as_ptr().cast()) };
    (low, high)
}

impl F64x8 {
    #[inline(always)]
    fn all(value: f64) -> Self {
        Self(cpu!(_mm256_set1_pd(value)), cpu!(_mm256_set1_pd(value)))
    }
    #[inline(always)]
    fn integers(value: i64) -> Integers {
        Integers(cpu!(_mm256_set1_epi64x(value)), cpu!(_mm256_set1_epi64x(value)))
    }
    #[inline(always)]
    fn to_bits(self) -> Integers {
        both!(Integers: _mm256_castpd_si256(self))
    }
    #[inline(always)]
    fn from_bits(bits: Integers) -> Self {
        both!(Self: _mm256_castsi256_pd(bits))
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        both!(Self: _mm256_add_pd(self, other))
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        both!(Self: _mm256_sub_pd(self, other))
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        both!(Self: _mm256_mul_pd(self, other))
    }
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        both!(Self: _mm256_div_pd(self, other))
    }
    #[inline(always)]
    fn negate(self) -> Self {
        both!(Self: _mm256_xor_pd(self, Self::all(-0.0)))
    }
}

operators!(F64x8, f64);

impl Vector for F64x8 {
    type Elem = f64;
    type Isa = Avx2;
    type Mask = Mask64;
    const LANES: usize = 8;
    const UNIT_EXPONENT: f64 = 6_755_399_441_056_767.0;

    #[inline(always)]
    fn isa(self) -> Avx2 {
        Avx2(())
    }
    #[inline(always)]
    fn new(_isa: Avx2, value: f64) -> Self {
        Self::all(value)
    }
    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        both!(Self: _mm256_fmadd_pd(self, b, c))
    }
    #[inline(always)]
    fn mul_sub(self, b: Self, c: Self) -> Self {
        both!(Self: _mm256_fmsub_pd(self, b, c))
    }
    #[inline(always)]
    fn neg_mul_add(self, b: Self, c: Self) -> Self {
        both!(Self: _mm256_fnmadd_pd(self, b, c))
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        both!(Self: _mm256_sqrt_pd(self))
    }
    #[inline(always)]
    fn abs(self) -> Self {
        both!(Self: _mm256_andnot_pd(Self::all(-0.0), self))
    }
    #[inline(always)]
    fn copysign(self, sign: Self) -> Self {
        let bit = both!(Self: _mm256_and_pd(sign, Self::all(-0.0)));
        both!(Self: _mm256_or_pd(self.abs(), bit))
    }
    #[inline(always)]
    fn round(self) -> Self {
        // 8 is nearest-even with inexact suppressed.
        both!(Self: _mm256_round_pd::<8>(self))
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        both!(Self: _mm256_min_pd(self, other))
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        both!(Self: _mm256_max_pd(self, other))
    }
    #[inline(always)]
    fn lt(self, other: Self) -> Mask64 {
        both!(Mask64: _mm256_cmp_pd::<_CMP_LT_OQ>(self, other))
    }
    #[inline(always)]
    fn le(self, other: Self) -> Mask64 {
        both!(Mask64: _mm256_cmp_pd::<_CMP_LE_OQ>(self, other))
    }
    #[inline(always)]
    fn eq(self, other: Self) -> Mask64 {
        both!(Mask64: _mm256_cmp_pd::<_CMP_EQ_OQ>(self, other))
    }
    #[inline(always)]
    fn is_nan(self) -> Mask64 {
        both!(Mask64: _mm256_cmp_pd::<_CMP_UNORD_Q>(self, self))
    }
    #[inline(always)]
    fn into_exponent(self) -> Self {
        let bits = self.to_bits();
        Self::from_bits(both!(Integers: _mm256_slli_epi64::<52>(bits)))
    }
    #[inline(always)]
    fn ldexp(self, n: Self) -> Self {
        // Two normal powers: the first product is exact, the second rounds once, to a subnormal too.
        let first = (n * 0.5).round();
        self * first.pow2() * (n - first).pow2()
    }
    #[inline(always)]
    fn split_exponent(self) -> (Self, Self) {
        // AVX2 has no arithmetic shift of 64 bits: offset the exponent by 1024, so that a logical one serves.
        let bits = self.to_bits();
        let two_thirds = Self::integers(0x3fe5_5555_5555_5555 - (1024 << 52));
        let offset =
            both!(Integers: _mm256_srli_epi64::<52>(both!(Integers: _mm256_sub_epi64(bits, two_thirds))));
        // 2^52 with the offset exponent as its low bits is 2^52 + offset as a number.
        let two_to_52 = Self::all(4_503_599_627_370_496.0).to_bits();
        let number = Self::from_bits(both!(Integers: _mm256_or_si256(offset, two_to_52)));
        let exponent = number - 4_503_599_627_371_520.0;
        let shifted = both!(Integers: _mm256_slli_epi64::<52>(both!(Integers: _mm256_sub_epi64(offset, Self::integers(1024)))));
        (Self::from_bits(both!(Integers: _mm256_sub_epi64(bits, shifted))), exponent)
    }
    #[inline(always)]
    fn clear_low(self) -> Self {
        let high = Self::from_bits(Self::integers(!0x7ff_ffff));
        both!(Self: _mm256_and_pd(self, high))
    }

    #[inline(always)]
    unsafe fn load(_isa: Avx2, from: *const f64) -> Self {
        // SAFETY: the caller gives 8 readable elements, these are the first 4.
        let low = unsafe { _mm256_loadu_pd(from) };
        // SAFETY: the caller gives 8 readable elements, these are the last 4.
        Self(low, unsafe { _mm256_loadu_pd(from.wrapping_add(4)) })
    }
    #[inline(always)]
    unsafe fn load_partial(_isa: Avx2, from: *const f64, len: usize) -> Self {
        let (low, high) = first_lanes_64(len);
        // SAFETY: a masked load does not touch the lanes past the caller's `len`.
        let first = unsafe { _mm256_maskload_pd(from, low) };
        // SAFETY: as above; the address itself may lie past the end, so it is computed without `add`.
        Self(first, unsafe { _mm256_maskload_pd(from.wrapping_add(4), high) })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f64) {
        // SAFETY: the caller gives 8 writable elements, these are the first 4.
        unsafe { _mm256_storeu_pd(to, self.0) };
        // SAFETY: the caller gives 8 writable elements, these are the last 4.
        unsafe { _mm256_storeu_pd(to.wrapping_add(4), self.1) };
    }
    #[inline(always)]
    unsafe fn store_partial(self, to: *mut f64, len: usize) {
        let (low, high) = first_lanes_64(len);
        // SAFETY: a masked store does not touch the lanes past the caller's `len`.
        unsafe { _mm256_maskstore_pd(to, low, self.0) };
        // SAFETY: as above; the address itself may lie past the end, so it is computed without `add`.
        unsafe { _mm256_maskstore_pd(to.wrapping_add(4), high, self.1) };
    }
    #[inline(always)]
    unsafe fn stream(self, to: *mut f64) {
        // SAFETY: the caller gives 8 writable elements at an aligned address, these are the first 4.
        unsafe { _mm256_stream_pd(to, self.0) };
        // SAFETY: the caller gives 8 writable elements at an aligned address, these are the last 4.
        unsafe { _mm256_stream_pd(to.wrapping_add(4), self.1) };
    }
    #[inline(always)]
    #[expect(clippy::multiple_unsafe_ops_per_block, reason = "the same read of several rows")]
    unsafe fn transpose(_isa: Avx2, from: *const f64, stride: usize, rows: usize, to: *mut f64) {
        // By blocks of four rows and two columns.
        let mut rows_at = [from; 8];
        for (i, at) in rows_at.iter_mut().enumerate() {
            *at = from.wrapping_add(i.min(rows - 1) * stride);
        }
        for (row, k) in [(0, 0), (0, 2), (0, 4), (0, 6), (4, 0), (4, 2), (4, 4), (4, 6)] {
            let at = inlined(
                #[inline(always)]
                |i: usize| rows_at[row + i].wrapping_add(k),
            );
            // SAFETY: two columns of four rows that the caller gives.
            let [a, b] = unsafe { [pair_f64(at(0), at(2)), pair_f64(at(1), at(3))] };
            let columns = [cpu!(_mm256_unpacklo_pd(a, b)), cpu!(_mm256_unpackhi_pd(a, b))];
            for i in 0..2 {
                // SAFETY: four of the eight elements of row `k + i` of the output, which the caller gives.
                unsafe { _mm256_storeu_pd(to.wrapping_add((k + i) * 8 + row), columns[i]) };
            }
        }
    }
}

impl Mask<F64x8> for Mask64 {
    #[inline(always)]
    fn select(self, if_true: F64x8, if_false: F64x8) -> F64x8 {
        both!(F64x8: _mm256_blendv_pd(if_false, if_true, self))
    }
    #[inline(always)]
    fn and(self, other: Self) -> Self {
        both!(Self: _mm256_and_pd(self, other))
    }
    #[inline(always)]
    fn or(self, other: Self) -> Self {
        both!(Self: _mm256_or_pd(self, other))
    }
    #[inline(always)]
    fn not(self) -> Self {
        let ones = cpu!(_mm256_castsi256_pd(cpu!(_mm256_set1_epi32(-1))));
        both!(Self: _mm256_xor_pd(self, Self(ones, ones)))
    }
    #[inline(always)]
    fn any(self) -> bool {
        cpu!(_mm256_movemask_pd(cpu!(_mm256_or_pd(self.0, self.1)))) != 0
    }
    #[inline(always)]
    fn all(self) -> bool {
        cpu!(_mm256_movemask_pd(cpu!(_mm256_and_pd(self.0, self.1)))) == 0xf
    }
}

/// Two elements from each of two addresses.
///
/// # Safety
/// Both are valid for reads of two elements.
#[inline(always)]
unsafe fn pair_f64(low: *const f64, high: *const f64) -> __m256d {
    // SAFETY: the caller gives two readable elements.
    let low = unsafe { _mm_loadu_pd(low) };
    // SAFETY: the caller gives two readable elements.
    let high = unsafe { _mm_loadu_pd(high) };
    cpu!(_mm256_insertf128_pd::<1>(cpu!(_mm256_castpd128_pd256(low)), high))
}
