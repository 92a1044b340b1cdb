"""Reaper process: kills the servers of a benchmark once the benchmark's own process is gone.

A process that is killed, hung up on or crashes runs no `finally`, but the reaper always sees the end of its pipe.
The reaper imports only the standard library: it runs as a script and starts in a few milliseconds.
"""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

_reaper: subprocess.Popen[str] | None = None  # that of this process


def reap_on_exit(pid: int) -> None:
    """Have a process and its descendants killed when this process ends, however it ends."""
    global _reaper
    if _reaper is None:
        # A session of its own: Ctrl-C and SIGHUP from a terminal must not end it.
        command = [sys.executable, "-I", "-S", __file__]
        _reaper = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, start_new_session=True)
    assert _reaper.stdin is not None
    print(pid, file=_reaper.stdin, flush=True)


def kill_tree(pid: int) -> None:
    """Kill a process and its descendants; the process first, as it would restart its workers."""
    for each in (pid, *descendants(pid)):
        with suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    """Child processes of a process, and theirs in turn."""
    children: list[int] = []
    with suppress(OSError):  # it has ended
        for task in Path(f"/proc/{pid}/task").iterdir():
            children += map(int, (task / "children").read_text().split())
    return children + [descendant for child in children for descendant in descendants(child)]


def _start_time(pid: int) -> str | None:
    """Start time of a process, which tells it from a later one with the same id; None once it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]  # proc(5): field 22
    except OSError:
        return None


def _main() -> None:
    """Read process ids until the pipe closes, then kill those that still run."""
    servers = [(pid, _start_time(pid)) for pid in map(int, sys.stdin)]
    for pid, started in servers:
        if started is not None and _start_time(pid) == started:
            kill_tree(pid)


if __name__ == "__main__":
    _main()
