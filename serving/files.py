"""Files that are either whole or absent, whatever happens while they are written."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; when the body succeeds, it is synced and becomes `path`.

    Makes missing parent folders. When the body raises, `path` is as it was and nothing is left behind; a process
    that is killed leaves its temporary file to `remove_stale_temporaries`.
    """
    make_directory(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
        fsync_directory(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def make_directory(folder: Path) -> None:
    """Makes a folder and the missing ones above it, each of them on the disk before what it will hold."""
    if folder.exists():  # as a file, too: whoever writes into it is told what is wrong
        return
    make_directory(folder.parent)
    folder.mkdir(exist_ok=True)
    fsync_directory(folder.parent)


def fsync_directory(folder: Path) -> None:
    """Brings a folder's list of files to the disk: until then a crash can undo a rename, however well a file is synced.

    Does nothing on file systems that cannot do it for folders, such as some network drives.
    """
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_stale_temporaries(folder: Path) -> None:
    """Removes the temporary files that killed processes left in a folder, and none of a process that still runs."""
    for temporary in folder.glob(".*.part"):
        process = temporary.name.split(".")[-2]
        if process.isdecimal() and not _is_running(int(process)):
            temporary.unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        return True
    return True
