"""wrk: so many connections, each with one request after another, for so many seconds."""

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load.messages import HOST, Request
from serving.errors import MintError

SCRIPT = Path(__file__).with_name("load.lua")
TIMEOUT_S = 30


@dataclass(frozen=True)
class Load:
    """What one run measured."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float


def require_wrk() -> None:
    """Raises MintError where there is no wrk."""
    if shutil.which("wrk") is None:
        raise MintError("wrk is not installed and makes the load; install it (Debian: apt-get install wrk)")


def command(port: int, request: Request, connections: int, seconds: int, seeds: int, first_seed: int) -> list[str]:
    """The command line of a run. seeds: how many in each request, counted up from `first_seed`; 0: none."""
    options = ["-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", f"{TIMEOUT_S}s", "-s", str(SCRIPT)]
    return ["wrk", *options, f"http://{HOST}:{port}", "--", request.head, request.body, str(seeds), str(first_seed)]


def parse(name: str, output: str) -> Load:
    """Reads what load.lua printed; raises MintError when any request failed, as rates without answers mean nothing."""
    result = json.loads(output.splitlines()[-1])
    if not result["requests"]:
        raise MintError(f"{name} answered nothing within {result['seconds']:.0f} s; give --seconds more")
    if result["refused"] or result["broken"]:
        raise MintError(
            f"{name}: of {result['requests']} requests {result['refused']} were answered with a status of 400 or more "
            f"and {result['broken']} broke off or timed out; a benchmark of errors means nothing, so see its log"
        )
    return Load(result["requests"] / result["seconds"], result["p50_ms"], result["p99_ms"])


def load(
    name: str, port: int, request: Request, connections: int, seconds: int, seeds: int = 1, first_seed: int = 0
) -> Load:
    """Runs wrk against a port of this machine; `name` is for errors."""
    line = command(port, request, connections, seconds, seeds, first_seed)
    done = subprocess.run(line, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise MintError(f"{name}: wrk failed: {done.stdout.strip().splitlines()[-1]}")
    return parse(name, done.stdout)
