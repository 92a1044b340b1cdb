"""Servers in processes of their own: started on a free port, waited for, looked at, ended."""

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load.guard import guard, kill_tree
from benchmarks.load.messages import HOST, Request, ask
from serving.errors import MintError

ROOT = Path(__file__).parents[2]
START_TIMEOUT_S = 90
PORT = "PORT"  # stands in a command where the port goes


@dataclass(frozen=True)
class Server:
    """A server that has been started."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def worker(self) -> "Process":
        """The process that answers, of a server that is one."""
        return Process(self.process.pid)


@dataclass(frozen=True)
class Process:
    """What Linux says about a process."""

    pid: int

    @property
    def memory(self) -> int:
        """Resident memory in bytes."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    @property
    def files(self) -> int:
        """Open file descriptors, sockets among them."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    @property
    def threads(self) -> int:
        """Threads, those of libraries among them."""
        return len(list(Path(f"/proc/{self.pid}/task").iterdir()))


@contextmanager
def started(name: str, arguments: Sequence[str], environment: Mapping[str, str], scratch: Path) -> Iterator[Server]:
    """Starts `python ARGUMENTS`, with PORT where the port goes, and ends it.

    scratch: where the log and BentoML's own files go.
    """
    port = free_port()
    home = scratch / name.replace(" ", "-")
    home.mkdir(parents=True)
    # The service refuses MINT_ variables that it does not know, such as those of the tests.
    outside = {name: value for name, value in os.environ.items() if not name.startswith("MINT_")}
    own = {"BENTOML_HOME": str(home), "TMPDIR": str(home), "BENTOML_DO_NOT_TRACK": "true", **environment}
    log = home / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *(argument.replace(PORT, str(port)) for argument in arguments)],
            cwd=ROOT,
            env=outside | own,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the benchmark, which then ends its servers itself
        )
    server = Server(name, port, process, log)
    guard(process.pid)
    try:
        yield server
    finally:
        end(server)


def wait_until_ready(server: Server, request: Request) -> None:
    """Returns when the request is answered with 200; raises MintError with what was said instead when it never is."""
    deadline = time.monotonic() + START_TIMEOUT_S
    said = ""
    while time.monotonic() < deadline and server.process.poll() is None:
        with suppress(OSError, http.client.HTTPException):
            answer = ask(server.port, request, seeds=[0])
            if answer.status == 200:
                return
            said = f"{answer.status} {answer.body.decode(errors='replace')}"
        time.sleep(0.05)
    last_line = (server.log.read_text(errors="replace").strip().splitlines() or ["nothing"])[-1]
    raise MintError(f"{server.name} did not get ready; it said: {said or last_line}")


def end(server: Server) -> None:
    """Kills the server and what it started."""
    kill_tree(server.process.pid)
    server.process.wait()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind((HOST, 0))
        port: int = free.getsockname()[1]
        return port
