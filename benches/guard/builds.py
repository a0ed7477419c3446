"""What cargo builds of the benches."""
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def benches(*arguments):
    """Builds benches as `cargo bench --no-run` with these arguments does; their executables by name."""
    build = ["cargo", "bench", "--no-run", "--message-format=json-render-diagnostics", *arguments]
    result = subprocess.run(build, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    if result.returncode != 0:
        sys.exit("the benches did not build")
    artifacts = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    return {a["target"]["name"]: a["executable"] for a in artifacts if a.get("executable") and "bench" in a["target"]["kind"]}
