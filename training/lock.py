"""Exclusive file locks between processes, released by the kernel however the process ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serving.errors import MintError
from serving.files import make_directory


@contextmanager
def exclusive_lock(path: Path, activity: str, survives_exec: bool = False) -> Iterator[None]:
    """Hold the lock file `path`, which contains the holder's process id.

    activity: for the error message, such as `training .runs/abc`. Raises MintError while another process holds
    the lock: a killed pipeline can leave its stage running, and two writers would corrupt each other's files.

    survives_exec: the program that replaces this one holds the lock until it ends; its own child processes do not.
    """
    make_directory(path.parent)
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "(unknown)"
            raise MintError(f"process {holder} is already {activity}; wait for it or end it") from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        os.set_inheritable(lock.fileno(), survives_exec)
        yield
