"""A folder of images -> items."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from training.manifest import DataError, Skipped
from training.sources.items import Item, Source, is_hidden, printable_name, read_file


def walk(folder: str, prefix: str = "", above: tuple[str, ...] = ()) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Everything below a folder that is neither a folder nor hidden, with its relative name, in no order.

    Links to folders are followed, except one that leads back to a folder `above` it. Raises DataError for a folder
    that cannot be listed: its images would be missing without a word.
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
            continue
        if entry.is_dir():
            yield from walk(entry.path, f"{prefix}{entry.name}/", (*above, real))
        else:
            yield prefix + entry.name, entry


def folder_source(folder: Path) -> Source:
    """Every file below the folder, unlabelled."""
    items, rejected = [], []
    for name, entry in walk(str(folder)):
        if entry.is_file():
            items.append(Item(printable_name(name), partial(read_file, Path(entry.path))))
        else:
            reason = "a link to nothing" if entry.is_symlink() else "not a regular file"
            rejected.append(Skipped(file=printable_name(name), reason=reason))
    return Source(items, rejected=rejected)
