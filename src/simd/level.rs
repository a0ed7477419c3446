//! Which instruction set runs: detected once, bounded by `STEADYGRAD_LEVEL`, overridden for a scope in tests.

#[cfg(feature = "std")]
use core::cell::Cell;
use core::fmt;
#[cfg(feature = "std")]
use core::sync::atomic::{AtomicU8, Ordering};

use super::{Kernel, portable::Portable};
#[cfg(target_arch = "x86_64")]
use super::{avx2::Avx2, avx512::Avx512};
#[cfg(feature = "std")]
use crate::Error;

/// An instruction set that kernels are compiled for, from the lowest to the highest.
///
/// ```
/// use steadygrad::Level;
///
/// let level = Level::current(); // the best this CPU has, unless `STEADYGRAD_LEVEL` says less
/// assert!(Level::available().any(|available| available == level));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Level {
    /// What the build's target has: SSE2, NEON or WebAssembly SIMD through `wide`, or scalar code.
    Portable = 1,
    /// AVX2, FMA and BMI2.
    Avx2 = 2,
    /// AVX-512 F, VL, DQ and BW.
    Avx512 = 3,
}

impl Level {
    const ALL: [Self; 3] = [Self::Portable, Self::Avx2, Self::Avx512];

    /// The levels this CPU can run, from the lowest to the highest.
    pub fn available() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|level| level.is_detected())
    }

    /// The level that a call from this thread runs at.
    ///
    /// It is the innermost [`scoped`](Level::scoped) one, else the highest available that does not exceed the
    /// environment variable `STEADYGRAD_LEVEL` (`portable`, `avx2` or `avx512`; read once).
    #[must_use]
    pub fn current() -> Self {
        Active::current().0
    }

    /// Runs `body` with every call from this thread at `level`; the level before holds again afterwards.
    ///
    /// # Errors
    /// [`Error::LevelUnavailable`] where the CPU lacks the level; then `body` was not run.
    #[cfg(feature = "std")]
    pub fn scoped<R>(level: Self, body: impl FnOnce() -> R) -> Result<R, Error> {
        struct Restore(Option<Active>);
        impl Drop for Restore {
            fn drop(&mut self) {
                OVERRIDE.set(self.0);
            }
        }
        if !level.is_detected() {
            return Err(Error::LevelUnavailable);
        }
        let _restore = Restore(OVERRIDE.replace(Some(Active(level))));
        Ok(body())
    }

    /// `portable`, `avx2` or `avx512`: the word `STEADYGRAD_LEVEL` takes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }

    fn is_detected(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => Avx2::detect().is_some(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => Avx512::detect().is_some(),
            #[cfg(not(target_arch = "x86_64"))]
            _ => false,
        }
    }

    #[cfg(feature = "std")]
    fn from_environment() -> Self {
        let best = Self::available().last().unwrap_or(Self::Portable);
        let Some(word) = std::env::var_os("STEADYGRAD_LEVEL") else { return best };
        match Self::ALL.into_iter().find(|level| word == level.name()) {
            Some(ceiling) => best.min(ceiling),
            None => {
                std::eprintln!(
                    "steadygrad: STEADYGRAD_LEVEL is {word:?}, not portable, avx2 or avx512; using {best}"
                );
                best
            }
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A level that the CPU is known to have: only this module makes one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Active(Level);

#[cfg(feature = "std")]
std::thread_local! {
    static OVERRIDE: Cell<Option<Active>> = const { Cell::new(None) };
}

impl Active {
    /// The level.
    pub(crate) fn level(self) -> Level {
        self.0
    }

    /// The level of this thread; read it once at a public entry and hand it to the workers.
    #[cfg(feature = "std")]
    #[inline]
    pub(crate) fn current() -> Self {
        OVERRIDE.get().unwrap_or_else(Self::of_process)
    }

    #[cfg(feature = "std")]
    #[inline]
    fn of_process() -> Self {
        /// The process's level once known, else 0.
        static CACHE: AtomicU8 = AtomicU8::new(0);

        #[cold]
        fn detect() -> Active {
            // A lock so that an unknown word is warned about once, however many threads come first.
            static ONCE: std::sync::OnceLock<Level> = std::sync::OnceLock::new();
            let level = *ONCE.get_or_init(Level::from_environment);
            CACHE.store(level as u8, Ordering::Relaxed);
            Active(level)
        }

        match CACHE.load(Ordering::Relaxed) {
            1 => Self(Level::Portable),
            2 => Self(Level::Avx2),
            3 => Self(Level::Avx512),
            _ => detect(),
        }
    }

    /// The level compiled for: without `std` there is no run-time detection.
    #[cfg(not(feature = "std"))]
    #[inline]
    pub(crate) fn current() -> Self {
        Self(Level::available().last().unwrap_or(Level::Portable))
    }
}

/// Runs `kernel` with the instructions of `active`.
#[inline]
pub(crate) fn dispatch<K: Kernel>(active: Active, kernel: K) -> K::Output {
    match active.0 {
        Level::Portable => kernel.run(Portable),
        // SAFETY: an `Active` holds only a level that was detected.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { Avx2::assume() }.vectorize(kernel),
        // SAFETY: an `Active` holds only a level that was detected.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { Avx512::assume() }.vectorize(kernel),
        #[cfg(not(target_arch = "x86_64"))]
        _ => kernel.run(Portable),
    }
}
