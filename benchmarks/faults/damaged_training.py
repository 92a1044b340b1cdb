"""Fault test: training with a full disk, with flipped bits in its checkpoints, and with a second run of the same.

    python -m benchmarks.faults.damaged_training [--flips N] [--seed N]

A full disk is a small file system in memory, in a mount namespace of its own; where the system permits none, that part
is left out and said to be.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
from contextlib import chdir
from pathlib import Path

from benchmarks.faults.fault_test import Check, report_checks
from benchmarks.faults.kill_training import STEPS, left_behind, project, start, train_and_export, wait_for_checkpoint
from training import paths
from training.stage import run_stage
from training.stage_code import ROOT
from training.torch_files import DamagedFileError, load_with_checksum

PRESET = "default"
DISK_MIB = 24  # holds the images and a few checkpoints
FILLER = Path("filler")
NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount")
FILL_AND_TRAIN = """
set -e
mount -t tmpfs -o size={mib}m none {disk}
cp -a data params.yaml {disk}
cd {disk}
head -c {filler} /dev/zero > {file}
"{python}" -m training.train && code=0 || code=$?
rm {file}
[ $code = 1 ]
"{python}" -m training.train
"{python}" -m training.export
cp -a . {result}
"""


def main() -> None:
    """Run the test and print its checks."""
    parser = argparse.ArgumentParser(description="training with a full disk, damaged checkpoints and a rival")
    parser.add_argument("--flips", type=int, default=10, help="bits that are flipped, one after the other")
    parser.add_argument("--seed", type=int, default=0, help="of the positions of the bits")
    options = parser.parse_args()
    with project(PRESET):
        expected = train_and_export()
        checks = [*flip_bits(options.flips, random.Random(options.seed), expected), two_at_once()]
        if may_mount():
            checks.append(full_disk(expected))
        else:
            print("the full disk is left out: this system permits no mount namespaces")
    report_checks("training with damage to its disk", checks)


def flip_bits(flips: int, rng: random.Random, expected: dict[str, str]) -> list[Check]:
    """Flip a bit of the newest checkpoint, train on from the one before it, and compare; again and again."""
    kept = sorted(paths.RUNS.glob("*/kimg-*.pt"))
    named, equal, line = 0, 0, ""
    for _ in range(flips):
        newest = max(paths.RUNS.glob("*/kimg-*.pt"))
        damaged = bytearray(newest.read_bytes())
        position = rng.randrange(8 * len(damaged))
        damaged[position // 8] ^= 1 << position % 8
        newest.write_bytes(damaged)
        output = run_training()
        lines = [line for line in output.splitlines() if newest.name in line and "going back" in line]
        named += bool(lines)
        line = lines[0] if lines else line
        equal += train_and_export() == expected
    print(f"after a flipped bit: {line}")
    return [
        Check("a damaged checkpoint is named and the one before it used", f"{named} of {flips}", named == flips),
        Check(f"the run ends as it would have, from {len(kept)} kept", f"{equal} of {flips}", equal == flips),
    ]


def two_at_once() -> Check:
    """A second run of the same while the first one trains."""
    shutil.rmtree(paths.RUNS)
    first = start("train")
    wait_for_checkpoint(first, STEPS // 4)
    output = run_training()
    first.kill()
    first.wait()
    line = next((line for line in output.splitlines() if "error" in line), "it trained as well")
    intact = all(is_intact(path) for path in paths.RUNS.glob("*/kimg-*.pt"))
    return Check("a second run is refused with a sentence, all checkpoints intact", line, "error" in line and intact)


def may_mount() -> bool:
    """True if this system permits a mount namespace without privileges."""
    return subprocess.run([*NAMESPACE, "true"], check=False, capture_output=True).returncode == 0


def full_disk(expected: dict[str, str]) -> Check:
    """Train on a file system that fills up, and again after it has room."""
    requirement = "a full disk ends the run with a sentence; with room it ends as it would have"
    disk, result = Path("disk").absolute(), Path("result").absolute()
    disk.mkdir()
    used = sum(path.stat().st_size for path in Path("data").rglob("*") if path.is_file())
    checkpoint = max(paths.RUNS.glob("*/kimg-*.pt")).stat().st_size
    script = FILL_AND_TRAIN.format(
        mib=DISK_MIB,
        disk=disk,
        result=result,
        file=FILLER,
        python=sys.executable,
        filler=DISK_MIB * 2**20 - used - 3 * checkpoint // 2,
    )
    process = subprocess.run(
        [*NAMESPACE, "bash", "-c", script], check=False, capture_output=True, text=True, env=environment()
    )
    lines = process.stdout.splitlines() + process.stderr.splitlines()
    line = next((line for line in lines if "the disk is full" in line), "no such sentence")
    if process.returncode:
        return Check(requirement, f"{line}, then it ended with {process.returncode}: {lines[-1]}", False)
    with chdir(result):
        return Check(requirement, line, "the disk is full" in line and left_behind() == expected)


def run_training() -> str:
    """Train to the end; returns what was printed."""
    command = [sys.executable, "-m", "training.train"]
    process = subprocess.run(command, check=False, capture_output=True, text=True, env=environment())
    return process.stdout + process.stderr


def environment() -> dict[str, str]:
    """Environment of a stage with one thread, as in the test of kills."""
    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def is_intact(checkpoint: Path) -> bool:
    """True if a checkpoint has its checksum."""
    try:
        load_with_checksum(checkpoint)
    except DamagedFileError:
        return False
    return True


if __name__ == "__main__":
    run_stage(main)
