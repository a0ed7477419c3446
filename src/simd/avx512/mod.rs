//! AVX-512 F, VL, DQ and BW: a logical vector is one register.

mod f32;
mod f64;
mod words;

use core::arch::x86_64::*;

use f32::F32x16;
use f64::F64x8;
use words::Words64x8;

use super::intrinsics::cpu;
use super::{Isa, Kernel, Level};

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
