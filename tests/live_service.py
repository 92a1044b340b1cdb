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
END_TIMEOUT_S = 30
LOG = "service.log"


@dataclass(frozen=True)
class LiveService:
    """A service that is ready."""

    client: httpx.Client
    process: subprocess.Popen[bytes]
    home: Path

    @property
    def log(self) -> str:
        """What it has written so far."""
        return log_of(self.home)


def start(model: Path, home: Path, port: int = 0, **settings: str) -> subprocess.Popen[bytes]:
    """`bentoml serve` for a model file, with its log and everything that BentoML keeps inside `home`.

    settings: further MINT_ variables, such as MINT_DRAIN="2"; without that one it ends as soon as it is told to.
    """
    command = [sys.executable, "-m", "bentoml", "serve", "serving.service:Mint", "--host", "127.0.0.1"]
    outside = {name: value for name, value in os.environ.items() if not name.startswith("MINT_")}
    environment = outside | {"BENTOML_HOME": str(home), "MINT_MODEL": str(model), "MINT_PROVIDER": "cpu"}
    environment |= {"MINT_DRAIN": "0"} | settings
    home.mkdir(exist_ok=True)
    with (home / LOG).open("wb") as log:  # a pipe that nobody reads would stop the service when it is full
        return subprocess.Popen(
            [*command, "--port", str(port)], cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT
        )


def log_of(home: Path) -> str:
    """What the service of this home has written so far."""
    return (home / LOG).read_text()


@contextmanager
def live_service(model: Path, home: Path, **settings: str) -> Iterator[LiveService]:
    """Starts a service on a free port, waits until it is ready, and ends it; settings as for `start`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = start(model, home, port, **settings)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
        try:
            _wait_until_ready(client, process, home)
            yield LiveService(client, process, home)
        finally:
            process.terminate()  # killed, it would leave its worker behind
            process.wait(timeout=END_TIMEOUT_S)


def _wait_until_ready(client: httpx.Client, process: subprocess.Popen[bytes], home: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"the service did not get ready:\n{log_of(home)}")
