"""wrk runs: a fixed number of connections, each sending one request after another for a fixed time."""

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load.http_client import HOST, Request
from serving.errors import MintError

SCRIPT = Path(__file__).with_name("load.lua")
TIMEOUT_S = 30


@dataclass(frozen=True)
class LoadResult:
    """Throughput and latency of one run."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float


def require_wrk() -> None:
    """Raise MintError when wrk is not installed."""
    if shutil.which("wrk") is None:
        raise MintError("wrk is not installed and makes the load; install it (Debian: apt-get install wrk)")


def command(port: int, request: Request, connections: int, seconds: int, seeds: int, first_seed: int) -> list[str]:
    """Command line of a run. seeds: number in each request, counted up from `first_seed`; 0 for none."""
    options = ["-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", f"{TIMEOUT_S}s", "-s", str(SCRIPT)]
    return ["wrk", *options, f"http://{HOST}:{port}", "--", request.head, request.body, str(seeds), str(first_seed)]


def parse(name: str, output: str) -> LoadResult:
    """Parse the output of load.lua; raises MintError when any request failed, as the rate would count errors."""
    result = json.loads(output.splitlines()[-1])
    if not result["requests"]:
        raise MintError(f"{name} sent no response within {result['seconds']:.0f} s; give --seconds more")
    if result["error_status"] or result["broken"]:
        raise MintError(
            f"{name}: of {result['requests']} requests {result['error_status']} got a status of 400 or more and "
            f"{result['broken']} broke off or timed out; a benchmark of errors means nothing, so see its log"
        )
    return LoadResult(result["requests"] / result["seconds"], result["p50_ms"], result["p99_ms"])


def run(
    name: str, port: int, request: Request, connections: int, seconds: int, seeds: int = 1, first_seed: int = 0
) -> LoadResult:
    """Run wrk against a local port; `name` is the server's, for error messages."""
    line = command(port, request, connections, seconds, seeds, first_seed)
    done = subprocess.run(line, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise MintError(f"{name}: wrk failed: {done.stdout.strip().splitlines()[-1]}")
    return parse(name, done.stdout)
