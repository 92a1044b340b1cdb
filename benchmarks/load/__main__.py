"""Load benchmark (`make bench`): the service and baseline servers under wrk, on the same two cores.

    python -m benchmarks.load [--rounds N] [--seconds N]

Prints tables and writes reports/bench.json. wrk and the servers share two cores; every server has one worker. Servers
are measured in turn, round after round; figures are medians over the rounds, and each ratio is the median of the
quotients within a round.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.baselines import commands
from benchmarks.load.measure import Plan, measure, summary
from benchmarks.load.models import dcgan_64
from benchmarks.load.servers import ROOT
from benchmarks.load.tables import print_report
from benchmarks.load.wrk import require_wrk
from benchmarks.machine import cpu_model
from serving.errors import MintError
from serving.files import atomic_write
from training import paths
from training.export import git_revision
from training.stage import run_stage

REPORT = Path("reports/bench.json")
CORES = 2

# Minimum of each ratio that the service should reach, by name.
TARGETS = {
    "batch over bare loop": 0.9,
    f"mint over {commands.BENTO_PLAIN.name}": 1.5,
    f"mint over {commands.FASTAPI.name}": 1.0,
}


def main() -> None:
    """Measure all models, then write and print the report."""
    parser = argparse.ArgumentParser(description="throughput and latency of the service, as ratios")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each server")
    parser.add_argument("--seconds", type=int, default=10, help="duration of one measurement")
    options = parser.parse_args()
    require_wrk()
    cores = pin_to_cores()
    plan = Plan(options.rounds, options.seconds, threads=cores)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        models = {"default": paths.MODEL, "dcgan-64": dcgan_64(scratch / "dcgan-64.onnx")}
        results = {name: summary(measure(path, plan, scratch / name)) for name, path in models.items()}
        profile = profile_of(paths.MODEL, plan, scratch)
    report = {
        "hardware": f"{cores} cores of {cpu_model()}, shared with wrk; network on {plan.threads} threads",
        "date": datetime.now(UTC).date().isoformat(),
        "git_revision": git_revision(),
        "rounds": plan.rounds,
        "seconds": plan.seconds,
        "models": results,
        "targets": targets(results),
        "profile": profile,
    }
    with atomic_write(REPORT) as path:
        path.write_text(json.dumps(report, indent=2) + "\n")
    print_report(report)


def pin_to_cores() -> int:
    """Restrict this process and its future children to the first CORES cores; returns how many there are."""
    cores = sorted(os.sched_getaffinity(0))[:CORES]
    os.sched_setaffinity(0, cores)
    return len(cores)


def profile_of(model: Path, plan: Plan, scratch: Path) -> dict[str, Any]:
    """Run `benchmarks.load.profile` in a subprocess and return its JSON."""
    home = scratch / "profile"
    home.mkdir(parents=True)
    own = {"BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "true"}
    log = home / "log"
    with log.open("w") as errors:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.load.profile", "--seconds", str(plan.seconds)],
            cwd=ROOT,
            env=os.environ | own | commands.environment(model, plan.threads),
            text=True,
            stdout=subprocess.PIPE,
            stderr=errors,
            check=False,
        )
    if done.returncode:
        raise MintError(f"the profile could not be taken: {log.read_text().strip().splitlines()[-1]}")
    profile: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return profile


def targets(results: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Every target on every model, beside the ratio that was reached."""
    return [
        {"model": model, "name": name, "ratio": result["ratios"][name], "at_least": at_least}
        for model, result in results.items()
        for name, at_least in TARGETS.items()
    ]


if __name__ == "__main__":
    run_stage(main)
