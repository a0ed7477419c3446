#!/usr/bin/env python3
"""Times steadygrad beside the libraries a user would pick instead, interleaved in one run, as a markdown table.

    python benches/peers/run.py [--threads 1] [--rounds 5] [--peers torch] [--out lines.jsonl] WORKLOAD...

Needs torch (and jax, scikit-learn for those peers) in the Python that runs it, and jemalloc at the path in peers.py
for a fair comparison, with huge pages for both sides: under glibc's malloc PyTorch pays page faults on every large output. In each round every
peer and steadygrad take their turn; the table shows medians over the rounds, the fastest peer, and the ratio: peer
over steadygrad, so above 1 steadygrad is faster. On a shared machine only the ratio means something.
"""
import argparse
import collections
import json
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE))
import peers  # noqa: E402

# The group of peers.py that a workload's first word belongs to.
GROUPS = {"act": "a", "clip_norm": "b", "clip_norm_under": "b", "clip_value": "b", "sgdm": "b", "adam": "b", "adamw": "b",
          "clip+sgdm": "b", "clip+adam": "b", "clip+adamw": "b", "bn": "c", "bn_relu": "c", "bn_add_relu": "c",
          "layer_norm": "c", "lstm": "d", "gru": "d", "rnn": "d", "linear": "e", "gemm": "e", "softmax_ce": "f", "step": "h",
          "rbm_pcd": "i"}


def lines(command, environment):
    """The JSON lines that a command prints."""
    result = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT)
    if result.returncode != 0:
        sys.exit(f"{command}\n{result.stderr}")
    return [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]


def bench_binary():
    """Builds the bench once, and gives the path of its binary."""
    build = ["cargo", "bench", "--bench", "workloads", "--no-run", "--message-format=json"]
    result = subprocess.run(build, capture_output=True, text=True, cwd=ROOT)
    if result.returncode != 0:
        sys.exit(result.stderr)
    artifacts = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    return next(a["executable"] for a in artifacts
                if a.get("executable") and a.get("target", {}).get("name") == "workloads")


def pinned(command, threads):
    cores = "0" if threads == 1 else f"0-{threads - 1}"
    return ["taskset", "-c", cores, *command]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="+")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", default="torch")
    parser.add_argument("--samples", type=int, default=9)
    parser.add_argument("--out", help="also write every measurement to this file")
    parser.add_argument("--bench", help="the binary of the workloads bench, where it is not to be built")
    a = parser.parse_args()
    ours, measured = a.bench or bench_binary(), []
    for round_ in range(a.rounds):
        for workload in a.workloads:
            environment = peers.child_env(a.threads, "jemalloc")
            for peer in a.peers.split(","):
                command = [sys.executable, HERE / "peers.py", "one", "--peer", peer, "--threads", str(a.threads),
                           "--groups", GROUPS[workload.split("/")[0]], "--round", str(round_),
                           "--samples", str(a.samples), "--filter", workload + "/"]
                measured += lines(pinned(map(str, command), a.threads), environment)
            command = [ours, "--bench", "--workload", workload, "--threads", str(a.threads)]
            # The same allocator, and so the same pages, as the peers have.
            measured += lines(pinned(command, a.threads), environment | {"RAYON_NUM_THREADS": str(a.threads)})
            print(f"round {round_ + 1} of {a.rounds}: {workload}", file=sys.stderr, flush=True)
    if a.out:
        pathlib.Path(a.out).write_text("".join(json.dumps(line) + "\n" for line in measured))
    table(measured)


def table(measured):
    times = collections.defaultdict(lambda: collections.defaultdict(list))
    for line in measured:
        if "median_s" in line:
            key = (line["workload"], line["dir"], line["dtype"], line["threads"])
            times[key][line["peer"]].append(line["median_s"])
    print("| workload | direction | threads | steadygrad | best peer | ratio |\n|---|---|---|---|---|---|")
    for (workload, direction, dtype, threads), by_peer in times.items():
        medians = {peer: statistics.median(seconds) for peer, seconds in by_peer.items()}
        ours = [seconds for peer, seconds in medians.items() if peer.startswith("steadygrad")]
        others = [(seconds, peer) for peer, seconds in medians.items() if not peer.startswith("steadygrad")]
        if ours and others:
            best, peer = min(others)
            name = workload if dtype == "f32" else f"{workload} {dtype}"
            print(f"| {name} | {direction} | {threads} | {pretty(min(ours))} | {pretty(best)} ({peer}) "
                  f"| {best / min(ours):.2f} |")


def pretty(seconds):
    for unit, scale in (("s", 1), ("ms", 1e3), ("us", 1e6)):
        if seconds * scale >= 1:
            return f"{seconds * scale:.3g} {unit}"
    return f"{seconds * 1e9:.0f} ns"


if __name__ == "__main__":
    main()
