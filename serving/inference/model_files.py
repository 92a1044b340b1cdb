"""Model files on disk: listing a folder and reading a file, with limits and one sentence for each failure."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from serving.errors import ModelError, ModelUnreadableError

MAX_FILE_BYTES = 1 << 30
SUFFIX = ".onnx"

FileStat = tuple[int, ...]  # device, inode, size, mtime and ctime in ns


@dataclass(frozen=True)
class ModelFile:
    """One .onnx file."""

    name: str  # of the model in requests: the stem of the path, escaped where it cannot be printed
    path: Path
    stat: FileStat
    problem: str | None = None  # the reason not to open it


def list_models(default: Path) -> list[ModelFile]:
    """The default model's file, if it exists, and every other .onnx file of its folder except hidden ones.

    Raises OSError when the folder cannot be read, which does not mean that its files are gone.
    """
    with os.scandir(default.parent) as entries:
        paths = [Path(entry.path) for entry in entries if entry.name.endswith(SUFFIX) and entry.name[0] != "."]
    files = []
    for path in [default, *sorted(path for path in paths if path.stem != default.stem)]:
        try:
            status = path.stat()
        except FileNotFoundError:  # deleted meanwhile, or a dangling link
            continue
        files.append(ModelFile(printable(path.stem), path, file_stat(status), _problem(path, status)))
    return files


def read_model(path: Path) -> bytes:
    """The content of a model file; raises ModelUnreadableError, or ModelError for no regular file or one too large."""
    try:
        # A FIFO would block its reader until a writer comes, but for this flag; to files it makes no difference.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ModelError(f"{path} cannot be read (it is not a regular file); put a model file in its place")
            if status.st_size > MAX_FILE_BYTES:
                raise ModelError(f"{path} is larger than {MAX_FILE_BYTES >> 20} MB; export a smaller model")
            return file.read()
    except FileNotFoundError:
        raise ModelError(f"{path} does not exist; train a model with `make train`, or name another file") from None
    except OSError as error:
        raise ModelUnreadableError(
            f"{path} cannot be read ({error.strerror}); check the path and its permissions"
        ) from None


def file_stat(status: os.stat_result) -> FileStat:
    """The fields that change with a file: a copy may have the same size and mtime, but not the same inode and ctime."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def printable(name: str) -> str:
    """A name for responses, logs and metrics: bytes that are not UTF-8, and unprintable characters, are escaped."""
    if name.isprintable():
        return name
    escaped = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in escaped)


def _problem(path: Path, status: os.stat_result) -> str | None:
    if not path.stem.isprintable():
        return f"the name of {printable(str(path))} is not printable UTF-8; rename the file"
    if not stat.S_ISREG(status.st_mode):
        return f"{path} cannot be read (it is not a regular file); put a model file in its place"
    return None
