"""What a run needs of the machine: a Python with the peers, jemalloc, the crate's bench, cores; and what it is."""
import datetime
import glob
import hashlib
import importlib.util
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
VENV = ROOT / "target" / "peers-venv"
# The oldest Python that requirements.txt has packages for, and those to look for.
OLDEST = (3, 12)
PYTHONS = ["python3.13", "python3.12", "python3.14", "python3"]


def say(text):
    print(text, file=sys.stderr, flush=True)


def peers_python(given, with_jax):
    """A Python that has the peers: the one given, the one that runs this, or one set up in target/."""
    if given:
        return given
    if importlib.util.find_spec("torch"):
        return sys.executable
    python = VENV / "bin" / "python"
    wanted = [HERE / "requirements.txt"] + [HERE / "requirements-jax.txt"] * with_jax
    for requirements in wanted:
        digest = hashlib.sha256(requirements.read_bytes()).hexdigest()[:16]
        stamp = VENV / f"{requirements.stem}-{digest}"
        if stamp.exists():
            continue
        if not python.exists():
            say(f"setting up {VENV.relative_to(ROOT)}: some gigabytes, some minutes, once")
            subprocess.run([base_python(), "-m", "venv", VENV], check=True)
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", requirements]
        if subprocess.run(install).returncode == 0:
            stamp.touch()
        elif requirements.stem == "requirements":
            sys.exit(f"the peers could not be installed; --python names a Python that has {requirements.name}")
        else:
            say(f"{requirements.name} could not be installed: left out")
    return str(python)


def base_python():
    """A Python new enough, also one of pyenv's that is not the current one."""
    pyenv = os.environ.get("PYENV_ROOT", os.path.expanduser("~/.pyenv"))
    paths = [shutil.which(name) for name in PYTHONS]
    paths += sorted(glob.glob(f"{pyenv}/versions/3.1[2-9]*/bin/python3"), reverse=True)
    for path in filter(None, paths):
        check = f"import ensurepip, sys; sys.exit(sys.version_info < {OLDEST})"
        if subprocess.run([path, "-c", check], capture_output=True).returncode == 0:
            return path
    sys.exit(f"needs Python {'.'.join(map(str, OLDEST))} or newer with venv (Debian: python3-venv); or --python")


def jemalloc():
    """The library's path; without it PyTorch pays page faults on every large output, and a win is the allocator's."""
    places = ["/usr/lib/*/libjemalloc.so.2", "/usr/lib64/libjemalloc.so.2", "/usr/lib/libjemalloc.so.2",
              "/usr/local/lib/libjemalloc.so.2"]
    found = [path for place in places for path in sorted(glob.glob(place))
             if platform.machine() in path or "-linux-" not in path]
    if not found:
        sys.exit("needs jemalloc: apt-get install libjemalloc2 (elsewhere the package is called jemalloc); "
                 "or --malloc glibc, with which page faults slow the peers")
    return found[0]


def bench_binary():
    """Builds the crate's bench and gives its path."""
    say("building benches/workloads")
    build = ["cargo", "bench", "--bench", "workloads", "--no-run", "--message-format=json-render-diagnostics"]
    result = subprocess.run(build, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    if result.returncode != 0:
        sys.exit("the bench did not build")
    artifacts = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    return next(artifact["executable"] for artifact in artifacts
                if artifact.get("executable") and artifact.get("target", {}).get("name") == "workloads")


def cores():
    return sorted(os.sched_getaffinity(0))


def describe(python):
    """One line: what was measured, on what, with which versions."""
    def output(*command):
        try:
            return subprocess.run(command, capture_output=True, text=True, cwd=ROOT).stdout.strip()
        except OSError:
            return ""
    models = [line.split(":")[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
              if line.startswith("model name")]
    versions = output(python, "-c", "import importlib.metadata as m\nfor p in ('torch', 'jax', 'scikit-learn'):\n"
                                    " try: print(p, m.version(p))\n except m.PackageNotFoundError: pass")
    versions = ", ".join(versions.splitlines())
    commit = output("git", "rev-parse", "--short", "HEAD") + ("+" if output("git", "status", "--porcelain", "-uno") else "")
    load = os.getloadavg()[0]
    return (f"{datetime.date.today()}, {models[0] if models else platform.machine()}, {len(cores())} cores, commit {commit}, "
            f"{' '.join(output('rustc', '--version').split()[:2])}, {versions}, load before {load:.1f}")
