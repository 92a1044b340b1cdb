"""The model files of a folder, as the system lists them: nothing of them is opened here."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

SUFFIX = ".onnx"

FileStat = tuple[int, ...]  # of a file: device, inode, size, times of change of its content and of its inode, in ns


@dataclass(frozen=True)
class ModelFile:
    """One .onnx file."""

    name: str  # what requests call it; not what its path says where that cannot be printed
    path: Path
    stamp: FileStat  # changes when the file does
    problem: str | None = None  # why it is not opened at all


def list_models(default: Path) -> list[ModelFile]:
    """The default model's file, if it is there, and every other of its folder but hidden ones.

    Raises OSError when the folder cannot be read: then nothing is known about its files, least of all that they
    are gone.
    """
    with os.scandir(default.parent) as entries:
        found = [Path(entry.path) for entry in entries if entry.name.endswith(SUFFIX) and entry.name[0] != "."]
    files = []
    for path in [default, *sorted(path for path in found if path.stem != default.stem)]:
        try:
            status = path.stat()
        except FileNotFoundError:  # it has gone meanwhile, or is a link to nothing
            continue
        files.append(ModelFile(printable(path.stem), path, file_stat(status), _problem(path, status)))
    return files


def file_stat(found: os.stat_result) -> FileStat:
    """What tells a file from the one before: a copy may have the same size and time, but not inode and ctime."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def printable(name: str) -> str:
    """A name as it may stand in answers, logs and figures: what is no UTF-8, or cannot be printed, is escaped."""
    if name.isprintable():
        return name
    escaped = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in escaped)


def _problem(path: Path, found: os.stat_result) -> str | None:
    if not path.stem.isprintable():
        return f"the name of {printable(str(path))} is not printable UTF-8; rename the file"
    if not stat.S_ISREG(found.st_mode):
        return f"{path} cannot be read (it is not a regular file); put a model file in its place"
    return None
