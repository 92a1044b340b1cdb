"""`mint serve` in a subprocess, and an HTTP client for it."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.load.reaper import reap_on_exit

ROOT = Path(__file__).parents[1]
START_TIMEOUT_S = 120
END_TIMEOUT_S = 90
LOG = "service.log"
MINT = ("-m", "serving.cli")  # Python's arguments that run the command line


@dataclass(frozen=True)
class LiveService:
    """A running service that is ready."""

    client: httpx.Client
    process: subprocess.Popen[bytes]
    home: Path

    @property
    def log(self) -> str:
        """The log so far."""
        return read_log(self.home)

    def wait_for_log(self, text: str) -> None:
        """Wait until the log contains the text; logging is asynchronous."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while text not in self.log:
            assert self.process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)


def start(
    model: Path, home: Path, port: int = 0, program: Sequence[str] = MINT, **settings: str
) -> subprocess.Popen[bytes]:
    """Start `mint serve` for a model file, with its log inside `home`; port 0 picks a free port, which the log names.

    program: Python's arguments in place of those that run `mint`. settings: further MINT_ variables, such as
    MINT_DRAIN="2"; it defaults to 0, so that SIGTERM ends it at once.
    """
    command = [sys.executable, *program, "serve", "--host", "127.0.0.1"]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MINT_")}
    environment = inherited | {"MINT_MODEL": str(model), "MINT_PROVIDER": "cpu", "MINT_DRAIN": "0"} | settings
    environment["PYTHONFAULTHANDLER"] = "1"  # for `_wait_until_ended`
    home.mkdir(exist_ok=True)
    with (home / LOG).open("wb") as log:
        process = subprocess.Popen(
            [*command, "--port", str(port)],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    reap_on_exit(process.pid)
    return process


def read_log(home: Path) -> str:
    """The log of the service in this home so far."""
    return (home / LOG).read_text()


@contextmanager
def live_service(model: Path, home: Path, program: Sequence[str] = MINT, **settings: str) -> Iterator[LiveService]:
    """Start a service on a free port, wait until it is ready, and stop it at the end; options as for `start`."""
    process = start(model, home, 0, program, **settings)
    try:
        with httpx.Client(base_url=wait_until_ready(process, home), timeout=60, trust_env=False) as client:
            yield LiveService(client, process, home)
    finally:
        process.terminate()
        _wait_until_ended(process, home)


def _wait_until_ended(process: subprocess.Popen[bytes], home: Path) -> None:
    """Wait until the service has ended; where it does not, raise AssertionError with what each thread does."""
    try:
        process.wait(timeout=END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)  # on which faulthandler writes the threads' stacks to the log
        process.wait()
        raise AssertionError(f"the service did not end:\n{read_log(home)}") from None


def wait_until_ready(process: subprocess.Popen[bytes], home: Path) -> str:
    """Wait until the service is ready and return its address, which it logs."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        if match := re.search(r'"listening on (http://[^"]+)"', read_log(home)):
            with suppress(httpx.TransportError):
                if httpx.get(f"{match[1]}/readyz", trust_env=False).status_code == 200:
                    return match[1]
        time.sleep(0.05)
    raise AssertionError(f"the service did not get ready:\n{read_log(home)}")
