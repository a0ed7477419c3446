//! What loops over memory know of the machine besides its instructions. No result depends on it.

use core::sync::atomic::{AtomicU8, Ordering};

/// Whether memory is faster at several places at a time than at one, a page asked ahead: it is where the prefetchers of a core
/// stop at the end of a page, so with Intel, and not with AMD.
pub(crate) fn is_faster_apart() -> bool {
    /// 2 for yes and 1 for no once known, else 0: under a hypervisor it takes a microsecond to ask.
    static CACHE: AtomicU8 = AtomicU8::new(0);
    match CACHE.load(Ordering::Relaxed) {
        0 => {
            let known = !is_amd();
            CACHE.store(1 + u8::from(known), Ordering::Relaxed);
            known
        }
        known => known == 2,
    }
}

#[cfg(target_arch = "x86_64")]
fn is_amd() -> bool {
    #[allow(unused_unsafe, reason = "newer compilers know that every x86-64 has it")]
    // SAFETY: every x86-64 has `cpuid`.
    let leaf = unsafe { core::arch::x86_64::__cpuid(0) };
    // "AuthenticAMD"
    [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes) == [*b"Auth", *b"enti", *b"cAMD"]
}

#[cfg(not(target_arch = "x86_64"))]
fn is_amd() -> bool {
    false
}
