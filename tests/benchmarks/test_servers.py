"""Servers of a benchmark: killed when the benchmark ends, however it ends."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.live_service import ROOT

TIME_LIMIT_S = 90

# A command that starts a server, which starts a worker in a session of its own, as BentoML does.
COMMAND = """
import signal, sys
from pathlib import Path
from benchmarks.load.servers import running_server

SERVER = '''
import subprocess
worker = subprocess.Popen(["sleep", "600"], start_new_session=True)
print(worker.pid, flush=True)
worker.wait()
'''
signal.signal(signal.SIGINT, signal.default_int_handler)  # the parent of the tests may ignore signals
for each in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(each, signal.SIG_DFL)
with running_server("server", ["-c", SERVER], {}, Path(sys.argv[1])) as server:
    while not (worker := server.log.read_text()).endswith("\\n"):
        pass
    print(server.process.pid, worker.strip(), flush=True)
    if sys.argv[2:]:
        raise RuntimeError("a crash")
    signal.pause()
"""


def ended(pid: int) -> bool:
    """True for a process that is gone, or a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL, "a crash"])
def test_servers_end_when_their_command_ends(end: signal.Signals | str, tmp_path: Path) -> None:
    crash = [end] if isinstance(end, str) else []
    command = subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(tmp_path), *crash], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert command.stdout is not None
    pids = [int(pid) for pid in command.stdout.readline().split()]
    assert len(pids) == 2
    if not isinstance(end, str):
        command.send_signal(end)
    command.communicate(timeout=TIME_LIMIT_S)
    assert command.returncode != 0
    deadline = time.monotonic() + TIME_LIMIT_S
    while not all(map(ended, pids)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [pid for pid in pids if not ended(pid)] == []
