"""Guard of servers: a process that outlives whoever started them, and then ends them and what they started.

A command that is killed, hung up on or crashes runs no `finally`; the end of its pipe to the guard is seen all the
same. The guard imports nothing but Python's own modules: it is run as a file, and starts in a few milliseconds.
"""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

_running: subprocess.Popen[str] | None = None  # the guard of this process


def guard(pid: int) -> None:
    """Has a server ended when this process ends, however it ends; starts the guard where there is none."""
    global _running
    if _running is None:
        # A session of its own: Ctrl-C and a terminal that hangs up are for the others.
        command = [sys.executable, "-I", "-S", __file__]
        _running = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, start_new_session=True)
    assert _running.stdin is not None
    print(pid, file=_running.stdin, flush=True)


def kill_tree(pid: int) -> None:
    """Kills a process and what it started; the process comes first, as it would start its workers again."""
    for each in (pid, *descendants(pid)):
        with suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    """Processes that this one started, and those that they started."""
    children: list[int] = []
    with suppress(OSError):  # it has ended
        for task in Path(f"/proc/{pid}/task").iterdir():
            children += map(int, (task / "children").read_text().split())
    return children + [below for child in children for below in descendants(child)]


def _started(pid: int) -> str | None:
    """When a process started, which tells it from a later one of the same number; None when it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]  # proc(5): field 22
    except OSError:
        return None


def _watch() -> None:
    """Reads which servers there are until whoever starts them is gone."""
    servers = [(pid, _started(pid)) for pid in map(int, sys.stdin)]
    for pid, started in servers:
        if started is not None and _started(pid) == started:
            kill_tree(pid)


if __name__ == "__main__":
    _watch()
