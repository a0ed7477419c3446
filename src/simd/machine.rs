//! What loops over memory know of the machine besides its instructions. No result depends on it.

use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

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

/// Bytes of the largest cache, as the CPU tells them; `usize::MAX` where it does not.
pub(crate) fn largest_cache() -> usize {
    /// 0 until it is known.
    static CACHE: AtomicUsize = AtomicUsize::new(0);
    match CACHE.load(Ordering::Relaxed) {
        0 => {
            let known = ask_for_largest_cache();
            CACHE.store(known, Ordering::Relaxed);
            known
        }
        known => known,
    }
}

#[cfg(target_arch = "x86_64")]
fn ask_for_largest_cache() -> usize {
    /// More than any CPU has.
    const CACHES: u32 = 8;
    let leaf = if is_amd() { 0x8000_001D } else { 4 };
    if cpuid(leaf & 0x8000_0000, 0).eax < leaf {
        return usize::MAX;
    }
    let caches = (0..CACHES).map(|cache| cpuid(leaf, cache)).take_while(|cache| cache.eax & 31 != 0);
    // The fields of the leaf are each one less than what they stand for.
    let bytes = caches.map(|cache| {
        let (line, ways) = ((cache.ebx & 0xFFF) + 1, (cache.ebx >> 22) + 1);
        let (parts, sets) = (((cache.ebx >> 12) & 0x3FF) + 1, cache.ecx as usize + 1);
        (line as usize).saturating_mul(ways as usize).saturating_mul(parts as usize).saturating_mul(sets)
    });
    bytes.max().unwrap_or(usize::MAX)
}

#[cfg(not(target_arch = "x86_64"))]
fn ask_for_largest_cache() -> usize {
    usize::MAX
}

#[cfg(target_arch = "x86_64")]
fn cpuid(leaf: u32, part: u32) -> core::arch::x86_64::CpuidResult {
    #[allow(unused_unsafe, reason = "newer compilers know that every x86-64 has it")]
    // SAFETY: every x86-64 has `cpuid`.
    unsafe {
        core::arch::x86_64::__cpuid_count(leaf, part)
    }
}

#[cfg(target_arch = "x86_64")]
fn is_amd() -> bool {
    let leaf = cpuid(0, 0);
    // "AuthenticAMD"
    [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes) == [*b"Auth", *b"enti", *b"cAMD"]
}

#[cfg(not(target_arch = "x86_64"))]
fn is_amd() -> bool {
    false
}
