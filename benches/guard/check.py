#!/usr/bin/env python3
"""Counts the instructions of the calls in counts.tsv at the AVX2 level, and fails where one grew by more than 5 %.

    python3 benches/guard/check.py              compare; needs valgrind and a CPU with AVX2
    python3 benches/guard/check.py --write      write the counts of this build into counts.tsv
    python3 benches/guard/check.py --only act   rows whose name contains this

A clock on a shared machine shows no 5 %, a count does: callgrind gives the same number in every run of a binary. One more pass
over memory, a lost inlining or a loop that is not unrolled any more shows as a growth. Fewer instructions may still be slower; that
is what `benches/peers/run.py` is for. Another compiler makes other code: with another rustc growth is told and does not fail.
"""
import argparse
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys

from builds import ROOT, benches

TABLE = ROOT / "benches/guard/counts.tsv"
GROWTH = 1.05
# Calls counted, after one that is not.
CALLS = 4


def count(bench, name):
    """Instructions of one call of `<workload>/<direction>`, of all data types it has together."""
    workload = name.rsplit("/", 1)[0]
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no",
               "--toggle-collect=*timing*counted*", bench, "--bench", "--count", str(CALLS), "--workload", workload, "--filter", name]
    # No allocator of the caller's, whose instructions would be counted too.
    variables = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"} | {"STEADYGRAD_LEVEL": "avx2"}
    result = subprocess.run(command, env=variables, capture_output=True, text=True, cwd=ROOT)
    collected = re.search(r"Collected : (\d+)", result.stderr)
    if result.returncode != 0 or '"counted"' not in result.stdout or not collected or collected[1] == "0":
        sys.exit(f"{name} was not counted:\n{result.stdout}{result.stderr}")
    return int(collected[1]) // CALLS


def read():
    """The compiler that made the counts, and the counts by name; one not yet counted is None."""
    lines = TABLE.read_text().splitlines()
    compiler = next(line.removeprefix("# made by ") for line in lines if line.startswith("# made by "))
    rows = [line.split("\t") for line in lines if line and not line.startswith(("#", "call\t"))]
    return compiler, {row[0]: int(row[1]) if len(row) > 1 else None for row in rows}


def write(compiler, counts):
    comments = [line for line in TABLE.read_text().splitlines() if line.startswith("#") and not line.startswith("# made by ")]
    rows = [f"{name}\t{instructions}" for name, instructions in counts.items()]
    TABLE.write_text("\n".join([*comments, f"# made by {compiler}", "call\tinstructions", *rows, ""]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--bench", help="the binary of the workloads bench, where it is not to be built")
    given = parser.parse_args()
    if "avx2" not in pathlib.Path("/proc/cpuinfo").read_text():
        print("guard: this CPU has no AVX2, nothing was counted")
        return
    compiler = subprocess.run(["rustc", "--version"], capture_output=True, text=True, cwd=ROOT).stdout.strip()
    made_by, expected = read()
    bench = given.bench or benches("--bench", "workloads")["workloads"]
    names = [name for name in expected if given.only in name]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        counts = dict(zip(names, pool.map(lambda name: count(bench, name), names)))
    grown = []
    print(f"{'call':44} {'before':>11} {'now':>11}")
    for name, now in counts.items():
        before = expected[name]
        change = f"{now / before - 1:+8.1%}" if before else "     new"
        print(f"{name:44} {before or 0:11} {now:11} {change}")
        if before and now > before * GROWTH:
            grown.append(f"{name} takes {now / before - 1:.1%} more instructions")
    if given.write:
        write(compiler, expected | counts)
        print(f"written: {TABLE.relative_to(ROOT)}")
    elif grown and compiler != made_by:
        print(f"counted with {compiler}, the table with {made_by}: growth does not fail\n" + "\n".join(grown))
    elif grown:
        sys.exit("\n".join(grown) + "\nIf it is meant: python3 benches/guard/check.py --write, and say why in the commit.")
    else:
        print(f"guard: {len(counts)} calls, none grew by more than {GROWTH - 1:.0%}")


if __name__ == "__main__":
    main()
