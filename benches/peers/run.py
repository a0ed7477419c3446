#!/usr/bin/env python3
"""Times steadygrad beside the libraries a user would pick instead, interleaved in one run.

    python3 benches/peers/run.py --quick          about five minutes after the first set-up and build
    python3 benches/peers/run.py                  every workload that both have
    python3 benches/peers/run.py act/elu/n262144 linear/M20N2600K650
    python3 benches/peers/run.py --from target/peers/lines.jsonl

Prints a markdown table of medians over the rounds, with the fastest peer, the ratio (peer over steadygrad: above 1 steadygrad
is faster) and the share of the machine's limit, measured in the same run; then geometric means by family, and what is behind.
The same, every measurement and a chart are written to --out. Ctrl-C ends a run early; what was measured is still shown.

In each round every peer and steadygrad take turns, workload by workload, each in its own process, on the same cores, with as many
threads and with jemalloc, which has huge pages: under glibc's malloc PyTorch pays page faults on every large output. On a shared
machine only the ratio means something. The peers are set up in target/ unless the Python that runs this has torch.
"""
import argparse
import json
import os
import pathlib
import shutil
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import machine  # noqa: E402
import peers  # noqa: E402
import processes  # noqa: E402
import report  # noqa: E402
import workloads  # noqa: E402
from machine import ROOT, say  # noqa: E402

QUICK_SECONDS = 300


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", help="these instead of all, of the names in benches/peers/peers.py")
    parser.add_argument("--quick", action="store_true", help="some of each family, as many rounds as fit in five minutes")
    parser.add_argument("--threads", help="counts, such as 1,2; default: 1 and 2, or 1 where workloads are named")
    parser.add_argument("--rounds", type=int, help="default 5; with --quick at most 5")
    parser.add_argument("--samples", type=int, help="of a peer, a round; default 9, with --quick 5")
    parser.add_argument("--peers", help="default torch,sklearn; without --quick also compile,jax")
    parser.add_argument("--level", choices=["portable", "avx2", "avx512"], help="the highest; avx2 limits the peers too")
    parser.add_argument("--malloc", choices=["jemalloc", "glibc"], default="jemalloc")
    parser.add_argument("--python", help="a Python that has the peers")
    parser.add_argument("--bench", help="the binary of the workloads bench, where it is not to be built")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "target" / "peers", help="folder; default target/peers")
    parser.add_argument("--from", dest="lines", type=pathlib.Path, nargs="+", help="show what earlier runs wrote")
    given = parser.parse_args()
    unknown = [name for name in given.workloads if workloads.word(name) not in workloads.WORDS]
    if unknown:
        parser.error(f"no peer has {' '.join(unknown)}")
    strangers = set((given.peers or "torch").split(",")) - set(peers.PEER_GROUPS)
    if strangers:
        parser.error(f"not a peer: {' '.join(strangers)}; there are {', '.join(peers.PEER_GROUPS)}")
    return given


class Run:
    """What a run has measured so far."""

    def __init__(self, given):
        self.given, self.lines = given, []
        self.names = given.workloads or (workloads.QUICK if given.quick else workloads.full())
        whole = not given.workloads and not given.quick
        chosen = (given.peers or ("torch,compile,jax,sklearn" if whole else "torch,sklearn")).split(",")
        self.peers = [peer for peer in chosen
                      if any(workloads.group(name) in peers.PEER_GROUPS[peer] for name in self.names)]
        counts = given.threads or ("1" if given.workloads else "1,2")
        self.threads = [int(n) for n in counts.split(",") if int(n) <= len(machine.cores())]
        self.rounds = given.rounds or 5
        self.samples = given.samples or (5 if given.quick else 9)
        if given.malloc == "jemalloc":
            peers.JEMALLOC = machine.jemalloc()
        self.python = machine.peers_python(given.python, "jax" in self.peers)
        self.python = os.path.abspath(shutil.which(self.python) or self.python)
        self.bench = os.path.abspath(given.bench) if given.bench else machine.bench_binary()
        self.heading = machine.describe(self.python)
        given.out.mkdir(parents=True, exist_ok=True)
        self.file = open(given.out / "lines.jsonl", "w")

    def keep(self, lines):
        self.lines += lines
        self.file.writelines(json.dumps(line) + "\n" for line in lines)
        self.file.flush()

    def crate(self, workload, threads, round_, level=None):
        variables = processes.environment(threads, self.given.malloc, level or self.given.level)
        self.keep(processes.crate(self.bench, workload, threads, variables, round_))

    def limits(self):
        """Of each level that the CPU has, or of the run's alone where workloads were named."""
        for threads in self.threads:
            for level in [None] if self.given.workloads else ["portable", "avx2", "avx512"]:
                say(f"limits, level {level or self.given.level or 'of the CPU'}, {threads} threads")
                for workload in workloads.LIMITS:
                    self.crate(workload, threads, 0, level)

    def round(self, round_, threads):
        variables = processes.environment(threads, self.given.malloc, self.given.level)
        started = []
        try:
            for name in list(self.peers):
                peer = processes.Peer(name, self.python, threads, variables, round_, self.samples)
                started.append(peer)
                if peer.missing:
                    say(f"{name} is left out: {peer.why()}")
                    self.peers.remove(name)
            for at, workload in enumerate(self.names):
                for peer in started:
                    lines = peer.measure(workload)
                    peer.complain(lines)
                    self.keep(lines)
                self.crate(workload, threads, round_)
                say(f"round {round_ + 1}, {threads} threads, {at + 1} of {len(self.names)}: {workload}")
        finally:
            for peer in started:
                peer.close()

    def measure(self):
        start = time.monotonic()
        self.limits()
        for round_ in range(self.rounds):
            if self.given.quick and round_ and (time.monotonic() - start) * (round_ + 1) / round_ > QUICK_SECONDS:
                break
            for threads in self.threads:
                self.round(round_, threads)


def show(lines, heading, out):
    text = report.markdown(lines, heading)
    out.mkdir(parents=True, exist_ok=True)
    (out / "table.md").write_text(text)
    (out / "chart.svg").write_text(report.bars(report.rows(lines)))
    print(text)
    say(f"written: {out}/table.md, chart.svg")


def main():
    given = arguments()
    if given.lines:
        lines = [json.loads(line) for path in given.lines for line in path.read_text().splitlines()]
        show(lines, "from " + ", ".join(map(str, given.lines)), given.out)
        return
    run = Run(given)
    try:
        run.measure()
    except KeyboardInterrupt:
        say("stopped: what follows is what was measured until now")
    show(run.lines, run.heading, given.out)


if __name__ == "__main__":
    main()
