"""Folder source: every file below a folder as an item."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from training.data.manifest import DataError, SkippedFile
from training.data.sources.base import IgnoredFile, Item, Source, read_file, read_head
from training.data.sources.filenames import decode_filename, is_hidden, printable_name

RENAME_HINT = "rename it, for instance with `convmv -r -f ENCODING -t utf-8 --notest`"
SYSTEM_FILES = "system files"  # files for which is_hidden() is true, as the manifest calls them


def walk(
    folder: str, prefix: str = "", above: tuple[str, ...] = (), hidden: list[str] | None = None
) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield every visible file below a folder with its relative name, in no particular order.

    hidden: receives the names of hidden files and folders. Links to folders are followed, except to one of the folders
    `above`. Raises DataError for a folder that cannot be listed, whose images would otherwise be missing silently.
    """
    real = os.path.realpath(folder)
    if real in above:
        return
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise DataError(f"the folder {folder} cannot be listed: {error.strerror}") from None
    for entry in entries:
        if is_hidden(entry.name):
            if hidden is not None:
                hidden.append(prefix + entry.name)
        elif entry.is_dir():
            yield from walk(entry.path, f"{prefix}{entry.name}/", (*above, real), hidden)
        else:
            yield prefix + entry.name, entry


def folder_source(folder: Path) -> Source:
    """List every file below the folder, unlabelled. Raises DataError for a name that is not UTF-8."""
    items, skipped, hidden = [], [], list[str]()
    for written, entry in walk(str(folder), hidden=hidden):
        name = printable_name(decode_filename(os.fsencode(written), folder, RENAME_HINT))
        if entry.is_file():
            path = Path(entry.path)
            items.append(Item(name, partial(read_file, path), read_head=partial(read_head, path)))
        else:
            reason = "a link to nothing" if entry.is_symlink() else "not a regular file"
            skipped.append(SkippedFile(file=name, reason=reason))
    return Source(items, skipped=skipped, ignored=[IgnoredFile(printable_name(name), SYSTEM_FILES) for name in hidden])
