"""Class names and indices, as people write them, to labels."""

from collections.abc import Sequence
from difflib import get_close_matches
from unicodedata import normalize

import numpy as np

from serving.errors import InputError
from serving.inference.latents import Labels
from serving.quoting import MAX_QUOTED, quoted, visible

LISTED_CLASSES = 20  # an error names this many classes at most
HINTED_CLASSES = 1000  # among more, the nearest name is not looked for: that takes longer than all else
LONGEST_HINTED = 60  # characters of a name that a near one is looked for


class ClassNames:
    """The names of a model's classes; what there is to find out about all of them is found out once."""

    def __init__(self, names: Sequence[str]) -> None:
        """names: in label order; empty for a model without classes."""
        self.names = names
        self.listed = _listed(names)
        self._by_name: dict[str, int] = {}
        self._alike: dict[str, int | None] = {}  # by folded name; None where several classes share one
        self._by_number: dict[int, int] = {}  # the classes whose names are numbers
        for index, name in enumerate(names):
            self._by_name.setdefault(name, index)
            if _is_index(name):
                self._by_number.setdefault(int(name), index)
            folded = _folded(name)
            self._alike[folded] = None if folded in self._alike else index

    def __len__(self) -> int:
        return len(self.names)

    def index(self, name: str) -> int | None:
        """The class of this name as written, else the only one that differs by case or by how accents are stored."""
        found = self._by_name.get(name)
        return self._alike.get(_folded(name)) if found is None else found

    def called(self, number: int) -> int | None:
        """The class whose name is this number, which need not be the one that has it as its index."""
        return self._by_number.get(number)

    def hint(self, name: str) -> str:
        """The nearest name, or what the names are."""
        if len(name) <= LONGEST_HINTED and len(self) <= HINTED_CLASSES:
            for nearest in get_close_matches(_folded(name), self._alike, n=1):
                index = self._alike[nearest]
                return f"did you mean {quoted(nearest if index is None else self.names[index])}?"
        return f"its classes are {self.listed}"


def label_index(label: int | str, classes: ClassNames) -> int:
    """The index of a class given by name or index.

    A name counts as written, then without regard to case; after that digits are an index, so that
    a command line and a URL can give one. Raises InputError that names the nearest class, or all,
    and for an index that is another class's name: either could be meant.
    """
    if not len(classes):
        raise InputError("this model has no classes; leave labels out", "labels")
    if isinstance(label, str):
        if (index := classes.index(label)) is not None:
            return index
        if not _is_index(label):
            raise InputError(f"{quoted(label)} is not a class of this model; {classes.hint(label)}", "labels")
        label = int(label)
    if not 0 <= label < len(classes):
        raise InputError(
            f"label {str(label)[:20]} is not a class of this model; its labels are 0 to {len(classes) - 1} "
            f"({classes.listed})",
            "labels",
        )
    called = classes.called(label)
    if called not in (None, label):
        named, counted = quoted(classes.names[called]), quoted(classes.names[label])
        raise InputError(
            f"label {label} could be the class {named} or the one at index {label}, {counted}; "
            f"write its name, in quotes: {named} or {counted}",
            "labels",
        )
    return label


def label_indices(labels: Sequence[int | str] | None, count: int, classes: ClassNames) -> Labels | None:
    """One label for each of `count` images, int64 [count], from one for all or one for each.

    None stays None: the caller decides who draws them. Raises InputError for an unknown class, a
    wrong number of labels, and any label where the model has no classes.
    """
    if labels is None:
        return None
    if len(labels) not in (1, count):
        raise InputError(
            f"there are {len(labels)} labels for {count} images; give one for all, or one for each", "labels"
        )
    indices = [label_index(label, classes) for label in labels]
    return np.array(indices * count if len(indices) == 1 else indices, np.int64)


def _is_index(text: str) -> bool:
    """Whether a text can be read as an index."""
    return text.isascii() and text.isdigit() and len(text) < 10


def _listed(names: Sequence[str]) -> str:
    """Names in a row, the first ones where there are many."""
    rest = len(names) - LISTED_CLASSES
    row = ", ".join(visible(name[:MAX_QUOTED]) for name in names[:LISTED_CLASSES])
    return row + (f" and {rest} more" if rest > 0 else "")


def _folded(name: str) -> str:
    """Equal for names that differ in case only, or in how an accent is stored (é may be one character or two)."""
    return normalize("NFC", name).casefold()
