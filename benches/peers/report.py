"""From measured lines to rows, the table, the means by family and the machine's limits, as markdown."""
import collections
import dataclasses
import math
import statistics

import chart
import workloads

# A ratio this near to 1 is a tie.
TIE = 0.03
# What a family's arrays go through: which of the measured bandwidths is its limit.
TRAFFIC = {"clip_norm_under": "read", "clip_norm": "update", "clip_value": "update", "sgdm": "update", "adam": "update",
           "adamw": "update", "clip+sgdm": "update", "clip+adam": "update", "clip+adamw": "update"}


@dataclasses.dataclass
class Row:
    """A workload and direction: medians over the rounds, in seconds."""
    workload: str
    direction: str
    dtype: str
    threads: int
    ours: float
    best: float | None
    peer: str
    share: float | None
    # Largest over smallest of the crate's rounds, where there were several.
    spread: float | None

    @property
    def ratio(self):
        return self.best / self.ours if self.best else None

    @property
    def name(self):
        return self.workload if self.dtype == "f32" else f"{self.workload} {self.dtype}"


def is_ours(line):
    return line["peer"] == "steadygrad"


def rows(lines):
    """The crate's workloads in the order of their first lines, each with its best peer."""
    lines = [line for line in lines if "median_s" in line]
    limits = Limits(lines)
    theirs, ours = collections.defaultdict(list), collections.defaultdict(list)
    for line in lines:
        key = (line["workload"], line["dir"], line["dtype"], line["threads"])
        if not is_ours(line):
            theirs[key, line["peer"]].append(line["median_s"])
        elif not line["workload"].startswith("limit/"):
            ours[key].append(line)
    found = []
    for (workload, direction, dtype, threads), mine in ours.items():
        key = (workload, workloads.peers_direction(direction), dtype, threads)
        others = sorted((statistics.median(v), peer) for (k, peer), v in theirs.items() if k == key)
        best, peer = others[0] if others else (None, "")
        seconds = [line["median_s"] for line in mine]
        median = statistics.median(seconds)
        found.append(Row(workload, direction, dtype, threads, median, best, peer, limits.share(mine[0], median),
                         max(seconds) / min(seconds) if len(seconds) > 1 else None))
    return found


class Limits:
    """The bandwidths and products that the same run measured."""

    def __init__(self, lines):
        self.bandwidth, self.peak = collections.defaultdict(dict), collections.defaultdict(float)
        for line in filter(is_ours, lines):
            _, kind, size = (line["workload"].split("/") + ["", ""])[:3]
            if not line["workload"].startswith("limit/"):
                continue
            key = (line["level"], line["threads"])
            if kind == "product":
                self.peak[key, line["dtype"]] = max(self.peak[key, line["dtype"]], line["flops"] / line["min_s"])
            else:
                known = self.bandwidth[key, kind]
                kib = int(size.removesuffix("KiB"))
                known[kib] = max(known.get(kib, 0.0), line["bytes"] / line["min_s"])

    def share(self, line, seconds):
        """How much of the machine's limit a line's work in that time is."""
        key = (line["level"], line["threads"])
        if line.get("flops"):
            peak = self.peak.get((key, line["dtype"]))
            return line["flops"] / seconds / peak if peak else None
        kind = TRAFFIC.get(workloads.word(line["workload"]), "copy")
        known = self.bandwidth.get((key, kind))
        if not known or not line.get("bytes"):
            return None
        return line["bytes"] / seconds / between(known, line["bytes"] / 1024)

    def markdown(self):
        """One row for each level and thread count."""
        levels = sorted({key for key, _ in self.bandwidth} | {key for key, _ in self.peak})
        if not levels:
            return ""
        sizes = sorted({size for known in self.bandwidth.values() for size in known})
        names = [f"{size} KiB" if size < 1024 else f"{size >> 10} MiB" for size in sizes]
        text = ["| level | threads | product f32, f64 (GFLOP/s) | GB/s: read, copy, update of "
                + " | ".join(names) + " |", "|---" * (3 + len(sizes)) + "|"]
        for key in levels:
            product = ", ".join(f"{self.peak[key, dtype] / 1e9:.0f}" for dtype in ("f32", "f64"))
            rates = [", ".join(f"{self.bandwidth[key, kind].get(size, 0) / 1e9:.0f}" for kind in ("read", "copy", "update"))
                     for size in sizes]
            text.append(f"| {key[0]} | {key[1]} | {product} | " + " | ".join(rates) + " |")
        return "\n".join(text)


