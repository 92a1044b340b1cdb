"""Server processes: started on a free port, awaited until ready, inspected through /proc, and killed."""

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

from benchmarks.load.http_client import HOST, Request, send
from benchmarks.load.reaper import kill_tree, reap_on_exit
from serving.errors import MintError

ROOT = Path(__file__).parents[2]
START_TIMEOUT_S = 90
PORT = "PORT"  # placeholder in a command for the port


@dataclass(frozen=True)
class Server:
    """Server process that has been started."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def stats(self) -> "ProcessStats":
        """Resources of the process; of the whole server only where that is a single process."""
        return ProcessStats(self.process.pid)


@dataclass(frozen=True)
class ProcessStats:
    """Resources that a process holds now, from /proc."""

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
def running_server(
    name: str, arguments: Sequence[str], environment: Mapping[str, str], scratch: Path
) -> Iterator[Server]:
    """Run `python ARGUMENTS`, with a free port for PORT, and kill it in the end.

    scratch: folder for the log and BentoML's own files.
    """
    port = free_port()
    home = scratch / name.replace(" ", "-")
    home.mkdir(parents=True)
    # The service refuses unknown MINT_ variables, such as those of the tests.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MINT_")}
    own = {"BENTOML_HOME": str(home), "TMPDIR": str(home), "BENTOML_DO_NOT_TRACK": "true", **environment}
    log = home / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *(argument.replace(PORT, str(port)) for argument in arguments)],
            cwd=ROOT,
            env=inherited | own,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C must reach only the benchmark, which then kills its servers
        )
    server = Server(name, port, process, log)
    reap_on_exit(process.pid)
    try:
        yield server
    finally:
        kill(server)


def wait_until_ready(server: Server, request: Request) -> None:
    """Wait until the request gets a 200; raises MintError with the last response or log line when it never does."""
    deadline = time.monotonic() + START_TIMEOUT_S
    last_response = ""
    while time.monotonic() < deadline and server.process.poll() is None:
        with suppress(OSError, http.client.HTTPException):
            response = send(server.port, request, seeds=[0])
            if response.status == 200:
                return
            last_response = f"{response.status} {response.body.decode(errors='replace')}"
        time.sleep(0.05)
    last_line = (server.log.read_text(errors="replace").strip().splitlines() or ["nothing"])[-1]
    raise MintError(f"{server.name} did not become ready; its last output: {last_response or last_line}")


def kill(server: Server) -> None:
    """Kill the server and its descendants."""
    kill_tree(server.process.pid)
    server.process.wait()


def free_port() -> int:
    """A local port that no process listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
