"""The members of an archive as the folder would hold them into which it were unpacked."""

import posixpath
from collections.abc import Callable
from dataclasses import replace

from training.data.manifest import SkippedFile
from training.data.sources.base import IgnoredFile, Item, Source
from training.data.sources.file_types import claims_picture
from training.data.sources.filenames import is_hidden, leads_outside, printable_name
from training.data.sources.folders import SYSTEM_FILES

LINKS = 8  # links that may lead to one another; more lead in a circle


class Members:
    """Collects files and links by name; of two with the same name the later one is the file, as when unpacked."""

    def __init__(self) -> None:
        self._items: dict[str, Item] = {}
        self._links: dict[str, str] = {}
        self._rejected: list[SkippedFile] = []
        self._left_out: list[IgnoredFile] = []

    def wants(self, name: str) -> bool:
        """Whether a member of this name is taken: not a system file, nor one that leads outside the archive."""
        if leads_outside(name):
            self.reject(name, "its path leads outside the archive")
        elif is_hidden(name):
            self._left_out.append(IgnoredFile(printable_name(name), SYSTEM_FILES))
        else:
            return True
        return False

    def add(self, name: str, read: Callable[[], bytes], read_head: Callable[[], bytes]) -> None:
        """Takes a file."""
        key = self._replaced(name)
        self._items[key] = Item(printable_name(key), read, read_head=read_head)

    def link(self, name: str, target: str) -> None:
        """Takes a link to another member, which may come later; target: relative to the archive."""
        self._links[self._replaced(name)] = posixpath.normpath(target)

    def reject(self, name: str, reason: str) -> None:
        """Lists a member that cannot become an image: as a failure where its name claims that it is one."""
        if claims_picture(name):
            self._rejected.append(SkippedFile(file=printable_name(name), reason=reason))
        else:
            self._left_out.append(IgnoredFile(printable_name(name), "links, devices and replaced files"))

    def source(self) -> Source:
        """All files, unlabelled, with the links resolved."""
        items = list(self._items.values())
        for name, target in self._links.items():
            if item := self._target(target):
                items.append(replace(item, name=printable_name(name)))
            else:
                outside = leads_outside(target)
                self.reject(name, "a link that leads outside the archive" if outside else "a link to nothing")
        return Source(items, rejected=self._rejected, left_out=self._left_out)

    def _replaced(self, name: str) -> str:
        """The name by which a member is found, from which an earlier one makes way."""
        key = posixpath.normpath(name)
        if self._items.pop(key, None) or self._links.pop(key, None):
            self.reject(name, "a later file of the archive has the same name")
        return key

    def _target(self, name: str) -> Item | None:
        """The file that a chain of links ends at."""
        for _ in range(LINKS):
            if name not in self._links:
                return self._items.get(name)
            name = self._links[name]
        return None
