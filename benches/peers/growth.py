#!/usr/bin/env python3
"""Time against size: plots of steadygrad's workloads, and the sizes that stand out.

    python3 benches/peers/growth.py [--families act lstm ...] [--threads 1,2] [--large] [--out target/growth]

A cliff is a size whose time for an element is over 1.5 times that of the next smaller and of the next larger size. Each is measured
again with its neighbours before it is called one. Needs nothing but the crate's bench.
"""
import argparse
import collections
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import chart  # noqa: E402
import machine  # noqa: E402
import peers  # noqa: E402
import processes  # noqa: E402
from machine import ROOT, say  # noqa: E402

CLIFF = 1.5
# Times that a suspect is measured again.
AGAIN = 3
# Rows and batches of which tiles are cut: not only powers of two.
COUNTS = [1, 2, 3, 4, 6, 8, 12, 16, 20, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512]


def elements(most):
    return [1 << power for power in range(4, most + 1)]


def families(most):
    """Name: what grows, its sizes, workloads with a `{}` for it."""
    n = elements(most)
    return {
        "act": ("elements", n, ["act/relu/n{}", "act/tanh/n{}", "act/gelu/n{}"]),
        "clip": ("elements", n, ["clip_norm_under/list1x{}", "clip_norm/list1x{}", "clip_value/list1x{}"]),
        "optim": ("elements", n, ["sgdm/list1x{}", "clip+adamw/list1x{}"]),
        "layer_norm": ("columns of 64 rows", elements(most - 6), ["layer_norm/64x{}"]),
        "softmax_ce": ("classes of 64 rows", elements(most - 6), ["softmax_ce/64x{}"]),
        "bn": ("channels of 256 rows", elements(most - 8), ["bn/256x{}"]),
        "linear": ("rows, of 1024 to 1024", [*COUNTS, 768, 1024, 2048, 4096], ["linear/M{}N1024K1024"]),
        "lstm_time": ("steps of batch 20, 256 to 256", [1 << power for power in range(10)], ["lstm/T{}B20I256H256"]),
        "lstm_batch": ("batch, of 16 steps, 256 to 256", COUNTS[:-2], ["lstm/T16B{}I256H256"]),
        "lstm_hidden": ("hidden units, of 16 steps of batch 20", [16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024],
                        ["lstm/T16B20I256H{}"]),
    }


def elements_of(family, size):
    """What a time is divided by: a recurrent product grows with the square of its hidden units and with its inputs."""
    return size * (size + 256) if family == "lstm_hidden" else size


class Growth:
    """Times by series and size."""

    def __init__(self, family, bench, malloc):
        self.family, self.bench, self.malloc = family, bench, malloc
        self.seconds = collections.defaultdict(dict)
        # Where a series' size was measured: its workload and threads.
        self.workload = {}

    def measure(self, pattern, size, threads):
        variables = processes.environment(threads, self.malloc, None)
        for line in processes.crate(self.bench, pattern.format(size), threads, variables, 0):
            if line["dtype"] != "f32" or line["dir"].startswith("fwd_"):
                continue
            name = f"{pattern.split('/')[0] if self.family != 'act' else pattern.split('/')[1]} {line['dir']}"
            known = self.seconds[threads, name]
            known[size] = min(line["median_s"], known.get(size, float("inf")))
            self.workload[threads, name] = pattern

    def rates(self, series):
        """(size, nanoseconds an element)."""
        return [(size, seconds * 1e9 / elements_of(self.family, size)) for size, seconds in sorted(self.seconds[series].items())]

    def cliffs(self, series):
        rates = self.rates(series)
        return [(at, size) for at, (size, rate) in enumerate(rates[1:-1], 1)
                if rate > CLIFF * rates[at - 1][1] and rate > CLIFF * rates[at + 1][1]]

    def check(self):
        """Measures suspects again, with their neighbours."""
        for series in list(self.seconds):
            for at, _ in self.cliffs(series):
                sizes = [size for size, _ in self.rates(series)][at - 1:at + 2]
                for size in sizes * AGAIN:
                    self.measure(self.workload[series], size, series[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="+", choices=list(families(22)), metavar="NAME", help=", ".join(families(22)))
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--large", action="store_true", help="up to 2^26 elements instead of 2^22")
    parser.add_argument("--malloc", choices=["jemalloc", "glibc"], default="jemalloc")
    parser.add_argument("--bench", help="the binary of the workloads bench, where it is not to be built")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "target" / "growth")
    given = parser.parse_args()
    if given.malloc == "jemalloc":
        peers.JEMALLOC = machine.jemalloc()
    bench = given.bench or machine.bench_binary()
    threads = [int(n) for n in given.threads.split(",") if int(n) <= len(machine.cores())]
    given.out.mkdir(parents=True, exist_ok=True)
    found, done = [], []
    known = families(26 if given.large else 22)
    try:
        for family in given.families or known:
            what, sizes, patterns = known[family]
            growth = Growth(family, bench, given.malloc)
            done.append((family, what, growth))
            for count in threads:
                for pattern in patterns:
                    say(f"{pattern} for {sizes[0]} to {sizes[-1]}, {count} threads")
                    for size in sizes:
                        growth.measure(pattern, size, count)
            growth.check()
    except KeyboardInterrupt:
        say("stopped: what follows is what was measured until now")
    for family, what, growth in done:
        found += write(given.out, family, what, growth, threads)
    print(f"{len(found)} cliffs" + "".join(f"\n- {cliff}" for cliff in found))


def write(out, family, what, growth, threads):
    """One plot a thread count and one file of times; gives the cliffs as text."""
    found = []
    for count in threads:
        series = {name: growth.rates((n, name)) for n, name in growth.seconds if n == count}
        if not any(series.values()):
            continue
        marked = []
        for name, rates in series.items():
            for at, size in growth.cliffs((count, name)):
                marked.append(rates[at])
                before, here, after = (f"{rate:.3g}" for _, rate in rates[at - 1:at + 2])
                found.append(f"{growth.workload[count, name].format(size)}, {name.split()[-1]}, {count} threads: {here} ns an element, "
                             f"beside {before} and {after}")
        title = f"{family}, {count} thread{'s' * (count > 1)}"
        (out / f"{family}-t{count}.svg").write_text(chart.curves(title, series, what, "ns an element", marked))
    with open(out / f"{family}.jsonl", "w") as file:
        for (count, name), sizes in growth.seconds.items():
            file.write(json.dumps({"series": name, "threads": count, "seconds": sizes}) + "\n")
    return found


if __name__ == "__main__":
    main()
