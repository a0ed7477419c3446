"""The processes that measure: one for each peer and round, one for each of the crate's workloads."""
import json
import os
import pathlib
import subprocess
import tempfile
import threading
import time

import peers
import workloads
from machine import ROOT, cores, say

# A workload that takes longer is given up.
PATIENCE_SECONDS = 900
# A peer that computes for longer after its measurements is not waited for.
REST_SECONDS = 5
# What limits the peers to AVX2, as STEADYGRAD_LEVEL does the crate.
PEERS_AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}


def environment(threads, malloc, level):
    """The same allocator, and so the same pages, for both sides; as many threads; at most that level."""
    variables = peers.child_env(threads, malloc) | {"RAYON_NUM_THREADS": str(threads)}
    if level:
        variables["STEADYGRAD_LEVEL"] = level
    if level == "avx2":
        variables |= PEERS_AVX2
    return variables


def start(command, threads, variables, errors):
    """A process on the first cores, in its own session so that Ctrl-C reaches only this script."""
    return subprocess.Popen([str(part) for part in command], env=variables, cwd=ROOT, text=True, stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, stderr=errors, start_new_session=True,
                            preexec_fn=lambda: os.sched_setaffinity(0, cores()[:threads]))


def crate(binary, workload, threads, variables, round_):
    """The crate's lines of a workload."""
    command = [binary, "--bench", "--workload", workload, "--threads", threads]
    process = start(command, threads, variables, subprocess.PIPE)
    try:
        out, errors = process.communicate(timeout=PATIENCE_SECONDS)
    except BaseException:
        process.kill()
        raise
    if process.returncode != 0:
        say(f"steadygrad failed on {workload}: {errors.strip().splitlines()[-1:]}")
    return [json.loads(line) | {"round": round_} for line in out.splitlines() if line.startswith("{")]


class Peer:
    """A peer's process, which measures what it is asked for until it is closed."""

    def __init__(self, name, python, threads, variables, round_, samples):
        self.name, self.said = name, set()
        command = [python, pathlib.Path(peers.__file__), "serve", "--peer", name, "--threads", threads,
                   "--round", round_, "--samples", samples, "--malloc", "jemalloc" if "LD_PRELOAD" in variables else "glibc"]
        self.errors = tempfile.TemporaryFile("w+")
        self.process = start(command, threads, variables, self.errors)
        self.missing = self.process.stdout.readline() != "ready\n"

    def why(self):
        """The last line of what it wrote to stderr, once it has ended."""
        self.process.wait()
        self.errors.seek(0)
        return (self.errors.read().strip().splitlines() or ["no reason given"])[-1]

    def measure(self, workload):
        """Its lines of a workload; none where it has no such workload or has ended."""
        group = workloads.group(workload)
        if self.process.poll() is not None or group not in peers.PEER_GROUPS[self.name]:
            return []
        timer = threading.Timer(PATIENCE_SECONDS, self.process.kill)
        timer.start()
        lines = []
        try:
            self.process.stdin.write(f"{group} {workloads.peers_name(workload)}\n")
            self.process.stdin.flush()
            for line in self.process.stdout:
                if line == "\n":
                    self.rest()
                    return lines
                if line.startswith("{"):
                    lines.append(json.loads(line) | {"workload": workload})
        except BrokenPipeError:
            pass
        finally:
            timer.cancel()
        say(f"{self.name} ended on {workload}: {self.why()}")
        return lines

    def rest(self):
        """Waits until it computes no more: what JAX does for a quarter of a second after short calls took half of the core, and so of
        the speed, of whoever was measured next."""
        until = time.monotonic() + REST_SECONDS
        before = self.ticks()
        while time.monotonic() < until:
            time.sleep(0.05)
            now = self.ticks()
            if now == before:
                return
            before = now

    def ticks(self):
        """CPU time of all its threads, in clock ticks of mostly 10 ms."""
        try:
            fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            return 0
        return int(fields[11]) + int(fields[12])

    def complain(self, lines):
        """Says once what it could not do."""
        for line in lines:
            if "error" in line and line["error"] not in self.said:
                self.said.add(line["error"])
                say(f"{self.name}: {line['workload']}: {line['error']}")

    def close(self):
        self.process.kill()
        self.process.wait()