def between(known, size):
    """The value at `size`, on a straight line over log(size) between those known."""
    sizes = sorted(known)
    above = next((s for s in sizes if s >= size), sizes[-1])
    below = next((s for s in reversed(sizes) if s <= size), sizes[0])
    if above == below or not below < size < above:
        return known[above if size <= above else below]
    part = math.log(size / below) / math.log(above / below)
    return known[below] * (1 - part) + known[above] * part


def table(found):
    text = ["| workload | direction | threads | best peer | steadygrad | ratio | of the limit |", "|---|---|---|---|---|---|---|"]
    for row in found:
        best = f"{pretty(row.best)} ({row.peer})" if row.best else "none"
        ratio = f"{row.ratio:.2f}" if row.best else ""
        share = f"{100 * row.share:.0f} %" if row.share else ""
        text.append(f"| {row.name} | {row.direction} | {row.threads} | {best} | {pretty(row.ours)} | {ratio} | {share} |")
    return "\n".join(text)


def by_family(found):
    """Family: threads: ratios; and all of them under the name `all`."""
    families = collections.defaultdict(lambda: collections.defaultdict(list))
    for row in found:
        if row.best:
            for family in (workloads.family(row.workload), "all"):
                families[family][row.threads].append(row.ratio)
    families["all"] = families.pop("all", collections.defaultdict(list))
    return families


def means(found):
    families = by_family(found)
    threads = sorted({row.threads for row in found})
    text = ["| family | " + " | ".join(plural(n, "thread") for n in threads) + " |",
            "|---" * (1 + len(threads)) + "|"]
    for family, ratios in families.items():
        cells = [f"{chart.geometric_mean(ratios[n]):.2f} ({plural(len(ratios[n]), 'row')})" if ratios[n] else "" for n in threads]
        text.append(f"| {family} | " + " | ".join(cells) + " |")
    return "\n".join(text)


def bars(found):
    threads = sorted({row.threads for row in found})
    groups = {family: [ratios[n] for n in threads] for family, ratios in by_family(found).items()}
    names = [plural(n, "thread") for n in threads]
    return chart.ratios("Time of the best peer over steadygrad's (bar: geometric mean, dot: a workload)", groups, names)


def behind(found):
    """What is worse than a tie, the worst first."""
    slow = sorted((row for row in found if row.best and row.ratio < 1 - TIE), key=lambda row: row.ratio)
    ties = sum(1 for row in found if row.best and abs(row.ratio - 1) <= TIE)
    text = f"{sum(1 for row in found if row.best)} rows, {ties} within {TIE:.0%} of 1.0, {len(slow)} behind"
    return text + "".join(f"\n- {row.ratio:.2f} {row.name} {row.direction}, {plural(row.threads, 'thread')}" for row in slow)


def noise(found):
    spreads = [row.spread - 1 for row in found if row.spread]
    if not spreads:
        return "One round: no measure of the noise."
    return f"Between rounds half of steadygrad's rows moved by less than {statistics.median(spreads):.0%}."


def markdown(lines, heading):
    found = rows(lines)
    if not found:
        return "nothing was measured\n"
    parts = [heading, table(found), means(found), behind(found) + "\n\n" + noise(found)]
    limits = Limits([line for line in lines if "median_s" in line]).markdown()
    if limits:
        parts.append(limits)
    return "\n\n".join(parts) + "\n"


def plural(count, noun):
    return f"{count} {noun}{'s' * (count != 1)}"


def pretty(seconds):
    for unit, scale in (("s", 1), ("ms", 1e3), ("us", 1e6)):
        if seconds * scale >= 1:
            return f"{seconds * scale:.3g} {unit}"
    return f"{seconds * 1e9:.0f} ns"
