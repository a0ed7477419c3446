#!/usr/bin/env python3
"""Fails where an instruction of a kernel has become a call: needs nm, which comes with the linker.

    python3 benches/guard/inlined.py            the executables of all benches
    python3 benches/guard/inlined.py FILE...    these

A function that a kernel calls and that is not inlined is compiled for the baseline, x86-64 with SSE2 (src/simd/mod.rs). The
intrinsics in it cannot be inlined there, so each is left as a function of its own, which a symbol shows.
"""
import re
import subprocess
import sys

from builds import benches

# Asks what the CPU has, once; the standard library's own.
NOT_OURS = {"_xgetbv", "__cpuid", "__cpuid_count"}


def intrinsics(executable):
    """Intrinsics that are functions of their own."""
    symbols = subprocess.run(["nm", "-C", executable], capture_output=True, text=True, check=True).stdout
    if "steadygrad" not in symbols:
        sys.exit(f"{executable} has no symbols")
    return sorted(set(re.findall(r"core_arch::x86(?:_64)?::\w+::(\w+)", symbols)) - NOT_OURS)


def main():
    executables = {path: path for path in sys.argv[1:]} or benches()
    found = {name: intrinsics(path) for name, path in executables.items()}
    for name, functions in found.items():
        if functions:
            print(f"{name}: {', '.join(functions)}")
    if any(found.values()):
        sys.exit("Something in a kernel is not inlined: closures and functions there need #[inline(always)], arrays simd::map_array.")
    print(f"guard: every intrinsic is inlined in {len(found)} benches")


if __name__ == "__main__":
    main()
