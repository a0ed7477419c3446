//! AVX2 with FMA and BMI2: a logical vector is a pair of 256-bit registers.

mod f32;
mod f64;
mod words;

use core::arch::x86_64::*;

use f32::F32x16;
use f64::F64x8;
use words::Words64x8;

use super::intrinsics::cpu;
use super::{Isa, Kernel, Level};

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

/// The lanes of a pair as integers.
#[derive(Clone, Copy)]
struct Integers(__m256i, __m256i);

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
