//! AVX-512 F, VL, DQ and BW: a logical vector is one register.

use core::arch::x86_64::*;

use super::{Isa, Kernel, Level, Mask, Vector, Words, operators};

/// The proof that the CPU has AVX-512 F, VL, DQ and BW, and what came before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Avx512(());

impl Avx512 {
    #[cfg(feature = "std")]
    pub(super) fn detect() -> Option<Self> {
        let detected = std::is_x86_feature_detected!("avx512f")
            && std::is_x86_feature_detected!("avx512vl")
            && std::is_x86_feature_detected!("avx512dq")
            && std::is_x86_feature_detected!("avx512bw")
            && std::is_x86_feature_detected!("avx2")
            && std::is_x86_feature_detected!("fma")
            && std::is_x86_feature_detected!("bmi2");
        detected.then_some(Self(()))
    }

    #[cfg(not(feature = "std"))]
    pub(super) fn detect() -> Option<Self> {
        let compiled = cfg!(all(
            target_feature = "avx512f",
            target_feature = "avx512vl",
            target_feature = "avx512dq",
            target_feature = "avx512bw",
            target_feature = "fma",
            target_feature = "bmi2"
        ));
        compiled.then_some(Self(()))
    }

    /// The proof without detection.
    ///
    /// # Safety
    /// [`detect`](Self::detect) has found the features.
    #[inline(always)]
    pub(super) unsafe fn assume() -> Self {
        Self(())
    }

    /// Runs `kernel` in a function that may use the features.
    #[inline]
    pub(super) fn vectorize<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma,bmi2")]
        fn enter<K: Kernel>(isa: Avx512, kernel: K) -> K::Output {
            kernel.run(isa)
        }
        // SAFETY: an `Avx512` exists only where detection found these features.
        unsafe { enter(self, kernel) }
    }
}

/// One intrinsic call; its arguments are evaluated outside the `unsafe` block.
macro_rules! cpu {
    ($intrinsic:ident $(::<$constant:tt>)? ($($argument:expr),*)) => {
        cpu!(@bind $intrinsic $(::<$constant>)? [a b c] [] $($argument,)*)
    };
    (@bind $intrinsic:ident $(::<$constant:tt>)? [$name:ident $($names:ident)*] [$($bound:ident)*] $argument:expr, $($rest:expr,)*) => {{
        let $name = $argument;
        cpu!(@bind $intrinsic $(::<$constant>)? [$($names)*] [$($bound)* $name] $($rest,)*)
    }};
    (@bind $intrinsic:ident $(::<$constant:tt>)? [$($names:ident)*] [$($bound:ident)*]) => {{
        // SAFETY: an `Avx512`, and so a vector, exists only where detection found its features.
        unsafe { $intrinsic $(::<$constant>)? ($($bound),*) }
    }};
}

impl Isa for Avx512 {
    type F32 = F32x16;
    type F64 = F64x8;
    type Words = Words64x8;
    const LEVEL: Level = Level::Avx512;

    #[inline(always)]
    fn widen(self, x: F32x16) -> [F64x8; 2] {
        let low = cpu!(_mm512_castps512_ps256(x.0));
        let high = cpu!(_mm512_extractf32x8_ps::<1>(x.0));
        [F64x8(cpu!(_mm512_cvtps_pd(low))), F64x8(cpu!(_mm512_cvtps_pd(high)))]
    }

    #[inline(always)]
    fn narrow(self, x: [F64x8; 2]) -> F32x16 {
        let low = cpu!(_mm512_castps256_ps512(cpu!(_mm512_cvtpd_ps(x[0].0))));
        F32x16(cpu!(_mm512_insertf32x8::<1>(low, cpu!(_mm512_cvtpd_ps(x[1].0)))))
    }

    #[inline(always)]
    fn prefetch<T>(self, address: *const T) {
        cpu!(_mm_prefetch::<_MM_HINT_T0>(address.cast()));
    }

    #[inline(always)]
    fn prefetch_far<T>(self, address: *const T) {
        cpu!(_mm_prefetch::<_MM_HINT_T1>(address.cast()));
    }

    #[inline(always)]
    fn fence(self) {
        cpu!(_mm_sfence());
    }
}

/// Sixteen `f32`.
#[derive(Clone, Copy, Debug)]
pub(super) struct F32x16(__m512);

/// One bit a lane.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mask32(__mmask16);

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

/// Eight `f64`.
#[derive(Clone, Copy, Debug)]
pub(super) struct F64x8(__m512d);

/// One bit a lane.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mask64(__mmask8);

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

/// Eight words in lanes of 64 bits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Words64x8(__m512i);

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
