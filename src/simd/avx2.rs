//! AVX2 with FMA and BMI2: a logical vector is a pair of 256-bit registers.

use core::arch::x86_64::*;

use super::{Isa, Kernel, Level, Mask, Vector, Words, operators};

/// The proof that the CPU has AVX2, FMA and BMI2.
#[derive(Clone, Copy, Debug)]
pub(super) struct Avx2(());

impl Avx2 {
    #[cfg(feature = "std")]
    pub(super) fn detect() -> Option<Self> {
        let detected = std::is_x86_feature_detected!("avx2")
            && std::is_x86_feature_detected!("fma")
            && std::is_x86_feature_detected!("bmi2");
        detected.then_some(Self(()))
    }

    #[cfg(not(feature = "std"))]
    pub(super) fn detect() -> Option<Self> {
        let compiled = cfg!(all(target_feature = "avx2", target_feature = "fma", target_feature = "bmi2"));
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
        #[target_feature(enable = "avx2,fma,bmi2")]
        fn enter<K: Kernel>(isa: Avx2, kernel: K) -> K::Output {
            kernel.run(isa)
        }
        // SAFETY: an `Avx2` exists only where detection found these features.
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
        // SAFETY: an `Avx2`, and so a vector, exists only where detection found AVX2 and FMA.
        unsafe { $intrinsic $(::<$constant>)? ($($bound),*) }
    }};
}

/// The same intrinsic on both registers of a pair.
macro_rules! both {
    ($Pair:ident: $intrinsic:ident $(::<$constant:tt>)? ($($pair:expr),*)) => {
        $Pair(
            cpu!($intrinsic $(::<$constant>)? ($($pair.0),*)),
            cpu!($intrinsic $(::<$constant>)? ($($pair.1),*)),
        )
    };
}

impl Isa for Avx2 {
    type F32 = F32x16;
    type F64 = F64x8;
    type Words = Words64x8;
    const LEVEL: Level = Level::Avx2;

    #[inline(always)]
    fn widen(self, x: F32x16) -> [F64x8; 2] {
        [widen_half(x.0), widen_half(x.1)]
    }

    #[inline(always)]
    fn narrow(self, x: [F64x8; 2]) -> F32x16 {
        F32x16(narrow_half(x[0]), narrow_half(x[1]))
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

#[inline(always)]
fn widen_half(x: __m256) -> F64x8 {
    let (low, high) = (cpu!(_mm256_castps256_ps128(x)), cpu!(_mm256_extractf128_ps::<1>(x)));
    F64x8(cpu!(_mm256_cvtps_pd(low)), cpu!(_mm256_cvtps_pd(high)))
}

#[inline(always)]
fn narrow_half(x: F64x8) -> __m256 {
    let (low, high) = (cpu!(_mm256_cvtpd_ps(x.0)), cpu!(_mm256_cvtpd_ps(x.1)));
    cpu!(_mm256_set_m128(high, low))
}

impl Avx2 {
    /// [`Vector::transpose`] for sixteen `f32`, by blocks of eight rows and four columns.
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    #[expect(clippy::multiple_unsafe_ops_per_block, reason = "the same read of several rows")]
    unsafe fn transpose_f32(self, from: *const f32, stride: usize, rows: usize, to: *mut f32) {
        let mut rows_at = [from; 16];
        for (i, at) in rows_at.iter_mut().enumerate() {
            *at = from.wrapping_add(i.min(rows - 1) * stride);
        }
        for (row, k) in [(0, 0), (0, 4), (0, 8), (0, 12), (8, 0), (8, 4), (8, 8), (8, 12)] {
            let at = super::inlined(
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

    /// [`Vector::transpose`] for eight `f64`, by blocks of four rows and two columns.
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    #[expect(clippy::multiple_unsafe_ops_per_block, reason = "the same read of several rows")]
    unsafe fn transpose_f64(self, from: *const f64, stride: usize, rows: usize, to: *mut f64) {
        let mut rows_at = [from; 8];
        for (i, at) in rows_at.iter_mut().enumerate() {
            *at = from.wrapping_add(i.min(rows - 1) * stride);
        }
        for (row, k) in [(0, 0), (0, 2), (0, 4), (0, 6), (4, 0), (4, 2), (4, 4), (4, 6)] {
            let at = super::inlined(
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

/// Sixteen `f32`.
#[derive(Clone, Copy, Debug)]
pub(super) struct F32x16(__m256, __m256);

/// All bits of a lane set or clear.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mask32(__m256, __m256);

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
    fn integers(value: i32) -> Integers {
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

/// The lanes of a pair as integers.
#[derive(Clone, Copy)]
struct Integers(__m256i, __m256i);

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
    unsafe fn transpose(isa: Avx2, from: *const f32, stride: usize, rows: usize, to: *mut f32) {
        // SAFETY: the caller gives what it needs.
        unsafe { isa.transpose_f32(from, stride, rows, to) };
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

/// Eight `f64`.
#[derive(Clone, Copy, Debug)]
pub(super) struct F64x8(__m256d, __m256d);

/// All bits of a lane set or clear.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mask64(__m256d, __m256d);

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
    unsafe fn transpose(isa: Avx2, from: *const f64, stride: usize, rows: usize, to: *mut f64) {
        // SAFETY: the caller gives what it needs.
        unsafe { isa.transpose_f64(from, stride, rows, to) };
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

/// Eight words in lanes of 64 bits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Words64x8(__m256i, __m256i);

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
