"""A lock for what only one process may write, held as long as the process lives, however it ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serving.errors import MintError
from serving.files import make_directory


@contextmanager
def exclusive_lock(path: Path, doing: str) -> Iterator[None]:
    """Holds the lock file `path`, which names the process.

    doing: what the process does, for the error: `training .runs/abc`. Raises MintError while another process holds
    it: a pipeline that was killed can leave its stage behind, and two writers would ruin each other's files.
    """
    make_directory(path.parent)
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "(unknown)"
            raise MintError(f"process {holder} is already {doing}; wait for it or end it") from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield
