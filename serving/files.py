"""Atomic, durable file writes: a file is complete or absent, whatever happens while it is written."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the body succeeds, sync it and rename it to `path`.

    Missing parent folders are created. When the body raises, `path` is unchanged and the temporary file is removed;
    the file of a killed process is left to `remove_stale_temporaries`. An OSError that names no file, as those of a
    full disk, gets the name of `path`.
    """
    make_directory(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
        fsync_directory(path.parent)
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def make_directory(folder: Path) -> None:
    """Create a folder and its missing parents, and sync each before anything is written into it."""
    if folder.exists():  # or is a file: then writing into it fails with the reason
        return
    make_directory(folder.parent)
    folder.mkdir(exist_ok=True)
    fsync_directory(folder.parent)


def fsync_directory(folder: Path) -> None:
    """Sync a folder's entries: until then a crash can undo the rename of a synced file.

    Does nothing on file systems that cannot sync folders, such as some network drives.
    """
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_stale_temporaries(folder: Path) -> None:
    """Remove temporary files of processes that no longer run."""
    for temporary in folder.glob(".*.part"):
        pid = temporary.name.split(".")[-2]
        if pid.isdecimal() and not _is_running(int(pid)):
            temporary.unlink(missing_ok=True)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        return True
    return True
