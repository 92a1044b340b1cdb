"""Labels: class names and indices, as people write them, to class indices."""

from collections.abc import Sequence
from unicodedata import normalize

import numpy as np

from serving.error_messages import MAX_QUOTED, did_you_mean, escaped, quoted
from serving.errors import InputError
from serving.inference.latents import Labels

MAX_LISTED = 20  # classes that an error lists
MAX_HINTED = 1000  # classes; among more, a search for the nearest name would take longer than the rest of the request
MAX_HINTED_LENGTH = 60  # characters of a name for which the nearest is searched


class ClassNames:
    """The names of a model's classes, indexed once for look-ups."""

    def __init__(self, names: Sequence[str]) -> None:
        """names: in label order; empty for a model without classes."""
        self.names = names
        self.listed = _listed(names)
        self._by_name: dict[str, int] = {}
        self._by_folded_name: dict[str, int | None] = {}  # None where several classes share one
        self._by_number: dict[int, int] = {}  # the classes whose names are numbers
        for index, name in enumerate(names):
            self._by_name.setdefault(name, index)
            if _is_index(name):
                self._by_number.setdefault(int(name), index)
            folded = _folded(name)
            self._by_folded_name[folded] = None if folded in self._by_folded_name else index

    def __len__(self) -> int:
        return len(self.names)

    def index(self, name: str) -> int | None:
        """The class of this name as written, else the only one that differs by case or by how accents are stored."""
        found = self._by_name.get(name)
        return self._by_folded_name.get(_folded(name)) if found is None else found

    def with_numeric_name(self, number: int) -> int | None:
        """The class whose name is this number, which need not be the class with this index."""
        return self._by_number.get(number)

    def hint(self, name: str) -> str:
        """The nearest name as a question, or the list of names."""
        classes = f"its classes are {self.listed}"
        if len(name) > MAX_HINTED_LENGTH or len(self) > MAX_HINTED:
            return classes
        return did_you_mean(_folded(name), self._by_folded_name, otherwise=classes, quote=self._quote_folded)

    def _quote_folded(self, folded: str) -> str:
        index = self._by_folded_name[folded]
        return quoted(folded if index is None else self.names[index])


def label_index(label: int | str, classes: ClassNames) -> int:
    """The index of a class given by name or index.

    A name is looked up as written, then without regard to case; after that digits are an index, since
    a command line and a URL have only strings. Raises InputError that names the nearest class, or all,
    and for an index that is another class's name, which would be ambiguous.
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
    named = classes.with_numeric_name(label)
    if named not in (None, label):
        by_name, by_index = quoted(classes.names[named]), quoted(classes.names[label])
        raise InputError(
            f"label {label} could be the class {by_name} or the one at index {label}, {by_index}; "
            f"write its name, in quotes: {by_name} or {by_index}",
            "labels",
        )
    return label


def label_indices(labels: Sequence[int | str], count: int, classes: ClassNames) -> Labels:
    """One class index for each of `count` images, int64 [count], from one label for all or one for each.

    Raises InputError for an unknown class, a wrong number of labels, and a model without classes.
    """
    if len(labels) not in (1, count):
        raise InputError(
            f"there are {len(labels)} labels for {count} images; give one for all, or one for each", "labels"
        )
    indices = [label_index(label, classes) for label in labels]
    return np.array(indices * count if len(indices) == 1 else indices, np.int64)


def _is_index(text: str) -> bool:
    """True for the digits of an index."""
    return text.isascii() and text.isdigit() and len(text) < 10


def _listed(names: Sequence[str]) -> str:
    """The first names, separated by commas, and the number of the others."""
    rest = len(names) - MAX_LISTED
    row = ", ".join(escaped(name[:MAX_QUOTED]) for name in names[:MAX_LISTED])
    return row + (f" and {rest} more" if rest > 0 else "")


def _folded(name: str) -> str:
    """A key that ignores case and Unicode normalisation (é may be one character or two)."""
    return normalize("NFC", name).casefold()
