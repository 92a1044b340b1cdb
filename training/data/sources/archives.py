"""Members of zip and tar archives as the files that unpacking would leave: links, duplicates, unsafe paths."""

import posixpath
from collections.abc import Callable
from dataclasses import replace

from training.data.manifest import SkippedFile
from training.data.sources.base import IgnoredFile, Item, Source
from training.data.sources.file_types import has_image_suffix
from training.data.sources.filenames import escapes_root, is_hidden, printable_name
from training.data.sources.folders import SYSTEM_FILES

MAX_LINK_DEPTH = 8  # a longer chain of links is taken for a cycle


class ArchiveMembers:
    """Files and links of an archive by name; a later member replaces an earlier one of the same name."""

    def __init__(self) -> None:
        self._items: dict[str, Item] = {}
        self._links: dict[str, str] = {}
        self._skipped: list[SkippedFile] = []
        self._ignored: list[IgnoredFile] = []

    def accepts(self, name: str) -> bool:
        """Return whether a member of this name is wanted; record system files and paths outside the archive."""
        if escapes_root(name):
            self.exclude(name, "its path leads outside the archive")
        elif is_hidden(name):
            self._ignored.append(IgnoredFile(printable_name(name), SYSTEM_FILES))
        else:
            return True
        return False

    def add_file(self, name: str, read: Callable[[], bytes], read_head: Callable[[], bytes]) -> None:
        """Add a regular file."""
        key = self._claim(name)
        self._items[key] = Item(printable_name(key), read, read_head=read_head)

    def add_link(self, name: str, target: str) -> None:
        """Add a link to a member, which may come later. target: path from the root of the archive."""
        self._links[self._claim(name)] = posixpath.normpath(target)

    def exclude(self, name: str, reason: str) -> None:
        """Record a member that cannot become an image: as skipped if it is named like one, else as ignored."""
        if has_image_suffix(name):
            self._skipped.append(SkippedFile(file=printable_name(name), reason=reason))
        else:
            self._ignored.append(IgnoredFile(printable_name(name), "links, devices and replaced files"))

    def to_source(self) -> Source:
        """Return all files, unlabelled, with links resolved."""
        items = list(self._items.values())
        for name, target in self._links.items():
            if item := self._resolve(target):
                items.append(replace(item, name=printable_name(name)))
            else:
                outside = escapes_root(target)
                self.exclude(name, "a link that leads outside the archive" if outside else "a link to nothing")
        return Source(items, skipped=self._skipped, ignored=self._ignored)

    def _claim(self, name: str) -> str:
        """Normalise a member's name and drop an earlier member that has it."""
        key = posixpath.normpath(name)
        if self._items.pop(key, None) or self._links.pop(key, None):
            self.exclude(name, "a later file of the archive has the same name")
        return key

    def _resolve(self, name: str) -> Item | None:
        """Follow a chain of links to its file."""
        for _ in range(MAX_LINK_DEPTH):
            if name not in self._links:
                return self._items.get(name)
            name = self._links[name]
        return None
