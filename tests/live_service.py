"""`bentoml serve` in a process of its own, and a client of it."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[1]
START_TIMEOUT_S = 60


@dataclass(frozen=True)
class LiveService:
    """A service that is ready."""

    client: httpx.Client
    process: subprocess.Popen[str]


def start(model: Path, home: Path, port: int = 0) -> subprocess.Popen[str]:
    """`bentoml serve` for a model file, with everything that BentoML keeps inside `home`."""
    command = [sys.executable, "-m", "bentoml", "serve", "serving.service:Mint", "--host", "127.0.0.1"]
    environment = os.environ | {"BENTOML_HOME": str(home), "MINT_MODEL": str(model), "MINT_PROVIDER": "cpu"}
    return subprocess.Popen(
        [*command, "--port", str(port)],
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


@contextmanager
def live_service(model: Path, home: Path) -> Iterator[LiveService]:
    """Starts a service on a free port, waits until it is ready, and ends it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = start(model, home, port)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
        try:
            _wait_until_ready(client, process)
            yield LiveService(client, process)
        finally:
            process.kill()
            process.wait()


def _wait_until_ready(client: httpx.Client, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    process.kill()
    raise AssertionError(f"the service did not get ready:\n{process.communicate()[0]}")
