"""A folder of images -> items."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from training.data.manifest import DataError, SkippedFile
from training.data.sources.base import IgnoredFile, Item, Source, read_file, read_head
from training.data.sources.filenames import is_hidden, printable_name, utf8_name

RENAME = "rename it, for instance with `convmv -r -f ENCODING -t utf-8 --notest`"
SYSTEM_FILES = "system files"  # what is_hidden() means, in the words of the manifest


def walk(
    folder: str, prefix: str = "", above: tuple[str, ...] = (), hidden: list[str] | None = None
) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Everything below a folder that is neither a folder nor hidden, with its relative name, in no order.

    hidden: takes the names of what is hidden; of a hidden folder, its own. Links to folders are followed, except one
    that leads back to a folder `above` it. Raises DataError for a folder that cannot be listed: its images would be
    missing without a word.
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
    """Every file below the folder, unlabelled. Raises DataError where a name is not UTF-8."""
    items, rejected, hidden = [], [], list[str]()
    for written, entry in walk(str(folder), hidden=hidden):
        name = printable_name(utf8_name(os.fsencode(written), folder, RENAME))
        if entry.is_file():
            path = Path(entry.path)
            items.append(Item(name, partial(read_file, path), read_head=partial(read_head, path)))
        else:
            reason = "a link to nothing" if entry.is_symlink() else "not a regular file"
            rejected.append(SkippedFile(file=name, reason=reason))
    return Source(
        items, rejected=rejected, left_out=[IgnoredFile(printable_name(name), SYSTEM_FILES) for name in hidden]
    )
